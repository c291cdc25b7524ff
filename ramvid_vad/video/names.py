"""What names say: which files are videos and pictures, the one order of names, and which pictures are the frames."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from decimal import Decimal

from ramvid_vad.errors import InputError
from ramvid_vad.runtime.text import plain_name

_VIDEO = (
    "mp4 m4v mov qt 3gp 3g2 f4v avi divx xvid mkv webm gif mpg mpeg mpe m1v m2v m2p vob ts m2ts mts m2t trp wmv asf "
    "flv ogv ogg ogm dav mxf ivf y4m dv nut wtv rm rmvb h264 264 avc h265 265 hevc mjpeg mjpg"
)
VIDEO_EXTENSIONS = frozenset(f".{ending}" for ending in _VIDEO.split())
_PICTURE = "jpg jpeg jpe jfif png tif tiff bmp dib webp ppm pgm pnm pbm jp2 j2k"
IMAGE_EXTENSIONS = frozenset(f".{ending}" for ending in _PICTURE.split())
KINDS = (
    "video files (mp4 avi mkv mov webm ts wmv mpg ...) or folders of frames (jpg png tif bmp webp ...); docs/data.md "
    "lists all endings"
)


def extension(name: str) -> str:
    """The ending of a file's name, ".mp4", in lower case."""
    return os.path.splitext(name)[1].lower()


def natural_key(name: str) -> tuple:
    """Sort key that puts frame2 before frame10, and the files of a folder together; no two names are equal in it."""
    parts = [re.split(r"(\d+)", part.casefold()) for part in name.split("/")]
    return (*(tuple(int(run) if i % 2 else run for i, run in enumerate(part)) for part in parts), (name,))


def in_order(names: Sequence[str]) -> list[str]:
    """Names of videos in the one order of this package: that of a human reader, 2 before 10."""
    return sorted(names, key=natural_key)


def refuse_ambiguous(names: Sequence[str], where: str, remedy: str) -> None:
    """InputError where numbers of all videos end to end could stand in several orders of their names.

    The orders are those in which people and programs join files: naturally, by sorted(), with or without the endings of
    the files, folder by folder.
    """
    natural = in_order(names)
    for other in (
        sorted(names),
        sorted(names, key=lambda name: f"{name}.x"),
        sorted(names, key=lambda name: name.split("/")),
    ):
        if other != natural:
            at = next(i for i, name in enumerate(natural) if name != other[i])
            raise InputError(
                f"{where}: holds all videos end to end, but in which order? Number {at + 1} is {natural[at]!r} as "
                f"people sort and {other[at]!r} as programs do: {remedy}"
            )


def video_name(path: str, data_dir: str) -> str:
    """The path below ``data_dir`` without its extension, with forward slashes: "01", "scene/03".

    Labels and results are matched to videos by this name. A data_dir that is itself the video (a file, a folder of
    frames) gives its own last part. Bytes that cannot be shown are %XX (``runtime.text.plain_name``).
    """
    top = data_dir.rstrip("/")
    below = path.rstrip("/")
    below = below[len(top) + 1 :] if below.startswith(top + "/") else os.path.basename(below)
    return without_ending(below)


def without_ending(name: str) -> str:
    """A video's name from that of its file, as plain text: "01" from "01.mp4", "01" or, in a table, "01 "."""
    stem, ending = os.path.splitext(name)
    return plain_name(stem if ending.lower() in VIDEO_EXTENSIONS and os.path.basename(stem) else name)


def frames_of(folder: str, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The pictures ``names`` of a folder -> those that are frames, in natural order, and what is odd, a phrase each.

    Pictures numbered alike (000.jpg, 001.jpg, ... or cam1_000.png, ...) are the frames; others beside them, as
    preview.jpg, ``005 (1).jpg`` or 000_mask.png, are passed over. Where no quarter of them is numbered alike, all are
    frames. InputError: no picture, a frame that is there twice, two numberings, negative numbers, or decimal ones
    whose order depends on how they are read.
    """
    if not names:
        raise InputError(f"{folder}: a folder without pictures; give {KINDS}")
    patterns: defaultdict[str, list[str]] = defaultdict(list)
    for name in in_order(names):
        patterns[re.sub(r"\d+", "#", _stem(name))].append(name)
    main = max(patterns, key=lambda pattern: ("#" in pattern, len(patterns[pattern]), -len(pattern)))
    frames = patterns.pop(main)
    if "#" not in main or len(frames) == 1 or 4 * len(frames) < len(names):
        everything = in_order(names)
        _refuse_twins(folder, everything, _stem)
        odd = [f"not numbered alike, taken in order of name ({_few(everything)})"] if len(names) > 1 else []
        return everything, odd
    stems = {_stem(name) for name in frames}
    numbered = re.compile(re.escape(main).replace(r"\#", r"\d+"))
    passed_over = []
    for pattern, others in patterns.items():
        if pattern.replace("-#", "#") == main or pattern == main.replace("-#", "#"):
            raise InputError(f"{folder}: negative numbers beside others ({others[0]}, {frames[0]}); number from 0")
        beside = pattern.startswith(main) and all(numbered.match(_stem(name))[0] in stems for name in others)
        copies = beside or re.fullmatch(r"(copy|kopie|copie|copia) \w+ " + re.escape(main), pattern)
        if "#" in pattern and len(others) > 1 and not copies:
            raise InputError(
                f"{folder}: two numberings, {len(frames)} pictures as {frames[0]} and {len(others)} as {others[0]}; "
                "keep those that are the video"
            )
        passed_over += others
    _refuse_twins(folder, frames, _numbers)
    if "#.#" in main.replace("#.#.#", "") and frames != sorted(frames, key=_decimals):
        first = next(a for a, b in zip(frames, sorted(frames, key=_decimals), strict=True) if a != b)
        raise InputError(
            f"{folder}: as decimal numbers its pictures have another order than as 1.2 before 1.10 (from {first} on); "
            "give all numbers equally many decimals"
        )
    odd = [f"{len(passed_over)} pictures that are no frame passed over ({_few(passed_over)})"] if passed_over else []
    return frames, odd + _gaps(frames)


def _stem(name: str) -> str:
    return os.path.splitext(name)[0].casefold()


def _numbers(name: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", _stem(name))))


def _decimals(name: str) -> list[Decimal | str]:
    return [Decimal(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d+(?:\.\d+)?)", _stem(name)))]


def _refuse_twins(folder: str, frames: Sequence[str], key: Callable[[str], object]) -> None:
    seen: dict[object, str] = {}
    for name in frames:
        twin = seen.setdefault(key(name), name)
        if twin != name:
            raise InputError(f"{folder}: {twin} and {name} are both the same frame; keep one of them")


def _gaps(frames: Sequence[str]) -> list[str]:
    """Numbers missing from a regular numbering (every number, or every k-th), in words."""
    rows = [_numbers(name) for name in frames]
    columns = [column for column in zip(*rows, strict=True) if len(set(column)) > 1]
    if len(columns) != 1 or len(frames) < 3:
        return []
    steps = [b - a for a, b in zip(columns[0], columns[0][1:], strict=False)]
    step, usual = Counter(steps).most_common(1)[0]
    wide = [i for i, each in enumerate(steps) if each > step and each % step == 0]
    if 2 * usual < len(steps) or not wide:
        return []
    missing = sum(steps[i] // step - 1 for i in wide)
    return [f"{missing} numbers missing between its frames, the first after {frames[wide[0]]}"]


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
