"""What the page shows, as plain JSON types: figures, curves, scores per video, and the events worth a look."""

from typing import Any

import numpy as np

from ramvid_vad.evaluation.report.pictures import BUDGET, FrameSource, pictures, true_aspect
from ramvid_vad.evaluation.report.table import SHORT, rows_that_matter
from ramvid_vad.evaluation.report.wording import COLUMNS, plain_sentence, row_title, sees_video, subject, summary
from ramvid_vad.evaluation.results import Evaluation, Row
from ramvid_vad.evaluation.statistics.alarms import spans
from ramvid_vad.evaluation.statistics.metrics import counts, video_auc

POINTS = 400  # of a ROC or PR curve: more cannot be seen
EVENTS = 12  # false alarms and misses, each
ROWS = 5  # in sight; the others are folded


def report_data(evaluation: Evaluation, source: FrameSource | None = None, budget: int = BUDGET) -> dict[str, Any]:
    """All that the page needs. Fractions stay fractions; undefined figures, and pictures without a source, are None."""
    row = evaluation.headline
    events = _events(evaluation, row)
    return {
        "title": f"{subject(evaluation)}: {row_title(row)}",
        "fps": evaluation.provenance["alarms"]["fps"],
        "frames": {key: row.metrics[key] for key in ("videos", "frames", "abnormal_frames")},
        "lead": plain_sentence(evaluation),
        "verdict": summary(evaluation),
        "protocol": evaluation.protocol.describe(),
        "columns": [{"title": title, "key": key} for title, key in COLUMNS],
        "rows": [_row(r) for r in evaluation.rows],
        "matter": [evaluation.rows.index(r) for r in _five(evaluation)],
        "short": ["micro_auc", *(key for _, key, _ in SHORT)],
        "headline": evaluation.rows.index(row),
        "curves": operating_curves(np.concatenate(row.processed), np.concatenate(evaluation.labels)),
        "thresholds": [
            {"rule": p.rule, "value": p.threshold, "figures": dict(p.figures)}
            for p in row.operating
            if p.threshold is not None
        ],
        "videos": [_video(evaluation, row, v) for v in range(len(evaluation.names))],
        "events": events,
        "pictures": _pictures(evaluation, row, events, source, budget) if source else None,
        "provenance": evaluation.provenance,
    }


def _five(evaluation: Evaluation) -> list[Row]:
    """The headline, the best blind row, and of the rows that see the video those with the highest micro AUC; in the
    order of the table."""
    first, *others = rows_that_matter(evaluation)
    blind = [row for row in others if not sees_video(row)]
    seeing = sorted((row for row in others if sees_video(row)), key=lambda row: -(row.metrics["micro_auc"] or 0))
    seeing = seeing[: ROWS - 1 - len(blind)]
    return [first, *(row for row in others if any(row is kept for kept in (*seeing, *blind)))]


def operating_curves(scores: np.ndarray, labels: np.ndarray) -> dict[str, list[list[float]]] | None:
    """ROC [fpr, tpr] and PR [recall, precision] of scores (n,) and labels (n,) in {0, 1}; None where one class lacks.

    One point per distinct score, so ties make one straight step; thinned evenly to POINTS, ends kept.
    """
    c = counts(scores, labels)
    if not c.has_both:
        return None
    keep = np.unique(np.linspace(1, len(c.tp) - 1, min(POINTS, len(c.tp) - 1)).round().astype(int))
    tp, fp = c.tp[keep], c.fp[keep]
    tpr, fpr, precision = tp / c.positives, fp / c.negatives, tp / (tp + fp)
    roc = [[0.0, 0.0], *np.round(np.stack([fpr, tpr], 1), 5).tolist()]
    return {"roc": roc, "pr": np.round(np.stack([tpr, precision], 1), 5).tolist()}


def _row(row: Row) -> dict[str, Any]:
    return {
        "title": row_title(row),
        "null": bool(row.null),
        "metrics": {key: row.metrics[key] for _, key in COLUMNS},
        "sd": row.sd.get("micro_auc"),
        "interval": list(row.intervals["micro_auc"]) if "micro_auc" in row.intervals else None,
    }


def _video(evaluation: Evaluation, row: Row, video: int) -> dict[str, Any]:
    labels, scores = evaluation.labels[video], row.processed[video]
    auc = video_auc(scores, labels)
    return {
        "name": evaluation.names[video],
        "first": evaluation.first_processed,
        "scores": [float(f"{s:.6g}") for s in scores],
        "spans": [[int(a), int(b)] for a, b in spans(labels)],
        "auc": None if auc is None else round(auc, 4),
    }


def _pictures(
    evaluation: Evaluation, row: Row, events: dict[str, list[dict[str, Any]]], source: FrameSource, budget: int
) -> dict[str, Any]:
    """Height and width of a frame, which the boxes are in, and per video its true aspect and its stored frames."""
    first = evaluation.first_processed
    shown = [(first, first + len(scores)) for scores in row.processed]
    wanted = [(e["video"], first + e["at"]) for found in events.values() for e in found]
    return {
        "size": list(source.cache.size),
        "aspects": [true_aspect(source, name) for name in evaluation.names],
        "videos": pictures(source, evaluation.names, shown, wanted, budget),
    }


def _events(evaluation: Evaluation, row: Row) -> dict[str, list[dict[str, Any]]]:
    """The normal spans with the highest peak and the abnormal spans with the lowest one; position is of the peak."""
    found: dict[str, list[dict[str, Any]]] = {"false_alarms": [], "misses": []}
    for video, (labels, scores) in enumerate(zip(evaluation.labels, row.processed, strict=True)):
        for kind, mask in (("false_alarms", labels == 0), ("misses", labels != 0)):
            for begin, end in spans(mask.astype(np.uint8)):
                peak = int(begin + np.argmax(scores[begin:end]))
                score = float(f"{scores[peak]:.6g}")
                found[kind].append({"video": video, "at": peak, "score": score, "begin": begin, "end": end})
    found["false_alarms"].sort(key=lambda e: (-e["score"], e["video"], e["at"]))
    found["misses"].sort(key=lambda e: (e["score"], e["video"], e["at"]))
    return {kind: events[:EVENTS] for kind, events in found.items()}
