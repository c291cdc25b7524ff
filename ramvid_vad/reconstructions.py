"""Reading a folder of reconstructions, one ``NAME.npz`` per video, and checking that it is whole and of one run."""

import json
import os
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ramvid_vad.errors import InputError
from ramvid_vad.video.windows import covering_starts, masked_rows

ONE_RUN = ("image_size", "rgb", "keep_aspect", "seq_len", "stride", "sampler", "timestep_respacing", "seed", "model")
"""Settings that all files of a folder must share; the first three say how the real frames were read."""

ROWS = ("frame", "window", "index")
OTHER_RESULTS = re.compile(r"scores|(samples|gt)_[0-9x]+")
"""Files of evaluations and of RaMViD's samples, which may share the folder."""


@dataclass(frozen=True)
class Reconstruction:
    """The generated frames of one video.

    frames: uint8 (R, H, W, C).  frame, window, index: (R,) true frame of each row, its window and its position there.
    starts: (W,) first frame of each window, may be negative.  anchors: bool (T,), True = given.
    """

    frames: np.ndarray
    frame: np.ndarray
    window: np.ndarray
    index: np.ndarray
    starts: np.ndarray
    anchors: np.ndarray
    num_frames: int
    settings: dict[str, Any]


def find_reconstructions(folder: str, names: Sequence[str]) -> dict[str, str]:
    """Path of each video's file. InputError: a video without one, or a file without a video."""
    if not os.path.isdir(folder):
        raise InputError(f"--reconstructions {folder}: no such folder: give the --out_dir of video_sample.py")
    present = {_name(path, folder): path for path in _files(folder)}
    lacking = [name for name in names if name not in present]
    if lacking:
        unfinished = os.path.isdir(os.path.join(folder, "parts"))
        remedy = "it is unfinished: run video_sample.py again" if unfinished else "infill that video too"
        raise InputError(f"--reconstructions {folder}: no {lacking[0]}.npz for video {lacking[0]!r}: {remedy}")
    known = set(names)
    strange = sorted(name for name in present if name not in known and not OTHER_RESULTS.fullmatch(name))
    if strange:
        raise InputError(
            f"--reconstructions {folder}: {strange[0]}.npz belongs to no video of --data_dir: "
            "give the videos that were infilled"
        )
    return {name: present[name] for name in names}


def load_reconstruction(path: str, *, frames: bool = True) -> Reconstruction:
    """One file, checked. frames=False leaves the frames out, shape (R, 0): quick, for settings and counts."""
    try:
        with np.load(path, allow_pickle=False) as file:
            fields = {name: file[name] for name in (*ROWS, "starts", "anchors")}
            images = file["reconstructions"] if frames else np.zeros((len(fields["frame"]), 0), np.uint8)
            num_frames, settings = int(file["num_frames"]), json.loads(str(file["settings"]))
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path}: not a reconstruction written by video_sample.py ({error})") from None
    loaded = Reconstruction(images, num_frames=num_frames, settings=settings, **fields)
    wrong = _wrong(loaded, frames)
    if wrong:
        raise InputError(f"{path}: not a reconstruction written by video_sample.py ({wrong})")
    return loaded


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
        for key in ONE_RUN:
            if loaded.settings.get(key) != shared.get(key):
                raise InputError(
                    f"{path}: made with {key} {loaded.settings.get(key)!r}, but {first}.npz with {shared.get(key)!r}: "
                    "the files of a folder must come from one run"
                )
    return {key: value for key, value in shared.items() if key != "video"}, lengths


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
        if root == folder and "parts" in below:  # windows of videos that video_sample.py has not finished
            below.remove("parts")
        yield from (os.path.join(root, file) for file in sorted(files) if file.endswith(".npz"))


def _name(path: str, folder: str) -> str:
    return os.path.relpath(path, folder)[: -len(".npz")].replace(os.sep, "/")


def _wrong(r: Reconstruction, frames: bool) -> str:
    """What does not fit together, or ""."""
    rows = len(r.frame)
    if frames and (r.frames.dtype != np.uint8 or r.frames.ndim != 4 or len(r.frames) != rows):
        return f"reconstructions are {r.frames.dtype} {r.frames.shape}, expected uint8 ({rows}, H, W, C)"
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
    if not isinstance(r.settings, dict) or any(key not in r.settings for key in ONE_RUN[:3]):
        return f"settings without {', '.join(ONE_RUN[:3])}"
    return ""
