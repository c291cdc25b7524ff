"""Spatial pseudo-anomalies: a region of a normal frame, infilled by a model that errs a little, stays in a clip."""

from collections.abc import Callable

import cv2
import numpy as np

Place = tuple[int, int, int]
Inpainter = Callable[[np.ndarray, Place, np.random.Generator], np.ndarray]
"""(frame uint8 (H, W, 1 or 3), (y, x, side) of a square, generator) -> the square anew, uint8 (side, side, 1 or 3)."""

LEAST_SHARE, MOST_SHARE = 0.15, 0.5  # of the shorter side: a region's side; the most as in the nearest public code


def region(size: tuple[int, int], rng: np.random.Generator) -> Place:
    """(y, x, side) of a square, all drawn evenly. The paper's sizes of masks are lost; these are ours."""
    side = max(4, round(min(size) * rng.uniform(LEAST_SHARE, MOST_SHARE)))
    return int(rng.integers(size[0] - side + 1)), int(rng.integers(size[1] - side + 1)), side


def infilled(clip: np.ndarray, inpaint: Inpainter, rng: np.random.Generator) -> np.ndarray:
    """A copy of a clip uint8 (T, H, W, C) in which one square of the middle frame, infilled, stands in every frame.

    Infilling every frame for itself would flicker, which is a temporal anomaly. All outside the square is untouched.
    """
    y, x, side = place = region(clip.shape[1:3], rng)
    made = clip.copy()
    made[:, y : y + side, x : x + side] = inpaint(clip[len(clip) // 2], place, rng)
    return made


def around(place: Place, size: tuple[int, int]) -> Place:
    """A square of twice the side around another one, moved into the frame, and no larger than its shorter side."""
    y, x, side = place
    whole = min(2 * side, *size)
    top = min(max(y - (whole - side) // 2, 0), size[0] - whole)
    left = min(max(x - (whole - side) // 2, 0), size[1] - whole)
    return top, left, whole


def cut(frame: np.ndarray, place: Place, side: int) -> np.ndarray:
    """A square of a frame (H, W, C), brought to ``side`` pixels, (side, side, C)."""
    y, x, whole = place
    square = np.ascontiguousarray(frame[y : y + whole, x : x + whole])
    return cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA).reshape(side, side, frame.shape[2])
