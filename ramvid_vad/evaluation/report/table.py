"""An evaluation on paper: the table, metrics.json, scores.npz, scores.csv, report.html and one plot per video."""

import csv
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from ramvid_vad.evaluation.nulls.registry import BLIND, NULLS
from ramvid_vad.evaluation.report.sections import interval_lines, operating_lines
from ramvid_vad.evaluation.schema import Evaluation, Row
from ramvid_vad.evaluation.statistics.metrics import undefined
from ramvid_vad.evaluation.statistics.verdict import NullResult, verdict
from ramvid_vad.runtime.text import csv_cell

if TYPE_CHECKING:
    from ramvid_vad.evaluation.report import FrameSource

COLUMNS = (  # heading, metric; * marks a threshold chosen on the test labels
    ("micro AUC", "micro_auc"),
    ("macro", "macro_auc"),
    ("padded", "macro_auc_padded"),
    ("AP", "ap"),
    ("EER", "eer"),
    ("F1*", "best_f1"),
    ("acc.*", "oracle_accuracy"),
    ("acc./video*", "oracle_accuracy_per_video"),
)


def format_table(evaluation: Evaluation) -> str:
    """The table for people, figures in per cent. "raw" is the micro AUC before the protocol."""
    some = evaluation.rows[0].metrics
    labels = evaluation.provenance["labels"]
    lines = [
        f"{some['videos']} videos ({some['one_class_videos']} of one class), {some['frames']} frames, "
        f"{some['abnormal_frames']} abnormal; labels {labels['folder']} ({_label_set(labels)}"
        f"sha256 {labels['sha256'][:12]})",
        f"protocol {evaluation.protocol.describe()}",
        "macro: mean over videos, one-class videos skipped; padded: over all, each with a normal frame added below its "
        "scores and an abnormal one above",
        "",
        " " * 36 + "".join(f"{title:>13}" for title in ("raw", *(title for title, _ in COLUMNS))),
    ]
    for row in evaluation.rows:
        figures = [row.raw_metrics["micro_auc"], *(row.metrics[key] for _, key in COLUMNS)]
        lines.append(
            f"{_title(row, not evaluation.headline.null):<36}" + "".join(f"{percent(value):>13}" for value in figures)
        )
        if row.sd:
            sd = [None, *(row.sd.get(key) for _, key in COLUMNS)]
            lines.append(f"{'  standard deviation over seeds':<36}" + "".join(f"{percent(v):>13}" for v in sd))
    lines += interval_lines(evaluation) + operating_lines(evaluation)
    if evaluation.spatial:
        lines += ["", *_spatial_lines(evaluation)]
    lines += ["", *_reading(evaluation)]
    return "\n".join(lines)


def write_results(
    evaluation: Evaluation, out_dir: str, plots: bool = True, progress: bool = True, source: "FrameSource | None" = None
) -> None:
    """metrics.json, scores.npz, scores.csv, report.html and, if asked for, plots/NAME.png into the existing folder
    ``out_dir``.

    source: of the report's pictures; None: scores only. The same input gives the same bytes.
    """
    with open(os.path.join(out_dir, "metrics.json"), "w", encoding="utf-8") as file:
        json.dump(metrics_document(evaluation), file, indent=1, allow_nan=False)
        file.write("\n")
    np.savez_compressed(os.path.join(out_dir, "scores.npz"), **dict(score_arrays(evaluation)))
    _write_csv(evaluation, os.path.join(out_dir, "scores.csv"))
    from ramvid_vad.evaluation.report import write_report

    write_report(evaluation, os.path.join(out_dir, "report.html"), source)
    if plots:
        from ramvid_vad.evaluation.report.plots import plot_videos

        plot_videos(evaluation, os.path.join(out_dir, "plots"), progress)


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
    or MEASURE.NULL."""
    yield "about", np.array(json.dumps(evaluation.provenance, sort_keys=True))
    for name, labels in zip(evaluation.names, evaluation.full_labels, strict=True):
        yield f"labels/{name}", labels
    for row in _saved(evaluation):
        for name, raw, processed in zip(evaluation.names, row.raw, row.processed, strict=True):
            yield f"{row_key(row)}/raw/{name}", raw
            yield f"{row_key(row)}/processed/{name}", processed


def row_key(row: Row) -> str:
    """Name of a row in files: "wmse", "wmse.linear_blend", "optical_flow"."""
    return ".".join(part for part in (row.measure, row.null) if part)


def _saved(evaluation: Evaluation) -> list[Row]:
    """Rows whose scores are worth keeping: the blind nulls are functions of the lengths alone."""
    return [row for row in evaluation.rows if row.measure or row.null not in BLIND]


def _write_csv(evaluation: Evaluation, path: str) -> None:
    """One line per frame: video, frame, label, and of each saved row the raw and the processed score."""
    rows, skipped = _saved(evaluation), evaluation.first_processed - evaluation.first_raw
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        headings = [f"{row_key(row)} {kind}" for row in rows for kind in ("raw", "processed")]
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


def _label_set(labels: dict[str, Any]) -> str:
    """The set by name, as "label set liu2018 of avenue, "."""
    if not labels["set"]:
        return ""
    return f"label set {labels['set']}{' of ' + labels['benchmark'] if labels['benchmark'] else ' by its folder'}, "


def _title(row: Row, below_model: bool) -> str:
    """The row's name in the table; a stand-in stands below the model's row of its measure, or names the measure."""
    if not row.null:
        return row.measure
    if not row.measure:
        return f"null: {NULLS[row.null].title}"
    return f"  {NULLS[row.null].title}" if below_model else f"{row.measure}: {NULLS[row.null].title}"


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _reading(evaluation: Evaluation) -> list[str]:
    """What the table says, in words."""
    m = evaluation.rows[0].metrics
    lines = [
        "* oracle: the threshold is the best one on these very labels. Without looking: always 'normal' is right in "
        f"{percent(m['accuracy_all_normal'])} % of the frames, always 'abnormal' in "
        f"{percent(m['accuracy_all_abnormal'])} %; the better of the two per video: "
        f"{percent(m['accuracy_best_constant_per_video'])} %."
    ]
    uncovered = evaluation.provenance.get("frames_never_reconstructed")
    if uncovered:
        lines.append(f"{uncovered} frames were never reconstructed; they have the score of a perfect reconstruction.")
    unseen = evaluation.provenance["labels"].get("without_a_video", [])
    if unseen:
        some = ", ".join(unseen[:8]) + (", ..." if len(unseen) > 8 else "")
        lines.append(f"NOT EVALUATED: labels without a video ({len(unseen)}): {some}")
    lines += [f"left out: null {name} ({why})" for name, why in evaluation.provenance.get("nulls_left_out", {}).items()]
    if m["micro_auc"] is None:
        return [*lines, "All frames are of one class: AUC, AP, EER and oracle figures are undefined (-)."]
    # the first measure, not the best one: a measure picked after looking at these labels would flatter
    headline = evaluation.headline
    if headline.null:
        figure = percent(headline.metrics["micro_auc"])
        lines.append(f"The row that any model has to beat: {_full_title(headline)} (micro AUC {figure}).")
    else:
        lines.append(row_verdict(evaluation, headline))
    return [line for line in lines if line]


def row_verdict(evaluation: Evaluation, row: Row) -> str:
    """One sentence on a row of the model: inside, above or below the spread of the nulls (``evaluation.spread``)."""
    nulls = [
        NullResult(_full_title(n), n.metrics["micro_auc"], n.sd.get("micro_auc", 0.0), sees_video=n.null not in BLIND)
        for n in evaluation.rows
        if n.null
    ]
    return verdict(row.measure, row.metrics["micro_auc"], nulls, row.intervals.get("micro_auc"))


def _full_title(row: Row) -> str:
    return NULLS[row.null].title + (f" by {row.measure}" if row.measure else "")


def _spatial_lines(evaluation: Evaluation) -> list[str]:
    """Where the anomalies are: the second table."""
    about = evaluation.provenance["spatial"]
    headings = ("pixel AUC", "AUPRO", "RBDC", "TBDC")
    lines = [" " * 36 + "".join(f"{title:>13}" for title in headings)]
    for null, figures in evaluation.spatial.items():
        title = f"  {NULLS[null].title}" if null else "residual and its blobs"
        values = (figures[key] for key in ("pixel_auc", "aupro", "rbdc", "tbdc"))
        lines.append(f"{title:<36}" + "".join(f"{percent(value):>13}" for value in values))
    lines.append(
        f"pixels of {about['videos_with_masks']}, tracks of {about['videos_with_tracks']} of {about['videos']} videos "
        f"({about['tracks_linked_from_masks']} linked from masks); AUPRO up to FPR 0.3; RBDC, TBDC: IoU and alpha 0.1"
    )
    return lines
