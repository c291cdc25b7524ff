"""From a level per frame to events: what was unusual, from when to when, and where."""

from collections import deque
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
from scipy.ndimage import median_filter

from ramvid_vad.page.pictures import highest_place

LOW = 0.8  # an event goes on while the level is above this part of the threshold
GAP = 2.0  # seconds below it that end an event: shorter gaps are bridged
UPDATE = 1.0  # seconds between two updates of an event
PACE = 4.0  # seconds that tell at what rate frames come; half of them must have passed
FEWEST = 3  # frames whose median makes a level, at whatever rate
FASTEST = 4  # times the rate of the normal video, up to which the level's seconds are whole


@dataclass
class Event:
    """Something unusual, or (``fault``) something wrong with the picture, which is never counted as unusual.

    camera: its name.  id: from 0, in one stream.  start, end: first and last frame; their times in seconds.
    peak, peak_seconds: where the level is highest.  severity: this level, 1 = threshold.  box: (x0, y0, x1, y1) in
    pixels of the true frame at the peak, x1 and y1 exclusive; None: not known.  parts: of the score, those beyond what
    all but 0.5 % of normal frames had, the furthest first.  zone: as it was given, "" the whole picture.
    normal_example: number of the camera's picture of normal video that looks most like the box at the peak, from 0;
    None: there is none.  fault: "" or "black", "frozen", "covered", "moved", "light switched", "cut" (``health``).
    """

    camera: str
    id: int
    start: int
    end: int
    start_seconds: float
    end_seconds: float
    peak: int
    peak_seconds: float
    severity: float
    box: tuple[int, int, int, int] | None = None
    parts: list[str] = field(default_factory=list)
    zone: str = ""
    fault: str = ""
    normal_example: int | None = None

    def later(self, frames: int, events: int) -> "Event":
        """The same of a stream in which so many came before."""
        moved = {name: getattr(self, name) + frames for name in ("start", "end", "peak")}
        return replace(self, id=self.id + events, **moved)

    def as_dict(self) -> dict[str, Any]:
        """Fit for JSON."""
        return asdict(self) | {"severity": round(self.severity, 4)}


def window(seconds: float, fps: float) -> int:
    """Frames, an odd number, whose median makes the level: about ``seconds``."""
    return 2 * max(round((seconds * fps - 1) / 2), 0) + 1


def smoothed(scores: np.ndarray, length: int, usual: float) -> np.ndarray:
    """Median of the last ``length`` scores of ONE video at each frame (n,); before its first all was usual."""
    padded = np.concatenate([np.full(length - 1, usual), np.asarray(scores, np.float64)])
    half = length // 2
    return median_filter(padded, length, mode="nearest")[half : half + len(scores)]


def alarms(levels: np.ndarray, gap: int) -> list[tuple[int, int]]:
    """(first, last) frame of each event that :class:`EventTracker` finds in the levels (n,) of one video."""
    above = np.flatnonzero(levels >= LOW)
    if not len(above):
        return []
    cuts = np.flatnonzero(np.diff(above) > gap) + 1
    runs = [(int(run[0]), int(run[-1])) for run in np.split(above, cuts)]
    return [(first, last) for first, last in runs if levels[first : last + 1].max() >= 1]


class EventTracker:
    """Levels frame by frame -> events. One begins where the median level of the last ``length`` frames reaches 1, so
    more than half of them must be unusual, and ends when it has been below LOW for ``gap`` frames.

    Both count frames at ``fps``, the rate of the normal video; where frames come at another one, as many as come in the
    same time.
    """

    def __init__(self, camera: str, length: int, gap: int, fps: float, zone: str = "") -> None:
        self.camera, self.length, self.zone, self.fps = camera, length, zone, fps
        self.gap = (gap + 0.5) / fps  # seconds: half a frame for what their differences are rounded by
        self.last = deque([0.0] * FASTEST * length, maxlen=FASTEST * length)
        self.times: deque[float] = deque(maxlen=round(FASTEST * PACE * fps) + 1)  # of the last PACE seconds
        self.event: Event | None = None
        self.told = False  # of the event
        self.updated = 0.0  # seconds
        self.number = 0  # of the next event

    def level(self, level: float, seconds: float) -> float:
        """The median of this level and those before it."""
        self.last.append(level)
        self.times.append(seconds)
        while seconds - self.times[0] > PACE and len(self.times) > FEWEST + 1:
            self.times.popleft()
        count = self._count()
        return sorted(islice(reversed(self.last), count))[count // 2]

    def _count(self) -> int:
        """Frames that come in the time of ``length`` of the normal video, at least FEWEST. Frames may come in bursts:
        what counts is the mean of their distances, but for gaps in which nothing came at all; where there are gaps
        alone, these."""
        steps = np.diff(self.times)
        steps = steps[steps >= 0]
        near = steps[steps <= GAP]
        pace = 1.0
        if len(steps) >= FEWEST and not len(near):
            pace = self.fps * steps.mean()
        elif near.sum() >= PACE / 2 or (len(self.times) == self.times.maxlen and near.any()):
            pace = self.fps * near.mean()
        if 0.8 <= pace <= 1.25:  # what was calibrated
            return self.length
        count = window(self.length / self.fps, self.fps / max(pace, 1 / FASTEST))
        return max(min(count, len(self.last)), min(FEWEST, self.length))

    def step(
        self,
        frame: int,
        seconds: float,
        level: float,
        box: tuple[int, int, int, int] | None = None,
        parts: list[str] | None = None,
        hold: bool = False,
    ) -> list[tuple[str, Event]]:
        """Take one frame's median level, box and parts; the changes: ("new" | "update" | "end", event).

        hold: nothing is told yet, since the picture itself may turn out to be faulty.
        """
        changes: list[tuple[str, Event]] = []
        event = self.event
        if event and seconds - event.end_seconds > self.gap:
            changes = self.finish()
            event = None
        if level >= LOW:
            if event is None:
                event = self.event = self._begun(frame, seconds)
            event.end, event.end_seconds = frame, seconds
            if level > event.severity:
                event.severity, event.peak, event.peak_seconds = level, frame, seconds
                event.box, event.parts = box, list(parts or [])
        if event and not hold and event.severity >= 1:
            if not self.told:
                event.id = self._next()
                self.told, self.updated = True, seconds
                changes.append(("new", event))
            elif event.end == frame and seconds - self.updated >= UPDATE:
                self.updated = seconds
                changes.append(("update", event))
        return changes

    def finish(self) -> list[tuple[str, Event]]:
        """The end of the stream, or of what can be seen."""
        changes = [("end", self.event)] if self.event and self.told else []
        self.event, self.told = None, False
        return changes

    def pause(self) -> list[tuple[str, Event]]:
        """A fault: what was held back is dropped, and all before counts as usual."""
        self.last.extend([0.0] * len(self.last))
        return self.finish()

    def fault(self, name: str, frame: int, seconds: float) -> Event:
        """The event of a fault that begins."""
        event = self._begun(frame, seconds)
        event.id, event.fault = self._next(), name
        return event

    def _begun(self, frame: int, seconds: float) -> Event:
        return Event(self.camera, -1, frame, frame, seconds, seconds, frame, seconds, 0.0, zone=self.zone)

    def _next(self) -> int:
        self.number += 1
        return self.number - 1


def peak_box(field: np.ndarray, level: float, size: tuple[int, int], cell: float) -> tuple[int, int, int, int]:
    """The connected blob around the highest cell of a map (h, w) in which it is above ``level``, in the frame's pixels.

    size: (height, width) of the frame.  cell: side of a cell in its pixels.
    """
    x0, y0, x1, y1 = (round(v * cell) for v in highest_place(field, level))
    return x0, y0, min(x1, size[1]), min(y1, size[0])
