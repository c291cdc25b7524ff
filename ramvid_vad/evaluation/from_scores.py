"""Per-frame scores of any method -> the same evaluation as our own: no video and no model is needed."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np

from ramvid_vad.errors import InputError
from ramvid_vad.evaluation.from_reconstructions import check_measures, chosen_nulls
from ramvid_vad.evaluation.from_videos import null_scores
from ramvid_vad.evaluation.inputs.ground_truth import GroundTruth, ground_truth, standard_names, truth_in_memory
from ramvid_vad.evaluation.inputs.score_files import (
    ScoreFile,
    cut,
    match,
    named_arrays,
    one_per_frame,
    read_lengths,
    read_scores,
    refuse_unordered,
)
from ramvid_vad.evaluation.nulls.registry import BLIND, STAND_INS
from ramvid_vad.evaluation.results import Evaluation
from ramvid_vad.evaluation.rows import assemble, check, chosen_protocol
from ramvid_vad.evaluation.statistics.metrics import PerVideo
from ramvid_vad.evaluation.statistics.protocols import PROTOCOLS, Protocol
from ramvid_vad.options import EvalOptions
from ramvid_vad.video.benchmarks import BENCHMARKS
from ramvid_vad.video.names import in_order
from ramvid_vad.video.reader import find_videos, video_name

ByVideo = Mapping[str, np.ndarray]


def evaluate_scores(
    scores: ByVideo | str, labels: ByVideo | str, normal: ByVideo | str = "", progress: bool = False, **options: Any
) -> Evaluation:
    """Evaluate per-frame scores, higher = more abnormal. Deterministic; no order of videos matters.

    scores: video -> (n,), or a file or folder as ``--scores``.  labels: video -> (n,) of 0 and 1, or a folder as
    ``--labels``.  normal: scores of normal training video, either form; they calibrate thresholds.  options: fields of
    ``EvalOptions`` by name, e.g. ``sigma=0``, ``protocol="mnad"``, ``benchmark="avenue"``.
    InputError, in one line: scores and labels that do not belong together, a score that is not finite.
    """
    places = {"scores": scores, "labels": labels, "normal_scores": normal}
    given = EvalOptions(**options, **{k: v for k, v in places.items() if isinstance(v, str)})
    check(given, "scores")
    protocol = chosen_protocol(given)
    stem = os.path.splitext(os.path.basename(os.path.normpath(scores)))[0] if isinstance(scores, str) else "scores"
    method = given.method or stem
    if method in ("about", "labels") or "/" in method:  # as row_key has it, which scores.npz is read by
        raise InputError(f"--method {method!r}: scores.npz keeps something else under this name: give another --method")
    found = read_scores(scores, given.method) if isinstance(scores, str) else _in_memory(scores, "scores")
    if not found.scores and not found.joined.size:
        raise InputError(f"{found.source}: no video in it: give one array of scores per video")
    if found.scores and given.lengths:
        raise InputError(f"--lengths: not read, {found.source} names its videos: leave it out")
    if given.only and not found.scores:
        raise InputError(f"--only: {found.source} holds all videos end to end: give scores that name their video")
    found = found._replace(scores=standard_names(found.scores, given.benchmark, found.source))
    truth = _truth(given, labels, found, protocol)
    if given.only:
        found = found._replace(scores={name: s for name, s in found.scores.items() if name in truth.names})
    raw, full_labels, protocol = _aligned(given, found, truth, protocol)
    rows: dict[tuple[str, str], PerVideo] = {(method, ""): raw}
    normal_file = _normal(given, normal, found.sha256)
    null_names, left_out, seen, made_from = _nulls(given, truth, protocol, progress)
    provenance = {"scores_sha256": found.sha256, "nulls_left_out": left_out, **made_from}
    normal_scores = None
    if normal_file is not None:
        normal_scores = {method: [normal_file.scores[name] for name in in_order(list(normal_file.scores))]}
        provenance["normal_scores_sha256"] = normal_file.sha256
    return assemble(
        given,
        truth.names,
        truth._replace(labels=truth.labels._replace(values=full_labels)),
        rows | seen,
        protocol,
        null_names,
        provenance,
        normal_scores,
    )


def evaluate_file(options: EvalOptions) -> Evaluation:
    """:func:`evaluate_scores` of parsed options."""
    given = {spec.name: getattr(options, spec.name) for spec in fields(EvalOptions)}
    places = [given.pop(name) for name in ("scores", "labels", "normal_scores")]
    return evaluate_scores(*places, progress=True, **given)


def _in_memory(arrays: ByVideo, what: str) -> ScoreFile:
    """Arrays that were passed, checked as those of a file."""
    scores = {name: one_per_frame(s, f"{what}: video {name!r}") for name, s in named_arrays(arrays, what).items()}
    digest = hashlib.sha256(b"".join(scores[name].tobytes() for name in in_order(list(scores)))).hexdigest()
    return ScoreFile(scores, np.zeros(0), digest, what)


def _normal(options: EvalOptions, normal: ByVideo | str, tested: str) -> ScoreFile | None:
    """Scores of normal video, None: not given. tested: SHA-256 of the test scores, which these must not be."""
    if not normal:
        return None
    in_file = isinstance(normal, str)
    found = read_scores(normal, options.method, "normal_scores") if in_file else _in_memory(normal, "normal")
    if not found.scores:
        raise InputError(f"--normal_scores {found.source}: smoothing must not cross videos: give one array per video")
    if found.sha256 == tested:
        raise InputError(f"--normal_scores {found.source}: the very scores that are tested: give those of normal video")
    return found


def _truth(options: EvalOptions, labels: ByVideo | str, found: ScoreFile, protocol: Protocol) -> GroundTruth:
    if not isinstance(labels, str):
        return truth_in_memory(labels, options.benchmark, options.label_set, options.only)
    if not labels:
        raise InputError("--labels: give the folder")
    lengths = {name: len(scores) for name, scores in found.scores.items()}
    if not lengths and options.lengths:  # scores and labels may both be end to end
        counts = read_lengths(options.lengths)
        width = len(str(len(counts)))
        lengths = counts if isinstance(counts, dict) else {f"{i:0{width}d}": n for i, n in enumerate(counts, 1)}
    dropped = protocol.first + protocol.last
    try:
        return ground_truth(labels, options.benchmark, options.label_set, lengths, options.only)
    except InputError:
        if not dropped:
            raise
    # the scores may come without the frames that the protocol drops: then the videos are as much longer
    longer = {name: n + dropped for name, n in lengths.items()}
    return ground_truth(labels, options.benchmark, options.label_set, longer, options.only)


def _aligned(
    options: EvalOptions, found: ScoreFile, truth: GroundTruth, protocol: Protocol
) -> tuple[PerVideo, PerVideo, Protocol]:
    """PerVideo and labels of the same frames, per video; a protocol that knows if the dropped frames are absent."""
    labels = {name: np.asarray(y) for name, y in zip(truth.names, truth.labels.values, strict=True)}
    full = [len(y) for y in labels.values()]
    kept = [n - protocol.first - protocol.last for n in full]
    scores = found.scores
    if not scores:
        lengths = kept if sum(kept) == len(found.joined) else full
        names, counts = truth.names, read_lengths(options.lengths) if options.lengths else lengths
        if isinstance(counts, dict):
            names, lengths = list(counts), list(counts.values())
        else:
            lengths = counts
            refuse_unordered(names, found.source)
        if len(lengths) != len(labels):
            raise InputError(f"--lengths: {len(lengths)} counts, but --labels has {len(labels)} videos")
        if sum(lengths) != len(found.joined) and not options.lengths:
            raise InputError(_explain(found.source, "all videos", len(found.joined), sum(full), len(full)))
        scores = cut(found.joined, names, lengths, found.source)
    scores = match(scores, labels, found.source)
    counts = [len(s) for s in scores.values()]
    if counts == full:
        return list(scores.values()), list(labels.values()), protocol
    if counts == kept:
        trimmed = [protocol.trim(y) for y in labels.values()]
        return list(scores.values()), trimmed, replace(protocol, already_trimmed=True)
    wrong = next(name for name, n, m in zip(labels, counts, full, strict=True) if n != m)
    raise InputError(_explain(found.source, f"video {wrong!r}", len(scores[wrong]), len(labels[wrong]), 1))


def _explain(source: str, what: str, scores: int, labels: int, videos: int) -> str:
    """Another number of scores than labels: the line that says so, and the usual reason."""
    lacking, rest = divmod(labels - scores, videos)
    text = f"{source}: {scores} scores of {what}, but {labels} labels"
    if scores > labels:
        return f"{text}: drop the scores of padded frames, or give the labels of these frames"
    if rest:
        return f"{text}: give one score per frame (were frames lost in decoding or re-encoding?), or --lengths"
    presets = [p.name for p in PROTOCOLS.values() if p.first + p.last == lacking]
    known = f" (--protocol {' or '.join(presets)} drops as many)" if presets else ""
    each = " in each video" if videos > 1 else ""
    return f"{text}, {lacking} more{each}: if the method drops its first or last frames{known}, say --trim FIRST,LAST"


def _nulls(
    options: EvalOptions, truth: GroundTruth, protocol: Protocol, progress: bool
) -> tuple[list[str], dict[str, str], dict[tuple[str, str], PerVideo], dict[str, Any]]:
    """Baselines to set beside the scores: their names, those left out, and raw scores of those that see the video."""
    names, left_out = chosen_nulls(options)
    if not set(names) - set(BLIND):
        return names, left_out, {}, {}
    measures = check_measures(options)[:1] if set(names) & set(STAND_INS) else []
    labels = {name: len(y) for name, y in zip(truth.names, truth.labels.values, strict=True)}
    spelled = BENCHMARKS[options.benchmark].standard_name if options.benchmark else str
    there = [spelled(video_name(path, options.data_dir)) for path in find_videos(options.data_dir, options.only)]

    def refuse(name: str, found: int, what: str = "frames") -> None:
        if labels.get(name := spelled(name), found) != found:
            raise InputError(
                f"--data_dir {options.data_dir}: video {name!r}: {labels[name]} labels, but {found} {what}"
            )

    for name in labels:
        if name not in there:
            refuse(name, 0, "frames: it is not there")
    videos, _, raw, made_from = null_scores(options, names, measures, progress, refuse)
    at = {spelled(video): i for i, video in enumerate(videos)}
    kept = replace(protocol, already_trimmed=False).trim if protocol.already_trimmed else np.asarray
    seen = {key: [kept(scores[at[name]]) for name in truth.names] for key, scores in raw.items()}
    return names, left_out, seen, made_from
