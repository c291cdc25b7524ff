"""Null baselines: scores that no model has anything to do with. A model that does not beat them has learnt nothing.

Blind ones know only how long a video is. The others see the video but learn nothing: what moves, and how far a straight
blend of the anchors is from the frame. All go through the same post-processing as the model's scores.
"""

from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from ramvid_vad.errors import InputError

BOX = 21  # pixels, side of the box whose mean is taken
SIDE = 240  # pixels, larger frames are first reduced to this shorter side


def constant(lengths: Sequence[int]) -> list[np.ndarray]:
    """The same score everywhere: what the post-processing alone is worth."""
    return [np.ones(n) for n in lengths]


def noise(lengths: Sequence[int], seed: int) -> list[np.ndarray]:
    """Independent standard normal scores, a pure function of the lengths and the seed."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(n) for n in lengths]


def triangle(lengths: Sequence[int]) -> list[np.ndarray]:
    """From 0 at both ends to 1 in the middle of each video: anomalies are seldom filmed at the edge of a clip."""
    return [1 - np.abs(np.linspace(-1, 1, n)) for n in lengths]


def ramp(lengths: Sequence[int]) -> list[np.ndarray]:
    """From 0 to 1 over each video."""
    return [np.linspace(0, 1, n) for n in lengths]


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


def motion(frames: Iterable[np.ndarray], *, flow: bool = True) -> dict[str, np.ndarray]:
    """How much moves in the busiest place of each frame, from grey frames uint8 (H, W, 1) in order.

    frame_difference: highest mean over a BOX x BOX box of abs(frame_t - frame_(t-1)), grey levels.
    optical_flow: the same of the length of OpenCV's DIS flow (medium preset) from frame t to t - 1, in pixels.
    Frames with a shorter side above SIDE pixels are reduced to it by area averaging. The first frame takes the score of
    the second; a video of one frame scores 0. Returns float64 (n,) each.
    """
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM) if flow else None
    scores: dict[str, list[float]] = {"frame_difference": [], **({"optical_flow": []} if flow else {})}
    before = None
    for frame in frames:
        now = reduced(frame)[..., 0]
        if before is not None:
            scores["frame_difference"].append(_busiest(cv2.absdiff(now, before).astype(np.float32)))
            if dis is not None:
                # from t to t - 1: the flow then lies where the object is in frame t
                u, v = cv2.split(dis.calc(now, before, None))
                scores["optical_flow"].append(_busiest(cv2.magnitude(u, v)))
        before = now
    return {name: np.array([*values[:1], *values] or [0.0]) for name, values in scores.items()}


def _busiest(field: np.ndarray) -> float:
    return float(cv2.blur(field, (BOX, BOX)).max())


def reduced(frame: np.ndarray) -> np.ndarray:
    """uint8 (H, W, C) -> (h, w, C) with a shorter side of at most SIDE pixels, and at least 16 for the flow."""
    height, width, channels = frame.shape
    scale = max(min(1.0, SIDE / min(height, width)), 16 / min(height, width))
    if scale == 1.0:
        return np.ascontiguousarray(frame)
    size = (round(width * scale), round(height * scale))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(frame, size, interpolation=interpolation).reshape(*size[::-1], channels)
