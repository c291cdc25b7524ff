"""Fetching files from local disks or from anything blobfile opens."""

import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from ramvid_vad.errors import InputError
from ramvid_vad.video.names import IMAGE_EXTENSIONS, extension, frames_of


def is_remote(path: str) -> bool:
    """True for addresses such as gs://bucket/key or https://account.blob.core.windows.net/container/key."""
    return "://" in path


def is_folder(path: str) -> bool:
    if not is_remote(path):
        return os.path.isdir(path)
    import blobfile

    with reaching(path):
        return blobfile.isdir(path)


@contextmanager
def reaching(address: str) -> Iterator[None]:
    """Turns the failures of a remote store into an InputError that names the address."""
    import blobfile

    try:
        yield
    except (blobfile.Error, OSError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{address}: cannot be reached ({reason}); check the address and your access to it") from error


def list_frames(folder: str) -> list[str]:
    """Names of the frames in a folder of pictures, in natural order. InputError: see ``names.frames_of``."""
    if is_remote(folder):
        import blobfile

        with reaching(folder):
            names = list(blobfile.listdir(folder))
    else:
        names = os.listdir(folder)
    return frames_of(folder, [name for name in names if extension(name) in IMAGE_EXTENSIONS and name[0] != "."])[0]


def fingerprint(path: str) -> list:
    """What tells one state of a video from another: address, size and modification time of its file or frames."""
    if is_remote(path):
        import blobfile

        def state(one: str) -> tuple:
            with reaching(one):
                stat = blobfile.stat(one)
            return stat.size, stat.mtime
    else:
        path = os.path.abspath(path)

        def state(one: str) -> tuple:
            stat = os.stat(one)
            return stat.st_size, stat.st_mtime_ns

    try:
        if is_folder(path):
            return [path, [(name, *state(f"{path}/{name}")) for name in list_frames(path)]]
        return [path, *state(path)]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error


@contextmanager
def local_copy(path: str) -> Iterator[str]:
    """A local file with the content of ``path``: itself, or a temporary copy when it is remote."""
    if not is_remote(path):
        yield path
        return
    import blobfile

    with tempfile.TemporaryDirectory(prefix="ramvid_vad_") as folder:
        local = os.path.join(folder, "video" + extension(path))
        with reaching(path):
            blobfile.copy(path, local)
        yield local


def open_bytes(path: str) -> io.BufferedIOBase:
    """A small file, local or remote, opened for reading."""
    if not is_remote(path):
        return open(path, "rb")
    import blobfile

    with reaching(path):
        return io.BytesIO(blobfile.read_bytes(path))
