"""Files that survive a kill at any moment: written beside their place, checked, then renamed; remote ones fetched."""

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from ramvid_vad.errors import InputError
from ramvid_vad.runtime.atomic import sync


class FileSet:
    """New files of one folder that come into place together, after the last of them is safe on the disk.

        with FileSet(folder) as files:
            files.add("a.json", write, check)
            files.commit()

    Before ``commit`` nothing under a final name has changed; when the block is left, no temporary file remains. They
    stand in a folder of their own, WORKSHOP, where libraries may add their own: what a killed process left there goes
    when the next one begins, and a lock on the target makes a second process wait for its turn.
    """

    WORKSHOP = ".saving.tmp"

    def __init__(self, folder: str):
        self.folder = folder or "."
        self._workshop = os.path.join(self.folder, self.WORKSHOP)
        self.records: dict[str, dict[str, int | str]] = {}  # name -> {"size": bytes, "sha256": hex digest}
        self._temporary: dict[str, str] = {}

    def __enter__(self) -> "FileSet":
        if is_remote(self.folder):
            raise InputError(f"{self.folder}: files are written to a local folder only; copy them from there")
        os.makedirs(self.folder, exist_ok=True)
        self._lock = _lock(self.folder)
        try:
            shutil.rmtree(self._workshop, ignore_errors=True)
            os.makedirs(self._workshop, exist_ok=True)
        except OSError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        shutil.rmtree(self._workshop, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)

    def add(self, name: str, write: Callable[[str], None], check: Callable[[str], None]) -> None:
        """write(path) makes the file, check(path) opens it again and raises OSError if it is not what was meant."""
        path = os.path.join(self._workshop, f"{len(self._temporary)}.tmp")
        self._temporary[name] = path
        write(path)
        sync(path)
        check(path)
        self.records[name] = fingerprint(path)

    def commit(self) -> None:
        """Rename in the order in which the files were added."""
        for name, path in self._temporary.items():
            os.replace(path, os.path.join(self.folder, name))
        self._temporary.clear()
        sync(self.folder)


def fingerprint(path: str) -> dict[str, int | str]:
    """Size in bytes and SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
        return {"size": file.tell(), "sha256": digest.hexdigest()}


@contextmanager
def local_copy(path: str) -> Iterator[str]:
    """A local path to read: ``path`` itself, or a temporary copy of anything blobfile opens (gs://, az://, https://).

    InputError: there is no such file, or it cannot be fetched.
    """
    if not is_remote(path):
        if not os.path.isfile(path):
            raise InputError(f"{path}: no such file; check the path")
        yield path
        return
    import blobfile as bf

    with tempfile.TemporaryDirectory() as folder:
        local = os.path.join(folder, os.path.basename(path))
        try:
            bf.copy(path, local)
        except Exception as error:  # blobfile's back ends raise classes of their own
            raise InputError(f"{path}: cannot be fetched ({error}); check the address and the access") from error
        yield local


def is_remote(path: str) -> bool:
    """Is it an address that only blobfile opens?"""
    return "://" in path


def names_in(folder: str) -> list[str]:
    """Names in a local or remote folder, sorted; none where there is no such folder."""
    if not is_remote(folder):
        return sorted(os.listdir(folder or ".")) if os.path.isdir(folder or ".") else []
    import blobfile as bf

    try:
        return sorted(bf.listdir(folder))
    except Exception as error:
        raise InputError(f"{folder}: cannot be listed ({error}); check the address and the access") from error


def _lock(folder: str) -> int | None:
    """Wait for the folder; the lock ends with the process or when the handle is closed. None: no locks here."""
    if sys.platform == "win32":
        return None
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    with suppress(OSError):  # some network file systems have no locks
        fcntl.flock(handle, fcntl.LOCK_EX)
    return handle
