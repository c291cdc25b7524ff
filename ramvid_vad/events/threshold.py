"""The alarm threshold from held-out normal video, for a wanted number of alarms per hour; one alarm is one event.

Where the normal video is long enough to see that rate (at least SEEN alarms), the threshold is the lowest at which it
raises no more. Where it is shorter, the tail is extrapolated: each event's peak above a high level u is independent of
the next, its excess has a generalised Pareto distribution (Pickands, Annals of Statistics 3, 1975), and the threshold
is its return level (Coles, 2001, eq. 4.12). The shape is 0 (an exponential tail) unless the likelihood is better with
another one at 95 %: a few peaks say too little about it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ramvid_vad.errors import InputError
from ramvid_vad.events.events import alarms
from ramvid_vad.scoring.curves import finite_normal
from ramvid_vad.scoring.extremes import PEAK_QUANTILE, cluster_peaks

SEEN = 3  # alarms that must be expected in the normal video for the rate to be measured
FEWEST_PEAKS = 10
MARGIN = 0.25  # of the way from usual to the highest normal peak, added where nothing better is known, for each
BEYOND = 100.0  # times that the time without an alarm shall be longer than the normal video, by its logarithm
SIGNIFICANT = 1.92  # half of the 95 % point of chi-squared with one degree of freedom


@dataclass(frozen=True)
class Threshold:
    """usual: median of normal scores, level 0.  value: level 1.  how: "measured", "extrapolated" or "margin".
    asked: alarms per hour.  measured: alarms per hour of the normal video at this threshold.  hours: of that video."""

    usual: float
    value: float
    how: str
    asked: float
    measured: float
    hours: float

    @property
    def wanted_hours(self) -> float:
        """Normal video that could measure the rate asked for."""
        return SEEN / self.asked

    def sentence(self) -> str:
        minutes, wanted = 60 * self.hours, max(self.wanted_hours, 1 / 60)
        said = f"{self.measured:.3g} alarms per hour in {minutes:.3g} minutes of held-out normal video"
        if self.how == "measured":
            return f"threshold {self.value:.4g}: {said}, {self.asked:g} asked for"
        rule = {
            "extrapolated": "the threshold is extrapolated from the tail of its peaks",
            "margin": "the threshold is the highest normal peak and a margin",
        }[self.how]
        return (
            f"threshold {self.value:.4g}: {said}, too little to measure {self.asked:g} per hour: {rule}; "
            f"{wanted:.2g} hours of held-out normal video would measure it"
        )


def alarm_threshold(curves: Sequence[np.ndarray], fps: float, alarms_per_hour: float, gap: int) -> Threshold:
    """From smoothed scores (n_i,) of held-out *normal* videos. gap: frames that an event may be interrupted.

    InputError: no finite score, or a rate or frame rate that is not above 0.
    """
    if not alarms_per_hour > 0 or not fps > 0:
        raise InputError(f"--alarms_per_hour {alarms_per_hour}, {fps} frames per second: both must be above 0")
    pooled = finite_normal(curves)
    usual, hours = float(np.median(pooled)), len(pooled) / fps / 3600
    spread = float(pooled.max()) - usual or 1.0

    def count(value: float) -> int:
        return sum(len(alarms((c - usual) / (value - usual), gap)) for c in curves)

    allowed = alarms_per_hour * hours
    if allowed >= SEEN:
        value = float(pooled.max()) + 1e-9 * spread
        for lower in np.unique(all_peaks(curves, usual))[::-1]:
            if count(lower) > allowed:
                break
            value = float(lower)
        how = "measured"
    else:
        value, how = extrapolated(curves, pooled, usual, spread, fps * 3600 / alarms_per_hour, gap)
    return Threshold(usual, value, how, alarms_per_hour, count(value) / hours, hours)


def all_peaks(curves: Sequence[np.ndarray], usual: float) -> np.ndarray:
    """Local maxima above the usual score: between two of them the number of alarms hardly changes."""
    found = []
    for curve in curves:
        inner = curve[1:-1]
        found.append(inner[(inner >= curve[:-2]) & (inner > curve[2:]) & (inner > usual)])
    return np.concatenate(found)


def extrapolated(
    curves: Sequence[np.ndarray], pooled: np.ndarray, usual: float, spread: float, period: float, gap: int
) -> tuple[float, str]:
    """(threshold, how): what peaks exceed once in ``period`` frames; above all that was seen in a shorter time."""
    from scipy.stats import expon, genpareto

    level, highest = float(np.quantile(pooled, PEAK_QUANTILE)), float(pooled.max())
    excess = np.concatenate([cluster_peaks(np.asarray(c, np.float64), level, gap) for c in curves]) - level
    if len(excess) < FEWEST_PEAKS:
        longer = np.log(max(period / len(pooled), 1.0)) / np.log(BEYOND)
        return highest + (MARGIN * float(longer) + 1e-9) * spread, "margin"
    unit = float(excess.mean())
    scaled = excess / unit
    shape, _, scale = genpareto.fit(scaled, floc=0)
    if genpareto.logpdf(scaled, shape, 0, scale).sum() - expon.logpdf(scaled).sum() < SIGNIFICANT:
        shape, scale = 0.0, 1.0
    expected = max(period * len(excess) / len(pooled), 1.0)
    growth = np.log(expected) if abs(shape) < 1e-9 else np.expm1(shape * np.log(expected)) / shape
    value = float(level + unit * scale * growth)
    return max(value, highest + 1e-9 * spread) if period > len(pooled) else value, "extrapolated"
