"""Two runs compared, on paper: the table, comparison.json and comparison.html."""

import os
from typing import Any

import numpy as np

from ramvid_vad.evaluation.inputs.finished_runs import FinishedRun
from ramvid_vad.evaluation.provenance import code
from ramvid_vad.evaluation.report.files import as_json
from ramvid_vad.evaluation.report.wording import intervals_line, percent, videos_in_words, wrapped
from ramvid_vad.evaluation.statistics.alarms import spans
from ramvid_vad.evaluation.statistics.comparison import METRICS, Comparison, Difference, reading
from ramvid_vad.evaluation.statistics.metrics import PerVideo
from ramvid_vad.page.render import render
from ramvid_vad.runtime.files import write_text

SCHEMA = 1  # of comparison.json: a new key leaves it, a key that changes its meaning or goes away raises it


def write_comparison(comparison: Comparison, out_dir: str) -> None:
    """comparison.json and comparison.html into the existing folder ``out_dir``. The same input gives the same bytes."""
    write_text(os.path.join(out_dir, "comparison.json"), as_json(comparison_document(comparison)))
    write_text(os.path.join(out_dir, "comparison.html"), render(comparison_data(comparison), "compare", __package__))


def format_comparison(comparison: Comparison) -> str:
    """The table for people, what it says first; figures in per cent, differences in points."""
    a, b, videos = comparison.a, comparison.b, comparison.videos
    lines = [
        *(line for sentence in reading(comparison) for line in wrapped(sentence)),
        "",
        *wrapped(f"A  {a.folder}: {a.row}, {a.protocol_line}"),
        *wrapped(f"B  {b.folder}: {b.row}, {b.protocol_line}"),
        *wrapped(
            f"{videos_in_words(len(videos))} ({sum(v.difference is None for v in videos)} of one class), "
            f"{sum(v.frames for v in videos)} frames, {sum(v.abnormal for v in videos)} abnormal; labels sha256 "
            f"{a.labels_sha256[:12]}"
        ),
        "",
        f"{'':<27}{'A':>8}{'B':>8}{'B - A':>8}   95 % interval of B - A",
    ]
    for key, title in METRICS.items():
        d = comparison.metrics[key]
        ends = "-" if d.interval is None else f"{100 * d.interval[0]:+.1f} to {100 * d.interval[1]:+.1f}"
        lines.append(f"{title:<27}{percent(d.a):>8}{percent(d.b):>8}{_points(d.difference):>8}   {ends}")
    lines.append(_intervals(comparison))
    heading = "AUC per video, worst first"
    lines += ["", f"{heading:<27}{'A':>8}{'B':>8}{'B - A':>8}{'frames':>9}{'abnormal':>10}"]
    for v in videos:
        figures = f"{percent(v.auc_a):>8}{percent(v.auc_b):>8}{_points(v.difference):>8}"
        lines.append(f"{'  ' + v.name:<27}{figures}{v.frames:>9}{v.abnormal:>10}")
    return "\n".join(lines)


def comparison_document(comparison: Comparison) -> dict[str, Any]:
    """Content of comparison.json: fractions, null where undefined; no path of the machine, no time."""

    runs = (comparison.a, comparison.b)

    def entry(d: Difference) -> dict[str, Any]:
        ends = None if d.interval is None else list(d.interval)
        holds = None if d.interval is None else d.interval[0] <= 0 <= d.interval[1]
        return {"a": d.a, "b": d.b, "difference": d.difference, "interval": ends, "interval_contains_0": holds}

    return {
        "schema": SCHEMA,
        **code(),
        "difference": "B minus A",
        **{key: run.about(name) for key, run, name in zip("ab", runs, comparison.folders, strict=True)},
        "labels_sha256": comparison.a.labels_sha256,
        "intervals": {
            "level": 0.95,
            "of": "videos, drawn with replacement, the same for both",
            "method": "t-interval, standard deviation of the draws",
            "draws": 0 if comparison.no_interval else comparison.resamples,
            "seed": comparison.seed,
            **({"none": comparison.no_interval} if comparison.no_interval else {}),
        },
        "metrics": {key: entry(d) for key, d in comparison.metrics.items()},
        "videos": [
            {
                "name": v.name,
                "frames": v.frames,
                "abnormal_frames": v.abnormal,
                "auc_a": v.auc_a,
                "auc_b": v.auc_b,
                "difference": v.difference,
            }
            for v in comparison.videos
        ],
        "reading": reading(comparison),
    }


def comparison_data(comparison: Comparison) -> dict[str, Any]:
    """What the page shows, as plain JSON types. Each run has the scale of its own scores over all videos; runs of one
    row after one protocol share a scale, so that heights can be compared too."""
    a, b = comparison.a, comparison.b
    alike = (a.row, a.protocol_line) == (b.row, b.protocol_line)
    scales = [_scale([*a.scores, *b.scores])] * 2 if alike else [_scale(a.scores), _scale(b.scores)]
    at = {name: i for i, name in enumerate(a.names)}
    return {
        "title": " and ".join(comparison.folders),
        "runs": [_run(*run) for run in zip((a, b), comparison.folders, scales, strict=True)],
        "reading": reading(comparison),
        "metrics": [
            {"title": title, "a": d.a, "b": d.b, "difference": d.difference, "interval": d.interval}
            for title, d in ((METRICS[key], comparison.metrics[key]) for key in METRICS)
        ],
        "intervals": _intervals(comparison),
        "videos": [
            {
                "name": v.name,
                "first": a.first,
                "scores": [[float(f"{s:.6g}") for s in run.scores[at[v.name]]] for run in (a, b)],
                "spans": [list(span) for span in spans(a.labels[at[v.name]])],
                "abnormal": v.abnormal,
                "auc": [v.auc_a, v.auc_b],
                "difference": v.difference,
            }
            for v in comparison.videos
        ],
    }


def _intervals(comparison: Comparison) -> str:
    about = {"draws": comparison.resamples, "none": comparison.no_interval}
    return intervals_line(about, comparison.seed) + ("" if comparison.no_interval else ", the same for both")


def _run(run: FinishedRun, name: str, scale: list[float]) -> dict[str, Any]:
    about = run.about(name)
    return {"folder": name, "row": run.row, "protocol": run.protocol_line, "scale": scale, "about": about}


def _scale(scores: PerVideo) -> list[float]:
    """Lowest and highest score."""
    return [float(min(map(np.min, scores))), float(max(map(np.max, scores)))]


def _points(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:+.1f}"
