"""A camera: a fitted detector and, in alarm.json, when to raise an alarm. Frames in, moments with events out."""

import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError

from ramvid_vad.detectors import detector as detectors
from ramvid_vad.detectors.detector import CELL, Detector, Frame
from ramvid_vad.detectors.registry import SAVED
from ramvid_vad.errors import InputError
from ramvid_vad.events.events import GAP, Event, EventTracker, peak_box, smoothed, window
from ramvid_vad.events.examples import Examples, Search
from ramvid_vad.events.health import SETTLE, Health, Monitor, Normal
from ramvid_vad.events.light import NIGHT, Light
from ramvid_vad.events.threshold import Threshold
from ramvid_vad.events.zones import watched_cells
from ramvid_vad.runtime.beside import never
from ramvid_vad.runtime.saved_pair import save_pair, tensors_of_pair
from ramvid_vad.runtime.text import plain_name
from ramvid_vad.spaces.frame_size import LINES

FORMAT = 1
FILE = "alarm.json"
FIRED = 2.58  # standard deviations of a part's logarithm: 0.5 % of normal frames lie beyond


def has_night(folder: str) -> bool:
    """Whether the folder of a detector is that of a camera with a night."""
    try:
        with open(os.path.join(folder, FILE), encoding="utf-8") as file:
            return bool(json.load(file)["light"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


class Moment(NamedTuple):
    """One frame.

    number: from 0.  seconds: as given.  frame: uint8 (H, W, 3) RGB.  score, parts, map: the detector's, but the map is
    usual outside of the zone.  level: median of the last scores (of the zone, if there is one), 0 = usual, 1 =
    threshold; 0 during a fault, when scores pause.  health: "" or the fault.  changes: ("new" | "update" | "end",
    event); an event with ``fault`` is one of health.  light: "day" or "night", of a camera that knows both; else "".
    held: a fault is suspected, and no event is told meanwhile.
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
    light: str = ""
    held: bool = False


@dataclass
class Camera:
    """name: of its folder.  fps: of the normal video.  min_seconds: whose median makes the level.  zone: as it was
    given, "" the whole picture.  normal: of the picture's health.  curves: raw scores of held-out normal videos, from
    which the threshold was set.  examples: pictures of what was learned from.  night: the same camera at night, with
    all of these of its own; None: it knows one light.  light: how day and night are told apart.  watched: cells of the
    zone, bool (h, w); None: all.  added: digests of the videos that were added after the fit, to both lights."""

    name: str
    detector: Detector
    threshold: Threshold
    normal: Normal
    curves: list[np.ndarray]
    fps: float
    min_seconds: float = 0.5
    zone: str = ""
    examples: Examples = field(default_factory=Examples)
    night: "Camera | None" = None
    light: Light | None = None
    watched: np.ndarray | None = None
    added: list[str] = field(default_factory=list)

    def under(self, light: str) -> "Camera":
        """What knows the normal of a light, "day", "night" or, of a camera that knows one, ""."""
        return self.night if self.night and light == NIGHT else self

    def sentence(self) -> str:
        """On what its threshold, or its two, stand."""
        if self.night is None:
            return self.threshold.sentence()
        measure = f"day and night are told apart by {self.light.measure}"
        return f"{measure}; by day: {self.threshold.sentence()}; by night: {self.night.threshold.sentence()}"

    def stream(
        self,
        frames: Iterable[tuple[float, Frame] | tuple[float, Frame, bool]],
        ready: Callable[[], bool] = never,
        settle: float = 0.0,
    ) -> Iterator[Moment]:
        """Frames (seconds, uint8 (H, W, 3), or a pair of it and the file's luma) -> a moment each, in order.

        A third entry says whether frames before this one were missed: dropped, or read late.  settle: seconds from the
        first frame on in which nothing counts: a camera that was just opened.  Where the light changes between day and
        night, events end, and scores pause for a second: that is no event.  Constant memory; a moment comes when its
        detector knows its score (``fast``: at once) and the next frame is scored: the last moment holds the ends of
        what went on. ready: whether the next frame can be had without waiting: then several are worked on at once.
        """
        if self.light is None:
            yield from self._stream(frames, ready, settle)
            return
        first = told = 0  # frames, and numbers of events, of the lights before
        for light, run in groupby(self.light.of_each(frames), key=itemgetter(0)):
            scored = new = 0
            each_settle = SETTLE if first else settle
            for moment in self.under(light)._stream((each for _, each in run), ready, each_settle):
                changes = [(kind, event.later(first, told)) for kind, event in moment.changes]
                scored, new = scored + 1, new + sum(kind == "new" for kind, _ in changes)
                yield moment._replace(number=first + moment.number, changes=changes, light=light)
            first, told = first + scored, told + new

    def _stream(self, frames: Iterable[Sequence], ready: Callable[[], bool], settle: float) -> Iterator[Moment]:
        """In one light."""
        monitor = Monitor(self.normal, self.fps)
        length, gap = window(self.min_seconds, self.fps), round(GAP * self.fps)
        tracker = EventTracker(self.name, length, gap, self.fps, self.zone)
        search = Search(self.examples, self.detector)
        waiting: deque[tuple[float, np.ndarray, Health]] = deque()

        def seen() -> Iterator[Frame]:
            begun = None
            for seconds, frame, *missed in frames:
                colour = frame[0] if isinstance(frame, tuple) else frame
                colour = np.repeat(colour, 3, axis=2) if colour.ndim == 3 and colour.shape[2] == 1 else colour
                begun = seconds if begun is None else begun
                opening = seconds < begun + settle
                health = Health(paused=True) if opening else monitor.step(colour, seconds, any(missed))
                waiting.append((seconds, colour, health))
                yield frame

        def shown(changes: list[tuple[str, Event]]) -> list[tuple[str, Event]]:
            for _, event in changes:
                search.show(event)
            return changes

        watched: np.ndarray | None = None
        faulty: Event | None = None
        last: Moment | None = None
        for number, scored in enumerate(self.detector.stream_ahead(seen(), ready=ready)):
            seconds, frame, health = waiting.popleft()
            if self.watched is not None and watched is None:
                watched = watched_cells(self.watched, scored.map.shape)
            changes: list[tuple[str, Event]] = []
            held = False
            if faulty and faulty.fault != health.fault:
                changes.append(("end", faulty))
                faulty = None
            if health.fault or health.paused:
                changes += shown(tracker.pause())
                level = 0.0
                if health.fault and faulty is None:
                    faulty = tracker.fault(health.fault, number, seconds)
                    changes.append(("new", faulty))
                if faulty:
                    faulty.end, faulty.end_seconds = number, seconds
            else:
                score = scored.score if watched is None else float(scored.map[watched].max())
                level = tracker.level(self.level_of(score), seconds)
                held = health.suspected
                field = scored.map if watched is None else np.where(watched, scored.map, -np.inf)
                box = self._box(field, frame.shape[:2]) if level >= 1 else None
                stepped = tracker.step(number, seconds, level, box, self._fired(scored.parts), held)
                shown([(kind, event) for kind, event in stepped if kind == "end"])  # before another event's peak
                if tracker.event and tracker.event.peak == number:
                    search.peak(number, frame)
                changes += shown(stepped)
            if last is not None:
                yield last
            changes = [(kind, replace(event)) for kind, event in changes]  # what is told does not change later
            heat = scored.map if watched is None else np.where(watched, scored.map, self.threshold.usual)
            last = Moment(
                number, seconds, frame, scored.score, level, scored.parts, heat, health.fault, changes, held=held
            )
        if last is not None:
            ends = shown(tracker.finish()) + ([("end", faulty)] if faulty else [])
            yield last._replace(changes=last.changes + ends)

    def normal_levels(self) -> np.ndarray:
        """(n,) of held-out normal video."""
        length = window(self.min_seconds, self.fps)
        return np.concatenate([self.level_of(smoothed(c, length, self.threshold.usual)) for c in self.curves])

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
        """alarm.json and alarm.safetensors, beside the detector; those of the night before it, in the folder of its own
        that holds its detector. InputError: they cannot be written."""
        if self.night:
            self.night.save(os.path.join(folder, NIGHT))
        about = {
            "format": FORMAT,
            "threshold": asdict(self.threshold),
            "health": self.normal.settings(),
            "fps": self.fps,
            "min_seconds": self.min_seconds,
            "zone": self.zone,
            "added": self.added,
            "light": asdict(self.light) if self.light else None,
        }
        tensors = {f"curve.{i:04d}": torch.from_numpy(np.ascontiguousarray(c)) for i, c in enumerate(self.curves)}
        tensors |= {name: torch.from_numpy(getattr(self.normal, name)) for name in ("references", "sharp")}
        tensors |= self.examples.tensors() | ({"zone": torch.from_numpy(self.watched)} if self.zone else {})
        save_pair(folder, "alarm", about, tensors)

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
            tensors = tensors_of_pair(folder, "alarm", about)
            if about["zone"] and "zone" not in tensors:
                raise InputError(f"{path}: of a version that kept a zone as text: fit it again")
            light, name = about.get("light"), plain_name(os.path.basename(os.path.abspath(folder)))
            night = replace(cls.load(os.path.join(folder, NIGHT)), name=name) if light else None
            arrays = {name: tensors[name].numpy() for name in ("references", "sharp")}
            return cls(
                name,
                detector,
                Threshold(**about["threshold"]),
                Normal(**about["health"], **arrays),
                [tensors[name].numpy() for name in sorted(tensors) if name.startswith("curve.")],
                float(about["fps"]),
                float(about["min_seconds"]),
                str(about["zone"]),
                Examples.restore(tensors),
                night,
                Light(**light) if light else None,
                tensors["zone"].numpy() if about["zone"] else None,
                [str(digest) for digest in about.get("added", [])],
            )
        except OSError as error:
            raise InputError(f"{folder}: no alarm is fitted there ({error}): fit it again") from None
        except (KeyError, TypeError, ValueError, AttributeError, SafetensorError) as error:
            raise InputError(f"{folder}: not a whole camera ({error!r}): fit it again") from None
