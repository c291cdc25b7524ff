"""One array per file, written row by row and mapped into memory: a .npy with the SHA-256 of its rows behind them."""

import hashlib
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from typing import Any, BinaryIO

import numpy as np

from ramvid_vad.runtime.files import ARRAY_HEADERS, replacing
from ramvid_vad.runtime.progress import warn

_DIGEST = hashlib.sha256().digest_size


class RowFiles:
    """Files whose rows are of one shape and dtype. It can be pickled, and used after a fork."""

    def __init__(self, dtype: str, row: tuple[int, ...]):
        self.dtype, self.row = np.dtype(dtype), tuple(row)
        self._verified: set[str] = set()

    def write(self, path: str, rows: Iterable[np.ndarray], temporary: str = "") -> int:
        """Write a file, whole or not at all, one row at a time; returns their number. OSError: it cannot be written.

        temporary: the file that is written, where it must be known before.
        """
        written, digest = 0, hashlib.sha256()
        with replacing(path, temporary) as name, open(name, "wb") as file:
            self._write_header(file, 0)
            for row in rows:
                written += 1
                content = np.ascontiguousarray(row, self.dtype).data
                digest.update(content)
                file.write(content)
            file.write(digest.digest())
            file.seek(0)
            self._write_header(file, written)
        _mapped.cache_clear()  # which may hold the map of a damaged file
        return written

    def is_whole(self, path: str) -> bool:
        """Is there what was written? Content and checksum are compared once in an object's life; damage is said."""
        try:
            if path not in self._verified:
                self._verify(path)
                self._verified.add(path)
            _mapped(path)
        except FileNotFoundError:
            return False
        except Exception as error:  # a damaged header surfaces as any of a dozen types
            _mapped.cache_clear()
            self._verified.discard(path)
            warn(f"{path}: damaged ({' '.join(str(error).split())[:120]}); it is made again from the video")
            return False
        return True

    def read(self, path: str) -> np.ndarray:
        """The array (n, *row) of a file that is whole, memory-mapped and read-only."""
        return _mapped(path)

    def _verify(self, path: str) -> None:
        """ValueError, or whatever NumPy raises: the file is not that of ``write``, byte for byte."""
        array = _mapped(path)
        if array.dtype != self.dtype or array.shape[1:] != self.row or not array.flags.c_contiguous:
            raise ValueError(
                f"holds {array.dtype} {array.shape}, not {self.dtype} (n, {', '.join(map(str, self.row))})"
            )
        with open(path, "rb") as file:
            file.seek(-_DIGEST, os.SEEK_END)
            if file.tell() != array.offset + array.nbytes or not len(array):
                raise ValueError(f"has another length than that of {len(array)} frames")
            digest, left = hashlib.sha256(), array.nbytes
            file.seek(array.offset)
            while left:  # read, for the pages of a map would count as this process's memory
                digest.update(block := file.read(min(left, 1 << 20)))
                left -= len(block)
            if file.read() != digest.digest():
                raise ValueError("its checksum is another")
        with suppress(OSError):  # the time of its last use, for whoever makes room; the folder may be read-only
            os.utime(path)

    def _write_header(self, file: BinaryIO, count: int) -> None:
        """Of one length whatever the count, which is known only after the last row."""
        described = {"descr": self.dtype.str, "fortran_order": False, "shape": (count, *self.row)}
        header = f"{{{', '.join(f'{key!r}: {value!r}' for key, value in described.items())}, }}".ljust(117) + "\n"
        file.write(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode("latin1"))


def file_name(path: str, key: str) -> str:
    """Of a video's file: the video's name, as far as every disk can have it, and a digest of all that decides it."""
    stem = re.sub(r"[^\w.-]", "_", os.path.basename(path.rstrip("/")), flags=re.ASCII)[:60]
    return f"{stem}-{hashlib.sha256(key.encode()).hexdigest()[:40]}.npy"


@lru_cache(maxsize=128)
def _mapped(path: str) -> Any:
    """Each open map holds a file descriptor, hence the limit."""
    with ARRAY_HEADERS:
        return np.lib.format.open_memmap(path, mode="r")
