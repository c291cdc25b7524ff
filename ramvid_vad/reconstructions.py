"""Reconstructions on disk, one ``NAME.npz`` per video: written window by window, read row by row, checked.

An npz holds ``reconstructions`` uint8 (R,H,W,C) and, per row, ``frame`` (its true index), ``window`` and ``index``
(which window, which position in it); ``starts`` (W,), ``anchors`` bool (T,), ``times_masked`` (n,), ``num_frames``
and ``settings`` (JSON). Rows are ordered by window, then by position. ``reconstructions`` is not compressed, so that
rows can be read where they lie, whatever the length of the video; version 0.1 compressed it, and is read too.
Until a video is finished, its windows lie in a folder ``.parts/NAME`` beside it: no video's name begins with a dot.
"""

import json
import math
import os
import re
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from ramvid_vad.errors import InputError
from ramvid_vad.runtime.files import ARRAY_HEADERS, replacing
from ramvid_vad.video.rows import Rows
from ramvid_vad.video.windows import covering_starts, masked_rows, times_masked

REAL_FRAMES = ("image_size", "rgb", "keep_aspect")
"""Settings without which no file can be read: how the real frames were."""

ROWS = ("frame", "window", "index")
PARTS = ".parts"
WINDOWS_AT_ONCE = 256  # of the tables of a file that is being written
OTHER_RESULTS = re.compile(r"scores|(samples|gt)_[0-9x]+")
"""Files of evaluations and of RaMViD's samples, which may share the folder."""


@dataclass(frozen=True)
class Reconstruction:
    """The generated frames of one video.

    frames: uint8 (R, H, W, C), which stay on disk until rows of them are asked for.
    frame, window, index: (R,) true frame of each row, its window and its position there.
    starts: (W,) first frame of each window, may be negative.  anchors: bool (T,), True = given.
    """

    frames: np.ndarray | Rows
    frame: np.ndarray
    window: np.ndarray
    index: np.ndarray
    starts: np.ndarray
    anchors: np.ndarray
    num_frames: int
    settings: dict[str, Any]


def find_reconstructions(folder: str, names: Sequence[str], partial: bool = False) -> dict[str, str]:
    """Path of each video's file. InputError: a video without one, or, unless ``partial``, a file without a video."""
    if not os.path.isdir(folder):
        raise InputError(f"--reconstructions {folder}: no such folder: give the --out_dir of video_sample.py")
    present = {_name(path, folder): path for path in _files(folder)}
    lacking = [name for name in names if name not in present]
    if lacking:
        unfinished = os.path.isdir(os.path.join(folder, PARTS))
        remedy = "it is unfinished: run video_sample.py again" if unfinished else "infill that video too"
        raise InputError(f"--reconstructions {folder}: no {lacking[0]}.npz for video {lacking[0]!r}: {remedy}")
    known = set(names)
    strange = sorted(name for name in present if name not in known and not OTHER_RESULTS.fullmatch(name))
    if strange and not partial:
        raise InputError(
            f"--reconstructions {folder}: {strange[0]}.npz belongs to no video of --data_dir: "
            "give the videos that were infilled"
        )
    return {name: present[name] for name in names}


def load_reconstruction(path: str, *, frames: bool = True) -> Reconstruction:
    """One file, checked. frames=False leaves the frames out, shape (R, 0): quick, for settings and counts."""
    try:
        _refuse_bombs(path)
        with ARRAY_HEADERS, np.load(path, allow_pickle=False) as file:
            fields = {name: file[name] for name in (*ROWS, "starts", "anchors")}
            num_frames, settings = int(file["num_frames"]), json.loads(str(file["settings"]))
        images = _open_frames(path) if frames else np.zeros((len(fields["frame"]), 0), np.uint8)
    except Exception as error:  # a damaged file surfaces as any of a dozen types
        raise InputError(f"{path}: not a reconstruction written by video_sample.py ({reason(error)})") from None
    loaded = Reconstruction(images, num_frames=num_frames, settings=settings, **fields)
    wrong = _wrong(loaded, frames)
    if wrong:
        raise InputError(f"{path}: not a reconstruction written by video_sample.py ({wrong})")
    return loaded


def reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def is_reconstruction(path: str) -> bool:
    """Whether there is a file with generated frames in it, whole or not."""
    try:
        with zipfile.ZipFile(path) as archive:
            return "reconstructions.npy" in archive.namelist()
    except Exception:  # no file, or a damaged one: any of a dozen types
        return False


def _refuse_bombs(path: str) -> None:
    """ValueError: the tables claim more bytes than so many frames need: they would be unpacked into memory."""
    with zipfile.ZipFile(path) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
    frames = sizes.pop("reconstructions.npy")
    if sum(sizes.values()) > 64 * frames + 1_000_000:
        raise ValueError(f"tables of {sum(sizes.values())} bytes for frames of {frames}")


def _open_frames(path: str) -> Rows:
    """The member ``reconstructions``, read through once to compare its checksum; a compressed one is copied to a
    temporary file on the way."""
    with zipfile.ZipFile(path) as archive, archive.open("reconstructions.npy") as member:
        info = archive.getinfo("reconstructions.npy")
        version = np.lib.format.read_magic(member)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        with ARRAY_HEADERS:
            shape, fortran_order, dtype = read_header(member)
        header = member.tell()
        if dtype != np.uint8 or fortran_order or header + math.prod(shape) != info.file_size:
            raise ValueError(f"reconstructions are {dtype} {shape} in {info.file_size - header} bytes")
        if info.compress_type == zipfile.ZIP_STORED:
            file = open(path, "rb")  # noqa: SIM115 - closed with the rows
            file.seek(info.header_offset + 26)  # the local header: lengths of the name and of the extra field
            first = info.header_offset + 30 + sum(struct.unpack("<HH", file.read(4))) + header
            while member.read(1 << 20):
                pass
        else:
            file, first = tempfile.TemporaryFile(), 0  # noqa: SIM115
            shutil.copyfileobj(member, file, 1 << 20)
    return Rows(file, first, shape)


def write_reconstruction(
    path: str,
    windows: Iterable[np.ndarray],
    starts: Sequence[int],
    anchors: np.ndarray,
    num_frames: int,
    settings: dict[str, Any],
) -> None:
    """Write one file, whole or not at all; nothing as large as the video is held. InputError: it cannot be written.

    windows: per start, in order, the frames that are scored, uint8 (k, H, W, C).
    """
    masked = times_masked(num_frames, starts, anchors)
    rows = int(masked.sum())

    def table(column: int) -> Iterator[np.ndarray]:
        for first in range(0, len(starts), WINDOWS_AT_ONCE):
            part = masked_rows(num_frames, starts[first : first + WINDOWS_AT_ONCE], anchors)[column]
            yield (part + first if column == 0 else part).astype(np.int32)

    def write(temporary: str) -> None:
        with zipfile.ZipFile(temporary, "w") as archive:
            frames = iter(windows)
            some = next(frames)
            _write_array(archive, "reconstructions", chain([some], frames), (rows, *some.shape[1:]), compressed=False)
            for column, name in ((2, "frame"), (0, "window"), (1, "index")):
                _write_array(archive, name, table(column), (rows,))
            small = {"starts": np.array(starts, np.int32), "anchors": anchors}
            small |= {"times_masked": masked.astype(np.int32), "num_frames": np.array(num_frames)}
            small["settings"] = np.array(json.dumps(settings, sort_keys=True))
            for name, array in small.items():
                _write_array(archive, name, [array], array.shape)

    write_whole(path, write)


def _write_array(
    archive: zipfile.ZipFile, name: str, parts: Iterable[np.ndarray], shape: tuple[int, ...], compressed: bool = True
) -> None:
    """One array, given in parts that follow each other, as ``np.savez`` would write it."""
    info = zipfile.ZipInfo(name + ".npy")
    info.compress_type = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    left = math.prod(shape)
    with archive.open(info, "w", force_zip64=True) as member:
        for number, part in enumerate(parts):
            if number == 0:
                what = {"descr": np.lib.format.dtype_to_descr(part.dtype), "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(member, what)
            member.write(part.tobytes())
            left -= part.size
    assert left == 0, f"{name}: parts that do not make {shape}"


def write_whole(path: str, write: Callable[[str], None]) -> None:
    """write: writes the file under the temporary name that it is given. InputError: it cannot be written."""
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with replacing(path) as temporary:
            write(temporary)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}): free some space, then run again") from None


def common_settings(paths: dict[str, str]) -> tuple[dict[str, Any], list[int]]:
    """The settings that all files share, and each video's number of frames. InputError: files of different runs."""
    shared: dict[str, Any] = {}
    first = ""
    lengths = []
    for name, path in paths.items():
        loaded = load_reconstruction(path, frames=False)
        lengths.append(loaded.num_frames)
        if not first:
            first, shared = name, loaded.settings
        if different := first_difference(loaded.settings, shared):
            key, here, there = different
            raise InputError(
                f"{path}: made with {key} {here!r}, but {first}.npz with {there!r}: "
                "the files of a folder must come from one run"
            )
    return {key: value for key, value in shared.items() if key != "video"}, lengths


def first_difference(a: dict[str, Any], b: dict[str, Any]) -> tuple[str, Any, Any] | None:
    """The first setting, but for the video, in which two files differ: (name, value in a, in b); None: in none.

    Settings within settings are named like ``model_options.num_channels``; one that is not there counts as None.
    """
    for key in sorted((a.keys() | b.keys()) - {"video"}):
        one, other = a.get(key), b.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            if inner := first_difference(one, other):
                return f"{key}.{inner[0]}", inner[1], inner[2]
        elif one != other:
            return key, one, other
    return None


def windows_alone(num_frames: int, anchors: np.ndarray, stride: int) -> Reconstruction:
    """The regular windows of a video with nothing generated, frames (R, 0): what a blend of the anchors needs."""
    starts = covering_starts(num_frames, len(anchors), stride, anchors, extra=False)
    window, index, frame = masked_rows(num_frames, starts, anchors)
    return Reconstruction(
        np.zeros((len(frame), 0), np.uint8), frame, window, index, np.array(starts), anchors, num_frames, settings={}
    )


def _files(folder: str) -> Iterator[str]:
    for root, below, files in os.walk(folder):
        below.sort()
        if root == folder and PARTS in below:  # windows of videos that video_sample.py has not finished
            below.remove(PARTS)
        yield from (os.path.join(root, file) for file in sorted(files) if file.endswith(".npz"))


def _name(path: str, folder: str) -> str:
    return os.path.relpath(path, folder)[: -len(".npz")].replace(os.sep, "/")


def _wrong(r: Reconstruction, frames: bool) -> str:
    """What does not fit together, or ""."""
    rows = len(r.frame)
    if frames and (len(r.frames.shape) != 4 or len(r.frames) != rows or min(r.frames.shape[1:]) < 1):
        return f"reconstructions are uint8 {r.frames.shape}, expected ({rows}, H, W, C)"
    if any(getattr(r, name).shape != (rows,) or getattr(r, name).dtype.kind not in "iu" for name in ROWS):
        return "frame, window and index must be whole numbers, one per reconstruction"
    if not rows:
        return "no reconstruction in it"
    if r.frame.min() < 0 or r.frame.max() >= r.num_frames:
        return f"frames {r.frame.min()} to {r.frame.max()} of a video of {r.num_frames}"
    if r.anchors.ndim != 1 or r.anchors.dtype != bool or r.starts.ndim != 1:
        return "anchors must be a row of booleans and starts a row of numbers"
    if not 0 <= r.window.min() <= r.window.max() < len(r.starts):
        return "a window without a start"
    if not 0 <= r.index.min() <= r.index.max() < len(r.anchors):
        return "a position outside the window"
    if r.anchors[r.index].any():
        return "a given frame among the generated ones"
    if (r.starts[r.window] + r.index != r.frame).any():
        return "frame is not start + index"
    if not isinstance(r.settings, dict) or any(key not in r.settings for key in REAL_FRAMES):
        return f"settings without {', '.join(REAL_FRAMES)}"
    return ""
