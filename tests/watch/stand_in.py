"""A camera whose score is the brightness of a frame, so that tests know every event by hand."""

import time
from dataclasses import dataclass, field

import numpy as np

from ramvid_vad.watch.input.source import find_source
from ramvid_vad.watch.loop import Settings, Watch

BRIGHT, DARK = 240, 60


@dataclass
class Event:
    start: int
    start_seconds: float
    end: int = 0
    end_seconds: float = 0.0
    peak: int = 0
    peak_seconds: float = 0.0
    severity: float = 0.0
    box: tuple | None = None
    parts: dict = field(default_factory=dict)


@dataclass
class Moment:
    number: int
    seconds: float
    frame: np.ndarray
    score: float
    level: float
    parts: dict
    map: np.ndarray | None
    health: str
    changes: list


class Brightness:
    """level: mean brightness by 128; an event while it is above 1; black frames (below 5) are a fault.

    delay: seconds that one frame takes to score.
    """

    def __init__(self, delay: float = 0.0) -> None:
        self.delay, self.seen = delay, []

    def stream(self, frames):
        event = None
        for number, (seconds, frame) in enumerate(frames):
            time.sleep(self.delay)
            level, changes = float(frame.mean()) / 128, []
            health = "black" if level < 5 / 128 else ""
            high = level > 1
            if high and event is None:
                event = Event(number, seconds)
                changes.append(("new", event))
            elif event and not high:
                changes.append(("end", event))
            if event and high:
                if level > event.severity:
                    event.peak, event.peak_seconds, event.severity = number, seconds, level
                    changes = changes or [("update", event)]
                event.end, event.end_seconds = number, seconds
                height, width = frame.shape[:2]
                event.box, event.parts = (width // 4, height // 4, width // 2, height // 2), {"brightness": level}
            for change, of in changes:
                if change == "end":
                    event = None
            heat = frame[::8, ::8, 0].astype(np.float32)
            yield Moment(number, seconds, frame, level, level, {}, heat, health, changes)


def settings(out, **other) -> Settings:
    base = {"name": "door", "out": str(out), "keep": 14, "before": 1.0, "queue": 250, "timeout": 5.0, "again": False}
    return Settings(**base | other)


def watch(source: str, out, camera=None, **other) -> Watch:
    return Watch(camera or Brightness(), find_source(source), settings(out, **other))


def accounted(counters) -> None:
    assert counters.received == counters.read + counters.lost
    assert counters.read == counters.dropped + counters.scored
