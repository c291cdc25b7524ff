"""How much moves in the busiest place of each frame: difference of two frames, and optical flow. Nothing is learnt."""

from collections.abc import Iterable

import cv2
import numpy as np

BOX = 21  # pixels, side of the box whose mean is taken
SIDE = 240  # pixels, larger frames are first reduced to this shorter side


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
