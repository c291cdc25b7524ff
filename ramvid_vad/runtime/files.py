"""Files that are whole or absent, whatever ends the run or the machine: written beside their place, then renamed.

A temporary file holds the names of its machine and process and something random, so that containers on one shared
folder cannot meet; its writer holds a lock on it, so that those of the killed are known from those of the living.
"""

import fcntl
import hashlib
import os
import platform
import re
import shutil
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

ABANDONED = 3600.0
"""Seconds without a change after which another machine's temporary file counts as left by a killed process."""
GRACE = 10.0
"""The same on this machine, where it must be unlocked too: the moment between a file's making and its locking."""
ARRAY_HEADERS = threading.Lock()
"""Held while NumPy reads the header of an array. Python itself refuses one now and then if two threads parse at once
("AST constructor recursion depth mismatch"; seen with 3.11), and a whole file would count as damaged."""
_HOST = re.sub(r"[^A-Za-z0-9.-]", "_", platform.node())[:64]
_TEMPORARY = re.compile(r"\.(?P<host>.*)-\d+-[0-9a-f]{8}\.tmp")


def temporary_beside(path: str) -> str:
    """A path in the same folder that nobody else will think of, of at most 92 characters in its name."""
    return os.path.join(os.path.dirname(path), f".{_HOST}-{os.getpid()}-{os.urandom(4).hex()}.tmp")


@contextmanager
def replacing(path: str, temporary: str = "") -> Iterator[str]:
    """A path to write to; where the block ends without an error, the file is synced and takes the place of ``path``.

        with replacing("figures.json") as temporary, open(temporary, "w") as file:
            json.dump(figures, file)

    The file follows the umask, whoever writes it. temporary: its path, where it must be known before.
    """
    temporary = temporary or temporary_beside(path)
    with open(temporary, "xb") as held:
        _lock(held.fileno())
        try:
            yield temporary
            os.chmod(temporary, os.fstat(held.fileno()).st_mode & 0o777)
            sync(temporary)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.remove(temporary)
            raise


def write_text(path: str, text: str) -> None:
    """A whole file of UTF-8 text, line ends as given."""
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        file.write(text)


def write_bytes(path: str, content: bytes) -> None:
    """A whole file."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(content)


@contextmanager
def work_folder(folder: str) -> Iterator[str]:
    """A new folder in ``folder``, locked until the block is left and then removed, if it is still there; what killed
    processes left goes when the next one begins. A new ``folder`` that nothing was put into is removed too."""
    new = not os.path.exists(folder)
    os.makedirs(folder, exist_ok=True)
    clear_abandoned(folder)
    path = temporary_beside(os.path.join(folder, ""))
    os.mkdir(path)
    try:
        held = os.open(path, os.O_RDONLY)
        try:
            _lock(held)
            yield path
        finally:
            os.close(held)
    finally:
        shutil.rmtree(path, ignore_errors=True)
        if new:
            with suppress(OSError):  # it has been filled
                os.rmdir(folder)


@contextmanager
def replacing_together(folder: str, last: str = "") -> Iterator[str]:
    """A folder to write files to; where the block ends without an error, they are synced and take their places in
    ``folder``, of which nothing has changed before.

    last: name of the file that comes after the others: where it is, they are. The files follow the umask. The folder
    is removed when the block is left, with whatever libraries put there; what killed processes left goes when the next
    one begins.
    """
    with work_folder(folder) as path:
        yield path
        files = [os.path.join(root, name)[len(path) + 1 :] for root, _, names in os.walk(path) for name in names]
        rights = os.stat(path).st_mode & 0o666  # of a new file: some libraries let its owner alone read theirs
        for name in files:
            os.chmod(os.path.join(path, name), rights)
            sync(os.path.join(path, name))
        for name in sorted(files, key=lambda name: (name == last, name)):
            os.makedirs(os.path.dirname(os.path.join(folder, name)) or ".", exist_ok=True)
            os.replace(os.path.join(path, name), os.path.join(folder, name))
        sync(folder)


def clear_abandoned(folder: str, age: float = ABANDONED, grace: float = GRACE) -> None:
    """Remove the temporary files that killed processes left in a folder; nothing else that lies there.

    age, grace: seconds without a change after which one that was made on another machine, or on this one and is not
    locked, counts as abandoned.
    """
    with os.scandir(folder or ".") as entries:
        found = [(entry, name) for entry in entries if (name := _TEMPORARY.fullmatch(entry.name))]
    for entry, name in found:
        with suppress(OSError):  # another process is quicker, or may not
            idle = time.time() - entry.stat(follow_symlinks=False).st_mtime
            locked = _is_locked(entry.path)
            if locked or (idle <= age and (name["host"] != _HOST or locked is None or idle < grace)):
                continue
            shutil.rmtree(entry.path) if entry.is_dir(follow_symlinks=False) else os.remove(entry.path)


def sync(path: str) -> None:
    """Wait until a file, or the names in a folder, are safe on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256_of(paths: Iterable[str]) -> str:
    """SHA-256, in hexadecimal, of the files' bytes, end to end in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _lock(handle: int) -> None:
    """Taken without waiting, for nobody else wants it but to see whether its holder lives."""
    with suppress(OSError):  # some network file systems have no locks
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)


def _is_locked(path: str) -> bool | None:
    """None: that cannot be known."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(handle)
    return False
