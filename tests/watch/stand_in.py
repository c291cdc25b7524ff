"""A camera whose score is the brightness of a frame, so that tests know every event by hand."""

import itertools
import time
from dataclasses import dataclass, field, replace

import numpy as np

from ramvid_vad.events.examples import Examples
from ramvid_vad.page.pictures import encoded
from ramvid_vad.watch.input.source import find_source
from ramvid_vad.watch.loop import Settings, Watch

BRIGHT, DARK = 240, 60


@dataclass
class Event:
    id: int
    start: int
    start_seconds: float
    end: int
    end_seconds: float
    peak: int = 0
    peak_seconds: float = 0.0
    severity: float = 0.0
    box: tuple | None = None
    parts: list = field(default_factory=list)
    fault: str = ""
    normal_example: int | None = None


@dataclass
class Moment:
    number: int
    seconds: float
    frame: np.ndarray
    score: float
    level: float
    parts: dict
    map: np.ndarray
    health: str
    changes: list
    light: str = ""


class Brightness:
    """level: mean brightness by 128; an event while it is above 1; black frames (below 5) are a fault.

    delay: seconds that one frame takes to score.
    """

    def __init__(self, delay: float = 0.0) -> None:
        self.delay, self.seen = delay, []

    def stream(self, frames, ready=None, settle=0.0):
        open_, ids, last = {}, itertools.count(), None
        for number, (seconds, (frame, _), _) in enumerate(frames):
            time.sleep(self.delay)
            level, changes = float(frame.mean()) / 128, []
            black = level < 5 / 128
            for kind, goes_on in (("black", black), ("", level > 1)):
                event = open_.get(kind)
                if goes_on and event is None:
                    event = open_[kind] = Event(next(ids), number, seconds, number, seconds, fault=kind)
                    changes.append(["new", event])
                elif event and not goes_on:
                    changes.append(["end", open_.pop(kind)])
                if event and goes_on:
                    event.end, event.end_seconds = number, seconds
                    if level > event.severity:
                        event.peak, event.peak_seconds, event.severity = number, seconds, level
                        height, width = frame.shape[:2]
                        event.box, event.parts = (width // 4, height // 4, width // 2, height // 2), ["brightness"]
                    if not kind and number - event.start in (4, 8, 12):  # as of a camera, not at every frame
                        changes.append(["update", event])
            if last:
                yield last
            told = [(change, replace(event)) for change, event in changes]
            heat = frame[::8, ::8, 0].astype(np.float32)
            last = Moment(number, seconds, frame, level, level, {}, heat, "black" if black else "", told)
        if last:
            last.changes += [("end", event) for event in open_.values()]
            yield last


class ByNight(Brightness):
    """In another light, with a green picture of normal video."""

    def __init__(self) -> None:
        super().__init__()
        green = np.zeros((48, 64, 3), np.uint8)
        green[..., 1] = 200
        self.examples = Examples([encoded(green)])

    def under(self, light):
        return self if light == "night" else None

    def stream(self, frames, ready=None, settle=0.0):
        for moment in super().stream(frames, ready, settle):
            for _, event in moment.changes:
                event.normal_example = None if event.fault else 0
            yield replace(moment, light="night")


def settings(out, **other) -> Settings:
    base = {"name": "door", "out": str(out), "keep": 14, "before": 1.0, "queue": 250, "timeout": 5.0, "again": False}
    return Settings(**base | other)


def watch(source: str, out, camera=None, **other) -> Watch:
    return Watch(camera or Brightness(), find_source(source), settings(out, **other))


def accounted(counters) -> None:
    assert counters.received == counters.read + counters.lost
    assert counters.read == counters.dropped + counters.scored
