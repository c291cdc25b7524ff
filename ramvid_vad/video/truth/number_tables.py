"""Text with one number per frame: a plain list, or a table with a column of numbers beside ``video`` and ``frame``."""

import csv
import io
import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ramvid_vad.errors import InputError
from ramvid_vad.runtime.text import decode_text, from_csv_cell, is_number
from ramvid_vad.video.names import without_ending

csv.field_size_limit(sys.maxsize)  # numbers between blanks are one field for csv, however many they are
# headings of each column, without case, blanks, - and _; the first that a table has is taken
HEADINGS = {
    "video": ("video", "videos", "videoname", "videofile", "file", "filename", "clip", "name"),
    "frame": ("frame", "frames", "frameno", "framenumber", "frameindex", "frameid"),
    "score": ("score", "scores", "anomalyscore", "anomalyscores"),
    "label": ("label", "labels", "gt", "groundtruth", "anomaly", "abnormal", "isanomaly", "isabnormal"),
}


class Numbers(NamedTuple):
    """by_video: video -> float64 (n,).  joined: float64 (n,), where the text does not name videos. One is empty."""

    by_video: dict[str, np.ndarray]
    joined: np.ndarray


def read_numbers(content: bytes, path: str, wanted: str) -> Numbers:
    """Text -> numbers per frame. path: for messages.  wanted: the column, "score" or "label".

    Columns stand in any order, their headings in any case, between commas, semicolons or tabs. Frames run from 0 or 1
    without a gap; without that column the order of the lines is theirs. InputError: anything else.
    """
    try:
        text = decode_text(content)
        separator = next((each for each in "\t;" if each in text.partition("\n")[0]), ",")
        lines = [line for line in csv.reader(io.StringIO(text), delimiter=separator) if any(map(str.strip, line))]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as text with one number per frame ({_line(error)})") from None
    heading = ["".join(c for c in cell.casefold() if c not in " _-") for cell in lines[0]] if lines else []
    at = {
        kind: heading.index(next(each for each in known if each in heading))
        for kind, known in HEADINGS.items()
        if not set(known).isdisjoint(heading)
    }
    if wanted not in at:
        if len(at) > 1 or (at and not any(map(is_number, lines[0]))):
            raise InputError(f"{path}: its columns are {', '.join(lines[0])}: one called {wanted} is needed")
        if separator == ";":  # the decimal sign is a comma where columns are not
            lines = [[cell.replace(",", ".") for cell in line] for line in lines]
        return Numbers({}, _floats([word for line in lines for cell in line for word in cell.split()], path, wanted))
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(heading):
            raise InputError(f"{path}: line {number} has {len(line)} columns, the heading {len(heading)}")
    rows: dict[str, list[list[str]]] = {}
    for line in lines[1:]:
        rows.setdefault(_video(line[at["video"]]) if "video" in at else "", []).append(line)
    by_video = {}
    for video, part in rows.items():
        where = f"{path}: video {video!r}" if video else path
        cells = {kind: [line[at[kind]] for line in part] for kind in ("frame", wanted) if kind in at}
        if separator == ";":
            cells = {kind: [cell.replace(",", ".") for cell in column] for kind, column in cells.items()}
        by_video[video] = _floats(cells[wanted], where, wanted)
        if "frame" in cells:
            by_video[video] = _by_frame(by_video[video], _floats(cells["frame"], where, wanted), where)
    return Numbers(by_video, _NONE) if "video" in at else Numbers({}, by_video.get("", _NONE))


_NONE = np.zeros(0)


def _video(cell: str) -> str:
    """The video that a cell names: its path with either slash, with or without the ending of its file."""
    return without_ending(from_csv_cell(cell.strip()).replace("\\", "/"))


def _by_frame(values: np.ndarray, frames: np.ndarray, where: str) -> np.ndarray:
    """Values sorted by frame number, which must run from 0 or 1 without a gap."""
    order = np.argsort(frames, kind="stable")
    first = frames[order[0]]
    wrong = np.flatnonzero(frames[order] != first + np.arange(len(frames)))
    if first not in (0, 1):
        raise InputError(
            f"{where}: frames begin at {first:g}: number them from 0 or from 1, see --trim for absent ones"
        )
    if len(wrong):
        raise InputError(
            f"{where}: frame {first + wrong[0]:g} is missing or there twice: one number per frame is needed"
        )
    return values[order]


def _floats(words: Sequence[str], where: str, wanted: str) -> np.ndarray:
    try:
        return np.array(words, dtype=np.float64)
    except ValueError as error:
        raise InputError(
            f"{where}: {_line(error)}: one number per frame is needed, or a heading video,{wanted}"
        ) from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:120]
