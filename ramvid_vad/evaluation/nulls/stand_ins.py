"""Reconstructions that no model made: a straight blend of the anchors, the frame before. Every measure scores them.

A stand-in is a function of the real frames, uint8 (n, H, W, C), and a reconstruction, whose windows it takes: the true
frame of each row (R,), and a function of rows that gives their frames, uint8 (k, H, W, C).
"""

from collections.abc import Callable

import numpy as np

from ramvid_vad.errors import InputError
from ramvid_vad.reconstructions import Reconstruction
from ramvid_vad.video.windows import mirrored, window_anchors

Rows = slice | np.ndarray
StandIn = tuple[np.ndarray, Callable[[Rows], np.ndarray]]


def blend_of_anchors(real: np.ndarray, made: Reconstruction) -> StandIn:
    """:func:`linear_blend` in the place of every generated frame."""
    windows = real, made.starts, made.anchors
    return made.frame, lambda rows: linear_blend(*windows, made.window[rows], made.index[rows])


def frame_before(real: np.ndarray, made: Reconstruction) -> StandIn:
    """:func:`previous_frames` in the place of every frame."""
    before = previous_frames(made.num_frames)
    return np.arange(made.num_frames), lambda rows: real[before[rows]]


def previous_frames(num_frames: int) -> np.ndarray:
    """Index of the frame that stands in for each one, int64 (n,): the one before; for the first, the one after."""
    return np.abs(np.arange(num_frames) - 1) if num_frames > 1 else np.zeros(1, int)


def linear_blend(
    frames: np.ndarray, starts: np.ndarray, anchors: np.ndarray, window: np.ndarray, index: np.ndarray
) -> np.ndarray:
    """What a straight blend of the nearest given frames puts in the place of the generated ones.

    frames: uint8 (n, H, W, C).  starts (W,).  anchors: bool (T,).  window, index (R,): which window, and which position
    in it, each row is. What is given is what the model is given (``window_anchors``); positions outside the outermost
    of these repeat them. Returns uint8 (R, H, W, C), rounded.
    """
    if not anchors.any():
        raise InputError("the linear blend needs at least one anchor per window: leave it out of --nulls")
    left, right = np.empty_like(index), np.empty_like(index)
    for number in np.unique(window):
        here = window == number
        given = np.flatnonzero(window_anchors(int(starts[number]), anchors, len(frames)))
        at = np.searchsorted(given, index[here])
        left[here], right[here] = given[np.maximum(at - 1, 0)], given[np.minimum(at, len(given) - 1)]
    share = np.where(right > left, (index - left) / np.maximum(right - left, 1), 0).astype(np.float32)
    before, after = (frames[mirrored(starts[window] + side, len(frames))].astype(np.float32) for side in (left, right))
    return np.rint(before + (after - before) * share[:, None, None, None]).astype(np.uint8)
