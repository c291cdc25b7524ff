"""Which videos a folder holds; what is passed over is said in one line."""

import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Generic, TypeVar

import numpy as np

from ramvid_vad.errors import InputError
from ramvid_vad.runtime.remote import is_remote, reaching
from ramvid_vad.runtime.text import decode_text, hide, one_line, plain_name
from ramvid_vad.video.files import is_folder
from ramvid_vad.video.names import (
    IMAGE_EXTENSIONS,
    KINDS,
    VIDEO_EXTENSIONS,
    extension,
    frames_of,
    in_order,
    natural_key,
    video_name,
)

Item = TypeVar("Item")

SYSTEM = frozenset(["@eadir", "__macosx", "#recycle", "#snapshot", "$recycle.bin", "system volume information"])
"""Folders that storage devices and systems make, in lower case."""
COMPANIONS = re.compile(r"thumb(nail)?s?|previews?|masks?|gt|ground_?truth|backups?|crops", re.IGNORECASE)
"""Folders of pictures that belong to the frames above or beside them; also NAME_gt and the like beside NAME."""
LEFT_BEHIND = ("._", ".ds_store", "thumbs.db", "desktop.ini", ".gitkeep", ".gitignore")
"""Files of no interest to anybody, not worth a word."""
MANY = 5  # pictures: fewer beside or above videos are covers and plots
LINES = 5  # about single folders of frames


@dataclass
class _Folder:
    """What one folder holds directly, apart from folders: names of its files."""

    videos: list[str] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)


def find_videos(data_dir: str, only: str = "", say: Callable[[str], None] | None = None) -> list[str]:
    """All videos at or below ``data_dir``, in the natural order of their names (2 before 10).

    data_dir: a local folder, a remote address that blobfile can list, or one video file.  only: the names wanted,
    comma-separated, * and ? as in a shell, or a text file with one per line; "": all.  say: gets a line on what was
    passed over; None: stderr, each line once.
    A video is a file with one of VIDEO_EXTENSIONS (any case), or a folder of frames: a folder that holds pictures
    (IMAGE_EXTENSIONS). Pictures below frames, in hidden and system folders, and a few beside or above videos are passed
    over. InputError: data_dir is missing, empty, without a video, a live stream; two videos have the same name; it
    cannot be told which pictures or videos are meant; a name of ``only`` is of no video.
    """
    say = say or _say
    if not is_remote(data_dir) and os.path.isfile(data_dir):
        if extension(data_dir) not in VIDEO_EXTENSIONS:
            raise InputError(f"{data_dir}: not a video; give a folder with {KINDS}")
        only_these(only, [video_name(data_dir, data_dir)], f"--data_dir {data_dir}")
        return [data_dir]
    _refuse_streams(data_dir)
    if not is_folder(data_dir):
        raise InputError(f"data directory {data_dir!r} does not exist; give a folder with {KINDS}")
    top = data_dir.rstrip("/") or "/"
    folders = {folder: _sorted_out(folder[len(top) :], names) for folder, names in walk(top)}
    videos, passed_over = _chosen(top, folders)
    if not videos:
        number = sum(len(names) for each in folders.values() for names in vars(each).values())
        found = f"{number} files, none of them a video" if number else "nothing"
        endings = _endings(name for each in folders.values() for name in each.others)
        raise InputError(f"data directory {data_dir!r} holds {found}{endings}; give a folder with {KINDS}")
    by_name: dict[str, str] = {}
    for path in sorted(videos):
        name = video_name(path, data_dir)
        if name in by_name:
            raise InputError(
                f"{by_name[name]} and {path} have the same name {name!r}, which names results and labels; rename one"
            )
        by_name[name] = path
    chosen = [by_name[name] for name in only_these(only, list(by_name), f"--data_dir {data_dir}")]
    if passed_over:
        say(f"{data_dir}: {len(by_name)} videos; passed over: {'; '.join(passed_over)}")
    odd = [(folder, phrase) for folder in sorted(folders.keys() & chosen) for phrase in _odd(folder, folders)]
    for folder, phrase in odd[:LINES]:
        say(f"{folder}: {phrase}")
    if len(odd) > LINES:
        say(f"{data_dir}: the same kind of thing in {len(odd) - LINES} more places, e.g. {odd[-1][0]}: {odd[-1][1]}")
    return chosen


def only_these(only: str, names: Sequence[str], where: str) -> list[str]:
    """Those of ``names`` that ``only`` asks for (see find_videos), in order. InputError: one of them is not there."""
    if not only.strip():
        return in_order(names)
    if os.path.isfile(only):
        with open(only, "rb") as file:
            content = file.read()
        try:
            wanted = [line.strip() for line in decode_text(content).splitlines() if line.strip()]
        except UnicodeDecodeError:
            raise InputError(f"--only {only}: is not text in UTF-8: save it as that, one name a line") from None
    else:
        wanted = [part.strip() for part in only.split(",") if part.strip()]
    chosen = set()
    for each in map(plain_name, wanted):
        found = {name for name in names if each == name or fnmatchcase(name, each)}
        if not found:
            some = ", ".join(in_order(names)[:5]) + (", ..." if len(names) > 5 else "")
            raise InputError(f"--only {each}: no such video in {where}, which has {some}")
        chosen |= found
    return in_order(list(chosen))


_said: set[str] = set()


def evenly_spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most ``most`` of them in order, the first and the last among them."""
    return [items[i] for i in np.unique(np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int))]


class Thinned(Generic[Item]):
    """Every 2^k-th item added, with the largest k that keeps at least ``least``; all of fewer than that.

    How many come need not be known beforehand; less than twice ``least`` are held at a time. made: of each one kept.
    """

    def __init__(self, least: int, made: Callable[[Item], Item] = lambda item: item) -> None:
        self.items: list[Item] = []
        self._least, self._made, self._step, self._count = least, made, 1, 0

    def add(self, item: Item) -> None:
        if self._count % self._step == 0:
            self.items.append(self._made(item))
        if len(self.items) == 2 * self._least:
            self.items, self._step = self.items[::2], 2 * self._step
        self._count += 1


def _say(line: str) -> None:
    """A line on stderr, once, from the first of several ranks."""
    from ramvid_vad.runtime import processes

    if line not in _said and processes.rank() == 0:
        _said.add(line)
        print(f"note: {one_line(line)}", file=sys.stderr, flush=True)


def _refuse_streams(address: str) -> None:
    """One line of advice for cameras and web addresses."""
    shown = hide(address, address)
    scheme = address.partition("://")[0].lower() if is_remote(address) else ""
    camera = re.fullmatch(r"(/dev/video)?\d+|webcam|camera", address) and not os.path.isdir(address)
    if camera or scheme in ("rtsp", "rtsps", "rtmp", "rtp", "udp", "srt", "mms", "tcp", "onvif"):
        source = "-f v4l2 -i /dev/video0" if camera else f"-i '{shown}' -c copy"
        raise InputError(
            f"{shown}: a camera or live stream; record it into files and give their folder: "
            f"ffmpeg {source} -f segment -segment_time 600 -reset_timestamps 1 recorded/%05d.mkv"
        )
    if scheme in ("http", "ftp") or (scheme == "https" and ".blob.core.windows.net" not in address):
        raise InputError(f"{shown}: a web address; download it (curl -O) and give the folder or the file")
    if scheme == "file":
        raise InputError(f"{shown}: give the path alone, {shown[len('file://') :]}")
    if scheme and scheme not in ("gs", "az", "https"):
        raise InputError(f"{shown}: {scheme}:// is not read; copy or mount it, give that folder")


def walk(top: str, enter: Callable[[str], bool] = lambda name: True) -> Iterator[tuple[str, list[str]]]:
    """(folder, its file names) for ``top`` and all below it, but for local folders whose names ``enter`` refuses;
    symbolic links are followed, cycles are not. InputError: a folder cannot be read."""
    if is_remote(top):
        with reaching(top) as blobfile:
            found = [(folder.rstrip("/"), list(names)) for folder, _, names in blobfile.walk(top)]
        yield from found
        return

    def refuse(error: OSError):
        raise InputError(f"{error.filename}: cannot be read ({error.strerror}); give access to it or move it away")

    above = {top: {os.path.realpath(top)}}
    for folder, below, names in os.walk(top, followlinks=True, onerror=refuse):
        if folder in above:  # os.walk keeps the spelling of top
            places = above.pop(folder)
        kept = []
        for name in sorted(below, key=natural_key):
            path = os.path.join(folder, name)
            place = os.path.realpath(path)
            if place not in places and enter(name):
                above[path] = places | {place}
                kept.append(name)
        below[:] = kept
        yield folder, names


def _sorted_out(below: str, names: Sequence[str]) -> _Folder:
    """The files of one folder. below: its path from the top."""
    hidden = any(part.startswith(".") or part.lower() in SYSTEM for part in below.split("/"))
    found = _Folder()
    for name in sorted(names, key=natural_key):
        ending = extension(name)
        media = ending in VIDEO_EXTENSIONS or ending in IMAGE_EXTENSIONS
        if name.lower().startswith(LEFT_BEHIND):
            continue
        if hidden or name.startswith("."):
            found.hidden += [name] if media else []
        elif media:
            (found.videos if ending in VIDEO_EXTENSIONS else found.pictures).append(name)
        else:
            found.others.append(name)
    return found


def _chosen(top: str, folders: dict[str, _Folder]) -> tuple[list[str], list[str]]:
    """Paths of the videos, and what was passed over, a phrase of each kind. folders: those above come first."""
    with_pictures = [folder for folder, each in folders.items() if each.pictures]
    kin = {folder for folder in with_pictures if _is_companion(folder[len(top) :].split("/"), top, folders)}
    if len(kin) == len(with_pictures) and not any(each.videos for each in folders.values()):
        kin = set()  # they were asked for
    video_below: dict[str, str] = {}
    most_below: dict[str, int] = {}  # pictures in one folder below
    for folder, each in folders.items():
        for parent in _parents(folder, top):
            if each.videos:
                video_below.setdefault(parent, f"{folder}/{each.videos[0]}")
            if folder not in kin:
                most_below[parent] = max(most_below.get(parent, 0), len(each.pictures))
    videos, covers, below_frames = [], [], []
    frames: set[str] = set()
    for folder, each in folders.items():
        if frames.intersection(_parents(folder, top)):
            below_frames += [folder] if (each.pictures or each.videos) and folder not in kin else []
            continue
        rival = ""
        if each.videos:
            videos += [f"{folder.rstrip('/')}/{name}" for name in each.videos]
            rival = each.videos[0]
        elif folder in video_below:
            rival = video_below[folder]
        elif most_below.get(folder) and not 1 < len(_frames(folder, each.pictures)) >= most_below[folder]:
            rival = f"a folder of {most_below[folder]} below"
        if not each.pictures or folder in kin:
            continue
        if not rival:
            frames.add(folder)
            continue
        covers.append(folder)
        posters = tuple(os.path.splitext(name)[0] for name in each.videos)
        number = len(_frames(folder, [name for name in each.pictures if not name.startswith(posters)]))
        if number >= MANY:
            raise InputError(
                f"{folder}: holds {number} pictures and also {rival}; if these pictures are a video, move them into a "
                "folder of their own, else move them away"
            )
    passed_over = [
        _phrase(f"{sum(len(folders[f].pictures) for f in covers)} pictures beside or above videos", covers, top),
        _phrase("folders below frames", below_frames, top),
        _phrase("folders of pictures beside frames", in_order(list(kin)), top),
        _phrase("hidden or system folders and files", [f for f, each in folders.items() if each.hidden], top),
        _phrase("empty folders", _empty(folders), top),
    ]
    others = [name for each in folders.values() for name in each.others]
    if others:
        passed_over.append(f"{len(others)} files that are neither video nor picture{_endings(others)}")
    return videos + list(frames), [phrase for phrase in passed_over if phrase]


def _is_companion(below: Sequence[str], top: str, folders: dict[str, _Folder]) -> bool:
    """Whether a folder, the parts of its path below ``top``, belongs to the frames of another one by its name."""
    for i, part in enumerate(below):
        stem, _, kind = part.rpartition("_")
        if COMPANIONS.fullmatch(part) or (
            stem and COMPANIONS.fullmatch(kind) and f"{top.rstrip('/')}{'/'.join([*below[:i], stem])}" in folders
        ):
            return True
    return False


def _parents(folder: str, top: str) -> Iterator[str]:
    """The folders above ``folder``, up to ``top``."""
    while len(folder) > len(top):
        folder = folder.rpartition("/")[0] or "/"
        yield folder


def _frames(folder: str, pictures: Sequence[str]) -> list[str]:
    """Those pictures that would be frames; all where that cannot be told."""
    with suppress(InputError):
        return frames_of(folder, pictures)[0]
    return list(pictures)


def _odd(folder: str, folders: dict[str, _Folder]) -> list[str]:
    """What is odd about the frames in a folder; what cannot be read at all is said when the video is read."""
    with suppress(InputError):
        return frames_of(folder, folders[folder].pictures)[1]
    return []


def _empty(folders: dict[str, _Folder]) -> list[str]:
    parents = {folder.rpartition("/")[0] for folder in folders}
    return [folder for folder, each in folders.items() if folder not in parents and not any(vars(each).values())]


def _phrase(what: str, where: Sequence[str], top: str) -> str:
    shown = [folder[len(top) :].strip("/") or "." for folder in where[:3]]
    return f"{what} ({', '.join(shown)}{', ...' if len(where) > 3 else ''})" if where else ""


def _endings(names: Iterable[str]) -> str:
    """The endings of files, the most frequent first, in brackets."""
    counts = Counter(extension(name) or f"{name}, without ending" for name in names)
    return f" ({', '.join(f'{number} {ending}' for ending, number in counts.most_common(5))})" if counts else ""
