"""Frames of long videos: rows of an array on disk are read when they are asked for, and none, or few, are kept.

A memory map would do nearly the same, but the pages that it has touched count as the process's memory until the
system takes them back: a day of video then looks like 50 GB, and where memory is limited, is.
"""

import mmap
from collections import deque
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np


class Rows:
    """uint8 (n, ...) in an open file from byte ``offset`` on, indexed by a number, a slice or an array of numbers.

    One thread at a time may read: the file has one position.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, file: BinaryIO, offset: int, shape: tuple[int, ...]):
        self._file, self._offset, self.shape = file, offset, tuple(shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: "int | slice | np.ndarray") -> np.ndarray:
        if isinstance(rows, slice):
            wanted = np.arange(*rows.indices(len(self)))
        else:
            wanted = np.atleast_1d(rows)
            if len(wanted) and not 0 <= wanted.min() <= wanted.max() < len(self):
                raise IndexError(f"rows {wanted.min()} to {wanted.max()} of {len(self)}")
        result = np.empty((len(wanted), *self.shape[1:]), np.uint8)
        starts = np.flatnonzero(np.diff(wanted, prepend=-2) != 1)  # neighbouring rows are read in one go
        for first, end in zip(starts, [*starts[1:], len(wanted)], strict=False):
            part = memoryview(result[first:end]).cast("B")
            self._file.seek(self._offset + int(wanted[first]) * (len(part) // (end - first)))
            if self._file.readinto(part) != len(part):
                raise EOFError(f"the file ends before row {wanted[end - 1]}")
        return result if isinstance(rows, slice) or np.ndim(rows) else result[0]


def on_disk(frames: np.ndarray) -> "np.ndarray | Rows":
    """The same frames, read row by row if ``frames`` is a memory map, and not a part of one."""
    if isinstance(frames, np.memmap) and isinstance(frames.base, mmap.mmap):
        return Rows(open(frames.filename, "rb"), frames.offset, frames.shape)
    return frames


class RecentFrames:
    """uint8 (n, H, W, C) of which the last ``kept`` that were asked for are held; earlier ones are read once more.

    read: gives all frames (H, W, C) in order, again and again.  length: n.  For those who walk through a video.
    """

    def __init__(self, read: Callable[[], Iterator[np.ndarray]], length: int, kept: int):
        self._read, self._length, self._kept = read, length, kept
        self._frames: deque[np.ndarray] = deque(maxlen=kept)
        self._coming = iter(())
        self._seen = length + kept  # nothing is held yet

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        if len(rows) and rows.min() < self._seen - len(self._frames):
            self._coming, self._seen = self._read(), 0
            self._frames.clear()
        result = []
        for row in rows.tolist():
            while self._seen <= row:
                self._frames.append(next(self._coming))
                self._seen += 1
            result.append(self._frames[row - self._seen])
        return np.stack(result)
