"""Labels without videos: a folder of label files, a prepared data set, or a benchmark as its authors offer it."""

import os
from collections.abc import Mapping
from typing import NamedTuple

from ramvid_vad.errors import InputError
from ramvid_vad.evaluation.provenance import files_sha256
from ramvid_vad.video.benchmarks import BENCHMARKS, Benchmark, LabelSetName, check_labels, find_parts, name_label_set
from ramvid_vad.video.labels import Labels, label_names, read_labels


class GroundTruth(NamedTuple):
    """names: of the videos, sorted, in the benchmark's spelling.  labels: theirs.  published: which set they are.

    notes: what is not as published, in words.
    """

    names: list[str]
    labels: Labels
    published: LabelSetName
    notes: list[str]


def ground_truth(folder: str, benchmark: str, label_set: str, lengths: Mapping[str, int]) -> GroundTruth:
    """Labels in ``folder``.

    benchmark: name of one, or "".  label_set: which, where there are several.  lengths: frames per video, as far as
    known: needed where a benchmark's own files name ranges of frames. InputError: none, several, inverted labels.
    """
    if not os.path.isdir(folder):
        raise InputError(f"--labels {folder}: no such folder: give the folder with one label file per video")
    inner = _label_folder(folder, label_set)
    if inner:
        names = label_names(inner)
        labels, published = read_labels(inner, names), name_label_set(inner)
        if not benchmark:
            return GroundTruth(names, labels, published, [])
        known = BENCHMARKS[benchmark]
        by_name = dict(sorted((known.standard_name(n), y) for n, y in zip(names, labels.values, strict=True)))
        found, notes = check_labels(known, published.name or next(iter(known.label_sets), "own"), by_name)
        _asked(found, label_set, inner)
        by_content = published.by_content and published.benchmark == benchmark
        published = LabelSetName(benchmark, found, by_content)
        return GroundTruth(list(by_name), labels._replace(values=list(by_name.values())), published, notes)
    if not benchmark:
        raise InputError(
            f"--labels {folder}: no label file per video in it (NAME.npy, .txt or .csv); a known data set: --benchmark"
        )
    return _released(folder, BENCHMARKS[benchmark], label_set, lengths)


def _label_folder(folder: str, label_set: str) -> str:
    """The folder with one label file per video: this one, or labels/ or labels_SET/ in it; "" if there is none."""
    below = sorted(name for name in os.listdir(folder) if name == "labels" or name.startswith("labels_"))
    below = [name for name in below if os.path.isdir(os.path.join(folder, name))]
    if label_set and f"labels_{label_set}" in below:
        return os.path.join(folder, f"labels_{label_set}")
    if len(below) > 1:
        sets = ", ".join(name[len("labels_") :] for name in below if name != "labels")
        raise InputError(f"--labels {folder}: several label sets: choose with --label_set, one of {sets}")
    if below:
        return os.path.join(folder, below[0])
    own = any(name.lower().endswith((".npy", ".txt", ".csv")) for name in os.listdir(folder))
    # one .npy may hold all videos end to end, as published files do: the readers of the benchmark know it
    whole = own and len(label_names(folder)) == 1
    return folder if own and not whole else ""


def _released(folder: str, benchmark: Benchmark, label_set: str, lengths: Mapping[str, int]) -> GroundTruth:
    """From the authors' own label files."""
    found = find_parts(benchmark, folder)
    if not found.labels:
        raise InputError(f"--labels {folder}: no labels of {benchmark.title} in it; the authors offer {benchmark.page}")
    known = {**lengths, **benchmark.lengths}
    sets: dict[str, GroundTruth] = {}
    for source in found.labels:
        numbered = [f"{i:02d}" for i in range(1, benchmark.testing.videos + 1)] if benchmark.numbered else []
        names = numbered or sorted(found.expected or found.testing or source.names or known)
        labels = source.read(names, known)
        lacking = [name for name in names if name not in labels]
        if lacking:
            raise InputError(
                f"{source.files[0]}: no labels of test video {lacking[0]}, or its number of frames is not known: give "
                "scores of it"
            )
        name, notes = check_labels(benchmark, source.label_set, labels)
        values = Labels([labels[n] for n in names], files_sha256(sorted(source.files)), 0)
        by_content = bool(benchmark.label_sets.get(name) and benchmark.label_sets[name].sha256) and not notes
        sets[name] = GroundTruth(names, values, LabelSetName(benchmark.name, name, by_content), notes)
    if label_set not in sets and (label_set or len(sets) > 1):
        raise InputError(f"--labels {folder}: choose --label_set, one of {', '.join(sets)}")
    return sets[label_set] if label_set else next(iter(sets.values()))


def _asked(found: str, label_set: str, folder: str) -> None:
    if label_set and found != label_set:
        raise InputError(f"--label_set {label_set}: the labels in {folder} are {found!r}")
