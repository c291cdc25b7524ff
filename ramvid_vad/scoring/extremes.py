"""An alarm threshold beyond the highest normal score seen: peaks over a threshold.

Far in the tail, the excess over a high level u has a generalised Pareto distribution, whatever the scores are like
(Pickands, Annals of Statistics 3, 1975). Scores of neighbouring frames depend on each other, so it is the peaks that
are fitted: frames above u with at most ``gap`` frames between them are one cluster, and only its maximum counts (runs
declustering; Coles, An Introduction to Statistical Modeling of Extreme Values, 2001, ch. 5.3). The threshold is the
level that peaks of normal video exceed once in ``period`` frames on average (its return level, Coles, eq. 4.12).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ramvid_vad.errors import InputError

PEAK_QUANTILE = 0.9  # u: this quantile of the normal scores
FEWEST_PEAKS = 10


@dataclass(frozen=True)
class ExtremeFit:
    """level: u.  shape, scale: xi and sigma of the generalised Pareto distribution.  peaks, frames: what it rests on.

    threshold: the return level, None where there is none, for the cause in ``reason``.
    """

    threshold: float | None
    level: float | None = None
    shape: float | None = None
    scale: float | None = None
    peaks: int = 0
    frames: int = 0
    reason: str = ""


def cluster_peaks(scores: np.ndarray, level: float, gap: int) -> np.ndarray:
    """Maxima of the clusters of ONE video's scores (n,) above ``level``: more than ``gap`` frames between makes two."""
    above = np.flatnonzero(scores > level)
    if not len(above):
        return np.zeros(0)
    first = np.flatnonzero(np.diff(above, prepend=above[0] - gap - 2) > gap + 1)
    return np.maximum.reduceat(scores[above], first)


def extreme_value_threshold(scores: Sequence[np.ndarray], period: float, gap: int) -> ExtremeFit:
    """Threshold that normal video exceeds with one cluster of frames in ``period`` frames.

    scores: one array (n_i,) per *normal* video, no cluster crosses from one to the next.  gap: frames.
    """
    from scipy.stats import genpareto

    if period <= 0 or gap < 0:
        raise InputError(f"an extreme-value threshold needs a period above 0 and a gap of 0 or more: {period}, {gap}")
    pooled = finite_normal(scores)
    level = float(np.quantile(pooled, PEAK_QUANTILE, method="higher"))
    excess = np.concatenate([cluster_peaks(np.asarray(s, np.float64), level, gap) for s in scores]) - level
    about = {"level": level, "peaks": len(excess), "frames": len(pooled)}
    if len(excess) < FEWEST_PEAKS:
        return ExtremeFit(None, **about, reason=f"{len(excess)} peaks in the normal video, {FEWEST_PEAKS} are needed")
    expected = period * len(excess) / len(pooled)  # peaks in one period: m zeta_u theta in Coles
    if expected < 1:
        return ExtremeFit(None, **about, reason="peaks are rarer than the period: it needs no level beyond them")
    unit = excess.mean()
    shape, _, scale = genpareto.fit(excess / unit, floc=0)  # maximum likelihood
    scale *= unit
    growth = np.log(expected) if abs(shape) < 1e-9 else np.expm1(shape * np.log(expected)) / shape
    return ExtremeFit(float(level + scale * growth), shape=float(shape), scale=float(scale), **about)


def finite_normal(scores: Sequence[np.ndarray]) -> np.ndarray:
    """All normal scores in one array. InputError: none, or one that is not finite."""
    pooled = np.concatenate([np.asarray(s, dtype=np.float64) for s in scores]) if len(scores) else np.empty(0)
    if not len(pooled) or not np.isfinite(pooled).all():
        raise InputError("a threshold needs finite scores of at least one frame of normal video")
    return pooled
