"""The folder of decoded frames as a whole: what lies there, and making room."""

import os
import re
import time
from collections.abc import Collection
from contextlib import suppress
from typing import NamedTuple

from ramvid_vad.errors import InputError
from ramvid_vad.runtime.files import clear_abandoned

IN_USE = 24 * 3600.0
"""Seconds since its last use after which an entry may go: until then another run may read it."""
MAPS = "maps"
"""The folder within it with the maps of feature spaces."""
_ENTRY = re.compile(r".*-[0-9a-f]{40}\.npy")


class Entry(NamedTuple):
    """One video's frames: path, size in bytes, and when a run last opened it, in seconds since 1970."""

    path: str
    size: int
    used: float


def entries(folder: str) -> list[Entry]:
    """What caches of ours hold in a folder, the longest unused first; whatever else lies there is passed over.

    InputError: the folder cannot be read; none at all is an empty one.
    """
    found, maps = [], os.path.join(folder, MAPS)
    try:
        for one in [*os.scandir(folder), *(os.scandir(maps) if os.path.isdir(maps) else ())]:
            if _ENTRY.fullmatch(one.name) and one.is_file(follow_symlinks=False):
                with suppress(FileNotFoundError):  # another run removed it meanwhile
                    status = one.stat(follow_symlinks=False)
                    found.append(Entry(one.path, status.st_size, status.st_mtime))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"--cache_dir {folder}: cannot be read ({error.strerror}); give another folder") from None
    return sorted(found, key=lambda entry: (entry.used, entry.path))


def remove(folder: str, limit: float = 0, keep: Collection[str] = (), unused_for: float = 0) -> list[Entry]:
    """Remove the longest unused entries until at most ``limit`` bytes are left; returns those that are gone.

    keep: paths that stay.  unused_for: entries stay that were used within so many seconds.
    """
    if os.path.isdir(folder):
        clear_abandoned(folder)
    present, gone = entries(folder), []
    left = sum(entry.size for entry in present)
    for entry in present:
        if left <= limit:
            break
        if entry.path in keep or time.time() - entry.used < unused_for:
            continue
        try:
            os.remove(entry.path)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise InputError(f"{entry.path}: cannot be removed ({error.strerror}); grant access to it") from None
        left -= entry.size
        gone.append(entry)
    return gone
