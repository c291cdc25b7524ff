"""UCSD Ped1 and Ped2: UCSDped2/{Train/Train001,Test/Test001}/001.tif, Test/Test001_gt/001.bmp and Test/UCSDped2.m."""

import re
from pathlib import Path

from ramvid_vad.video.benchmarks import annotations
from ramvid_vad.video.benchmarks.layouts import add_common_truth, find_common, mask_reader, range_labels, standard_names
from ramvid_vad.video.benchmarks.model import Benchmark, Found
from ramvid_vad.video.benchmarks.tree import Tree


def find(benchmark: Benchmark, tree: Tree) -> Found:
    """The official layout where there is one, else the shared ones."""
    folder = f"UCSD{benchmark.name}"
    train, test = tree.folder(f"{folder}/Train"), tree.folder(f"{folder}/Test")
    if train or test:
        in_train, in_test = tree.videos(train), tree.videos(test)
        found = Found(
            "official",
            standard_names(benchmark, _matching(r"Train\d+", in_train)),
            standard_names(benchmark, _matching(r"Test\d+", in_test)),
        )
        for name, path in _matching(r"Test\d+_gt", in_test).items():
            found.masks[benchmark.standard_name(name)] = mask_reader(annotations.picture_masks, Path(path))
        add_common_truth(benchmark, tree, found)
    else:
        found = find_common(benchmark, tree)
    for path in tree.named_files(f"{folder}.m"):
        found.labels.append(range_labels("official", path, annotations.ucsd_ranges))
    return found


def _matching(pattern: str, videos: dict[str, str]) -> dict[str, str]:
    return {name: path for name, path in videos.items() if re.fullmatch(pattern, name, re.IGNORECASE)}
