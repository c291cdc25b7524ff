"""Layouts that all data sets share: frames as converted for Liu et al. (CVPR 2018), and this project's standard one."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ramvid_vad.errors import InputError
from ramvid_vad.video.benchmarks import annotations
from ramvid_vad.video.benchmarks.model import Benchmark, Found, Labels, LabelSource, MaskReader
from ramvid_vad.video.benchmarks.tree import Tree
from ramvid_vad.video.names import in_order
from ramvid_vad.video.truth.labels import is_label_file, label_bytes, parse_labels
from ramvid_vad.video.truth.masks import load_masks, load_tracks

# The first that exists is taken; original videos before frames that someone extracted from them.
SPLITS = {
    "training": ("training/videos", "training_videos", "training/frames", "train/frames", "training", "train"),
    "testing": ("testing/videos", "testing_videos", "testing/frames", "test/frames", "testing", "test"),
}


def find_common(benchmark: Benchmark, tree: Tree) -> Found:
    """Videos, labels, masks and tracks in the shared layouts; whatever is absent stays empty."""
    folders = {split: tree.folder(*patterns) for split, patterns in SPLITS.items()}
    training, testing = (standard_names(benchmark, tree.videos(folders[split])) for split in SPLITS)
    standard = tree.named_folders("labels") or tree.named_folders("labels_*")
    at_top = folders["testing"] is not None and folders["testing"].name == "testing"
    found = Found("standard" if standard and at_top else "converted", training, testing)
    add_common_truth(benchmark, tree, found)
    return found


def add_common_truth(benchmark: Benchmark, tree: Tree, found: Found) -> None:
    """Labels, masks and tracks in shared formats."""
    found.labels += common_labels(benchmark, tree)
    found.masks |= common_masks(benchmark, tree)
    found.tracks |= common_tracks(benchmark, tree)


def standard_names(benchmark: Benchmark, videos: Mapping[str, str]) -> dict[str, str]:
    """Videos by their standard names, in order."""
    named: dict[str, str] = {}
    for name, path in videos.items():
        standard = benchmark.standard_name(name)
        if standard in named:
            raise InputError(f"{named[standard]} and {path} are both video {standard}; keep one of them")
        named[standard] = path
    return {name: named[name] for name in in_order(list(named))}


def common_labels(benchmark: Benchmark, tree: Tree) -> list[LabelSource]:
    """Every label file of a shared format."""
    default = next(iter(benchmark.label_sets), "own")
    per_video = default if len(benchmark.label_sets) < 2 else "unidentified"
    sources = []
    for path in tree.named_files(*(f"{alias}.mat" for alias in benchmark.aliases)):
        sources.append(range_labels(default, path, annotations.matlab_ranges))
    for path in _concatenations(benchmark, tree):
        sources.append(LabelSource(default, [str(path)], partial(annotations.labels_from_concatenation, path)))
    for pattern in ("test_frame_mask", "labels", "labels_*", "frame_level_gt"):
        for folder in tree.named_folders(pattern):
            files = [folder / name for name in tree.files[folder] if is_label_file(str(folder / name))]
            label_set = folder.name[len("labels_") :] if pattern == "labels_*" else per_video
            if files:
                sources.append(per_video_labels(benchmark, label_set, files))
    return sources


def _concatenations(benchmark: Benchmark, tree: Tree) -> list[Path]:
    """.npy files that are named after the data set, as frame_labels_ped2.npy, and hold labels."""
    patterns = []
    for alias in benchmark.aliases:
        patterns += [
            f"{alias}.npy",
            f"*label*{alias}*.npy",
            f"{alias}*label*.npy",
            f"{alias}_gt.npy",
            f"gt_{alias}.npy",
        ]
    return tree.named_files(*patterns)


def range_labels(label_set: str, path: Path, parse: Callable[[Path], list[annotations.Ranges]]) -> LabelSource:
    """Labels of all videos as ranges in one file."""
    return LabelSource(
        label_set, [str(path)], lambda names, lengths: annotations.labels_from_ranges(parse(path), names, lengths, path)
    )


def read_label_file(path: Path, frames: int) -> np.ndarray:
    """Labels of one video: an array or text, one 0 or 1 per frame."""
    return parse_labels(label_bytes(str(path)), str(path), frames)


def per_video_labels(
    benchmark: Benchmark,
    label_set: str,
    files: Iterable[Path],
    read: Callable[[Path, int], np.ndarray] = read_label_file,
    name_of: Callable[[Path], str] = lambda path: path.stem,
) -> LabelSource:
    """One label file per video; those of videos that are not at hand, and so of unknown length, are not read."""
    paths = standard_names(benchmark, {name_of(path): str(path) for path in files})

    def read_all(names: Sequence[str], lengths: Mapping[str, int]) -> Labels:
        return {name: read(Path(paths[name]), lengths[name]) for name in names if name in paths and name in lengths}

    return LabelSource(label_set, list(paths.values()), read_all, list(paths))


def common_masks(benchmark: Benchmark, tree: Tree) -> dict[str, MaskReader]:
    """Pixel masks in the standard layout (masks/01.npz) or as arrays (test_pixel_mask/01_0014.npy)."""
    masks: dict[str, MaskReader] = {}
    for pattern, suffix, read in (
        ("test_pixel_mask", ".npy", annotations.array_masks),
        ("pixel_masks", ".npy", annotations.array_masks),
        ("masks", ".npz", load_masks),
    ):
        folder = tree.folder(pattern)
        for name in tree.files[folder] if folder else ():
            if Path(name).suffix.lower() == suffix:
                masks.setdefault(benchmark.standard_name(Path(name).stem), mask_reader(read, folder / name))
    return masks


def mask_reader(read: Callable[[Path], Iterable[np.ndarray]], path: Path) -> MaskReader:
    """A reader of masks that must have the size of the frames."""

    def masks(size: tuple[int, int]) -> Iterable[np.ndarray]:
        for frame, mask in enumerate(read(path)):
            if mask.shape != size:
                raise InputError(f"{path}: the mask of frame {frame} is {mask.shape}, the frames are {size}")
            yield mask

    return masks


def common_tracks(benchmark: Benchmark, tree: Tree) -> dict[str, Callable[[], np.ndarray]]:
    """Tracks in the public text format: tracks/01_0014.txt, or annotations/ShanghaiTech/01_0014.txt."""
    tracks: dict[str, Callable[[], np.ndarray]] = {}
    for pattern in ("tracks", *(f"annotations/{alias}" for alias in benchmark.aliases)):
        folder = tree.folder(pattern)
        for name in tree.files[folder] if folder else ():
            if Path(name).suffix.lower() == ".txt":
                tracks.setdefault(benchmark.standard_name(Path(name).stem), partial(load_tracks, folder / name))
    return tracks
