"""A bounded queue between the thread that reads frames and the one that scores them: the oldest is dropped first."""

import threading
from collections import deque
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from ramvid_vad.watch.counters import Counters


class Before(IntEnum):
    """What is missing between a frame and the one that is scored before it."""

    NOTHING = 0
    MISSED = 1  # frames were dropped, or this one was read late
    CLOSED = 2  # the source was opened, or a file begins again
    LOST = 3  # the source was opened again after it had been lost


class Frame(NamedTuple):
    """seconds: of the watch's clock, when it was decoded.  rgb: uint8 (H, W, 3).  luma: uint8 (H, W, 1)."""

    seconds: float
    rgb: np.ndarray
    luma: np.ndarray
    before: Before = Before.NOTHING


class FrameQueue:
    """At most ``capacity`` frames wait; when another comes, the oldest is dropped, and counted."""

    def __init__(self, capacity: int, counters: Counters) -> None:
        self._waiting: deque[Frame] = deque()
        self._capacity, self._counters = capacity, counters
        self._dropped = Before.NOTHING  # before the oldest that waits
        self._changed = threading.Condition()
        self.ended = False  # none comes any more

    def put(self, frame: Frame) -> None:
        """Never waits."""
        with self._changed:
            if len(self._waiting) == self._capacity:
                self._dropped = max(self._dropped, self._waiting.popleft().before, Before.MISSED)
                self._counters.dropped += 1
            self._waiting.append(frame)
            self._changed.notify()

    def get(self, timeout: float) -> Frame | None:
        """The oldest frame; None: none came within ``timeout`` seconds, or none will."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self.ended, timeout)
            if not self._waiting:
                return None
            frame, dropped, self._dropped = self._waiting.popleft(), self._dropped, Before.NOTHING
            return frame._replace(before=max(frame.before, dropped))

    def end(self) -> None:
        """Nothing is put any more; what waits can still be got."""
        with self._changed:
            self.ended = True
            self._changed.notify()

    def drop_all(self) -> None:
        """Nobody gets what still waits."""
        with self._changed:
            self._counters.dropped += len(self._waiting)
            self._waiting.clear()

    def __len__(self) -> int:
        return len(self._waiting)
