"""How each cell of 8 x 8 pixels moves: optical flow and difference to the frame before."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

import cv2
import numpy as np

Frame = TypeVar("Frame")
CELL = 8  # pixels
CHANNELS = 5


def with_pairs(frames: Iterable[Frame]) -> Iterator[tuple[Frame, Frame, Frame]]:
    """Each frame, as soon as it can be known, and the two whose motion is its own: itself and the one before; of the
    first frame the second and itself, of a single frame twice itself."""
    coming = iter(frames)
    first, second = next(coming, None), next(coming, None)
    if second is None:
        if first is not None:
            yield first, first, first
        return
    yield first, second, first
    yield second, second, first
    before = second
    for frame in coming:
        yield frame, frame, before
        before = frame


def flow_between(now: np.ndarray, before: np.ndarray) -> np.ndarray:
    """OpenCV's DIS flow, medium preset, from ``now`` to ``before``, uint8 (H, W) each -> float32 (H, W, 2), pixels.

    In this direction the flow lies where the object is in ``now``.
    """
    return cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(now, before, None)


def motion_cells(now: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Grey frames uint8 (H, W) -> float32 (5, h, w), h and w an eighth of the frame, rounded up.

    Mean u and v of the flow; log(0.3 + its greatest length); log(0.5 + mean |difference|), grey levels;
    log(0.1 + standard deviation of its length). Cells over the right or lower border see the border repeated.
    """
    flow = _in_cells(flow_between(now, before))  # (h, w, 64, 2)
    length = np.hypot(flow[..., 0], flow[..., 1])
    change = _in_cells(cv2.absdiff(now, before)[..., None])[..., 0].astype(np.float32)
    mean = flow.mean(axis=2)
    return np.stack(
        [
            mean[..., 0],
            mean[..., 1],
            np.log(0.3 + length.max(axis=2)),
            np.log(0.5 + change.mean(axis=2)),
            np.log(0.1 + length.std(axis=2)),
        ]
    ).astype(np.float32)


def _in_cells(image: np.ndarray) -> np.ndarray:
    """(H, W, C) -> (h, w, 64, C)."""
    height, width, channels = image.shape
    below, beside = -height % CELL, -width % CELL
    if below or beside:
        image = np.pad(image, ((0, below), (0, beside), (0, 0)), mode="edge")
    cells = image.reshape(image.shape[0] // CELL, CELL, -1, CELL, channels)
    return cells.swapaxes(1, 2).reshape(cells.shape[0], cells.shape[2], CELL * CELL, channels)
