"""Thresholds that follow from normal video alone, and what a row does at them: nothing is chosen on test labels."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ramvid_vad.errors import InputError
from ramvid_vad.evaluation.statistics.alarms import alarm_figures
from ramvid_vad.evaluation.statistics.metrics import PerVideo
from ramvid_vad.evaluation.statistics.protocols import Protocol
from ramvid_vad.scoring.curves import threshold_from_normal
from ramvid_vad.scoring.extremes import extreme_value_threshold


@dataclass(frozen=True)
class Operating:
    """What a row does at one alarm threshold. Nothing here is chosen on test labels.

    rule: "quantile" or "extreme_value", how the threshold follows from *normal* video.  threshold: on the processed
    scale, an alarm is a score strictly above it; None where it cannot be set, with the cause in ``reason``.
    settings: numbers behind the rule (quantile, fitted shape ...).  figures: of ``alarms.alarm_figures``: accuracy, f1,
    precision, recall, false_alarms_per_hour, missed_events, mean_delay_seconds ...; None where undefined.
    """

    rule: str
    threshold: float | None
    settings: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, float | int | None] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class AlarmRules:
    """How thresholds are set and alarms counted.

    quantile: of normal scores.  period: normal frames in which one false alarm is expected (extreme value).
    merge_gap: frames; alarms, and peaks of normal scores, this close are one.  fps: of the videos, 0: not known.
    """

    quantile: float = 0.99
    period: float = 10000
    merge_gap: int = 10
    fps: float = 0

    def __post_init__(self) -> None:
        if not 0 < self.quantile < 1:
            raise InputError(f"--quantile {self.quantile}: a share of normal frames, between 0 and 1, e.g. 0.99")
        if not 1 <= self.period < math.inf:
            raise InputError(f"--alarm_period {self.period}: normal frames per false alarm, at least 1")
        if not (0 <= self.merge_gap < math.inf and 0 <= self.fps < math.inf):
            raise InputError(f"--merge_gap {self.merge_gap}, --fps {self.fps}: must be 0 or more")


def operating_points(
    processed: PerVideo, labels: PerVideo, normal: PerVideo | None, protocol: Protocol, rules: AlarmRules
) -> tuple[Operating, ...]:
    """Both rules at work. processed, labels: of the test videos after the protocol.  normal: raw scores of normal
    training videos, None without any, which gives no point at all.
    """
    if normal is None:
        return ()
    if protocol.min_max:
        why = "the protocol scales every video to 0..1 by itself: no threshold carries over from normal video"
        return tuple(Operating(rule, None, reason=why) for rule in ("quantile", "extreme_value"))
    curves = [protocol(s) for s in normal]
    fit = extreme_value_threshold(curves, rules.period, rules.merge_gap)
    about = {k: v for k, v in asdict(fit).items() if k not in ("threshold", "reason")}
    points = []
    for rule, threshold, settings, reason in (
        ("quantile", threshold_from_normal(curves, rules.quantile), {"quantile": rules.quantile}, ""),
        ("extreme_value", fit.threshold, {"period": rules.period, **about}, fit.reason),
    ):
        there = threshold is not None
        figures = alarm_figures(processed, labels, threshold, rules.merge_gap, rules.fps) if there else {}
        points.append(Operating(rule, threshold, settings, figures, "" if there else reason))
    return tuple(points)
