"""Files anywhere: their checksum, and remote ones fetched."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from ramvid_vad.errors import InputError


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
