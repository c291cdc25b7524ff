"""Per-frame labels of videos, 0 = normal, 1 = abnormal: one file per video in a folder, or one file of all videos.

Per video: ``NAME.npy``, ``NAME.txt`` or ``NAME.csv``; NAME is the video's name (``video.names.video_name``): "01", or
"scene/03" in a subfolder. A file holds one number per frame: an array, text with commas, blanks or line ends between
the numbers, or a table with a column ``label``.
Of all videos: a table with a column ``video`` too, an npz of one array per video, or the frames of all videos end to
end in the natural order of their names.
"""

import hashlib
import io
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ramvid_vad.errors import InputError
from ramvid_vad.runtime.remote import names_in, reaching
from ramvid_vad.runtime.text import is_prose
from ramvid_vad.video.files import is_folder, open_bytes
from ramvid_vad.video.finding import SYSTEM
from ramvid_vad.video.names import in_order, refuse_ambiguous, without_ending
from ramvid_vad.video.truth.number_tables import Numbers, read_numbers

EXTENSIONS = (".npy", ".txt", ".csv")
FLAT = (*EXTENSIONS, ".npz")


class Labels(NamedTuple):
    """values: uint8 (n_i,) per video.  sha256: of the label files' bytes, in the order of the videos.

    unused: names that have labels and no video (a partial copy of a data set has them).
    """

    values: list[np.ndarray]
    sha256: str
    unused: Sequence[str]


def is_label_file(path: str) -> bool:
    """Whether a file in a folder of labels can be one: not hidden, no system's companion, no README."""
    hidden = any(part.startswith(".") or part.lower() in SYSTEM for part in path.split("/")[-2:])
    if hidden or not path.lower().endswith(EXTENSIONS):
        return False
    return path.lower().endswith(".npy") or not is_prose(label_bytes(path))


def label_names(labels: str) -> list[str]:
    """Names of all videos that have labels in a folder or a file, in natural order; none where a file names none."""
    flat = flat_file(labels)
    return in_order(list(read_flat(flat).by_video if flat else _present(labels)))


def flat_file(labels: str, names: Sequence[str] = ()) -> str:
    """The one file with the labels of all videos: ``labels`` itself, or the only one in it if it is not named after
    one of ``names``; "" where there is a file for each video."""
    if not is_folder(labels):
        with reaching(labels) as blobfile:
            exists = blobfile.exists(labels)
        if exists and labels.lower().endswith(FLAT):
            return labels
        raise InputError(f"--labels {labels}: no such folder: give the folder with one label file per video, or a file")
    present = _present(labels)
    files = [file for several in present.values() for file in several]
    named = set(present) & set(names)
    if len(files) > 1 or named:
        return ""
    packed = [file for file in names_in(labels) if file.lower().endswith(".npz") and not file.startswith(".")]
    if not files and len(packed) == 1:
        return f"{labels.rstrip('/')}/{packed[0]}"
    path = f"{labels.rstrip('/')}/{files[0]}" if files else ""
    return path if path and (len(names) > 1 or read_flat(path).by_video) else ""


def read_flat(path: str) -> Numbers:
    """What a file of all videos holds, not yet checked. InputError: it cannot be read."""
    content = label_bytes(path)
    if path.lower().endswith((".txt", ".csv")):
        return read_numbers(content, path, "label")
    found = _load(content, path)
    if isinstance(found, dict):
        own = {key.removeprefix("labels/"): a for key, a in found.items() if key.startswith("labels/")}  # scores.npz
        return Numbers({without_ending(name): array for name, array in (own or found).items()}, np.zeros(0))
    return Numbers({}, found)


def read_labels(labels: str, names: Sequence[str], num_frames: Sequence[int] | None = None) -> Labels:
    """Labels of the videos ``names``, which have ``num_frames`` decoded frames each (None: not known).

    labels: folder or file, local or anything blobfile opens. InputError, naming the file and the counts: neither, no
    labels or two files for a video, a length that is not the number of frames, values other than 0 and 1; labels end to
    end that cannot be cut.
    """
    flat = flat_file(labels, names)
    lengths = list(num_frames or [None] * len(names))
    if flat:
        by_video = cut_labels(read_flat(flat), flat, names, lengths)
        for name in names:
            if name not in by_video:
                raise InputError(f"--labels {labels}: no labels of video {name!r} in it{_hint(list(by_video))}")
        values = [
            as_labels(by_video[name], f"{flat}: video {name!r}", n) for name, n in zip(names, lengths, strict=True)
        ]
        unused = [name for name in by_video if name not in set(names)]
        return Labels(values, hashlib.sha256(label_bytes(flat)).hexdigest(), in_order(unused))
    present = _present(labels)
    values, digest = [], hashlib.sha256()
    for name, n in zip(names, lengths, strict=True):
        files = present.get(name, [])
        if not files:
            wanted = f"looked for {name} + {', '.join(EXTENSIONS)}"
            raise InputError(f"--labels {labels}: no label file for video {name!r} ({wanted}){_hint(list(present))}")
        if len(files) > 1:
            raise InputError(f"--labels {labels}: video {name!r} has {' and '.join(files)}: keep one of them")
        path = f"{labels.rstrip('/')}/{files[0]}"
        content = label_bytes(path)
        values.append(parse_labels(content, path, n))
        digest.update(content)
    return Labels(values, digest.hexdigest(), in_order(list(present.keys() - set(names))))


def cut_labels(found: Numbers, path: str, names: Sequence[str], lengths: Sequence[int | None]) -> dict[str, np.ndarray]:
    """Labels per video of a file of all videos; end to end they are cut at ``lengths``. InputError: they do not fit."""
    if found.by_video:
        return found.by_video
    if len(names) == 1:
        return {names[0]: found.joined}
    refuse_ambiguous(names, path, "give one file per video, or a table with the columns video and label")
    known = [n for n in lengths if n is not None]
    total = f"{sum(known)} frames" if len(known) == len(names) else "frames that are not known"
    joined = np.ravel(found.joined)
    if len(known) != len(names) or sum(known) != len(joined):
        raise InputError(f"{path}: {len(joined)} labels end to end, but the {len(names)} videos have {total}")
    length_of = dict(zip(names, known, strict=True))
    ends = np.cumsum([length_of[name] for name in in_order(names)])[:-1]
    return dict(zip(in_order(names), np.split(joined, ends), strict=True))


def _hint(present: Sequence[str]) -> str:
    some = ", ".join(in_order(present)[:3]) + (", ..." if len(present) > 3 else "")
    return f"; there are labels of {some or 'no video'}; --only takes a part of the videos"


def _present(labels_dir: str) -> dict[str, list[str]]:
    """Video -> its label files in the folder, relative to it."""
    found: dict[str, list[str]] = {}
    with reaching(labels_dir) as blobfile:
        walked = list(blobfile.walk(labels_dir))
    for root, _, files in walked:
        for file in sorted(files):
            path = f"{root.rstrip('/')}/{file}"
            below = path[len(labels_dir.rstrip("/")) + 1 :]
            if not any(part.startswith(".") for part in below.split("/")) and is_label_file(path):
                found.setdefault(without_ending(os.path.splitext(below)[0]), []).append(below)
    return found


def label_bytes(path: str) -> bytes:
    """Content of a label file, local or remote. InputError: it cannot be read."""
    try:
        with open_bytes(path) as file:
            return file.read()
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror or error}); give access to it, repair the link or take it away"
        ) from None


def _load(content: bytes, path: str) -> np.ndarray | dict[str, np.ndarray]:
    """The array of an npy, or those of an npz. InputError: it cannot be read."""
    try:
        found = np.load(io.BytesIO(content), allow_pickle=False)
        return np.asarray(found, dtype=np.float64) if isinstance(found, np.ndarray) else dict(found)
    except Exception as error:  # a damaged file surfaces as any of a dozen types
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path}: cannot be read as labels, one 0 or 1 per frame ({reason})") from None


def parse_labels(content: bytes, path: str, num_frames: int | None = None) -> np.ndarray:
    """Content of the label file of one video -> uint8 (num_frames,) of 0 and 1. path: for its kind, and for messages.

    num_frames: of the video; None: not known, any number will do.
    """
    if path.lower().endswith(".npy"):
        numbers = _load(content, path)
        if isinstance(numbers, dict):
            raise InputError(f"{path}: cannot be read as labels: it is an npz by its content")
        return as_labels(numbers, path, num_frames)
    by_video, joined = read_numbers(content, path, "label")
    if len(by_video) > 1:
        raise InputError(f"{path}: labels of {len(by_video)} videos, but it is one of several files in its folder")
    return as_labels(next(iter(by_video.values()), joined), path, num_frames)


def as_labels(numbers: np.ndarray, where: str, num_frames: int | None = None) -> np.ndarray:
    """An array of one 0 or 1 per frame as uint8 (num_frames,). InputError: other shapes, numbers or values."""
    if numbers.size != max(numbers.shape, default=1):
        raise InputError(
            f"{where}: an array {numbers.shape} is not one label per frame (pixel masks are another matter)"
        )
    if numbers.dtype.kind not in "biuf":
        raise InputError(f"{where}: an array of {numbers.dtype}: labels are 0 (normal) or 1 (abnormal)")
    numbers = numbers.reshape(-1)
    if num_frames is not None and len(numbers) != num_frames:
        raise InputError(
            f"{where}: {len(numbers)} labels, but the video has {num_frames} frames: one per frame is needed"
        )
    wrong = ~np.isin(numbers, (0, 1))
    if wrong.any():
        frame = int(np.flatnonzero(wrong)[0])
        raise InputError(
            f"{where}: the label of frame {frame} is {numbers[frame]:g}: it must be 0 (normal) or 1 (abnormal)"
        )
    return numbers.astype(np.uint8)
