"""A camera: a fitted detector and, in alarm.json, when to raise an alarm. Frames in, moments with events out."""

import json
import os
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ramvid_vad.detectors import detector as detectors
from ramvid_vad.detectors.detector import CELL, Detector, Frame
from ramvid_vad.detectors.registry import SAVED
from ramvid_vad.errors import InputError
from ramvid_vad.events.events import GAP, Event, EventTracker, peak_box, window
from ramvid_vad.events.examples import Examples, Search
from ramvid_vad.events.health import Monitor, Normal
from ramvid_vad.events.threshold import Threshold
from ramvid_vad.events.zones import zone_mask
from ramvid_vad.runtime.files import replacing_together, sha256_of, write_text
from ramvid_vad.spaces.space import LINES

FORMAT = 1
FILE = "alarm.json"
FIRED = 2.58  # standard deviations of a part's logarithm: 0.5 % of normal frames lie beyond


class Moment(NamedTuple):
    """One frame.

    number: from 0.  seconds: as given.  frame: uint8 (H, W, 3) RGB.  score, parts, map: the detector's.  level: median
    of the last scores (of the zone, if there is one), 0 = usual, 1 = threshold; 0 during a fault, when scores pause.
    health: "" or the fault.  changes: ("new" | "update" | "end", event); an event with ``fault`` is one of health.
    """

    number: int
    seconds: float
    frame: np.ndarray
    score: float
    level: float
    parts: dict[str, float]
    map: np.ndarray
    health: str
    changes: list[tuple[str, Event]]


@dataclass
class Camera:
    """name: of its folder.  fps: of the normal video.  min_seconds: whose median makes the level.  zone: as
    ``zones.zone_mask`` reads it, "" the whole picture.  normal: of the picture's health.  curves: raw scores of
    held-out normal videos, from which the threshold was set.  examples: pictures of what was learned from."""

    name: str
    detector: Detector
    threshold: Threshold
    normal: Normal
    curves: list[np.ndarray]
    fps: float
    min_seconds: float = 0.5
    zone: str = ""
    examples: Examples = field(default_factory=Examples)

    def stream(self, frames: Iterable[tuple[float, Frame]], live: bool = True) -> Iterator[Moment]:
        """Frames (seconds, uint8 (H, W, 3), or a pair of it and the file's luma) -> a moment each, in order.

        Constant memory; a moment comes when its detector knows its score (``fast``: at once) and the next frame is
        scored: the last moment holds the ends of what went on. Not ``live``: several frames at once.
        """
        monitor = Monitor(self.normal, self.fps)
        length, gap = window(self.min_seconds, self.fps), round(GAP * self.fps)
        tracker = EventTracker(self.name, length, gap, self.zone)
        search = Search(self.examples, self.detector)
        waiting: deque[tuple[float, np.ndarray, str, bool]] = deque()

        def seen() -> Iterator[Frame]:
            for seconds, frame in frames:
                colour = frame[0] if isinstance(frame, tuple) else frame
                colour = np.repeat(colour, 3, axis=2) if colour.ndim == 3 and colour.shape[2] == 1 else colour
                waiting.append((seconds, colour, *monitor.step(colour, seconds)))
                yield frame

        def shown(changes: list[tuple[str, Event]]) -> list[tuple[str, Event]]:
            for _, event in changes:
                search.show(event)
            return changes

        watched: np.ndarray | None = None
        health: Event | None = None
        last: Moment | None = None
        scoring = self.detector.stream if live else self.detector.stream_ahead
        for number, scored in enumerate(scoring(seen())):
            seconds, frame, fault, suspected = waiting.popleft()
            if self.zone and watched is None:
                watched = zone_mask(self.zone, frame.shape[:2], scored.map.shape)
            changes: list[tuple[str, Event]] = []
            if health and health.fault != fault:
                changes.append(("end", health))
                health = None
            if fault:
                changes += shown(tracker.pause())
                if health is None:
                    health = tracker.fault(fault, number, seconds)
                    changes.append(("new", health))
                health.end, health.end_seconds = number, seconds
                level = 0.0
            else:
                score = scored.score if watched is None else float(scored.map[watched].max())
                level = tracker.level(self.level_of(score))
                field = scored.map if watched is None else np.where(watched, scored.map, -np.inf)
                box = self._box(field, frame.shape[:2]) if level >= 1 else None
                stepped = tracker.step(number, seconds, level, box, self._fired(scored.parts), hold=suspected)
                shown([(kind, event) for kind, event in stepped if kind == "end"])  # before another event's peak
                if tracker.event and tracker.event.peak == number:
                    search.peak(number, frame)
                changes += shown(stepped)
            if last is not None:
                yield last
            changes = [(kind, replace(event)) for kind, event in changes]  # what is told does not change later
            last = Moment(number, seconds, frame, scored.score, level, scored.parts, scored.map, fault, changes)
        if last is not None:
            ends = shown(tracker.finish()) + ([("end", health)] if health else [])
            yield last._replace(changes=last.changes + ends)

    def level_of(self, score: float | np.ndarray) -> float | np.ndarray:
        """0 = usual, 1 = threshold."""
        return (score - self.threshold.usual) / (self.threshold.value - self.threshold.usual)

    def _box(self, field: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Cells count from half the way between what is usual and the highest cell, or from the threshold on."""
        middle = (self.threshold.usual + float(field.max())) / 2
        return peak_box(field, min(self.threshold.value, middle), size, CELL * max(min(size) / LINES, 1.0))

    def _fired(self, parts: dict[str, float]) -> list[str]:
        scales = getattr(self.detector, "scales", {})
        beyond = {name: float(scales[name](np.float64(value))) for name, value in parts.items() if name in scales}
        return [name for name in sorted(beyond, key=beyond.get, reverse=True) if beyond[name] > FIRED]

    def save(self, folder: str) -> None:
        """alarm.json and alarm.safetensors, beside the detector. InputError: they cannot be written."""
        about = {
            "format": FORMAT,
            "threshold": asdict(self.threshold),
            "health": self.normal.settings(),
            "fps": self.fps,
            "min_seconds": self.min_seconds,
            "zone": self.zone,
        }
        tensors = {f"curve.{i:04d}": torch.from_numpy(np.ascontiguousarray(c)) for i, c in enumerate(self.curves)}
        tensors |= {name: torch.from_numpy(getattr(self.normal, name)) for name in ("references", "sharp")}
        tensors |= self.examples.tensors()
        try:
            with replacing_together(folder, last=FILE) as place:
                learned = os.path.join(place, "alarm.safetensors")
                save_file(tensors, learned)
                about["tensors_sha256"] = sha256_of([learned])
                text = json.dumps(about, indent=1, sort_keys=True, allow_nan=False)
                write_text(os.path.join(place, FILE), text + "\n")
        except (OSError, SafetensorError) as error:
            raise InputError(f"{folder}: cannot be written ({error}): name another folder, or free space") from None

    @classmethod
    def load(cls, folder: str) -> "Camera":
        """InputError: no fitted camera there, or a damaged one."""
        detector = detectors.load(folder, SAVED)
        path = os.path.join(folder, FILE)
        try:
            with open(path, encoding="utf-8") as file:
                about = json.load(file)
            if about["format"] != FORMAT:
                raise InputError(f"{path}: of another version of ramvid_vad (format {about['format']}): fit it again")
            learned = os.path.join(folder, "alarm.safetensors")
            if sha256_of([learned]) != about["tensors_sha256"]:
                raise ValueError("alarm.safetensors is of another fit, or damaged")
            tensors = load_file(learned)
            arrays = {name: tensors[name].numpy() for name in ("references", "sharp")}
            return cls(
                os.path.basename(os.path.abspath(folder)),
                detector,
                Threshold(**about["threshold"]),
                Normal(**about["health"], **arrays),
                [tensors[name].numpy() for name in sorted(tensors) if name.startswith("curve.")],
                float(about["fps"]),
                float(about["min_seconds"]),
                str(about["zone"]),
                Examples.restore(tensors),
            )
        except OSError as error:
            raise InputError(f"{folder}: no alarm is fitted there ({error}): fit it again") from None
        except (KeyError, TypeError, ValueError, AttributeError, SafetensorError) as error:
            raise InputError(f"{folder}: not a whole camera ({error!r}): fit it again") from None
