"""Is a benchmark all there? Every frame is decoded and counted, every label set compared with what is published."""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from ramvid_vad.errors import InputError
from ramvid_vad.video.benchmarks.model import Benchmark, Found, Labels, LabelSource, Size, labels_digest
from ramvid_vad.video.names import in_order
from ramvid_vad.video.reader import read_frames

NAMES_SHOWN = 8


@dataclass
class Checked:
    """Frames per video of each split, frame size of the test videos, labels per set (test videos present only).

    complete: nothing is missing and every figure is the published one. notes: what is not, in words.
    """

    training: dict[str, int]
    testing: dict[str, int]
    sizes: dict[str, Size]
    labels: dict[str, Labels] = field(default_factory=dict)
    label_files: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    complete: bool = True


class _Findings:
    """Differences from what is published: an error, or a note where they are accepted (``--partial``)."""

    def __init__(self, partial: bool) -> None:
        self.partial = partial
        self.notes: list[str] = []

    def differs(self, text: str, remedy: str) -> None:
        if not self.partial:
            raise InputError(f"{text}; {remedy}, or accept it with --partial True")
        self.notes.append(text)


def check(benchmark: Benchmark, found: Found, partial: bool = False, say: Callable[[str], None] = print) -> Checked:
    """Decode, count and compare; InputError at the first thing that is wrong.

    A test video whose decoded frames are not as many as its labels, labels that are not 0 and 1, and inverted labels
    are always errors. Missing videos and totals that differ from the published ones are, unless ``partial``.
    """
    findings = _Findings(partial)
    names = _expected(benchmark, found, findings)
    counted = _decode({"training": found.training, "testing": found.testing}, say)
    checked = Checked(
        training={name: frames for name, (frames, _) in counted["training"].items()},
        testing={name: frames for name, (frames, _) in counted["testing"].items()},
        sizes={name: size for name, (_, size) in counted["testing"].items()},
    )
    for name, frames in checked.testing.items():
        if benchmark.lengths.get(name, frames) != frames:
            raise InputError(
                f"{found.testing[name]}: {frames} frames decoded, test video {name} of {benchmark.title} has "
                f"{benchmark.lengths[name]}; take it from the authors' release: {benchmark.page}"
            )
    lengths = {**benchmark.lengths, **checked.testing}
    for source in found.labels:
        _read_labels(benchmark, source, names, lengths, checked)
    _compare_frames(benchmark, checked, findings)
    if not checked.labels:
        raise InputError(f"{benchmark.title}: no labels found; the authors offer them at {benchmark.page}")
    for label_set, labels in checked.labels.items():
        _compare_labels(benchmark, label_set, labels, names, findings)
        checked.labels[label_set] = {name: labels[name] for name in checked.testing}
        abnormal = sum(int(part.sum()) for part in checked.labels[label_set].values())
        say(f"labels {label_set}: {abnormal} of {sum(checked.testing.values())} frames abnormal")
    checked.notes += [*found.notes, *findings.notes]
    checked.complete = not findings.notes
    return checked


def _expected(benchmark: Benchmark, found: Found, findings: _Findings) -> list[str]:
    """Names of all test videos, in order, after the videos of both splits were compared with what there should be."""
    names: dict[str, list[str]] = {}
    for split, counts, listed in (
        ("training", benchmark.training, found.expected_training),
        ("testing", benchmark.testing, found.expected),
    ):
        videos = getattr(found, split)
        if benchmark.numbered:
            listed = [f"{number:02d}" for number in range(1, counts.videos + 1)]
        names[split] = in_order(list(listed or videos))
        strange = [name for name in videos if name not in names[split]]
        if strange:
            raise InputError(f"{videos[strange[0]]}: {benchmark.title} has no {split} video {strange[0]}")
        missing = [name for name in names[split] if name not in videos]
        remedy = f"the authors offer it at {benchmark.page}"
        if missing:
            findings.differs(
                f"{len(missing)} of {len(names[split])} {split} videos are missing: {_some(missing)}", remedy
            )
        if counts.videos and len(names[split]) != counts.videos:
            findings.differs(f"{len(names[split])} {split} videos, {counts.videos} are published", remedy)
    return names["testing"]


def _decode(
    splits: Mapping[str, Mapping[str, str]], say: Callable[[str], None]
) -> dict[str, dict[str, tuple[int, Size]]]:
    """Number of frames and frame size of every video, by decoding all of it."""

    def measure(path: str) -> tuple[int, Size]:
        frames, size = 0, (0, 0)
        for frame in read_frames(path, rgb=False):
            frames, size = frames + 1, frame.shape[:2]
        return frames, size

    counted = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for split, videos in splits.items():
            counted[split] = dict(zip(videos, pool.map(measure, videos.values()), strict=True))
            say(f"{split}: {len(videos)} videos, {sum(frames for frames, _ in counted[split].values())} frames decoded")
    return counted


def _compare_frames(benchmark: Benchmark, checked: Checked, findings: _Findings) -> None:
    for split, counts, lengths in (
        ("training", benchmark.training, checked.training),
        ("testing", benchmark.testing, checked.testing),
    ):
        total = sum(lengths.values())
        if counts.frames is not None and len(lengths) == counts.videos and total != counts.frames:
            text = f"{split}: {total} frames, {counts.frames} are published"
            findings.differs(text, f"take the videos from the authors' release: {benchmark.page}")


def _read_labels(
    benchmark: Benchmark, source: LabelSource, names: list[str], lengths: Mapping[str, int], checked: Checked
) -> None:
    """Read one source and add it to its label set; two sources of one set must agree."""
    where = source.files[0] if len(source.files) == 1 else os.path.dirname(source.files[0])
    strange = [name for name in source.names if name not in names]
    if strange and benchmark.numbered:
        raise InputError(f"{where}: labels of {strange[0]}, which is no test video of {benchmark.title}")
    if strange:
        checked.notes.append(f"{where}: {len(strange)} label files belong to no test video, e.g. {strange[0]}")
    labels = source.read(names, lengths)
    for name in checked.testing:
        if name not in labels:
            raise InputError(f"{where}: no labels of test video {name}")
    label_set = _identify(benchmark, source.label_set, labels)
    if label_set not in checked.labels:
        checked.labels[label_set], checked.label_files[label_set] = labels, source.files
        return
    for name in checked.testing:
        differing = int((checked.labels[label_set][name] != labels[name]).sum())
        if differing:
            raise InputError(
                f"{where} and {os.path.dirname(checked.label_files[label_set][0])} disagree on {differing} frames of "
                f"test video {name}; keep the one that you want to report"
            )


def _identify(benchmark: Benchmark, label_set: str, labels: Labels) -> str:
    """The published set that these labels are, by content; else the set that their file is usually of."""
    digest = labels_digest(labels)
    return next((name for name, known in benchmark.label_sets.items() if known.sha256 == digest), label_set)


def _compare_labels(
    benchmark: Benchmark, label_set: str, labels: Labels, names: list[str], findings: _Findings
) -> None:
    """Totals, content and polarity against what is published."""
    if benchmark.name == "ubnormal":
        wrong = [name for name in labels if name.startswith("normal_") and labels[name].any()]
        if wrong:
            raise InputError(f"{label_set} labels: {wrong[0]} is a normal video, but has abnormal frames (inverted?)")
    known = benchmark.label_sets.get(label_set)
    if known is None or any(name not in labels for name in names) or len(names) != benchmark.testing.videos:
        return
    frames = sum(map(len, labels.values()))
    abnormal = sum(int(part.sum()) for part in labels.values())
    if known.sha256:
        inverted = labels_digest({name: 1 - part for name, part in labels.items()}) == known.sha256
    else:
        inverted = abnormal == frames - known.abnormal != known.abnormal
    if inverted:
        raise InputError(f"{label_set} labels are inverted: 1 must mean abnormal; write 1 - label instead")
    if abnormal != known.abnormal:
        text = f"{label_set} labels: {abnormal} of {frames} frames abnormal, {known.abnormal} are published"
        findings.differs(text, f"take the labels from {benchmark.page}")
    elif known.sha256 and labels_digest(labels) != known.sha256:
        text = f"{label_set} labels: as many abnormal frames as published, but others"
        findings.differs(text, f"take the labels from {benchmark.page}")


def check_labels(benchmark: Benchmark, label_set: str, labels: Labels) -> tuple[str, list[str]]:
    """Labels without their videos: the set that they are, and what is not as published, in words.

    InputError: a video of another length than published, inverted labels.
    """
    for name, part in labels.items():
        if benchmark.lengths.get(name, len(part)) != len(part):
            raise InputError(
                f"{label_set} labels: {len(part)} of test video {name}, which has {benchmark.lengths[name]} frames in "
                f"{benchmark.title}; take them from {benchmark.page}"
            )
    label_set = _identify(benchmark, label_set, labels)
    findings = _Findings(partial=True)
    if benchmark.testing.videos and len(labels) != benchmark.testing.videos:
        findings.differs(f"labels of {len(labels)} test videos, {benchmark.testing.videos} are published", "")
    _compare_labels(benchmark, label_set, labels, list(labels), findings)
    return label_set, findings.notes


def agreement(labels: np.ndarray, masked: np.ndarray) -> float:
    """Share of frames in which a frame label and a pixel mask say the same."""
    return float((labels == masked).mean())


def _some(names: list[str]) -> str:
    return ", ".join(names[:NAMES_SHOWN]) + (", ..." if len(names) > NAMES_SHOWN else "")
