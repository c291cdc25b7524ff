"""Frozen features: how far is each patch from the nearest patch of normal video?

The network is an EfficientNet-Lite0 that was trained to name things in photographs and sees no video and no training
here (``spaces.backbones``). Deep features and the nearest neighbour are the simplest use of normal video there is
(Bergman et al., arXiv 2002.10445; Reiss and Hoshen, arXiv 2212.00789).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import cv2
import numpy as np
import torch

from ramvid_vad.detectors.detector import Clip, Detector, Scores, colour
from ramvid_vad.runtime.progress import counted, progress_bar
from ramvid_vad.spaces.backbones import FrozenFeatures
from ramvid_vad.spaces.space import reduced
from ramvid_vad.video.decoding.frame_rate import frame_rate

PATCHES = 20_000  # of normal video, among which the nearest is looked for
FRAMES = 1_000  # of normal video, at least, evenly spread, from which the patches are drawn
VIDEOS = 64  # of normal video, at most, evenly spread: more would only be decoded for long
BOX = 5  # side of the box whose mean is taken, in cells of 8 pixels
_BATCH = 8  # frames per pass of the network
_BANK_ROWS = 1024  # patches compared at once: their distances stay in the cache


class PatchMemory:
    """Patches of normal video (m, channels), each channel divided by its standard deviation over them."""

    def __init__(self, patches: torch.Tensor) -> None:
        self.patches = patches
        self._scale = patches.std(dim=0).clamp_min(1e-6)
        bank = patches / self._scale
        self._bank, self._norms = bank.T.contiguous(), bank.square().sum(dim=1)

    def __len__(self) -> int:
        return len(self._norms)

    def distances(self, features: torch.Tensor) -> torch.Tensor:
        """Euclidean distance of each patch (..., channels) to the nearest one in memory, (...)."""
        queries = (features / self._scale).reshape(-1, features.shape[-1])
        nearest = torch.full((len(queries),), torch.inf)
        for first in range(0, len(self._norms), _BANK_ROWS):
            part = slice(first, first + _BANK_ROWS)
            # |b|^2 - 2 q.b; |q|^2 is the same for all b and added at the end
            torch.minimum(
                nearest, torch.addmm(self._norms[part], queries, self._bank[:, part], alpha=-2).amin(dim=1), out=nearest
            )
        squared = nearest + queries.square().sum(dim=1)
        return squared.clamp_min(0).sqrt().reshape(features.shape[:-1])


def patch_memory(
    clips: Sequence[Clip], network: Callable[[np.ndarray], torch.Tensor], progress: bool = False
) -> PatchMemory:
    """PATCHES patches of about FRAMES frames, evenly spread over the normal clips and drawn at random in each frame.

    network: such as ``spaces.backbones.FrozenFeatures``. progress: show bars. At most VIDEOS clips are read,
    evenly spread. A pure function of the clips.
    """
    clips = [clips[i] for i in np.unique(np.linspace(0, len(clips) - 1, VIDEOS).round().astype(int))]
    rng = np.random.default_rng(0)
    about = sum(clip.about_how_many() for clip in clips)
    with progress_bar("reading normal video", "frame", about or None, shown=progress) as bar:
        chosen = [evenly(counted(clip.frames(), bar.update), -(-FRAMES // len(clips))) for clip in clips]
    number = sum(map(len, chosen))
    per_frame = -(-PATCHES // number)
    kept = []
    with progress_bar("features of normal video", "frame", number, shown=progress) as bar:
        for frames in chosen:
            for maps in in_batches(network, frames, bar.update):
                cells = maps.flatten(0, 1)
                kept.append(cells[torch.from_numpy(rng.permutation(len(cells))[:per_frame])])
    patches = torch.cat(kept)
    return PatchMemory(patches[torch.from_numpy(rng.permutation(len(patches))[:PATCHES])])


def distance_maps(
    frames: Iterable[np.ndarray], appearance: "NearestFeature", tick: Callable[[int], Any]
) -> Iterator[torch.Tensor]:
    """Distance to normal video at each cell of each frame, (h, w).

    frames: colour, uint8 (H, W, 3), of one video in order. tick: called with the number of frames just done.
    """
    return (appearance.memory.distances(maps) for maps in in_batches(appearance.network, frames, tick))


def farthest(distances: torch.Tensor) -> float:
    """The farthest place of a frame: highest mean over the boxes of BOX x BOX cells that lie in the map (h, w)."""
    box = [min(BOX, side) for side in distances.shape]
    return float(torch.nn.functional.avg_pool2d(distances[None], box, stride=1).amax())


def evenly(frames: Iterable[np.ndarray], least: int) -> list[np.ndarray]:
    """Every 2^k-th frame, reduced, with the largest k that keeps at least ``least``; all of a video shorter than that.

    The length need not be known beforehand; less than twice ``least`` are held at a time.
    """
    kept, step = [], 1
    for number, frame in enumerate(frames):
        if number % step == 0:
            kept.append(reduced(frame))
        if len(kept) == 2 * least:
            kept, step = kept[::2], 2 * step
    return kept


def in_batches(
    network: Callable[[np.ndarray], torch.Tensor], frames: Iterable[np.ndarray], tick: Callable[[int], Any]
) -> Iterator[torch.Tensor]:
    """Features (h, w, channels) of each frame."""
    frames = iter(frames)
    while batch := [reduced(frame) for frame in islice(frames, _BATCH)]:
        yield from network(np.stack(batch))
        tick(len(batch))


class NearestFeature(Detector):
    """Distance of each patch to the nearest one of normal video."""

    name, title, needs = "features", "nearest frozen feature", ("normal video", "features")

    def __init__(self, network: Callable[[np.ndarray], torch.Tensor], memory: PatchMemory) -> None:
        self.network, self.memory, self.card = network, memory, {}

    @classmethod
    def fit(cls, normal: Sequence[str], progress: bool = True) -> "NearestFeature":
        network = FrozenFeatures()
        return cls(network, patch_memory([Clip(path) for path in normal], network, progress))

    def score(
        self,
        video: "str | Iterable[np.ndarray]",
        maps: bool = True,
        tick: Callable[[int], Any] = lambda frames: None,
    ) -> Scores:
        frames, where = [], []
        for distances in distance_maps(colour(video), self, tick):
            frames.append(farthest(distances))
            if maps:
                where.append(cv2.blur(distances.numpy(), (BOX, BOX)))
        scores = np.array(frames, np.float64)
        return Scores(scores, np.array(where) if maps else None, {self.name: scores}, frame_rate(video))

    def tensors(self) -> dict[str, torch.Tensor]:
        return {"patches": self.memory.patches}

    @classmethod
    def restore(cls, settings: dict[str, Any], tensors: dict[str, torch.Tensor]) -> "NearestFeature":
        return cls(FrozenFeatures(), memory_of(tensors["patches"]))


def memory_of(patches: torch.Tensor) -> PatchMemory:
    """Patches that were read back. ValueError: they are none."""
    if patches.dtype != torch.float32 or patches.ndim != 2 or len(patches) < 2:
        raise ValueError(f"patches are {patches.dtype} {tuple(patches.shape)}")
    return PatchMemory(patches)
