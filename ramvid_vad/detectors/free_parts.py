"""Parts of a score that need no training, read off the maps of the feature space: what moves, how fast beside the usual
speed, and what looks strange.

Each gives a residual map (n, h, w) from maps (n, C, h, w), as a pattern of the diffusion model does.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch

from ramvid_vad.detectors.appearance import PATCHES, PatchMemory
from ramvid_vad.detectors.detector import CELL, under
from ramvid_vad.detectors.motion import UsualByRow
from ramvid_vad.runtime.progress import tracked
from ramvid_vad.runtime.randomness import stream
from ramvid_vad.spaces.features import FeatureSpace
from ramvid_vad.video.finding import evenly_spread

BOXES = {"difference": 3, "relative_flow": 3, "nearest": 5}
"""Name of each -> side of its box in cells of 8 pixels: what moves may be small, what looks strange is a whole body."""

BLOCK = 600  # frames whose speeds are held at a time
PIECE, PIECES = 24, 100  # frames at a stretch, and how many of these at most, that tell the usual residuals
STILL = 0.01  # grey levels, and pixels per frame: less than that is what rounding leaves of a repeated frame, 0


class Usual(NamedTuple):
    """What they know of normal video. memory: of what cells look like.  speed: None: of detectors that were fitted
    before it was compared with (2026-11-28).  residuals: of parts of a model, by name, that are compared with it."""

    memory: PatchMemory
    speed: UsualByRow | None
    residuals: Mapping[str, UsualByRow] = MappingProxyType({})

    @classmethod
    def of(cls, maps: Sequence[np.ndarray], space: FeatureSpace) -> "Usual":
        """From the maps (n, C, h, w) of normal videos, a pure function of these."""
        blocks = (each[at : at + BLOCK] for each in maps for at in range(0, len(each), BLOCK))
        speed = UsualByRow.of_speeds((field for block in blocks for field in flow(space, block)), CELL)
        return cls(appearance_memory(maps, space), speed)

    def tensors(self) -> dict[str, torch.Tensor]:
        speed = {"usual_speed": torch.from_numpy(self.speed.rows)} if self.speed else {}
        residuals = {f"usual_residual.{name}": torch.from_numpy(each.rows) for name, each in self.residuals.items()}
        return {f"memory.{name}": value for name, value in self.memory.tensors().items()} | speed | residuals

    @classmethod
    def restore(
        cls, tensors: Mapping[str, torch.Tensor], free: Sequence[str], relative: Sequence[str]
    ) -> "Usual | None":
        """What parts of FREE, and of a model, by name, compare with; None: nothing. KeyError or ValueError: it is less
        or more than that."""
        memory = under("memory.", tensors)
        speed = UsualByRow.restore(tensors["usual_speed"]) if "usual_speed" in tensors else None
        residuals = {name: UsualByRow.restore(rows) for name, rows in under("usual_residual.", tensors).items()}
        known = compared(free, relative)
        if bool(memory) != bool(known) or ("relative_flow" in known and not speed) or set(residuals) != set(relative):
            raise ValueError(f"what {sorted(known)} compare with")
        return cls(PatchMemory.restore(memory), speed, residuals) if memory else None


def compared(free: Sequence[str], relative: Sequence[str]) -> set[str]:
    """Which of these compare with normal video: of the names of FREE, and of parts of a model, which all do."""
    return {"nearest", "relative_flow"} & set(free) | set(relative)


def difference(space: FeatureSpace, maps: np.ndarray) -> np.ndarray:
    """Mean |difference| to the frame before, in grey levels."""
    return _or_still(np.exp(_motion(space, maps, 3)) - 0.5)


def flow(space: FeatureSpace, maps: np.ndarray) -> np.ndarray:
    """Length of the mean optical flow, in pixels per frame."""
    return _or_still(np.hypot(_motion(space, maps, 0), _motion(space, maps, 1)))


def _or_still(field: np.ndarray) -> np.ndarray:
    """0 where it is below STILL."""
    return np.where(field < STILL, np.float32(0), field)


def relative_flow(space: FeatureSpace, usual: UsualByRow, maps: np.ndarray) -> np.ndarray:
    """``flow`` in units of the usual speed."""
    return np.stack([usual.relative(field, field) for field in flow(space, maps)])


def relative_residual(space: FeatureSpace, usual: UsualByRow, residual: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """A part's residual (n, h, w) of ``maps`` in units of the usual one of what stands there."""
    return np.stack([usual.relative(each, speeds) for each, speeds in zip(residual, flow(space, maps), strict=True)])


def usual_residuals(
    names: Sequence[str],
    residuals: Callable[[np.ndarray, int, int], Mapping[str, np.ndarray]],
    maps: Sequence[np.ndarray],
    space: FeatureSpace,
    progress: bool = False,
) -> dict[str, UsualByRow]:
    """Of each part: name -> the usual residual of what moves, by row, over PIECES of PIECE frames at most, evenly
    spread over the maps (n, C, h, w) of normal videos. residuals: name -> (n, h, w), of some maps, the number of their
    video and that of their first frame. A pure function of these."""
    places = [(number, at) for number, each in enumerate(maps) for at in range(0, len(each), PIECE)]
    chosen, seen = evenly_spread(places, PIECES if names else 0), []
    for number, at in tracked(chosen, "infilling normal video", "piece", progress and bool(chosen)):
        piece = np.asarray(maps[number][at : at + PIECE])
        seen.append((residuals(piece, number, at), flow(space, piece)))
    return {
        name: UsualByRow.of((pair for made, speeds in seen for pair in zip(made[name], speeds, strict=True)), CELL)
        for name in names
    }


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


FREE: dict[str, Callable[[FeatureSpace, Usual, np.ndarray], np.ndarray]] = {
    "difference": lambda space, usual, maps: difference(space, maps),
    "flow": lambda space, usual, maps: flow(space, maps),  # in place of the relative one in earlier detectors
    "relative_flow": lambda space, usual, maps: relative_flow(space, usual.speed, maps),
    "nearest": lambda space, usual, maps: nearest(space, usual.memory, maps),
}
