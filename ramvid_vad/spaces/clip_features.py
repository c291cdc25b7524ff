"""One vector for each clip of some frames: the maps of the feature space, pooled, or a 3-D network of torchvision."""

import os
from collections.abc import Iterable, Iterator
from typing import Any, Protocol, TypeVar

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from ramvid_vad.errors import InputError
from ramvid_vad.spaces.features import FeatureSpace

LENGTH = 16  # frames of a clip, as 3-D networks are mostly trained with
GRID = (2, 3)  # parts of the picture that are pooled each for itself
VIDEO_BACKBONES = ("r3d_18", "mc3_18", "r2plus1d_18")
SIDE = 112  # pixels, of the frames that these see
_MEAN, _SD = ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))  # of Kinetics-400, as torchvision has them
T = TypeVar("T")


class ClipFeatures(Protocol):
    """Frames uint8 (H, W, 3) of one video -> (its first frame's number, vector float32 (D,)) of each clip, in order."""

    def clips(self, frames: Iterable[np.ndarray], stride: int = LENGTH) -> Iterator[tuple[int, np.ndarray]]: ...


class PooledSpace:
    """Mean and root mean square of each channel of a fitted feature space over a clip, in each of the parts of GRID."""

    def __init__(self, space: FeatureSpace) -> None:
        self.space = space

    def clips(self, frames: Iterable[np.ndarray], stride: int = LENGTH) -> Iterator[tuple[int, np.ndarray]]:
        for first, maps in windows(self.space.encode(frames), LENGTH, stride):
            yield first, pooled(np.stack(maps))


class VideoBackbone:
    """A 3-D ResNet of torchvision up to its last pooling, 512 numbers a clip, with weights from a local file.

    The whole frame is brought to SIDE x SIDE; Kinetics' crop would cut off the sides of a camera's picture.
    InputError: torchvision is not installed, no such network, or the file is not one of its weights.
    """

    def __init__(self, name: str, weights: str) -> None:
        if name not in VIDEO_BACKBONES:
            raise InputError(f"video backbone {name!r}: choose one of {', '.join(VIDEO_BACKBONES)}")
        try:
            from torchvision.models import video
        except (ImportError, RuntimeError) as error:  # the latter: it was built for another version of torch
            reason = " ".join(str(error).split())[:120]
            raise InputError(
                f"{name} needs torchvision ({reason}): pip install torchvision, of torch's release"
            ) from None
        if not os.path.isfile(weights):
            raise InputError(f"{name}: weights {weights!r}: no such file; give the local file of its state dict")
        network = getattr(video, name)(weights=None)
        try:
            network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        except Exception as error:  # torch.load raises what it likes for a file that is none of its own
            reason = " ".join(str(error).split())[:120]
            raise InputError(f"{weights}: not the weights of torchvision's {name} ({reason})") from None
        network.fc = torch.nn.Identity()
        self._network = network.eval().requires_grad_(False)

    def clips(self, frames: Iterable[np.ndarray], stride: int = LENGTH) -> Iterator[tuple[int, np.ndarray]]:
        small = (cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for frame in frames)
        mean, sd = (torch.tensor(each)[:, None, None, None] for each in (_MEAN, _SD))
        for first, clip in windows(small, LENGTH, stride):
            x = torch.from_numpy(np.stack(clip)).permute(3, 0, 1, 2) / 255
            with torch.inference_mode():
                yield first, self._network(((x - mean) / sd)[None])[0].numpy()


def pooled(maps: np.ndarray) -> np.ndarray:
    """Maps of a clip (T, C, h, w) -> (2 * C * parts,): the means, then the root mean squares, of each part of GRID."""
    x = torch.from_numpy(maps).float().mean(0, keepdim=True)
    squares = torch.from_numpy(maps).float().square().mean(0, keepdim=True)
    parts = [F.adaptive_avg_pool2d(x, GRID), F.adaptive_avg_pool2d(squares, GRID).sqrt()]
    return torch.cat([part.flatten() for part in parts]).numpy()


def windows(items: Iterable[T], length: int, stride: int) -> Iterator[tuple[int, list[T]]]:
    """(first, ``length`` items in a row) every ``stride`` items, and one that ends with the last item.

    Fewer items than ``length`` make one window, in which the last item is repeated.
    """
    held: list[T] = []
    count, done = 0, 0  # items seen; the end of the last window
    for item in items:
        held = [*held, item][-length:]
        count += 1
        if len(held) == length and (count - length) % stride == 0:
            yield count - length, held
            done = count
    if count > done:
        yield max(count - length, 0), held + held[-1:] * (length - len(held))


def spread(values: list[Any], firsts: list[int], length: int, count: int) -> np.ndarray:
    """One value for each of ``count`` frames: that of the clip it stands in, of several the mean.

    values: of the clips that begin at ``firsts`` and have ``length`` frames.
    """
    total, times = np.zeros(count), np.zeros(count)
    for value, first in zip(values, firsts, strict=True):
        total[first : first + length] += value
        times[first : first + length] += 1
    return total / times
