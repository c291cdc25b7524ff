"""How much moves in the busiest place of each frame: difference of two frames, and optical flow. Nothing is learnt."""

from collections.abc import Iterable

import cv2
import numpy as np

from ramvid_vad.spaces.motion import flow_between
from ramvid_vad.spaces.space import reduced

BOX = 21  # pixels, side of the box whose mean is taken


def motion(frames: Iterable[np.ndarray], *, flow: bool = True) -> dict[str, np.ndarray]:
    """How much moves in the busiest place of each frame, from grey frames uint8 (H, W, 1) in order.

    frame_difference: highest mean over a BOX x BOX box of abs(frame_t - frame_(t-1)), grey levels.
    optical_flow: the same of the length of OpenCV's DIS flow (medium preset) from frame t to t - 1, in pixels.
    Frames with a shorter side above 240 pixels are reduced to it by area averaging. The first frame takes the score of
    the second; a video of one frame scores 0. Returns float64 (n,) each.
    """
    scores: dict[str, list[float]] = {"frame_difference": [], **({"optical_flow": []} if flow else {})}
    before = None
    for frame in frames:
        now = reduced(frame)[..., 0]
        if before is not None:
            scores["frame_difference"].append(_busiest(cv2.absdiff(now, before).astype(np.float32)))
            if flow:
                u, v = cv2.split(flow_between(now, before))
                scores["optical_flow"].append(_busiest(cv2.magnitude(u, v)))
        before = now
    return {name: np.array([*values[:1], *values] or [0.0]) for name, values in scores.items()}


def _busiest(field: np.ndarray) -> float:
    return float(cv2.blur(field, (BOX, BOX)).max())
