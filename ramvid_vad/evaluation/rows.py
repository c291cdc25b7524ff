"""From raw scores of every row to the evaluation: protocol, metrics, intervals, operating points, null baselines."""

import os
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from ramvid_vad.errors import InputError
from ramvid_vad.evaluation.inputs.ground_truth import GroundTruth
from ramvid_vad.evaluation.nulls.registry import BLIND, NULLS, STAND_INS, blind_draws
from ramvid_vad.evaluation.provenance import code, environment, last_name, settings
from ramvid_vad.evaluation.results import SCHEMA, Evaluation, Row
from ramvid_vad.evaluation.statistics.bootstrap import LEVEL, check_draws, intervals, no_interval
from ramvid_vad.evaluation.statistics.metrics import PerVideo, frame_metrics
from ramvid_vad.evaluation.statistics.operating_points import AlarmRules, operating_points
from ramvid_vad.evaluation.statistics.protocols import Protocol, choose
from ramvid_vad.options import EvalOptions
from ramvid_vad.video.benchmarks import BENCHMARKS
from ramvid_vad.video.benchmarks.scenes import scene_of

NORMAL = {"normal_scores": "scores", "normal_reconstructions": "reconstructions", "normal_dir": "data_dir"}
"""Normal video in every form, and the test data in the same form."""
READ_WITH = {
    "lengths": "scores",
    "method": "scores",
    "normal_scores": "scores",
    "normal_reconstructions": "reconstructions",
}
"""Flags that one input only has a use for."""
FPS = {"ped1": 10.0, "ped2": 10.0, "avenue": 25.0}  # frames per second: Avenue's files say it, UCSD's is a convention


def assemble(
    options: EvalOptions,
    names: list[str],
    truth: GroundTruth,
    raw: dict[tuple[str, str], PerVideo],
    protocol: Protocol,
    null_names: list[str],
    provenance: dict[str, Any],
    normal: dict[str, PerVideo] | None = None,
) -> Evaluation:
    """Raw scores of every row that looks at the video, and the blind rows -> the evaluation.

    truth: labels of the scored frames.
    normal: measure -> raw scores of normal training videos, which calibrate the model's rows.
    """
    full_labels, published = [np.asarray(y) for y in truth.labels.values], truth.published
    benchmark = options.benchmark or published.benchmark
    found = [scene_of(benchmark, name) for name in names]
    scenes = None if None in found else found
    rules = alarm_rules(options, benchmark)
    measures = list(dict.fromkeys(measure for measure, _ in raw if measure))
    labels = [protocol.trim(y) for y in full_labels]
    why_none = no_interval(labels, options.bootstrap)
    rows = []
    for key, scores in _ordered(raw, measures):
        row = _row(key, scores, full_labels, labels, protocol, names, scenes)
        row = replace(row, intervals=intervals(row.processed, labels, options.bootstrap, options.seed))
        if not row.null and normal is not None:
            row = replace(row, operating=operating_points(row.processed, labels, normal[key[0]], protocol, rules))
        rows.append(row)
    rows += [
        _blind_row(null, full_labels, labels, protocol, options.noise_seeds, scenes)
        for null in BLIND
        if null in null_names
    ]
    provenance = {
        "schema": SCHEMA,
        **code(),
        "protocol": asdict(protocol) | {"line": protocol.describe()},
        "labels": {
            "folder": last_name(options.labels) if options.labels else "",
            "benchmark": benchmark,
            "set": published.name,
            "set_known_by_content": published.by_content,
            "sha256": truth.labels.sha256,
            "files_without_a_video": len(truth.labels.unused),
            **({"without_a_video": list(truth.labels.unused)} if truth.labels.unused else {}),
        },
        "label_notes": truth.notes,
        "settings": settings(options),
        "environment": environment(),
        "intervals": {
            "level": LEVEL,
            "of": "videos, drawn with replacement",
            "method": "t-interval on the logit, standard deviation of the draws",
            "draws": 0 if why_none else options.bootstrap,
            **({"none": why_none} if why_none else {}),
        },
        "alarms": asdict(rules) | {"calibrated": normal is not None},
        **provenance,
    }
    return Evaluation(names, labels, full_labels, rows, protocol, provenance)


def check(options: EvalOptions, source: str, *needed: str) -> None:
    """What can be said of the options before anything is read. InputError: a flag that is needed or out of range, one
    that the input leaves unread, test data in the place of normal video. source: the flag whose input is evaluated."""
    for name in needed:
        if not getattr(options, name):
            raise InputError(f"--{name}: give the folder")
    check_draws(options.bootstrap, options.seed)
    for flag, reader in READ_WITH.items():
        if getattr(options, flag) and source != reader:
            own = f"normal_{source}"
            remedy = f"give --{own}" if flag in NORMAL and own in READ_WITH else "leave it out"
            raise InputError(f"--{flag}: goes with --{reader}, not with --{source}: {remedy}")
    for flag, tested in NORMAL.items():
        places = getattr(options, flag), getattr(options, tested)
        if all(places) and len(set(map(os.path.realpath, places))) == 1:
            raise InputError(f"--{flag} {places[0]}: is what --{tested} tests: give normal video that is not tested")
    if options.benchmark and options.benchmark not in BENCHMARKS:
        raise InputError(f"--benchmark {options.benchmark!r}: choose one of {', '.join(BENCHMARKS)}")
    alarm_rules(options, options.benchmark)


def alarm_rules(options: EvalOptions, benchmark: str) -> AlarmRules:
    """How thresholds are set and alarms counted; frames per second of the benchmark where none are given."""
    return AlarmRules(options.quantile, options.alarm_period, options.merge_gap, options.fps or FPS.get(benchmark, 0.0))


def chosen_protocol(options: EvalOptions) -> Protocol:
    """The protocol of the options."""
    try:
        first, last = (int(part) for part in options.trim.split(","))
    except ValueError:
        raise InputError(f"--trim {options.trim!r}: two whole numbers FIRST,LAST, e.g. 4,0") from None
    if min(first, last) < 0:
        raise InputError(f"--trim {options.trim}: frames dropped cannot be fewer than 0")
    return choose(options.protocol, options.sigma, options.per_video_min_max, (first, last))


def _ordered(raw: dict[tuple[str, str], PerVideo], measures: list[str]) -> list[tuple[tuple[str, str], PerVideo]]:
    """The model's row of each measure, each followed by its nulls; then the nulls that have no measure."""
    keys = [(measure, null) for measure in measures for null in ("", *STAND_INS)]
    keys += [("", null) for null in NULLS if null not in (*STAND_INS, *BLIND)]
    return [(key, raw[key]) for key in keys if key in raw]


def _row(
    key: tuple[str, str],
    raw: PerVideo,
    full_labels: PerVideo,
    labels: PerVideo,
    protocol: Protocol,
    names: list[str],
    scenes: list[str] | None = None,
) -> Row:
    processed = [protocol(s) for s in raw]
    after = frame_metrics(processed, labels, names, scenes)
    return Row(*key, raw, processed, after, frame_metrics(raw, full_labels, names, scenes), sd={})


def _blind_row(
    null: str, full_labels: PerVideo, labels: PerVideo, protocol: Protocol, seeds: int, scenes: list[str] | None
) -> Row:
    """A baseline that knows the lengths only; of a seeded one, mean and standard deviation of its metrics."""
    draws = blind_draws(NULLS[null], [len(y) for y in full_labels], seeds)
    if NULLS[null].seeded and protocol.zero_padded_taps:  # zeros beyond the border reward scores never negative
        draws = [[np.abs(s) for s in draw] for draw in draws]
    processed = [[protocol(s) for s in draw] for draw in draws]
    after = [frame_metrics(scores, labels, scenes=scenes) for scores in processed]
    before = [frame_metrics(scores, full_labels, scenes=scenes) for scores in draws]
    varying = [k for k, value in after[0].items() if isinstance(value, float)] if NULLS[null].seeded else []
    sd = {k: float(np.std([m[k] for m in after], ddof=1)) for k in varying}
    return Row("", null, draws[0], processed[0], _mean_of(after), _mean_of(before), sd)


def _mean_of(metrics: list[dict[str, Any]]) -> dict[str, Any]:
    first = metrics[0]
    return {k: float(np.mean([m[k] for m in metrics])) if isinstance(v, float) else v for k, v in first.items()}
