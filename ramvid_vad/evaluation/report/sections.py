"""Parts of the printed table: intervals, and what happens at thresholds from normal video."""

from ramvid_vad.evaluation.schema import Evaluation, Operating

INTERVALS = (("micro AUC", "micro_auc"), ("macro", "macro_auc"), ("AP", "ap"), ("EER", "eer"))
FIGURES = (
    ("accuracy", "accuracy"),
    ("F1", "f1"),
    ("false alarms/h", "false_alarms_per_hour"),
    ("per 1000", "false_alarms_per_1000_normal_frames"),
    ("missed", "missed_events"),
    ("events", "events"),
    ("delay s", "mean_delay_seconds"),
    ("frames", "mean_delay_frames"),
)
RULES = {"quantile": "quantile", "extreme_value": "extreme value"}


def interval_lines(evaluation: Evaluation) -> list[str]:
    """Of the rows that are not baselines; of the best baseline too where there are only those."""
    rows = [row for row in evaluation.rows if not row.null] or [evaluation.headline]
    about = evaluation.provenance["intervals"]
    if not about["draws"]:
        return []
    seed = evaluation.provenance["settings"]["seed"]
    title = f"95 % intervals, {about['draws']} draws of whole videos (seed {seed})"
    lines = ["", f"{title:<72}" + "".join(f"{name:>18}" for name, _ in INTERVALS)]
    for row in rows:
        ends = (row.intervals.get(key) for _, key in INTERVALS)
        texts = (f"{100 * pair[0]:.1f} - {100 * pair[1]:.1f}" if pair else "undefined" for pair in ends)
        lines.append(f"{'  ' + (row.measure or row.null):<72}" + "".join(f"{text:>18}" for text in texts))
    return lines


def operating_lines(evaluation: Evaluation) -> list[str]:
    """At each threshold its figures, or why there is none."""
    rows = [row for row in evaluation.rows if not row.null]
    if not rows:
        return []
    alarms = evaluation.provenance["alarms"]
    if not alarms["calibrated"]:
        return [
            "",
            "thresholds: not calibrated (give --normal_scores or --normal_reconstructions); test labels choose none",
        ]
    lines = ["", f"{'thresholds from normal video':<36}" + "".join(f"{name:>15}" for name in _headings())]
    for row in rows:
        for point in row.operating:
            title = f"  {row.measure}, {RULES[point.rule]}"
            lines.append(f"{title:<36}" + (_figures(point) if point.threshold is not None else f"  {point.reason}"))
    rate = f"{alarms['fps']:g} frames per second" if alarms["fps"] else "frame rate not known (--fps)"
    lines.append(
        f"quantile {alarms['quantile']:g} of the normal frames; extreme value: one false alarm in {alarms['period']:g} "
        f"normal frames; alarms at most {alarms['merge_gap']} frames apart are one; {rate}"
    )
    return lines


def _headings() -> list[str]:
    return ["threshold", *(name for name, _ in FIGURES)]


def _figures(point: Operating) -> str:
    texts = [f"{point.threshold:.4g}"]
    for _, key in FIGURES:
        value = point.figures[key]
        if value is None:
            texts.append("undefined")
        elif key in ("accuracy", "f1"):
            texts.append(f"{100 * value:.1f}")
        else:
            texts.append(f"{value}" if isinstance(value, int) else f"{value:.1f}")
    return "".join(f"{text:>15}" for text in texts)
