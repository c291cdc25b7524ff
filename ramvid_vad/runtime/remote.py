"""Files in remote stores (gs://, az://, https://account.blob.core.windows.net), by blobfile; local paths go through."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import ModuleType

from ramvid_vad.errors import InputError

RETRIES = 6
"""Of one request: blobfile then waits about 6 s in all, and where nothing answers 10 s more for each; by itself it
tries for ever."""


@lru_cache(maxsize=1)
def store() -> ModuleType:
    """blobfile, told to give up in the end and to print nothing meanwhile."""
    import blobfile

    blobfile.configure(retry_limit=RETRIES, connect_timeout=10, read_timeout=30, log_callback=lambda line: None)
    return blobfile


def is_remote(path: str) -> bool:
    """True for addresses such as gs://bucket/key or https://account.blob.core.windows.net/container/key."""
    return "://" in path


@contextmanager
def reaching(address: str) -> Iterator[ModuleType]:
    """blobfile, whose failures become an InputError that names the address."""
    try:
        yield store()
    except InputError:
        raise
    except Exception as error:  # blobfile's back ends raise classes of their own
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{address}: cannot be reached ({reason}); check the address and your access to it") from error


@contextmanager
def local_copy(path: str, tick: Callable[[], object] = lambda: None) -> Iterator[str]:
    """A local path to read: ``path`` itself, or a temporary copy of a remote file under its own name.

    tick: called now and then while it is fetched.  InputError: there is no such file, or it cannot be fetched.
    """
    if not is_remote(path):
        if not os.path.exists(path) or os.path.isdir(path):
            raise InputError(f"{path}: no such file; check the path")
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="ramvid_vad_") as folder:
        local = os.path.join(folder, os.path.basename(path))
        with reaching(path) as blobfile, open(local, "wb") as here, blobfile.BlobFile(path, "rb") as far:
            while block := far.read(1 << 20):
                here.write(block)
                tick()
        yield local


def names_in(folder: str) -> list[str]:
    """Names in a local or remote folder, sorted; none where there is no such folder."""
    if not is_remote(folder):
        return sorted(os.listdir(folder or ".")) if os.path.isdir(folder or ".") else []
    with reaching(folder) as blobfile:
        return sorted(blobfile.listdir(folder))
