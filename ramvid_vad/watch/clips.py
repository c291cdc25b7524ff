"""The last seconds of scored frames, compressed, from which an event's clip is made; memory does not grow."""

from collections import deque
from typing import NamedTuple

import cv2
import numpy as np

from ramvid_vad.page.pictures import decoded, encoded
from ramvid_vad.video.writer import QUICK, write_video

LINES = 720  # of a clip, at most
LONGEST = 30.0  # seconds of a clip after its event was told
MOST = 1800  # frames of a clip, and of what is kept for its seconds before
QUALITY = 90  # of the JPEG pictures in memory


class Still(NamedTuple):
    """seconds: of the watch's clock.  jpeg: the picture, at most LINES high."""

    seconds: float
    jpeg: bytes


def jpeg(rgb: np.ndarray, quality: int = QUALITY) -> bytes:
    """uint8 (H, W, 3) -> a JPEG file, reduced to LINES lines where it is higher."""
    height, width = rgb.shape[:2]
    if height > LINES:
        size = (max(round(width * LINES / height), 1), LINES)
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    return encoded(rgb, quality=quality)


class Recent:
    """The frames of the last ``seconds`` of one stream, all of one size."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._stills = seconds, deque(maxlen=MOST)

    def add(self, seconds: float, rgb: np.ndarray) -> Still:
        """One more frame; those that are too old go."""
        still = Still(seconds, jpeg(rgb))
        self._stills.append(still)
        while self._stills[0].seconds < seconds - self._seconds:
            self._stills.popleft()
        return still

    def clip(self, begin: float) -> "Clip":
        """A clip that begins with those from ``begin`` on, seconds of the watch's clock, at most the newest one's."""
        return Clip([still for still in self._stills if still.seconds >= begin])


class Clip:
    """Frames of one event, those before it first."""

    def __init__(self, stills: list[Still]) -> None:
        self._stills = stills
        self._end = stills[-1].seconds + LONGEST

    def add(self, still: Still) -> None:
        """One more frame, if the clip is not long enough."""
        if still.seconds <= self._end and len(self._stills) < 2 * MOST:
            self._stills.append(still)

    def write(self, path: str) -> None:
        """As an mp4 whose frames come at their mean distance. InputError: it cannot be written."""
        first, last = self._stills[0].seconds, self._stills[-1].seconds
        rate = (len(self._stills) - 1) / (last - first) if last > first else 10.0
        frames = (decoded(still.jpeg) for still in self._stills)
        write_video(path, frames, fps=min(max(rate, 1.0), 60.0), crf=20, preset=QUICK)
