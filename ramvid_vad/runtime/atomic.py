"""Files that are whole or absent, whatever ends the run or the machine."""

import glob
import os
import re
from collections.abc import Callable


def write_atomically(path: str, write: Callable[[str], None]) -> None:
    """write(temporary) makes the file beside its place; it is synced, then renamed to ``path``.

    The temporary name is ``path.PID.tmp``: several processes may write the same file. It is removed whatever happens,
    unless the process is killed.
    """
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        write(temporary)
        sync(temporary)
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


def temporaries(path: str) -> list[str]:
    """What killed processes left beside ``path`` of files that they were writing with :func:`write_atomically`."""
    own = re.compile(re.escape(path) + r"\.\d+\.tmp")
    return [found for found in glob.glob(f"{glob.escape(path)}.*.tmp") if own.fullmatch(found)]


def sync(path: str) -> None:
    """Wait until a file, or the names in a folder, are safe on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
