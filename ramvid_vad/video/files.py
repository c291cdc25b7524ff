"""Fetching files from local disks or from anything blobfile opens."""

import hashlib
import io
import os

from ramvid_vad.errors import InputError
from ramvid_vad.runtime.files import sha256_of
from ramvid_vad.runtime.remote import is_remote, reaching
from ramvid_vad.video.names import IMAGE_EXTENSIONS, extension, frames_of


def is_folder(path: str) -> bool:
    if not is_remote(path):
        return os.path.isdir(path)
    with reaching(path) as blobfile:
        return blobfile.isdir(path)


def list_frames(folder: str) -> list[str]:
    """Names of the frames in a folder of pictures, in natural order. InputError: see ``names.frames_of``."""
    if is_remote(folder):
        with reaching(folder) as blobfile:
            names = list(blobfile.listdir(folder))
    else:
        names = os.listdir(folder)
    return frames_of(folder, [name for name in names if extension(name) in IMAGE_EXTENSIONS and name[0] != "."])[0]


def content_digest(path: str) -> str:
    """SHA-256 of a video's file, or of its frames' files; of one that is remote, of its fingerprint without address.
    InputError: it cannot be read."""
    if is_remote(path):
        return hashlib.sha256(repr(fingerprint(path)[1:]).encode()).hexdigest()
    try:
        return sha256_of([os.path.join(path, name) for name in list_frames(path)] if os.path.isdir(path) else [path])
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error


def fingerprint(path: str) -> list:
    """What tells one state of a video from another: address, size and modification time of its file or frames."""
    if is_remote(path):

        def state(one: str) -> tuple:
            with reaching(one) as blobfile:
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


def sizes_of(path: str) -> int | list:
    """Of a video's file in bytes, or name and size of its frames': without times, a copy of the data is the same data.
    InputError: see ``fingerprint``."""
    (state, *_) = fingerprint(path)[1:]
    return state if isinstance(state, int) else [entry[:2] for entry in state]


def open_bytes(path: str) -> io.BufferedIOBase:
    """A small file, local or remote, opened for reading."""
    if not is_remote(path):
        return open(path, "rb")
    with reaching(path) as blobfile:
        return io.BytesIO(blobfile.read_bytes(path))
