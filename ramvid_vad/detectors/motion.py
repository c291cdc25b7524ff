"""How much moves in the busiest place of each frame: difference of two frames, and optical flow. Nothing is learnt."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np

from ramvid_vad.detectors.detector import Detector, Frame, FrameScore, cells, colour_and_grey
from ramvid_vad.spaces.frame_size import reduced
from ramvid_vad.spaces.motion import flow_between, with_pairs

BOX = 21  # pixels, side of the box whose mean is taken


def difference(now: np.ndarray, before: np.ndarray) -> np.ndarray:
    """|now - before| of grey frames uint8 (H, W), in grey levels."""
    return cv2.absdiff(now, before).astype(np.float32)


def speed(now: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Length of OpenCV's DIS flow (medium preset) from a grey frame to the one before, in pixels: it then lies where
    the object is now."""
    return length(*cv2.split(flow_between(now, before)))


def length(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Of vectors (x, y). The last bit of ``cv2.magnitude`` depends on where in memory an array begins."""
    return np.sqrt(x * x + y * y)


FIELDS = {"frame_difference": difference, "optical_flow": speed}


def fields_between(now: np.ndarray, before: np.ndarray, names: Sequence[str] = tuple(FIELDS)) -> dict[str, np.ndarray]:
    """Name of FIELDS -> the mean over a BOX x BOX box around each pixel, float32 (H, W), of two grey frames uint8."""
    return {name: cv2.blur(FIELDS[name](now, before), (BOX, BOX)) for name in names}


def motion_fields(
    frames: Iterable[np.ndarray], names: Sequence[str] = tuple(FIELDS)
) -> Iterator[dict[str, np.ndarray]]:
    """Of each frame what :func:`fields_between` gives of it and the one before.

    frames: grey, uint8 (H, W, 1), in order; a shorter side above 240 pixels is reduced to it by area averaging. The
    first frame takes the fields of the second; those of a single frame are 0.
    """
    for _, now, before in with_pairs(reduced(frame)[..., 0] for frame in frames):
        yield fields_between(now, before, names)


class _Moving(Detector):
    """The busiest place of each frame: highest mean of one field over a box. Knows nothing of normal video."""

    def __init__(self) -> None:
        self.card = {}

    @classmethod
    def fit(cls, normal: Sequence[str] = (), progress: bool = True, **training: Any) -> "Detector":
        return cls()

    def stream(self, frames: Iterable[Frame], key: int = 0, maps: bool = True) -> Iterator[FrameScore]:
        for fields in motion_fields((grey for _, grey in colour_and_grey(frames)), [self.name]):
            score = float(fields[self.name].max())
            yield FrameScore(score, {self.name: score}, cells(fields[self.name]) if maps else None)


class FrameDifference(_Moving):
    """Difference of a frame and the one before, in grey levels."""

    name, title = "frame_difference", "frame difference, 240 lines"


class OpticalFlow(_Moving):
    """Length of the optical flow (DIS), in pixels per frame."""

    name, title = "optical_flow", "optical flow (DIS), 240 lines"
