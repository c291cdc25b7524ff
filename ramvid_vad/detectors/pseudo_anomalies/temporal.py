"""Temporal pseudo-anomalies: in a region of a clip, the optical flow is mixed with that of another place and time."""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from ramvid_vad.detectors.pseudo_anomalies.spatial import region
from ramvid_vad.spaces.frame_size import reduced
from ramvid_vad.spaces.motion import flow_between, with_pairs

ALPHA = 0.4  # both parameters of mixup's Beta; the paper's is lost, this is the most that mixup's own authors advise
FASTEST = 8.0  # pixels per frame of the reduced frame that become 1; what is faster is cut off


def flows(frames: Iterable[np.ndarray], size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Grey frames uint8 (H, W, 1) in order -> OpenCV's DIS flow to the frame before, float32 (2, *size) in [-1, 1].

    Taken at 240 lines, where it is exact to fractions of a pixel, then averaged. The first frame takes the flow of the
    second; that of a single frame is 0.
    """
    for _, now, before in with_pairs(reduced(frame)[..., 0] for frame in frames):
        flow = cv2.resize(flow_between(now, before), size[::-1], interpolation=cv2.INTER_AREA)
        yield np.clip(flow / FASTEST, -1, 1).transpose(2, 0, 1)


def mixed(clip: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A copy of flow fields (2, T, H, W) in which one drawn square is mixed with one of another clip (mixup).

    other: of the same shape, another clip: from it comes a square of any place, its frames in drawn order, so that what
    is mixed in has the scene's own speeds but not its course. All outside the square is untouched.
    """
    (y, x, side), (v, u, _) = region(clip.shape[2:], rng), region(clip.shape[2:], rng)
    v, u = min(v, clip.shape[2] - side), min(u, clip.shape[3] - side)
    made = clip.copy()
    made[:, :, y : y + side, x : x + side] = mixture(
        clip[:, :, y : y + side, x : x + side], other[:, :, v : v + side, u : u + side], rng
    )
    return made


def mixture(flow: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """l * flow + (1 - l) * other, both (2, T, h, w), the frames of ``other`` in drawn order.

    l: of Beta(ALPHA, ALPHA), at most 1/2 by symmetry, so that the change is never faint.
    """
    share = rng.beta(ALPHA, ALPHA)
    share = min(share, 1 - share)
    return share * flow + (1 - share) * other[:, rng.permutation(other.shape[1])]
