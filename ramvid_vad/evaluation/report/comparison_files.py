"""A comparison of two runs on paper: the table, comparison.json and comparison.html."""

import json
import os
from typing import Any

from ramvid_vad.evaluation.provenance import code
from ramvid_vad.evaluation.report.table import percent
from ramvid_vad.evaluation.statistics.comparison import METRICS, Comparison, Difference, reading

SCHEMA = 1  # of comparison.json: a new key leaves it, a key that changes its meaning or goes away raises it


def write_comparison(comparison: Comparison, out_dir: str) -> None:
    """comparison.json and comparison.html into the existing folder ``out_dir``. The same input gives the same bytes."""
    from ramvid_vad.evaluation.report import write_comparison_page

    with open(os.path.join(out_dir, "comparison.json"), "w", encoding="utf-8") as file:
        json.dump(comparison_document(comparison), file, indent=1, allow_nan=False)
        file.write("\n")
    write_comparison_page(comparison, os.path.join(out_dir, "comparison.html"))


def format_comparison(comparison: Comparison) -> str:
    """The table for people, figures in per cent, differences in points."""
    a, b, videos = comparison.a, comparison.b, comparison.videos
    lines = [
        f"A  {a.folder}: {a.row}, {a.protocol_line}",
        f"B  {b.folder}: {b.row}, {b.protocol_line}",
        f"{len(videos)} videos ({sum(v.difference is None for v in videos)} of one class), "
        f"{sum(v.frames for v in videos)} frames, {sum(v.abnormal for v in videos)} abnormal; labels sha256 "
        f"{a.labels_sha256[:12]}",
        "",
        f"{'':<36}{'A':>10}{'B':>10}{'B - A':>10}     95 % interval of B - A",
    ]
    for key, title in METRICS.items():
        d = comparison.metrics[key]
        ends = "undefined" if d.interval is None else f"{100 * d.interval[0]:+.1f} to {100 * d.interval[1]:+.1f}"
        lines.append(f"{title:<36}{percent(d.a):>10}{percent(d.b):>10}{_points(d.difference):>10}     {ends}")
    if comparison.resamples:
        lines.append(
            f"intervals: {comparison.resamples} draws of whole videos, the same for both (seed {comparison.seed})"
        )
    lines += [
        "",
        f"{'AUC per video, largest loss first':<36}{'A':>10}{'B':>10}{'B - A':>10}{'frames':>10}{'abnormal':>10}",
    ]
    for v in videos:
        figures = f"{percent(v.auc_a):>10}{percent(v.auc_b):>10}{_points(v.difference):>10}"
        lines.append(f"{'  ' + v.name:<36}{figures}{v.frames:>10}{v.abnormal:>10}")
    return "\n".join([*lines, "", *reading(comparison)])


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
            "draws": comparison.resamples,
            "seed": comparison.seed,
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


def _points(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:+.1f}"
