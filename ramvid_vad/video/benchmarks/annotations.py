"""Readers of the label, mask and track files in which the benchmarks are published. Nothing here unpickles anything."""

import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from ramvid_vad.errors import InputError
from ramvid_vad.video.benchmarks.matlab import read_variable
from ramvid_vad.video.benchmarks.model import Labels, Size
from ramvid_vad.video.decoding.pictures import read_samples
from ramvid_vad.video.files import list_frames
from ramvid_vad.video.names import refuse_ambiguous
from ramvid_vad.video.truth.labels import as_labels

Ranges = list[tuple[int, int]]
"""First and last abnormal frame, both counted from 1 and both included."""

MAX_SIZE_DIFFERENCE = 16


def load_array(path: str | Path) -> np.ndarray:
    """An .npy array; pickled objects are refused."""
    try:
        return np.load(path, allow_pickle=False)
    except Exception as error:  # a damaged file surfaces as any of a dozen types
        raise InputError(f"{path}: not a plain NumPy array ({str(error)[:120]})") from None


def load_matlab(path: str | Path, variable: str) -> np.ndarray:
    """One variable of a MATLAB file (version 5 to 7): numbers, or cells of numbers (an array of type object)."""
    try:
        return read_variable(Path(path).read_bytes(), variable)
    except KeyError:
        raise InputError(f"{path}: no variable {variable!r} in it") from None
    except (ValueError, zlib.error) as error:
        raise InputError(f"{path}: not a MATLAB file that can be read ({error})") from None


def ucsd_ranges(path: str | Path) -> list[Ranges]:
    """UCSDped1.m, UCSDped2.m: one ``TestVideoFile{end+1}.gt_frame = [5:90, 140:200];`` per test video, in order."""
    text = re.sub(r"%[^\n]*", "", Path(path).read_text(encoding="utf-8", errors="replace"))
    videos = []
    for body in re.findall(r"gt_frame\s*=\s*\[([^\]]*)\]", text):
        ranges = []
        for part in filter(None, re.split(r"[,;\s]+", re.sub(r"\s*:\s*", ":", body.strip()))):
            ends = re.fullmatch(r"(\d+)(?::(\d+))?", part)
            if not ends:
                raise InputError(f"{path}: {part[:80]!r} in video {len(videos) + 1} is not a range of frames")
            ranges.append((int(ends[1]), int(ends[2] or ends[1])))
        videos.append(ranges)
    if not videos:
        raise InputError(f"{path}: no gt_frame line in it")
    return videos


def matlab_ranges(path: str | Path) -> list[Ranges]:
    """ped1.mat, ped2.mat, avenue.mat of Liu et al. (CVPR 2018): cell ``gt`` of 2 x K starts and ends per test video."""
    cells = load_matlab(path, "gt")
    cells = list(cells.reshape(-1)) if cells.dtype == object else [cells]
    videos = []
    for number, cell in enumerate(cells, 1):
        ends = np.asarray(cell)
        if ends.size and (ends.dtype.kind not in "iuf" or ends.reshape(ends.shape[0], -1).shape[0] != 2):
            raise InputError(f"{path}: video {number} of 'gt' has shape {ends.shape}; expected 2 x K starts and ends")
        if not np.isfinite(ends).all():
            raise InputError(f"{path}: video {number} of 'gt' has a start or end that is no number")
        starts, stops = ends.reshape(2, -1) if ends.size else ((), ())
        videos.append([(int(a), int(b)) for a, b in zip(starts, stops, strict=True)])
    return videos


def labels_from_ranges(
    ranges: Sequence[Ranges], names: Sequence[str], lengths: Mapping[str, int], where: object
) -> Labels:
    """Labels of the videos whose length is known; ``ranges`` has one entry per name, in order."""
    if len(ranges) != len(names):
        raise InputError(f"{where}: labels of {len(ranges)} videos, but there are {len(names)} test videos")
    labels = {}
    for name, spans in zip(names, ranges, strict=True):
        if name not in lengths:
            continue
        labels[name] = np.zeros(lengths[name], np.uint8)
        for first, last in spans:
            if not 1 <= first <= last <= lengths[name]:
                raise InputError(
                    f"{where}: frames {first} to {last} are abnormal in video {name}, which has {lengths[name]} frames"
                )
            labels[name][first - 1 : last] = 1
    return labels


def labels_from_concatenation(path: str | Path, names: Sequence[str], lengths: Mapping[str, int]) -> Labels:
    """One array with the frames of all test videos end to end, as frame_labels_ped2.npy of Park et al. (CVPR 2020)."""
    values = as_labels(load_array(path), str(path))
    unknown = [name for name in names if name not in lengths]
    if unknown:
        raise InputError(f"{path}: cannot be cut into videos, the length of video {unknown[0]} is not known")
    refuse_ambiguous(names, str(path), "cut it into one file per video")
    total = sum(lengths[name] for name in names)
    if len(values) != total:
        raise InputError(f"{path}: {len(values)} labels, but the {len(names)} test videos have {total} frames")
    ends = np.cumsum([lengths[name] for name in names])[:-1]
    return dict(zip(names, np.split(values, ends), strict=True))


def avenue_volume(path: str | Path) -> Iterator[np.ndarray]:
    """N_label.mat of the Avenue ground truth: cell ``volLabel`` of one mask (H, W) per frame."""
    for mask in load_matlab(path, "volLabel").reshape(-1):
        yield mask != 0


def array_masks(path: str | Path) -> Iterator[np.ndarray]:
    """.npy of masks (frames, H, W), as in ShanghaiTech's test_pixel_mask."""
    masks = load_array(path)
    if masks.ndim != 3 or masks.dtype.kind not in "biuf":
        raise InputError(f"{path}: masks have shape {masks.shape}; expected (frames, height, width)")
    yield from (mask != 0 for mask in masks)


def picture_masks(folder: str | Path) -> Iterator[np.ndarray]:
    """A folder of mask pictures, one per frame, as TestNNN_gt of UCSD: everything that is not black is abnormal."""
    for name in list_frames(str(folder)):
        yield read_picture(Path(folder) / name) != 0


def read_picture(path: str | Path) -> np.ndarray:
    """A picture of a mask or of object numbers as grey integers (H, W), upright as the frames are."""
    return read_samples(str(path), rgb=False)[..., 0]


def ubnormal_tracks(path: str | Path) -> list[tuple[int, int, int]]:
    """NAME_tracks.txt of UBnormal: lines ``object,first,last``, frames counted from 0, both ends included."""
    rows = []
    for line in Path(path).read_text(encoding="utf-8", errors="replace").splitlines():
        parts = line.replace(",", " ").split()
        if not parts:
            continue
        try:
            track, first, last = (int(float(part)) for part in parts)
        except (ValueError, OverflowError):
            raise InputError(f"{path}: {line[:80]!r} is not 'object,first frame,last frame'") from None
        if first < 0 or last < first:
            raise InputError(f"{path}: frames {first} to {last} are not a range")
        rows.append((track, first, last))
    if not rows:
        raise InputError(f"{path}: no track in it, and yet the video is said to be abnormal")
    return rows


def fit_mask(mask: np.ndarray, size: Size, where: object) -> np.ndarray:
    """A mask, cut or filled with 0 at its right and lower edge by a few pixels to the frame size (UBnormal's maps)."""
    if max(abs(a - b) for a, b in zip(mask.shape, size, strict=True)) > MAX_SIZE_DIFFERENCE:
        raise InputError(f"{where}: a mask of {mask.shape} for frames of {size} (height, width)")
    fitted = np.zeros(size, mask.dtype)
    height, width = (min(a, b) for a, b in zip(mask.shape, size, strict=True))
    fitted[:height, :width] = mask[:height, :width]
    return fitted
