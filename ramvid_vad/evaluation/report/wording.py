"""How rows and figures are called, and what a result says in a sentence: alike in the table, the files and the page."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ramvid_vad.evaluation.nulls.registry import NULLS
from ramvid_vad.evaluation.results import Evaluation, Row
from ramvid_vad.evaluation.statistics.metrics import counts
from ramvid_vad.evaluation.statistics.verdict import NullResult, blind_range, verdict
from ramvid_vad.video.benchmarks import BENCHMARKS

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


WIDTH = 80  # of what is printed


def wrapped(text: str) -> list[str]:
    """Lines of at most WIDTH columns, but for words that are longer by themselves."""
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def percent(value: float | None) -> str:
    """A fraction in per cent with one decimal, "-" where it is undefined."""
    return "-" if value is None else f"{100 * value:.1f}"


def row_key(row: Row, rows: Sequence[Row]) -> str:
    """Name of a row in files: "wmse", "wmse.linear_blend", "optical_flow"; "null.optical_flow" where the null is beside
    a detector, a part or a method of its name. rows: all."""
    if not row.measure and any(other.measure == row.null for other in rows):
        return f"null.{row.null}"
    return ".".join(part for part in (row.measure, row.null) if part)


def row_title(row: Row) -> str:
    """Name of a row in words: "wmse", "linear blend of the anchors by wmse"."""
    if not row.null:
        return row.measure
    return NULLS[row.null].title + (f" by {row.measure}" if row.measure else "")


def sees_video(row: Row) -> bool:
    """Whether a null row looks at the video: the others know no more than how it was cut."""
    return "video" in NULLS[row.null].needs


def null_results(evaluation: Evaluation) -> list[NullResult]:
    """All null rows, as the verdict reads them."""
    return [
        NullResult(
            row_title(n),
            n.metrics["micro_auc"],
            n.sd.get("micro_auc", 0.0),
            sees_video=sees_video(n),
        )
        for n in evaluation.rows
        if n.null
    ]


def row_verdict(evaluation: Evaluation, row: Row) -> str:
    """One sentence on a row of the model: inside, above or below the spread of the nulls (``statistics.verdict``)."""
    nulls = null_results(evaluation)
    said = verdict(row.measure, row.metrics["micro_auc"], nulls, row.intervals.get("micro_auc"))
    none = evaluation.provenance["intervals"].get("none")
    return f"{said} No interval: {none}." if said and none else said


def intervals_line(about: Mapping[str, Any], seed: int) -> str:
    """How the intervals were made, or why there are none. about: ``intervals`` of metrics.json."""
    if none := about.get("none"):
        return f"intervals: none, {none}"
    return f"intervals: {about['draws']} draws of whole videos (seed {seed})"


def plain_sentence(evaluation: Evaluation) -> str:
    """The headline and the nulls beside it in one sentence without a technical word; "" where it is undefined."""
    row = evaluation.headline
    auc, interval = row.metrics["micro_auc"], row.intervals.get("micro_auc")
    if auc is None:
        return ""
    ends = " to ".join(map(_in_100, interval or ()))
    between = f" ({ends} with other videos of the kind)" if ends else ""
    often = f"{_in_100(auc)} times in 100{between}"
    ties = _tied(evaluation, row)
    text = f"Of an abnormal and a normal frame, the abnormal one is ranked higher by {row_title(row)} {often}"
    if ties == 1:
        text = f"An abnormal and a normal frame always have the same score by {row_title(row)}, which tells nothing"
    elif ties >= 0.005:
        text += f", the {_in_100(ties)} with equal scores counted as half"
    others = [null for null in null_results(evaluation) if null.title != row_title(row)]
    blind = blind_range(others)
    seeing = max((null for null in others if null.sees_video), key=lambda null: null.auc, default=None)
    beside = [f"rules that never look at the picture reach {_in_100(blind.high)}"] if blind else []
    beside += [f"{seeing.title} reaches {_in_100(seeing.auc)}"] if seeing else []
    return f"{text}; {' and '.join(beside)}." if beside else f"{text}."


def _in_100(share: float) -> str:
    """Of a hundred, in whole numbers; what is not quite none or all of them keeps a decimal that says so."""
    times = 100 * share
    return f"{min(max(times, 0.1), 99.9):.1f}" if 0 < times <= 0.5 or 99.5 <= times < 100 else f"{times:.0f}"


def _tied(evaluation: Evaluation, row: Row) -> float:
    """Share of the (abnormal, normal) pairs of frames that have one score."""
    c = counts(np.concatenate(row.processed), np.concatenate(evaluation.labels))
    return float((np.diff(c.tp) * np.diff(c.fp)).sum() / (c.positives * c.negatives))


def subject(evaluation: Evaluation) -> str:
    """What was judged: the data set by its title, else how many videos."""
    benchmark = BENCHMARKS.get(evaluation.provenance["labels"]["benchmark"])
    return benchmark.title if benchmark else videos_in_words(len(evaluation.names))


def videos_in_words(count: int) -> str:
    """1 video, 2 videos."""
    return f"{count} {'video' if count == 1 else 'videos'}"


def summary(evaluation: Evaluation) -> str:
    """What the whole evaluation says, in a sentence."""
    # of the first measure, not the best one: a measure picked after looking at these labels would flatter
    row = evaluation.headline
    if row.metrics["micro_auc"] is None:
        return "All frames are of one class: AUC, AP, EER and oracle figures are undefined (-)."
    figure = f"{row_title(row)} (micro AUC {percent(row.metrics['micro_auc'])})"
    if row.null:
        return f"The row that any model has to beat: {figure}."
    return (
        row_verdict(evaluation, row) or f"{figure}: no null row stands beside it (--nulls), so chance is not ruled out."
    )
