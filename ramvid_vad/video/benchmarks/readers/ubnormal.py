"""UBnormal: Scene1/abnormal_scene_1_scenario_1.mp4, Scene1/abnormal_..._annotations/{..._tracks.txt, ..._0000_gt.png}.

The splits are the authors' lists (normal_test_video_names.txt, ...). Training takes the *normal* training videos. The
test split is 158 abnormal and 53 normal videos; papers that leave out the normal ones report other numbers.
The maps hold the ids of all objects, normal ones too: only objects in ..._tracks.txt are anomalies, in their frames.
Per-frame files that some pose methods distribute under the same name ..._tracks.txt are NumPy arrays in which 1 means
*normal*; they are recognised by their first bytes and inverted.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ramvid_vad.errors import InputError
from ramvid_vad.video.benchmarks import annotations
from ramvid_vad.video.benchmarks.layouts import find_common, per_video_labels
from ramvid_vad.video.benchmarks.model import Benchmark, Found, Labels, LabelSource, Size
from ramvid_vad.video.benchmarks.tree import Tree
from ramvid_vad.video.names import in_order
from ramvid_vad.video.truth.labels import parse_labels
from ramvid_vad.video.truth.masks import mask_boxes

LISTS = {
    "training": ("normal_training_video_names.txt",),
    "testing": ("abnormal_test_video_names.txt", "normal_test_video_names.txt"),
}


def find(benchmark: Benchmark, tree: Tree) -> Found:
    """The official scenes and lists, or converted frames with one label file per video."""
    found = find_common(benchmark, tree)
    if tree.named_folders("Scene*"):
        found.layout = "official"
        videos = {path.stem: str(path) for path in tree.named_files("Scene*/*.mp4", "Scene*/*.avi")}
        found.expected_training, found.expected = (_listed(tree, split) for split in ("training", "testing"))
        found.training = {name: videos[name] for name in found.expected_training if name in videos}
        found.testing = {name: videos[name] for name in found.expected if name in videos}
        found.notes.append("abnormal training videos and the validation split are left out")
    _find_annotations(benchmark, tree, found)
    scripted = tree.named_files("*/ground_truth_frame_level.txt")
    if scripted:  # what the authors' write_frame_level_ground_truth.py writes
        found.labels.append(per_video_labels(benchmark, "official", scripted, name_of=lambda path: path.parent.name))
    return found


def _listed(tree: Tree, split: str) -> list[str]:
    names = []
    for name in LISTS[split]:
        paths = tree.named_files(name)
        if not paths:
            raise InputError(
                f"--source {tree.source}: {name} is missing; put the authors' split lists (folder scripts of "
                "github.com/lilygeorgescu/UBnormal) into it"
            )
        names += paths[0].read_text(encoding="utf-8").split()
    return in_order(names)


def _find_annotations(benchmark: Benchmark, tree: Tree, found: Found) -> None:
    """Labels, masks and tracks from ..._tracks.txt and the maps beside them."""
    files = {path.name.removesuffix("_tracks.txt"): path for path in tree.named_files("*_scene_*_tracks.txt")}
    arrays = {name: path for name, path in files.items() if path.read_bytes()[:6] == b"\x93NUMPY"}
    tracks = {name: path for name, path in files.items() if name not in arrays}
    if arrays:
        stem = {path: name for name, path in arrays.items()}
        found.labels.append(per_video_labels(benchmark, "official", stem, _inverted, stem.__getitem__))
    if tracks:
        files_read = [str(path) for path in tracks.values()]
        found.labels.append(LabelSource("official", files_read, partial(_labels_from_tracks, tracks)))
    for name, path in tracks.items():
        maps = [path.parent / file for file in tree.files[path.parent] if file.endswith("_gt.png")]
        if maps:
            found.masks[name] = partial(_masks, name, path, maps)
            found.tracks[name] = partial(_boxes, name, path, maps)


def _inverted(path: Path, frames: int) -> np.ndarray:
    # by its content, not by its name, which says that it is text
    return 1 - parse_labels(path.read_bytes(), f"{path}.npy", frames)


def _labels_from_tracks(tracks: Mapping[str, Path], names: Sequence[str], lengths: Mapping[str, int]) -> Labels:
    """1 from the first to the last frame of any track; videos without a track file are normal."""
    labels = {}
    for name in names:
        if name not in lengths:
            continue
        if name not in tracks and not name.startswith("normal_"):
            raise InputError(f"{name}_tracks.txt: missing, and the video is not one of the normal ones")
        labels[name] = np.zeros(lengths[name], np.uint8)
        for _, first, last in annotations.ubnormal_tracks(tracks[name]) if name in tracks else ():
            if last > lengths[name]:  # an end one past the last frame is cut off, as the authors' script does
                raise InputError(f"{tracks[name]}: frame {last} is abnormal, but the video has {lengths[name]} frames")
            labels[name][first : last + 1] = 1
    return labels


def _masks(name: str, path: Path, maps: Sequence[Path], size: Size) -> Iterator[np.ndarray]:
    """Pixels of the objects whose track covers the frame; one map per frame."""
    tracks = annotations.ubnormal_tracks(path)
    for frame, picture in enumerate(maps):
        if picture.name != f"{name}_{frame:04d}_gt.png":
            raise InputError(f"{picture}: expected the map of frame {frame}, {name}_{frame:04d}_gt.png")
        objects = [track for track, first, last in tracks if first <= frame <= last]
        if not objects:
            yield np.zeros(size, bool)
            continue
        yield annotations.fit_mask(np.isin(annotations.read_picture(picture), objects), size, picture)


def _boxes(name: str, path: Path, maps: Sequence[Path]) -> np.ndarray:
    """Official tracks: per line of the track file and frame, the largest box of the object's regions."""
    known = {picture.name: picture for picture in maps}
    rows = []
    for number, (track, first, last) in enumerate(sorted(annotations.ubnormal_tracks(path))):
        for frame in range(first, last + 1):
            picture = known.get(f"{name}_{frame:04d}_gt.png")
            if picture is None and frame < len(maps):
                raise InputError(f"{path.parent}: no map {name}_{frame:04d}_gt.png, which {path.name} needs")
            boxes = mask_boxes(annotations.read_picture(picture) == track) if picture else ()
            if len(boxes):
                largest = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1).argmax()
                rows.append([number, frame, *boxes[largest]])
    return np.array(rows, np.int64).reshape(-1, 6)
