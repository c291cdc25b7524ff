"""Encoded videos on disk, memory-mapped: a second epoch encodes nothing.

One .npy file per video, float16 (n, C, h, w). Its name holds a digest of the video's state (address, size, time of
modification) and of the space's fingerprint. It is written beside its place and renamed when complete.
"""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from ramvid_vad.errors import InputError
from ramvid_vad.spaces.space import Space
from ramvid_vad.video.files import fingerprint
from ramvid_vad.video.reader import read_frames

VERSION = 1
"""Raise this when the same video in the same space would give other maps: old entries are then no longer found."""


class EncodedVideos:
    """Maps of videos in one space, each encoded once.

    It stands where a FrameCache stands for pixels: ``frames(path)`` and ``model_input``.
    """

    def __init__(self, cache_dir: str, space: Space):
        self.cache_dir, self.space = os.path.abspath(cache_dir), space

    def frames(self, path: str) -> np.ndarray:
        """All maps of a video, float16 (n, C, h, w), memory-mapped and read-only; encoded here if not yet cached.

        InputError: a damaged video, or a cache folder that cannot be written.
        """
        try:
            return _mapped(self.entry(path))
        except (OSError, ValueError, EOFError):  # not there yet, or cut off by a full disk or a power failure
            self.build(path)
            return _mapped(self.entry(path))

    def entry(self, path: str) -> str:
        """The cache file of a video, whether or not it exists."""
        key = json.dumps([VERSION, fingerprint(path), self.space.fingerprint])
        stem = re.sub(r"[^\w.-]", "_", os.path.basename(path.rstrip("/")), flags=re.ASCII)[:60]
        return os.path.join(self.cache_dir, f"{stem}-{hashlib.sha256(key.encode()).hexdigest()[:40]}.npy")

    def build(self, path: str, tick: Callable[[int], Any] = lambda frames: None) -> int:
        """Encode a video into its entry and return the number of frames. tick: called with 1 per frame."""
        count, entry = 0, self.entry(path)  # frames so far
        try:
            os.makedirs(self.cache_dir, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.cache_dir, prefix=".encoding-") as workshop:
                temporary = os.path.join(workshop, "maps.npy")
                with open(temporary, "wb") as file:
                    file.write(_header(0, self.space))
                    for maps in self.space.encode(read_frames(path)):
                        file.write(maps.astype(np.float16).tobytes())
                        count += 1
                        tick(1)
                    file.seek(0)
                    file.write(_header(count, self.space))
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, entry)
        except OSError as error:
            raise InputError(
                f"cache directory {self.cache_dir}: cannot be written ({error.strerror or error}); free or grant space "
                "there, or choose another --cache_dir"
            ) from error
        return count

    @staticmethod
    def model_input(window: np.ndarray) -> torch.Tensor:
        """Maps (..., T, C, h, w) -> float32 (..., C, T, h, w), contiguous."""
        return torch.from_numpy(np.ascontiguousarray(np.moveaxis(window, -3, -4), np.float32))


@lru_cache(maxsize=128)
def _mapped(entry: str) -> np.ndarray:
    """Each open map holds a file descriptor, hence the limit."""
    return np.load(entry, mmap_mode="r", allow_pickle=False)


def _header(count: int, space: Space) -> bytes:
    """The .npy header, of one length whatever the count, which is known only after the last frame."""
    shape = (count, space.channels, *space.grid)
    header = f"{{'descr': '<f2', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode("latin1")
