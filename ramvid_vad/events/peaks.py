"""The highest moments of a video, kept while it is scored: a model of windows cannot look at some frames again."""

from typing import NamedTuple

import numpy as np


class Peak(NamedTuple):
    """number: of the frame.  jpeg: of it.  heat (h, w): its map, 0 = usual, 1 = threshold.  normal: JPEG of what is
    nearest in normal video; b"": not known."""

    number: int
    level: float
    jpeg: bytes
    heat: np.ndarray
    normal: bytes = b""


class Highest:
    """At most ``count`` frames that lie at least ``apart`` frames from each other, the highest of all among them.

    A frame takes the place of lower ones that are near it; what these had kept out does not come back.
    """

    def __init__(self, count: int, apart: int) -> None:
        self._count, self._apart = count, apart
        self.peaks: list[Peak] = []  # the highest first

    def add(self, peak: Peak) -> None:
        """One more frame; they come in order."""
        if any(peak.number - other.number < self._apart and other.level >= peak.level for other in self.peaks):
            return
        kept = [other for other in self.peaks if peak.number - other.number >= self._apart]
        self.peaks = sorted([*kept, peak], key=lambda each: (-each.level, each.number))[: self._count]
