"""Reconstructions that no model made: a straight blend of the anchors, the frame before. Every measure scores them."""

import numpy as np

from ramvid_vad.errors import InputError


def previous_frames(num_frames: int) -> np.ndarray:
    """Index of the frame that stands in for each one, int64 (n,): the one before; for the first, the one after."""
    return np.abs(np.arange(num_frames) - 1) if num_frames > 1 else np.zeros(1, int)


def linear_blend(
    frames: np.ndarray, starts: np.ndarray, anchors: np.ndarray, window: np.ndarray, index: np.ndarray
) -> np.ndarray:
    """What a straight blend of the nearest given frames puts in the place of the generated ones.

    frames: uint8 (n, H, W, C).  starts (W,).  anchors: bool (T,).  window, index (R,): which window, and which position
    in it, each row is. Positions outside the outermost anchors repeat them; frames outside the video repeat its ends,
    as the model sees them. Returns uint8 (R, H, W, C), rounded.
    """
    given = np.flatnonzero(anchors)
    if not len(given):
        raise InputError("the linear blend needs at least one anchor per window: leave it out of --nulls")
    at = np.searchsorted(given, index)
    left, right = given[np.maximum(at - 1, 0)], given[np.minimum(at, len(given) - 1)]
    share = np.where(right > left, (index - left) / np.maximum(right - left, 1), 0).astype(np.float32)
    before, after = (
        frames[np.clip(starts[window] + side, 0, len(frames) - 1)].astype(np.float32) for side in (left, right)
    )
    return np.rint(before + (after - before) * share[:, None, None, None]).astype(np.uint8)
