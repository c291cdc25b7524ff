"""The files of an evaluation, all of it or nothing: metrics.json, scores.npz, scores.csv, table.txt, report.html."""

import csv
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from ramvid_vad.evaluation.nulls.registry import BLIND
from ramvid_vad.evaluation.report.page import report_page
from ramvid_vad.evaluation.report.pictures import FrameSource
from ramvid_vad.evaluation.report.table import format_table
from ramvid_vad.evaluation.report.wording import row_key, row_verdict
from ramvid_vad.evaluation.results import Evaluation, Row
from ramvid_vad.evaluation.statistics.metrics import undefined
from ramvid_vad.runtime.files import replacing_together, write_text
from ramvid_vad.runtime.text import csv_cell


def write_results(
    evaluation: Evaluation, out_dir: str, plots: bool = True, progress: bool = True, source: FrameSource | None = None
) -> list[str]:
    """All files, and plots/NAME.png if asked for, into the existing folder ``out_dir`` -> what was written there.

    source: of the report's pictures; None: scores only. The same input gives the same bytes.
    """

    written = ["table.txt", "metrics.json", "scores.npz", "scores.csv", "report.html"]
    with replacing_together(out_dir, last="metrics.json") as workshop:
        table, metrics, scores, rows, page = (os.path.join(workshop, name) for name in written)
        _write_npz(evaluation, scores)
        _write_csv(evaluation, rows)
        write_text(table, format_table(evaluation, full=True) + "\n")
        write_text(page, report_page(evaluation, source))
        write_text(metrics, as_json(metrics_document(evaluation)))
        if plots:
            from ramvid_vad.evaluation.report.plots import plot_videos

            plot_videos(evaluation, os.path.join(workshop, "plots"), progress)
            written.append("plots")
    return written


def as_json(document: dict[str, Any]) -> str:
    """Indented, with a line end; a NaN is an error."""
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def metrics_document(evaluation: Evaluation) -> dict[str, Any]:
    """Content of metrics.json: provenance, and per row its metrics as fractions (null: undefined, with the cause)."""
    rows = [
        {
            "measure": row.measure or None,
            "null": row.null or None,
            "metrics": row.metrics,
            "undefined": undefined(row.metrics),
            "metrics_before_protocol": row.raw_metrics,
            "intervals": {name: list(ends) for name, ends in row.intervals.items()},
            **({} if row.null else {"operating": [asdict(point) for point in row.operating]}),
            **({"sd_over_seeds": row.sd} if row.sd else {}),
            **({} if row.null else {"verdict": row_verdict(evaluation, row)}),
        }
        for row in evaluation.rows
    ]
    spatial = {null or "model": figures for null, figures in evaluation.spatial.items()}
    return evaluation.provenance | {"videos": evaluation.names, "rows": rows} | ({"where": spatial} if spatial else {})


def score_arrays(evaluation: Evaluation) -> Iterator[tuple[str, np.ndarray]]:
    """Arrays of scores.npz: ``about`` (provenance as JSON), ``labels/VIDEO``, and per row that looks at the video
    ``ROW/raw/VIDEO`` for all frames and ``ROW/processed/VIDEO`` for those the protocol keeps. ROW is a measure, NULL,
    MEASURE.NULL, or null.NULL where a measure has the null's name."""
    yield "about", np.array(json.dumps(evaluation.provenance, sort_keys=True))
    for name, labels in zip(evaluation.names, evaluation.full_labels, strict=True):
        yield f"labels/{name}", labels
    for row in _saved(evaluation):
        key = row_key(row, evaluation.rows)
        for name, raw, processed in zip(evaluation.names, row.raw, row.processed, strict=True):
            yield f"{key}/raw/{name}", raw
            yield f"{key}/processed/{name}", processed


def _saved(evaluation: Evaluation) -> list[Row]:
    """Rows whose scores are worth keeping: the blind nulls are functions of the lengths alone."""
    return [row for row in evaluation.rows if row.null not in BLIND]


def _write_npz(evaluation: Evaluation, path: str) -> None:
    with open(path, "wb") as file:  # to a name numpy would add ".npz"
        np.savez_compressed(file, **dict(score_arrays(evaluation)))


def _write_csv(evaluation: Evaluation, path: str) -> None:
    """One line per frame: video, frame, label, and of each saved row the raw and the processed score."""
    rows, skipped = _saved(evaluation), evaluation.first_processed - evaluation.first_raw
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        headings = [f"{row_key(row, evaluation.rows)} {kind}" for row in rows for kind in ("raw", "processed")]
        writer.writerow(["video", "frame", "label", *headings])
        for video, name in enumerate(evaluation.names):
            columns = []
            for row in rows:
                padded = np.full(len(row.raw[video]), np.nan)  # frames the protocol dropped have no processed score
                padded[skipped : skipped + len(row.processed[video])] = row.processed[video]
                columns += [row.raw[video], padded]
            for frame, label in enumerate(evaluation.full_labels[video]):
                values = ["" if np.isnan(c[frame]) else f"{c[frame]:.9g}" for c in columns]
                writer.writerow([csv_cell(name), evaluation.first_raw + frame, int(label), *values])
