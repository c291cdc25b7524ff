"""95 % intervals by bootstrap over videos: what another draw of as many test videos could have given.

Frames of one video are anything but independent, so whole videos are drawn, with replacement (Efron and Tibshirani, An
Introduction to the Bootstrap, 1993, ch. 13: percentile interval). A video drawn k times counts k times: instead of
copying it, its frames get the weight k, and scores are sorted once for all draws. Figures are exact, ties included.
"""

from collections.abc import Sequence

import numpy as np

from ramvid_vad.errors import InputError
from ramvid_vad.evaluation.statistics.metrics import Counts, average_precision, counts, equal_error_rate, roc_auc

LEVEL = 0.95
POOLED = {"micro_auc": roc_auc, "ap": average_precision, "eer": equal_error_rate}


class WeightedFrames:
    """All frames of some videos in order of their score, to be counted again and again with other weights."""

    def __init__(self, scores: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> None:
        pooled = np.concatenate(scores)
        order = np.argsort(-pooled, kind="stable")
        video = np.repeat(np.arange(len(scores)), [len(s) for s in scores])[order]
        abnormal = np.concatenate(labels)[order].astype(bool)
        pooled = pooled[order]
        self._ends = np.flatnonzero(np.append(pooled[1:] != pooled[:-1], True))
        self._video, self._abnormal = video, abnormal

    def counts(self, weights: np.ndarray) -> Counts:
        """Counts at every distinct cut, each video's frames taken ``weights`` (V,) times, whole numbers from 0 on."""
        weight = weights[self._video]
        total = np.cumsum(weight)[self._ends]
        tp = np.cumsum(weight * self._abnormal)[self._ends]
        kept = np.flatnonzero(np.diff(total, prepend=0))  # a score of absent videos only is no cut
        tp, total = tp[kept], total[kept]
        return Counts(np.concatenate([[0], tp]), np.concatenate([[0], total - tp]))


def draw_videos(videos: int, resamples: int, seed: int) -> np.ndarray:
    """How often each video is in each draw, int64 (resamples, videos); every row sums to ``videos``."""
    return np.random.default_rng(seed).multinomial(videos, np.full(videos, 1 / videos), size=resamples)


def bootstrap(
    scores: Sequence[np.ndarray], labels: Sequence[np.ndarray], resamples: int = 1000, seed: int = 0
) -> dict[str, np.ndarray]:
    """micro_auc, macro_auc (one-class videos skipped), ap and eer of every draw, each float64 (resamples,).

    scores, labels: one array (n_i,) per video, checked (``frame_metrics``). NaN: a draw without two classes.
    """
    if resamples < 1 or seed < 0:
        raise InputError(f"bootstrap of {resamples} draws, seed {seed}: give at least 1 draw and a seed of 0 or more")
    frames = WeightedFrames(scores, labels)
    draws = draw_videos(len(scores), resamples, seed)
    values = {name: np.full(resamples, np.nan) for name in POOLED}
    for i, weights in enumerate(draws):
        c = frames.counts(weights)
        if c.has_both:
            for name, metric in POOLED.items():
                values[name][i] = metric(c)
    per_video = [counts(s, y) for s, y in zip(scores, labels, strict=True)]
    both = np.array([c.has_both for c in per_video])
    auc = np.array([roc_auc(c) if c.has_both else 0.0 for c in per_video])
    with np.errstate(invalid="ignore"):
        values["macro_auc"] = (draws @ auc) / (draws @ both)
    return values


def intervals(
    scores: Sequence[np.ndarray], labels: Sequence[np.ndarray], resamples: int = 1000, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """95 % percentile interval of each metric of :func:`bootstrap`, fractions; undefined draws are left out.

    Empty where there is none: a single video (another draw would be the same), one class, or ``resamples`` 0. A metric
    that more than one draw in twenty leaves undefined has no interval.
    """
    if resamples == 0 or len(scores) < 2:
        return {}
    return percentiles(bootstrap(scores, labels, resamples, seed))


def percentiles(draws: dict[str, np.ndarray]) -> dict[str, tuple[float, float]]:
    """95 % percentile interval of each (resamples,) array; none where more than one draw in twenty is NaN."""
    found = {}
    for name, values in draws.items():
        defined = values[~np.isnan(values)]
        if len(defined) >= LEVEL * len(values):
            low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
            found[name] = (float(low), float(high))
    return found
