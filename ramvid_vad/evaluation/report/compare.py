"""The page of two runs side by side: both curves of each video over its labels, and the tables."""

from typing import Any

import numpy as np

from ramvid_vad.evaluation.inputs.finished_runs import FinishedRun
from ramvid_vad.evaluation.report.page import render
from ramvid_vad.evaluation.schema import Scores
from ramvid_vad.evaluation.statistics.alarms import spans
from ramvid_vad.evaluation.statistics.comparison import METRICS, Comparison, reading


def write_comparison_page(comparison: Comparison, path: str) -> None:
    """The page into the file ``path``. The same input gives the same bytes."""
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.write(render(comparison_data(comparison), "compare"))


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
        "draws": comparison.resamples,
        "seed": comparison.seed,
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


def _run(run: FinishedRun, name: str, scale: list[float]) -> dict[str, Any]:
    about = run.about(name)
    return {"folder": name, "row": run.row, "protocol": run.protocol_line, "scale": scale, "about": about}


def _scale(scores: Scores) -> list[float]:
    """Lowest and highest score."""
    return [float(min(map(np.min, scores))), float(max(map(np.max, scores)))]
