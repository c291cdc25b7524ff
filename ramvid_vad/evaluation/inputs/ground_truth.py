"""Labels without videos: a file or a folder of label files, a prepared data set, or a benchmark as offered."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ramvid_vad.errors import InputError
from ramvid_vad.evaluation.inputs.score_files import named_arrays
from ramvid_vad.runtime.files import sha256_of
from ramvid_vad.video.benchmarks import BENCHMARKS, Benchmark, LabelSetName, check_labels, find_parts, name_label_set
from ramvid_vad.video.finding import only_these
from ramvid_vad.video.names import in_order, without_ending
from ramvid_vad.video.truth.labels import Labels, as_labels, flat_file, is_label_file, label_names, read_labels


class GroundTruth(NamedTuple):
    """names: of the videos, in natural order, in the benchmark's spelling.  labels: theirs.

    published: which set they are.  notes: what is not as published, in words.
    """

    names: list[str]
    labels: Labels
    published: LabelSetName
    notes: list[str]


def ground_truth(
    folder: str, benchmark: str, label_set: str, lengths: Mapping[str, int], only: str = ""
) -> GroundTruth:
    """Labels in ``folder``, or in a file (see ``video.truth.labels``).

    benchmark: name of one, or "".  label_set: which, where there are several.  lengths: frames per video, as far as
    known: needed where a benchmark's own files name ranges of frames.  only: a part of the videos, "": all. InputError:
    none, several, inverted labels.
    """
    inner = _label_folder(folder, label_set, bool(benchmark)) if os.path.isdir(folder) else flat_file(folder)
    if inner:
        names = label_names(inner) or [without_ending(os.path.splitext(os.path.basename(inner))[0])]
        joined = len(names) == 1 and lengths and names[0] not in lengths  # one file, and it is named after no video
        names = in_order(list(lengths)) if joined else names
        spelled = _spelling(benchmark)
        chosen = only_these(only, [spelled(name) for name in names], "--labels")
        if not joined:  # what is not read is not in the SHA-256 either, as where the videos are read
            names = [name for name in names if spelled(name) in chosen]
        labels = read_labels(inner, names, [lengths[name] for name in names] if joined else None)
        by_name = {spelled(name): y for name, y in zip(names, labels.values, strict=True)}
        by_name = {name: by_name[name] for name in chosen}
        published, notes = name_label_set(inner), []
        if benchmark:
            published, notes = _checked(published, by_name, benchmark, label_set, inner)
        return GroundTruth(chosen, labels._replace(values=list(by_name.values())), published, notes)
    if not benchmark:
        raise InputError(
            f"--labels {folder}: no label file per video in it (NAME.npy, .txt or .csv); a known data set: --benchmark"
        )
    whole = _released(folder, BENCHMARKS[benchmark], label_set, lengths)
    chosen = only_these(only, whole.names, "--labels")
    values = dict(zip(whole.names, whole.labels.values, strict=True))
    return whole._replace(names=chosen, labels=whole.labels._replace(values=[values[name] for name in chosen]))


def truth_in_memory(labels: Mapping[Any, Any], benchmark: str, label_set: str, only: str) -> GroundTruth:
    """Labels that were passed, video -> (n,), checked as those of a folder. sha256: of the labels as uint8, end to end.

    InputError: not one 0 or 1 per frame, two videos of one name, those of another benchmark.
    """
    arrays = {name: as_labels(y, f"labels: video {name!r}") for name, y in named_arrays(labels, "labels").items()}
    by_name = standard_names(arrays, benchmark, "labels")
    by_name = {name: by_name[name] for name in only_these(only, list(by_name), "labels")}
    published, notes = LabelSetName(benchmark, "", False), []
    if benchmark and by_name:
        published, notes = _checked(published, by_name, benchmark, label_set, "memory")
    digest = hashlib.sha256(b"".join(y.tobytes() for y in by_name.values())).hexdigest()
    return GroundTruth(list(by_name), Labels(list(by_name.values()), digest, []), published, notes)


def standard_names(found: Mapping[str, np.ndarray], benchmark: str, source: str) -> dict[str, np.ndarray]:
    """Videos as the benchmark names them: Test001 is 01. InputError: two are one."""
    standard: dict[str, np.ndarray] = {}
    for name, values in found.items():
        new = _spelling(benchmark)(name)
        if new in standard:
            raise InputError(f"{source}: two videos are {new!r} in {BENCHMARKS[benchmark].title}: {name!r} too")
        standard[new] = values
    return standard


def _spelling(benchmark: str) -> Callable[[str], str]:
    return BENCHMARKS[benchmark].standard_name if benchmark else str


def labels_of_videos(
    folder: str, benchmark: str, label_set: str, names: Sequence[str], lengths: Sequence[int] = ()
) -> GroundTruth:
    """Labels of the videos that were read, as ``ground_truth`` has them where there are none; names as they are.
    lengths: of the videos, which labels of all of them end to end need."""
    inner = folder_of_labels(folder, label_set)
    labels, published = read_labels(inner, names, lengths), name_label_set(inner)
    if not benchmark:
        _asked(published.name, label_set, inner)
        return GroundTruth(list(names), labels, published, [])
    by_name = {BENCHMARKS[benchmark].standard_name(n): np.asarray(y) for n, y in zip(names, labels.values, strict=True)}
    published, notes = _checked(published, by_name, benchmark, label_set, inner)
    return GroundTruth(list(names), labels, published, notes)


def folder_of_labels(folder: str, label_set: str) -> str:
    """The folder with a label file per video: this one, or the one of a prepared data set; a file as it is."""
    return (_label_folder(folder, label_set, False) if os.path.isdir(folder) else "") or folder


def look_at_labels(folder: str, benchmark: str, label_set: str, names: Sequence[str]) -> None:
    """What can be said of the labels before the videos are read. InputError: none there, none of a video, those of
    another benchmark or set."""
    inner = folder_of_labels(folder, label_set)
    if not flat_file(inner, names):
        labels_of_videos(folder, benchmark, label_set, names)
        return
    published = name_label_set(inner)  # all videos end to end are cut by their lengths: their content is not known yet
    _of_benchmark(published, benchmark, inner)
    if published.name or not benchmark:
        _asked(published.name, label_set, inner)


def _of_benchmark(published: LabelSetName, benchmark: str, folder: str) -> None:
    if benchmark and published.benchmark not in ("", benchmark):
        raise InputError(f"--benchmark {benchmark}: the labels in {folder} are those of {published.benchmark}")


def _checked(
    published: LabelSetName, labels: Mapping[str, np.ndarray], benchmark: str, label_set: str, folder: str
) -> tuple[LabelSetName, list[str]]:
    """The benchmark's label set that these are, and what is not as published. InputError: of another one, inverted."""
    _of_benchmark(published, benchmark, folder)
    known = BENCHMARKS[benchmark]
    found, notes = check_labels(known, published.name or next(iter(known.label_sets), "own"), dict(labels))
    _asked(found, label_set, folder)
    return LabelSetName(benchmark, found, published.by_content), notes


def _label_folder(folder: str, label_set: str, published: bool) -> str:
    """The folder with label files: this one, or labels/ or labels_SET/ in it; "" if there is none.

    published: it may be that of a benchmark as its authors offer it, which has readers of its own.
    """
    below = sorted(name for name in os.listdir(folder) if name == "labels" or name.startswith("labels_"))
    below = [name for name in below if os.path.isdir(os.path.join(folder, name))]
    if label_set and f"labels_{label_set}" in below:
        return os.path.join(folder, f"labels_{label_set}")
    if len(below) > 1:
        sets = ", ".join(name[len("labels_") :] for name in below if name != "labels")
        raise InputError(f"--labels {folder}: several label sets: choose with --label_set, one of {sets}")
    if below:
        return os.path.join(folder, below[0])
    if published:  # one .npy may hold all videos end to end, as published files do: the benchmark's readers know it
        files = [os.path.join(folder, name) for name in os.listdir(folder)]
        return folder if any(map(is_label_file, files)) and len(label_names(folder)) > 1 else ""
    return folder if label_names(folder) else ""


def _released(folder: str, benchmark: Benchmark, label_set: str, lengths: Mapping[str, int]) -> GroundTruth:
    """From the authors' own label files."""
    found = find_parts(benchmark, folder)
    if not found.labels:
        raise InputError(f"--labels {folder}: no labels of {benchmark.title} in it; the authors offer {benchmark.page}")
    known = {**lengths, **benchmark.lengths}
    sets: dict[str, GroundTruth] = {}
    for source in found.labels:
        numbered = [f"{i:02d}" for i in range(1, benchmark.testing.videos + 1)] if benchmark.numbered else []
        names = numbered or in_order(list(found.expected or found.testing or source.names or known))
        labels = source.read(names, known)
        lacking = [name for name in names if name not in labels]
        if lacking:
            raise InputError(
                f"{source.files[0]}: no labels of test video {lacking[0]}, or its number of frames is not known: give "
                "scores of it"
            )
        name, notes = check_labels(benchmark, source.label_set, labels)
        values = Labels([labels[n] for n in names], sha256_of(sorted(source.files)), [])
        by_content = bool(benchmark.label_sets.get(name) and benchmark.label_sets[name].sha256) and not notes
        sets[name] = GroundTruth(names, values, LabelSetName(benchmark.name, name, by_content), notes)
    if label_set not in sets and (label_set or len(sets) > 1):
        raise InputError(f"--labels {folder}: choose --label_set, one of {', '.join(sets)}")
    return sets[label_set] if label_set else next(iter(sets.values()))


def _asked(found: str, label_set: str, folder: str) -> None:
    if label_set and found != label_set:
        raise InputError(f"--label_set {label_set}: the labels in {folder} are {found!r}")
