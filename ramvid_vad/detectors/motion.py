"""How much moves in the busiest place of each frame: difference of two frames, and optical flow; and how fast that is
beside what normal video shows there, for what is near the camera crosses more pixels.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import cv2
import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d

from ramvid_vad.detectors.detector import Detector, Frame, FrameScore, cells, colour_and_grey
from ramvid_vad.spaces.frame_size import reduced
from ramvid_vad.spaces.motion import flow_between, with_pairs

BOX = 21  # pixels, side of the box whose mean is taken
MOVING = 0.3  # pixels per frame: what is slower stands still
GRID = 4  # pixels, side of the cells in which one thing is told from another
SMOOTH = 8  # pixels, standard deviation: rows so near have about the same usual speed
PRIOR = 0.001  # of a row's cells: so many count as moving at the speed of all rows together


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
    return {name: boxed(FIELDS[name](now, before)) for name in names}


def boxed(field: np.ndarray) -> np.ndarray:
    """The mean over a BOX x BOX box around each pixel of (H, W)."""
    return cv2.blur(field, (BOX, BOX))


def motion_fields(
    frames: Iterable[np.ndarray], names: Sequence[str] = tuple(FIELDS)
) -> Iterator[dict[str, np.ndarray]]:
    """Of each frame what :func:`fields_between` gives of it and the one before.

    frames: grey, uint8 (H, W, 1), in order; a shorter side above 240 pixels is reduced to it by area averaging. The
    first frame takes the fields of the second; those of a single frame are 0.
    """
    for _, now, before in with_pairs(reduced(frame)[..., 0] for frame in frames):
        yield fields_between(now, before, names)


class UsualByRow:
    """A value, such as the speed, of what moves in normal video, by the row of the picture in which it stands. On level
    ground what stands lower is nearer, and crosses more pixels (docs/perspective.md).

    rows: float32 (n,) > 0, the value's unit, from the top of the picture to its bottom.
    """

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows

    @classmethod
    def restore(cls, rows: torch.Tensor) -> "UsualByRow":
        """ValueError: these are none."""
        if rows.dtype != torch.float32 or rows.ndim != 1 or not len(rows) or rows.min() <= 0:
            raise ValueError("usual values that are none")
        return cls(rows.numpy())

    @classmethod
    def of(
        cls, fields: Iterable[tuple[np.ndarray, np.ndarray]], cell: int = GRID, otherwise: float = 1.0
    ) -> "UsualByRow":
        """The mean of what stands in each row, over pairs of values and speeds in pixels per frame, float32 (h, w), of
        cells of so many pixels. otherwise: where nothing moves at all."""
        coming = iter(fields)
        first = next(coming)
        height, seen = len(first[0]), 0
        total, moving = np.zeros((2, height))
        for values, speeds in chain([first], coming):
            moves = speeds > MOVING
            rows = feet(speeds)[moves] * height // len(speeds)
            total += np.bincount(rows, values[moves], height)
            moving += np.bincount(rows, minlength=height)
            seen += speeds.shape[1]
        everywhere = total.sum() / moving.sum() if moving.any() else otherwise
        total, moving = (gaussian_filter1d(each / seen, SMOOTH / cell, mode="nearest") for each in (total, moving))
        return cls(((total + PRIOR * everywhere) / (moving + PRIOR)).astype(np.float32))

    @classmethod
    def of_speeds(cls, fields: Iterable[np.ndarray], cell: int = GRID) -> "UsualByRow":
        """The same of the speeds themselves; MOVING where nothing moves at all."""
        return cls.of(((field, field) for field in fields), cell, MOVING)

    def relative(self, field: np.ndarray, coarse: np.ndarray) -> np.ndarray:
        """Values float32 (H, W) in units of the usual one where the moving thing stands that they belong to; of what
        belongs to none, where it is. coarse: speeds of cells (h, w), pixels per frame."""
        usual = self.rows[feet(coarse) * len(self.rows) // len(coarse)]
        return field / cv2.resize(usual, field.shape[::-1], interpolation=cv2.INTER_NEAREST)


def coarse(field: np.ndarray) -> np.ndarray:
    """A field over pixels, float32 (H, W) -> its mean in each cell of GRID pixels, (h, w), sides rounded up."""
    return cv2.resize(field, tuple(-(-side // GRID) for side in field.shape[::-1]), interpolation=cv2.INTER_AREA)


def feet(speeds: np.ndarray) -> np.ndarray:
    """The lowest row of the moving thing that each cell of (h, w) belongs to; of no thing, the cell's own. A thing is
    what hangs together by the sides of cells."""
    _, things, about, _ = cv2.connectedComponentsWithStats((speeds > MOVING).astype(np.uint8), connectivity=4)
    lowest = about[:, cv2.CC_STAT_TOP] + about[:, cv2.CC_STAT_HEIGHT] - 1
    return np.where(things > 0, lowest[things], np.arange(len(speeds))[:, None])


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
