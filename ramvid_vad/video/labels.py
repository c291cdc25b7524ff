"""Per-frame labels of videos: a folder with one file per video, ``NAME.npy``, ``NAME.txt`` or ``NAME.csv``.

NAME is the video's name (``video.reader.video_name``): "01", or "scene/03" in a subfolder. A file holds one number per
frame, 0 = normal, 1 = abnormal: an array, or text with commas, blanks or line ends between the numbers.
"""

import hashlib
import io
import os
from collections.abc import Sequence
from typing import NamedTuple

import blobfile as bf
import numpy as np

from ramvid_vad.errors import InputError

EXTENSIONS = (".npy", ".txt", ".csv")


class Labels(NamedTuple):
    """values: uint8 (n_i,) per video.  sha256: of the label files' bytes, in the order of the videos.

    unused: label files in the folder that belong to no video (a partial copy of a data set has them).
    """

    values: list[np.ndarray]
    sha256: str
    unused: int


def label_names(labels_dir: str) -> list[str]:
    """Names of all videos that have a label file in the folder, sorted. InputError: no such folder."""
    return sorted({os.path.splitext(file)[0] for file in _present(labels_dir)})


def read_labels(labels_dir: str, names: Sequence[str], num_frames: Sequence[int] | None = None) -> Labels:
    """Labels of the videos ``names``, which have ``num_frames`` decoded frames each (None: not known).

    labels_dir: local or anything blobfile opens. InputError, naming the file and the counts: no folder, no file or
    two files for a video, a length that is not the number of frames, values other than 0 and 1.
    """
    present = _present(labels_dir)
    values, digest = [], hashlib.sha256()
    for name, n in zip(names, num_frames or [None] * len(names), strict=True):
        found = sorted(name + extension for extension in EXTENSIONS if name + extension in present)
        if not found:
            wanted = ", ".join(EXTENSIONS)
            raise InputError(f"--labels {labels_dir}: no label file for video {name!r} (looked for {name} + {wanted})")
        if len(found) > 1:
            raise InputError(f"--labels {labels_dir}: video {name!r} has {' and '.join(found)}: keep one of them")
        path = bf.join(labels_dir, found[0])
        with bf.BlobFile(path, "rb") as file:
            content = file.read()
        values.append(parse_labels(content, path, n))
        digest.update(content)
    return Labels(values, digest.hexdigest(), len(present) - len(values))


def _present(labels_dir: str) -> set[str]:
    """Label files in the folder, relative to it."""
    if not bf.isdir(labels_dir):
        raise InputError(f"--labels {labels_dir}: no such folder: give the folder with one label file per video")
    return {
        bf.join(root, file)[len(labels_dir.rstrip("/")) + 1 :]
        for root, _, files in bf.walk(labels_dir)
        for file in files
        if file.lower().endswith(EXTENSIONS)
    }


def parse_labels(content: bytes, path: str, num_frames: int | None = None) -> np.ndarray:
    """Content of one label file -> uint8 (num_frames,) of 0 and 1. path: for the kind of file, and for messages.

    num_frames: of the video; None: not known, any number will do.
    """
    try:
        if path.lower().endswith(".npy"):
            array = np.load(io.BytesIO(content), allow_pickle=False)
            numbers = np.asarray(array, dtype=np.float64)
        else:
            numbers = np.array(content.decode().replace(",", " ").split(), dtype=np.float64)
    except Exception as error:  # a damaged file surfaces as any of a dozen types
        raise InputError(
            f"{path}: cannot be read as labels, one 0 or 1 per frame ({' '.join(str(error).split())[:120]})"
        ) from None
    if numbers.size != max(numbers.shape, default=1):
        raise InputError(
            f"{path}: an array {numbers.shape} is not one label per frame (pixel masks are another matter)"
        )
    numbers = numbers.reshape(-1)
    if num_frames is not None and len(numbers) != num_frames:
        raise InputError(
            f"{path}: {len(numbers)} labels, but the video has {num_frames} frames: one per frame is needed"
        )
    wrong = ~np.isin(numbers, (0, 1))
    if wrong.any():
        frame = int(np.flatnonzero(wrong)[0])
        raise InputError(
            f"{path}: the label of frame {frame} is {numbers[frame]:g}: it must be 0 (normal) or 1 (abnormal)"
        )
    return numbers.astype(np.uint8)
