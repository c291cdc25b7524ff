"""Parts of a score that need no training, read off the maps of the feature space: what moves, and what looks strange.

Each gives a residual map (n, h, w) from maps (n, C, h, w), as a pattern of the diffusion model does.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from ramvid_vad.detectors.appearance import PATCHES, PatchMemory
from ramvid_vad.runtime.randomness import stream
from ramvid_vad.spaces.features import FeatureSpace

BOXES = {"difference": 3, "flow": 3, "nearest": 5}
"""Name of each -> side of its box in cells of 8 pixels: what moves may be small, what looks strange is a whole body."""


def difference(space: FeatureSpace, maps: np.ndarray) -> np.ndarray:
    """Mean |difference| to the frame before, in grey levels."""
    return np.maximum(np.exp(_motion(space, maps, 3)) - 0.5, 0)


def flow(space: FeatureSpace, maps: np.ndarray) -> np.ndarray:
    """Length of the mean optical flow, in pixels per frame."""
    return np.hypot(_motion(space, maps, 0), _motion(space, maps, 1))


def appearance_memory(maps: Sequence[np.ndarray], space: FeatureSpace) -> PatchMemory:
    """What the cells of normal videos look like, from their maps (n, C, h, w), a pure function of these.

    About PATCHES cells, as many of each video, drawn at random. Distances are in the whitened axes of the space.
    """
    axes, cells, place = space.groups["appearance"], [], space.place.numpy()
    for number, each in enumerate(maps):
        rng = stream(0, "cells", number)
        t, y, x = (rng.integers(side, size=-(-PATCHES // len(maps))) for side in (len(each), *each.shape[2:]))
        cells.append(each[t, :axes, y, x].astype(np.float32) + place[:, y, x].T)
    return PatchMemory.of(torch.from_numpy(np.concatenate(cells)), torch.ones(axes))


def nearest(space: FeatureSpace, memory: PatchMemory, maps: np.ndarray) -> np.ndarray:
    """Distance of each cell's appearance to the nearest centre of normal video, seen anywhere in the picture."""
    looks = np.moveaxis(space.absolute(maps)[:, : len(memory.scale)], 1, -1)
    return memory.distances(torch.from_numpy(np.ascontiguousarray(looks))).numpy()


def _motion(space: FeatureSpace, maps: np.ndarray, channel: int) -> np.ndarray:
    """A channel of the group motion in its own unit, (n, h, w)."""
    return space.absolute(maps)[:, space.groups["appearance"] + channel] * float(space.motion_sd[channel])


FREE: dict[str, Callable[[FeatureSpace, np.ndarray], np.ndarray]] = {"difference": difference, "flow": flow}
"""Those that know nothing of normal video; ``nearest`` does."""
