"""CUHK Avenue: {training,testing}_videos/01.avi and ground_truth_demo/testing_label_mask/1_label.mat.

Two label sets are in use. ``vollabel`` follows from the authors' pixel masks: a frame is abnormal if its mask is not
empty. ``liu2018`` came with the frames that Liu et al. (CVPR 2018) distribute (avenue.mat) and lives on in
frame_labels_avenue.npy of Park et al. (CVPR 2020). A converted file is taken for the set whose labels it holds.
"""

from pathlib import Path

import numpy as np

from ramvid_vad.errors import InputError
from ramvid_vad.video.benchmarks import annotations
from ramvid_vad.video.benchmarks.layouts import find_common, mask_reader, per_video_labels
from ramvid_vad.video.benchmarks.model import Benchmark, Found
from ramvid_vad.video.benchmarks.tree import Tree


def find(benchmark: Benchmark, tree: Tree) -> Found:
    """The official videos and masks, or converted frames; label files of either set."""
    found = find_common(benchmark, tree)
    if tree.folder("training_videos") or tree.folder("testing_videos"):
        found.layout = "official"
    volumes = tree.named_files("testing_label_mask/*_label.mat")
    if volumes:
        found.labels.append(per_video_labels(benchmark, "vollabel", volumes, _label_volume))
        for path in volumes:
            found.masks[benchmark.standard_name(path.stem)] = mask_reader(annotations.avenue_volume, path)
    return found


def _label_volume(path: Path, frames: int) -> np.ndarray:
    labels = np.array([mask.any() for mask in annotations.avenue_volume(path)], np.uint8)
    if len(labels) != frames:
        raise InputError(f"{path}: {len(labels)} masks, but the video has {frames} frames")
    return labels
