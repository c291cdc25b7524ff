"""Frozen features: how far is each patch from the nearest patch of normal video?

The network is an EfficientNet-Lite0 that was trained to name things in photographs and sees no video and no training
here (``spaces.backbones``). Deep features and the nearest neighbour are the simplest use of normal video there is
(Bergman et al., arXiv 2002.10445; Reiss and Hoshen, arXiv 2212.00789).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from threadpoolctl import threadpool_limits

from ramvid_vad.detectors.detector import Detector, Frame, FrameScore, colour
from ramvid_vad.runtime.beside import in_order
from ramvid_vad.runtime.progress import counted, progress_bar
from ramvid_vad.spaces.backbones import FrozenFeatures
from ramvid_vad.spaces.frame_size import reduced
from ramvid_vad.video.finding import Thinned, evenly_spread
from ramvid_vad.video.reader import Clip

PATCHES = 20_000  # of normal video, from which the centres are made
CENTRES = 1_000  # among which the nearest is looked for: quicker than all patches, and no worse (docs/evaluation.md)
FRAMES = 1_000  # of normal video, at least, evenly spread, from which the patches are drawn
VIDEOS = 64  # of normal video, at most, evenly spread: more would only be decoded for long
ADDED, ADDED_FRAMES = 100, 200  # new centres, at most, from at least so many frames, of each normal video added later
BOX = 5  # side of the box whose mean is taken, in cells of 8 pixels
FOLDS = 4  # groups of normal video, of which each is left out once
_ROUNDS = 20  # of k-means, at most
_QUERIES = 512  # patches compared at once: their distances stay in the cache


class PatchMemory:
    """What patches of normal video look like. scale (D,): unit of each channel.  centres (m, D): in these units."""

    def __init__(self, centres: torch.Tensor, scale: torch.Tensor) -> None:
        self.centres, self.scale = centres, scale
        self._transposed, self._norms = centres.T.contiguous(), centres.square().sum(dim=1)

    @classmethod
    def of(cls, patches: torch.Tensor, scale: torch.Tensor | None = None) -> "PatchMemory":
        """CENTRES centres of patches (m, D), fewer where there are fewer; a pure function of them.

        scale: None: the standard deviation of each channel.
        """
        scale = patches.std(dim=0).clamp_min(1e-6) if scale is None else scale
        return cls(torch.from_numpy(k_means((patches / scale).numpy(), CENTRES)), scale)

    def __len__(self) -> int:
        return len(self.centres)

    def distances(self, features: torch.Tensor) -> torch.Tensor:
        """Euclidean distance of each patch (..., D) to the nearest centre, (...)."""
        queries = (features / self.scale).reshape(-1, features.shape[-1])
        # |b|^2 - 2 q.b; |q|^2 is the same for all b and added at the end
        nearest = [
            torch.addmm(self._norms, part, self._transposed, alpha=-2).amin(dim=1) for part in queries.split(_QUERIES)
        ]
        squared = torch.cat(nearest) + queries.square().sum(dim=1)
        return squared.clamp_min(0).sqrt().reshape(features.shape[:-1])

    def tensors(self) -> dict[str, torch.Tensor]:
        return {"centres": self.centres, "scale": self.scale}

    @classmethod
    def restore(cls, tensors: Mapping[str, torch.Tensor]) -> "PatchMemory":
        """KeyError or ValueError: these are none."""
        centres, scale = tensors["centres"], tensors["scale"]
        if (
            centres.dtype != torch.float32
            or scale.dtype != torch.float32
            or centres.shape
            != (
                len(centres),
                len(scale),
            )
        ):
            raise ValueError(f"centres are {centres.dtype} {tuple(centres.shape)}")
        return cls(centres, scale)


def k_means(points: np.ndarray, centres: int) -> np.ndarray:
    """``centres`` centres of points float32 (n, D), by Lloyd's algorithm from points drawn at random; (m, D), m less
    where fewer points differ. A pure function of the points."""
    from sklearn.cluster import KMeans  # here, since it takes as long as PyTorch to import, and scoring needs none

    different = np.unique(points, axis=0)
    if len(different) <= centres:
        return different
    with threadpool_limits(1):  # several threads would add up in an order of their own
        found = KMeans(centres, init="random", n_init=1, max_iter=_ROUNDS, random_state=0).fit(points)
    return np.ascontiguousarray(found.cluster_centers_, np.float32)


class Patches(NamedTuple):
    """Patches of normal video. clips: it was learned from.  lengths: frames of each.  features (m, D).  clip, frame
    (m,): of each patch, numbers in these."""

    clips: list[Clip]
    lengths: list[int]
    features: torch.Tensor
    clip: np.ndarray
    frame: np.ndarray

    def folds(self) -> list[list[tuple[int, int, int]]]:
        """FOLDS groups of (clip, first frame, end): clips in turn, or, of fewer clips, one after the other fourth of
        each."""
        each = range(len(self.clips))
        if len(self.clips) >= FOLDS:
            return [[(clip, 0, self.lengths[clip]) for clip in each[fold::FOLDS]] for fold in range(FOLDS)]
        ends = [[self.lengths[clip] * fold // FOLDS for clip in each] for fold in range(FOLDS + 1)]
        return [[(clip, ends[fold][clip], ends[fold + 1][clip]) for clip in each] for fold in range(FOLDS)]

    def without(self, group: Sequence[tuple[int, int, int]]) -> PatchMemory:
        """The memory of all but the patches of a group."""
        kept = np.ones(len(self.clip), bool)
        for clip, first, end in group:
            kept &= (self.clip != clip) | (self.frame < first) | (self.frame >= end)
        return PatchMemory.of(self.features[torch.from_numpy(kept)])


class NormalFrames(NamedTuple):
    """About FRAMES frames, evenly spread over normal clips. lengths: frames of each clip.  places: (clip, frame) of
    each one kept, numbers in these.  pictures: reduced, uint8 (H, W, 3).  before: the frame before each, grey, (H, W),
    of a clip's first one itself."""

    clips: list[Clip]
    lengths: list[int]
    places: list[tuple[int, int]]
    pictures: list[np.ndarray]
    before: list[np.ndarray]


def normal_frames(clips: Sequence[Clip], progress: bool = False) -> NormalFrames:
    """Of at most VIDEOS clips, evenly spread. progress: show a bar. A pure function of the clips."""
    found = NormalFrames(evenly_spread(clips, VIDEOS), [], [], [], [])
    about = sum(clip.about_how_many() for clip in found.clips)
    with progress_bar("reading normal video", "frame", about or None, shown=progress) as bar:
        for clip in found.clips:
            kept = Thinned(-(-FRAMES // len(found.clips)), lambda each: (each[0], reduced(each[1]), _grey(each[2])))
            number, before = -1, None
            for number, frame in enumerate(counted(clip.frames(), bar.update)):
                kept.add((number, frame, frame if before is None else before))
                before = frame
            found.places.extend((len(found.lengths), at) for at, _, _ in kept.items)
            found.pictures.extend(picture for _, picture, _ in kept.items)
            found.before.extend(before for _, _, before in kept.items)
            found.lengths.append(number + 1)
    return found


def _grey(frame: np.ndarray) -> np.ndarray:
    """Reduced, uint8 (H, W, 3) -> (H, W)."""
    return cv2.cvtColor(reduced(frame), cv2.COLOR_RGB2GRAY)


def normal_patches(
    frames: NormalFrames, network: Callable[[np.ndarray], torch.Tensor], progress: bool = False
) -> Patches:
    """PATCHES patches, drawn at random in normal frames.

    network: such as ``spaces.backbones.FrozenFeatures``. progress: show a bar. A pure function of the frames.
    """
    rng = np.random.default_rng(0)
    per_frame = -(-PATCHES // len(frames.places))
    calls = ([partial(network, picture[None])] for picture in frames.pictures)
    features, whence = [], []
    with progress_bar("features of normal video", "frame", len(frames.places), shown=progress) as bar:
        for place, (maps,) in zip(frames.places, counted(in_order(calls), bar.update), strict=True):
            cells = maps[0].flatten(0, 1)
            features.append(cells[torch.from_numpy(rng.permutation(len(cells))[:per_frame])])
            whence += [place] * len(features[-1])
    order = rng.permutation(len(whence))[:PATCHES]
    clip_of, frame_of = np.array(whence)[order].T
    return Patches(frames.clips, frames.lengths, torch.cat(features)[torch.from_numpy(order)], clip_of, frame_of)


def farthest(distances: torch.Tensor) -> float:
    """The farthest place of a frame: highest mean over the boxes of BOX x BOX cells that lie in the map (h, w)."""
    box = [min(BOX, side) for side in distances.shape]
    return float(torch.nn.functional.avg_pool2d(distances[None], box, stride=1).amax())


def evenly(frames: Iterable[np.ndarray], least: int) -> list[np.ndarray]:
    """At least ``least`` frames, reduced, as ``Thinned`` keeps them."""
    kept = Thinned(least, reduced)
    for frame in frames:
        kept.add(frame)
    return kept.items


class NearestFeature(Detector):
    """Distance of each patch to the nearest one of normal video."""

    name, title, needs = "features", "nearest frozen feature", ("normal video", "features")

    def __init__(self, network: Callable[[np.ndarray], torch.Tensor], memory: PatchMemory) -> None:
        self.network, self.memory, self.card = network, memory, {}

    @classmethod
    def fit(cls, normal: Sequence[str], progress: bool = True, **training: Any) -> "NearestFeature":
        network, frames = FrozenFeatures(), normal_frames([Clip(path) for path in normal], progress)
        return cls(network, PatchMemory.of(normal_patches(frames, network, progress).features))

    def distances(self, frame: np.ndarray) -> torch.Tensor:
        """Distance to normal video at each cell of a frame uint8 (H, W, 3), (h, w)."""
        return self.memory.distances(self.network(reduced(frame)[None])[0])

    def stream(self, frames: Iterable[Frame], key: int = 0, maps: bool = True) -> Iterator[FrameScore]:
        for frame in colour(frames):
            distances = self.distances(frame)
            score = farthest(distances)
            yield FrameScore(score, {self.name: score}, cv2.blur(distances.numpy(), (BOX, BOX)) if maps else None)

    def looks(self, frame: np.ndarray) -> torch.Tensor:
        return self.network(reduced(frame)[None])[0] / self.memory.scale

    def learn(self, frames: Iterable[np.ndarray], usual: float) -> int:
        """Add centres for patches of normal frames that lie further than ``usual`` from all of them; how many."""
        strange = []
        for frame in evenly(frames, ADDED_FRAMES):
            features = self.network(frame[None])[0].flatten(0, 1)
            strange.append(features[self.memory.distances(features) > usual])
        patches = torch.cat(strange)
        if not len(patches):
            return 0
        rng = np.random.default_rng(0)
        patches = patches[torch.from_numpy(rng.permutation(len(patches))[:PATCHES])]
        new = torch.from_numpy(k_means((patches / self.memory.scale).numpy(), ADDED))
        self.memory = PatchMemory(torch.cat([self.memory.centres, new]), self.memory.scale)
        return len(new)

    def tensors(self) -> dict[str, torch.Tensor]:
        return self.memory.tensors()

    @classmethod
    def restore(cls, settings: dict[str, Any], tensors: dict[str, torch.Tensor]) -> "NearestFeature":
        return cls(FrozenFeatures(), PatchMemory.restore(tensors))
