"""The table for people: what the result says, the rows that matter and the facts, 80 columns wide; or everything."""

from typing import Any

from ramvid_vad.evaluation.nulls.registry import NULLS
from ramvid_vad.evaluation.report.wording import (
    COLUMNS,
    intervals_line,
    percent,
    row_key,
    row_title,
    sees_video,
    summary,
    videos_in_words,
    wrapped,
)
from ramvid_vad.evaluation.results import Evaluation, Row
from ramvid_vad.evaluation.statistics.operating_points import Operating
from ramvid_vad.evaluation.statistics.verdict import DEVIATIONS

TITLE = 35  # columns of a row's name in the short table
SHORT = (("macro", "macro_auc", 7), ("AP", "ap", 6), ("EER", "eer", 6))  # heading, metric, columns
INTERVALS = (("micro AUC", "micro_auc"), ("macro", "macro_auc"), ("AP", "ap"), ("EER", "eer"))
FIGURES = (  # at a threshold
    ("accuracy", "accuracy"),
    ("F1", "f1"),
    ("false alarms/h", "false_alarms_per_hour"),
    ("per 1000", "false_alarms_per_1000_normal_frames"),
    ("missed", "missed_events"),
    ("events", "events"),
    ("delay s", "mean_delay_seconds"),
    ("frames", "mean_delay_frames"),
)
SPATIAL = (("pixel AUC", "pixel_auc"), ("AUPRO", "aupro"), ("RBDC", "rbdc"), ("TBDC", "tbdc"))
RULES = {"quantile": "quantile", "extreme_value": "extreme value"}


def format_table(evaluation: Evaluation, full: bool = False) -> str:
    """The table, figures in per cent, the verdict first. full: every row and every figure, up to 170 columns wide.

    "raw" is the micro AUC before the protocol.
    """
    return "\n".join(_full(evaluation) if full else _short(evaluation))


# the short table


def rows_that_matter(evaluation: Evaluation) -> list[Row]:
    """The headline, the nulls that see the video (by its measure only), the blind one that the verdict names."""
    headline, measure = evaluation.headline, evaluation.rows[0].measure
    others = [row for row in evaluation.rows if row.null and row is not headline]
    seeing = [row for row in others if sees_video(row) and row.measure in ("", measure)]
    blind = [row for row in others if not sees_video(row)]
    reach = {id(row): (row.metrics["micro_auc"] or 0) + DEVIATIONS * row.sd.get("micro_auc", 0) for row in blind}
    return [headline, *seeing, *sorted(blind, key=lambda row: -reach[id(row)])[:1]]


def _short(evaluation: Evaluation) -> list[str]:
    lines = [*wrapped(summary(evaluation)), ""]
    lines.append(f"{'':<{TITLE}}{'micro AUC':>10}{'95 % interval':>15}" + "".join(f"{t:>{w}}" for t, _, w in SHORT))
    rows = rows_that_matter(evaluation)
    for row in rows:
        title = ("null: " + NULLS[row.null].title) if row.null else row.measure
        title = title if len(title) <= TITLE else title[: TITLE - 3] + "..."
        without = f"sd {percent(row.sd.get('micro_auc'))}" if row.sd else "-"
        figures = f"{percent(row.metrics['micro_auc']):>10}{_interval(row, 'micro_auc', without):>15}"
        lines.append(f"{title:<{TITLE}}{figures}" + "".join(f"{percent(row.metrics[k]):>{w}}" for _, k, w in SHORT))
    lines.append("")
    for fact in _facts(evaluation):
        lines += wrapped(fact)
    left = len(evaluation.rows) - len(rows)
    more = f"{left} more {'row' if left == 1 else 'rows'} and oracle figures" if left else "oracle figures"
    return [*lines, *wrapped(f"{more}: table.txt, or --full_table True")]


def _facts(evaluation: Evaluation) -> list[str]:
    """What stands below the rows, a paragraph each."""
    facts = [_what_was_judged(evaluation), f"protocol {evaluation.protocol.describe()}"]
    facts.append(intervals_line(evaluation.provenance["intervals"], evaluation.provenance["settings"]["seed"]))
    if evaluation.spatial:
        figures = next(iter(evaluation.spatial.values()))
        facts.append("where: " + ", ".join(f"{title} {percent(figures[key])}" for title, key in SPATIAL))
    if not evaluation.headline.null:
        facts += [_at_threshold(point) for point in evaluation.headline.operating] or [_not_calibrated(evaluation)]
    return facts + _cautions(evaluation)


def _at_threshold(point: Operating) -> str:
    """A threshold from normal video and what happens at it, in words."""
    start = f"threshold from normal video, {RULES[point.rule]}"
    if point.threshold is None:
        return f"{start}: none, {point.reason}"
    f = point.figures
    hourly, thousand = f["false_alarms_per_hour"], f["false_alarms_per_1000_normal_frames"]
    parts = [f"accuracy {percent(f['accuracy'])}", f"F1 {percent(f['f1'])}"]
    if hourly is not None:
        parts.append(f"{hourly:.1f} false alarms per hour")
    elif thousand is not None:
        parts.append(f"{thousand:.1f} false alarms per 1000 normal frames")
    parts.append(f"{f['missed_events']} of {f['events']} events missed")
    if f["mean_delay_seconds"] is not None:
        parts.append(f"mean delay {f['mean_delay_seconds']:.1f} s")
    elif f["mean_delay_frames"] is not None:
        parts.append(f"mean delay {f['mean_delay_frames']:.1f} frames")
    return f"{start}, {point.threshold:.4g}: {', '.join(parts)}"


# the full table


def _full(evaluation: Evaluation) -> list[str]:
    m = evaluation.rows[0].metrics
    lines = [
        summary(evaluation),
        "",
        _what_was_judged(evaluation),
        f"protocol {evaluation.protocol.describe()}",
        "macro: mean over videos, one-class videos skipped; padded: over all, each with a normal frame added below its "
        "scores and an abnormal one above",
        "",
        _line("", ["raw", *(title for title, _ in COLUMNS)]),
    ]
    for row in evaluation.rows:
        figures = [row.raw_metrics["micro_auc"], *(row.metrics[key] for _, key in COLUMNS)]
        lines.append(_line(_full_title(row, not evaluation.headline.null), map(percent, figures)))
        if row.sd:
            sd = ["-", *(percent(row.sd.get(key)) for _, key in COLUMNS)]
            lines.append(_line("  standard deviation over seeds", sd))
    lines += _interval_lines(evaluation) + _operating_lines(evaluation) + _spatial_lines(evaluation)
    return [
        *lines,
        "",
        "* oracle: the threshold is the best one on these very labels. Without looking: always 'normal' is right in "
        f"{percent(m['accuracy_all_normal'])} % of the frames, always 'abnormal' in "
        f"{percent(m['accuracy_all_abnormal'])} %; the better of the two per video: "
        f"{percent(m['accuracy_best_constant_per_video'])} %.",
        *_cautions(evaluation),
    ]


def _full_title(row: Row, below_model: bool) -> str:
    """The row's name; a stand-in stands below the model's row of its measure, or names the measure."""
    if not row.null or not row.measure:
        return f"null: {row_title(row)}" if row.null else row.measure
    return f"  {NULLS[row.null].title}" if below_model else f"{row.measure}: {NULLS[row.null].title}"


def _interval_lines(evaluation: Evaluation) -> list[str]:
    """Of the rows that are not baselines; of the best baseline too where there are only those."""
    rows = [row for row in evaluation.rows if not row.null] or [evaluation.headline]
    title = f"95 % {intervals_line(evaluation.provenance['intervals'], evaluation.provenance['settings']['seed'])}"
    if not any(row.intervals for row in rows):
        return ["", title]
    lines = ["", _line(title, [name for name, _ in INTERVALS], 18, 72)]
    for row in rows:
        ends = [_interval(row, key, "undefined") for _, key in INTERVALS]
        lines.append(_line(f"  {row_key(row, evaluation.rows)}", ends, 18, 72))
    return lines


def _operating_lines(evaluation: Evaluation) -> list[str]:
    """At each threshold its figures, or why there is none."""
    rows = [row for row in evaluation.rows if not row.null]
    if not rows:
        return []
    alarms = evaluation.provenance["alarms"]
    if not alarms["calibrated"]:
        return ["", _not_calibrated(evaluation)]
    lines = ["", _line("thresholds from normal video", ["threshold", *(name for name, _ in FIGURES)], 15)]
    for row in rows:
        for point in row.operating:
            title = f"  {row.measure}, {RULES[point.rule]}"
            if point.threshold is None:
                lines.append(f"{title:<36}  {point.reason}")
            else:
                texts = [_figure(key, point.figures[key]) for _, key in FIGURES]
                lines.append(_line(title, [f"{point.threshold:.4g}", *texts], 15))
    rate = f"{alarms['fps']:g} frames per second" if alarms["fps"] else "frame rate not known (--fps)"
    lines.append(
        f"quantile {alarms['quantile']:g} of the normal frames; extreme value: one false alarm in {alarms['period']:g} "
        f"normal frames; alarms at most {alarms['merge_gap']} frames apart are one; {rate}"
    )
    return lines


def _spatial_lines(evaluation: Evaluation) -> list[str]:
    """Where the anomalies are."""
    if not evaluation.spatial:
        return []
    about = evaluation.provenance["spatial"]
    lines = ["", _line("", [title for title, _ in SPATIAL])]
    for null, figures in evaluation.spatial.items():
        title = f"  {NULLS[null].title}" if null else "residual and its blobs"
        lines.append(_line(title, [percent(figures[key]) for _, key in SPATIAL]))
    lines.append(
        f"pixels of {about['videos_with_masks']}, tracks of {about['videos_with_tracks']} of {about['videos']} videos "
        f"({about['tracks_linked_from_masks']} linked from masks); AUPRO up to FPR 0.3; RBDC, TBDC: IoU and alpha 0.1"
    )
    return lines


def _line(title: str, cells: Any, width: int = 13, first: int = 36) -> str:
    return f"{title:<{first}}" + "".join(f"{cell:>{width}}" for cell in cells)


def _figure(key: str, value: float | int | None) -> str:
    if value is None:
        return "undefined"
    if key in ("accuracy", "f1"):
        return percent(value)
    return f"{value}" if isinstance(value, int) else f"{value:.1f}"


# both


def _not_calibrated(evaluation: Evaluation) -> str:
    """Why no threshold, and what would give one to this kind of input."""
    kinds = [kind for kind in ("scores", "reconstructions") if f"{kind}_sha256" in evaluation.provenance]
    remedy = f" (give --normal_{kinds[0]})" if kinds else ""
    return f"thresholds: not calibrated{remedy}; test labels choose none"


def _interval(row: Row, key: str, without: str) -> str:
    ends = row.intervals.get(key)
    return f"{100 * ends[0]:.1f} - {100 * ends[1]:.1f}" if ends else without


def _what_was_judged(evaluation: Evaluation) -> str:
    some, labels = evaluation.rows[0].metrics, evaluation.provenance["labels"]
    of = f" of {labels['benchmark']}" if labels["benchmark"] else " by its folder"
    label_set = f"label set {labels['set']}{of}, " if labels["set"] else ""
    return (
        f"{videos_in_words(some['videos'])} ({some['one_class_videos']} of one class), {some['frames']} frames, "
        f"{some['abnormal_frames']} abnormal; labels {labels['folder']} ({label_set}sha256 {labels['sha256'][:12]})"
    )


def _cautions(evaluation: Evaluation) -> list[str]:
    """Frames without a reconstruction, labels without a video or unlike the masks, and the nulls left out."""
    lines = []
    uncovered = evaluation.provenance.get("frames_never_reconstructed")
    if uncovered:
        lines.append(f"{uncovered} frames were never reconstructed; they have the score of a perfect reconstruction.")
    unseen = evaluation.provenance["labels"].get("without_a_video", [])
    if unseen:
        some = ", ".join(unseen[:8]) + (", ..." if len(unseen) > 8 else "")
        lines.append(f"NOT EVALUATED: labels without a video ({len(unseen)}): {some}")
    spatial = {key: words for key, words in evaluation.provenance.get("spatial", {}).items() if key.endswith("_labels")}
    lines += [f"NOTE {key.split('_')[0]}: {words}" for key, words in spatial.items()]
    left_out: dict[str, list[str]] = {}
    for name, remedy in evaluation.provenance.get("nulls_left_out", {}).items():
        left_out.setdefault(remedy, []).append(name)
    return lines + [f"left out: {', '.join(names)} ({remedy})" for remedy, names in left_out.items()]
