"""Where the videos are: finding, naming, and fetching them from local disks or from anything blobfile opens."""

import io
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath

from ramvid_vad.errors import InputError

VIDEO_EXTENSIONS = frozenset([".mp4", ".avi", ".mkv", ".gif", ".mov", ".webm", ".m4v", ".mpg", ".mpeg"])
IMAGE_EXTENSIONS = frozenset([".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp"])
KINDS = "video files (" + " ".join(sorted(VIDEO_EXTENSIONS)) + ") or folders of frames (jpg, png, tif, bmp)"


def is_remote(path: str) -> bool:
    """True for addresses such as gs://bucket/key or https://account.blob.core.windows.net/container/key."""
    return "://" in path


def is_folder(path: str) -> bool:
    if not is_remote(path):
        return os.path.isdir(path)
    import blobfile

    with _reaching(path):
        return blobfile.isdir(path)


@contextmanager
def _reaching(address: str) -> Iterator[None]:
    """Turns the failures of a remote store into an InputError that names the address."""
    import blobfile

    try:
        yield
    except (blobfile.Error, OSError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{address}: cannot be reached ({reason}); check the address and your access to it") from error


def natural_key(name: str) -> tuple:
    """Sort key that puts frame2 before frame10; names that differ only in leading zeros still have one order."""
    parts = re.split(r"(\d+)", name.casefold())
    return (*(int(part) if i % 2 else part for i, part in enumerate(parts)), name)


def _extension(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _walk(top: str) -> Iterator[tuple[str, list[str]]]:
    """(folder, its file names) for ``top`` and everything below it; symbolic links are followed, cycles are not."""
    if is_remote(top):
        import blobfile

        with _reaching(top):
            found = [(folder.rstrip("/"), list(names)) for folder, _, names in blobfile.walk(top)]
        yield from found
        return

    def refuse(error: OSError):
        raise InputError(f"{error.filename}: cannot be read ({error.strerror}); give access to it or move it away")

    seen = set()
    for folder, below, names in os.walk(top, followlinks=True, onerror=refuse):
        seen.add(os.path.realpath(folder))
        below[:] = [name for name in below if os.path.realpath(os.path.join(folder, name)) not in seen]
        yield folder, names


def _parents(folder: str, top: str) -> Iterator[str]:
    """``folder`` and the folders above it, up to ``top``."""
    yield folder
    while len(folder) > len(top):
        folder = folder.rpartition("/")[0]
        yield folder


def find_videos(data_dir: str) -> list[str]:
    """All videos at or below ``data_dir``, sorted by name.

    data_dir: a local folder, a remote address that blobfile can list, or one video file.
    A video is a file with one of VIDEO_EXTENSIONS (any case), or a folder of frames: a folder that holds pictures
    (IMAGE_EXTENSIONS) and no video at or below it. Names that begin with a dot are passed over.
    Raises InputError when data_dir is missing, empty or without a video, and when two videos have the same name.
    """
    if not is_remote(data_dir) and os.path.isfile(data_dir):
        if _extension(data_dir) not in VIDEO_EXTENSIONS:
            raise InputError(f"{data_dir}: not a video; give a folder with {KINDS}")
        return [data_dir]
    if not is_folder(data_dir):
        raise InputError(f"data directory {data_dir!r} does not exist; give a folder with {KINDS}")
    top = data_dir.rstrip("/") or "/"
    videos, picture_folders, occupied, number_of_files = [], [], set(), 0
    for folder, names in _walk(top):
        if any(part.startswith(".") for part in folder[len(top) :].split("/")):
            continue
        names = [name for name in names if not name.startswith(".")]
        number_of_files += len(names)
        here = [f"{folder.rstrip('/')}/{name}" for name in names if _extension(name) in VIDEO_EXTENSIONS]
        if here:
            videos += here
            occupied.update(_parents(folder, top))
        elif any(_extension(name) in IMAGE_EXTENSIONS for name in names):
            picture_folders.append(folder)
            occupied.update(parent for parent in _parents(folder, top) if parent != folder)
    videos += [folder for folder in picture_folders if folder not in occupied]
    if not videos:
        found = f"{number_of_files} files, none of them a video" if number_of_files else "nothing"
        raise InputError(f"data directory {data_dir!r} holds {found}; give a folder with {KINDS}")
    by_name: dict[str, str] = {}
    for path in sorted(videos):
        name = video_name(path, data_dir)
        if name in by_name:
            raise InputError(
                f"{by_name[name]} and {path} have the same name {name!r}, which names results and labels; rename one"
            )
        by_name[name] = path
    return [by_name[name] for name in sorted(by_name)]


def video_name(path: str, data_dir: str) -> str:
    """The path below ``data_dir`` without its extension, with forward slashes: "01", "scene/03".

    Labels and results are matched to videos by this name. A data_dir that is itself the video (a file, a folder of
    frames) gives its own last part.
    """
    top = data_dir.rstrip("/")
    below = path.rstrip("/")
    below = below[len(top) + 1 :] if below.startswith(top + "/") else os.path.basename(below)
    return str(PurePosixPath(below).with_suffix("")) if _extension(below) in VIDEO_EXTENSIONS else below


def list_frames(folder: str) -> list[str]:
    """Names of the pictures in a folder of frames, in natural order. InputError when two differ in extension only."""
    if is_remote(folder):
        import blobfile

        with _reaching(folder):
            names = list(blobfile.listdir(folder))
    else:
        names = os.listdir(folder)
    names = [name for name in names if _extension(name) in IMAGE_EXTENSIONS and not name.startswith(".")]
    if not names:
        raise InputError(f"{folder}: a folder without pictures; give {KINDS}")
    stems: dict[str, str] = {}
    for name in names:
        twin = stems.setdefault(os.path.splitext(name)[0], name)
        if twin != name:
            raise InputError(f"{folder}: {twin} and {name} are both the same frame; keep one of them")
    return sorted(names, key=natural_key)


def fingerprint(path: str) -> list:
    """What tells one state of a video from another: address, size and modification time of its file or frames."""
    if is_remote(path):
        import blobfile

        def state(one: str) -> tuple:
            with _reaching(one):
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
        local = os.path.join(folder, "video" + _extension(path))
        with _reaching(path):
            blobfile.copy(path, local)
        yield local


def open_bytes(path: str) -> io.BufferedIOBase:
    """A small file, local or remote, opened for reading."""
    if not is_remote(path):
        return open(path, "rb")
    import blobfile

    with _reaching(path):
        return io.BytesIO(blobfile.read_bytes(path))
