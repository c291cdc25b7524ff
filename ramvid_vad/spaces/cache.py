"""Encoded videos on disk, memory-mapped: a second epoch encodes nothing.

One .npy file per video, float16 (n, C, h, w). Its name holds a digest of the video's state (address, size, time of
modification) and of the space's fingerprint. It is written beside its place and renamed when complete.
"""

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from ramvid_vad.errors import InputError
from ramvid_vad.runtime.files import clear_abandoned
from ramvid_vad.spaces.features import FeatureSpace
from ramvid_vad.video.files import fingerprint
from ramvid_vad.video.reader import Clip, read_frames
from ramvid_vad.video.row_files import RowFiles, file_name

VERSION = 2
"""Raise this when the same video in the same space would give other maps: old entries are then no longer found."""


class EncodedVideos:
    """Maps of videos in one space, each encoded once.

    It stands where a FrameCache stands for pixels: ``frames(path)`` and ``model_input``.
    An object sees each video in the state it had when first asked for, or encoded.
    """

    def __init__(self, cache_dir: str, space: FeatureSpace):
        self.cache_dir, self.space = os.path.abspath(cache_dir), space
        self._files = RowFiles("<f2", (space.channels, *space.grid))
        self._space = space.fingerprint  # hashes all of the space
        self._entries: dict[str, str] = {}

    def frames(self, video: str | Clip, tick: Callable[[int], Any] = lambda frames: None) -> np.ndarray:
        """All maps of a video or clip, float16 (n, C, h, w), memory-mapped and read-only; the whole video is encoded
        here if it is not cached yet. tick: called with 1 per frame encoded.

        InputError: a damaged video, or a cache folder that cannot be written.
        """
        if isinstance(video, Clip):
            return self.frames(video.path, tick)[video.first : video.end]
        if not self.is_there(video):
            self.build(video, tick)
            if not self.is_there(video):
                raise InputError(
                    f"cache directory {self.cache_dir}: gives back other bytes than were written; choose another disk"
                )
        return self._files.read(self.entry(video))

    def is_there(self, path: str) -> bool:
        """Whether a video is encoded already."""
        return self._files.is_whole(self.entry(path))

    def entry(self, path: str) -> str:
        """The cache file of a video, whether or not it exists."""
        if path not in self._entries:
            key = json.dumps([VERSION, fingerprint(path), self._space])
            self._entries[path] = os.path.join(self.cache_dir, file_name(path, key))
        return self._entries[path]

    def build(self, path: str, tick: Callable[[int], Any] = lambda frames: None) -> int:
        """Encode a video into its entry and return the number of frames. tick: called with 1 per frame."""

        def rows() -> Iterator[np.ndarray]:
            for maps in self.space.encode(read_frames(path)):
                yield maps.astype(np.float16)
                tick(1)

        try:
            os.makedirs(self.cache_dir, exist_ok=True)
            clear_abandoned(self.cache_dir)
            self._entries.pop(path, None)  # the video may have changed since
            return self._files.write(self.entry(path), rows())
        except OSError as error:
            raise InputError(
                f"cache directory {self.cache_dir}: cannot be written ({error.strerror or error}); free or grant space "
                "there, or choose another --cache_dir"
            ) from error

    @staticmethod
    def model_input(window: np.ndarray) -> torch.Tensor:
        """Maps (..., T, C, h, w) -> float32 (..., C, T, h, w), contiguous."""
        return torch.from_numpy(np.ascontiguousarray(np.moveaxis(window, -3, -4), np.float32))
