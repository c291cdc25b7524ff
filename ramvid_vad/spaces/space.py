"""What every space offers.

A space turns frames into maps (C, h, w), float32, each channel near zero mean and unit variance on normal video; its
channels lie in named groups, one group after the other. It is fitted on the training videos alone, a pure function of
them.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

import cv2
import numpy as np
import torch

LINES = 240  # pixels, larger frames are first reduced to this shorter side
LEAST = 16  # pixels, smaller frames are enlarged to this shorter side: optical flow needs as much


class Space(ABC):
    """One way to turn frames into maps.

    name: as ``--space`` calls it.  cell: side of one cell of the maps in pixels of the (reduced) frame.
    """

    name: ClassVar[str]
    cell: ClassVar[int]

    @property
    @abstractmethod
    def groups(self) -> dict[str, int]:
        """Channels of each named group, in the order in which they lie."""

    @property
    @abstractmethod
    def grid(self) -> tuple[int, int]:
        """(h, w) of the maps, the same for every video."""

    @abstractmethod
    def encode(self, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Frames of ONE video in order, uint8 (H, W, 3) or (H, W, 1) -> one map float32 (C, h, w) per frame."""

    @abstractmethod
    def mirrored(self, maps: torch.Tensor) -> torch.Tensor:
        """Maps (..., C, T, h, w) of the video seen in a mirror, left and right exchanged."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What the space is, fit for JSON; with ``tensors`` all that ``load`` needs."""

    def tensors(self) -> dict[str, torch.Tensor]:
        """What was fitted."""
        return {}

    @property
    def channels(self) -> int:
        """Of all groups together, C."""
        return sum(self.groups.values())

    @property
    def fingerprint(self) -> str:
        """Names this space in caches and checkpoints: another one has another fingerprint. 40 hexadecimal digits."""
        digest = hashlib.sha256(json.dumps([self.name, self.settings()], sort_keys=True).encode())
        for name, tensor in sorted(self.tensors().items()):
            digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()[:40]


def reduced(frame: np.ndarray, lines: int = LINES) -> np.ndarray:
    """uint8 (H, W, C) -> (h, w, C) with a shorter side of at most ``lines`` pixels (0: as it is), and at least LEAST.

    By area averaging, so that each pixel counts; enlarged bilinearly.
    """
    height, width, _ = frame.shape
    side = min(height, width)
    scale = max(min(1.0, (lines or side) / side), LEAST / side)
    return resized(frame, (round(height * scale), round(width * scale)))


def resized(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 (H, W, C) -> (*size, C): area averaging where it shrinks, bilinear where it grows; contiguous."""
    if frame.shape[:2] == tuple(size):
        return np.ascontiguousarray(frame)
    shrinks = frame.shape[0] * frame.shape[1] > size[0] * size[1]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(frame, (size[1], size[0]), interpolation=interpolation).reshape(*size, frame.shape[2])
