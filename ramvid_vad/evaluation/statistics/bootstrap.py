"""95 % intervals by bootstrap over videos: what another draw of as many test videos could have given.

Frames of one video are anything but independent, so whole videos are drawn, with replacement (Efron and Tibshirani, An
Introduction to the Bootstrap, 1993). A video drawn k times counts k times: instead of copying it, its frames get the
weight k, and scores are sorted once for all draws. Figures are exact, ties included.

The percentiles of the draws are far too narrow where videos are few (Hesterberg, The American Statistician 69, 2015,
371-386, sec. 4). So the draws give a standard deviation alone, which is widened by sqrt(n / (n - 1)), and the interval
is that of Student's t with n - 1 degrees of freedom: on the logit of a figure, which keeps it between 0 and 1 and lets
it reach further towards one half, as it should; on a difference as it is. His expanded percentiles were tried too, and
hold the truth less often (``python benchmarks/interval_coverage.py``; docs/evaluation.md has both).
"""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import expit, logit, stdtrit

from ramvid_vad.errors import InputError
from ramvid_vad.evaluation.statistics.metrics import (
    Counts,
    average_precision,
    counts,
    equal_error_rate,
    frame_metrics,
    roc_auc,
)

LEVEL = 0.95
FEWEST = 5  # videos: with fewer, what the interval should hold depends on the one video that is not among them
LEAST_DRAWS = 100  # for a standard deviation known to 7 %
EDGE = 1e-4  # a figure this close to 0 or 1 is taken to be no closer, or its logit would be infinite
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


def check_draws(resamples: int, seed: int) -> None:
    """InputError: too few draws, a seed below 0."""
    if 0 != resamples < LEAST_DRAWS or seed < 0:
        raise InputError(
            f"--bootstrap {resamples}, --seed {seed}: give at least {LEAST_DRAWS} draws, or 0 for no intervals, and a "
            "seed of 0 or more"
        )


def rests_on(labels: Sequence[np.ndarray]) -> dict[str, int]:
    """How many videos each metric rests on: those that have frames of the scarcer class; of macro_auc, of both."""
    has = _classes(labels)
    return dict.fromkeys(POOLED, int(has.sum(axis=0).min())) | {"macro_auc": int(has.all(axis=1).sum())}


def no_interval(labels: Sequence[np.ndarray], resamples: int) -> str:
    """Why there is no interval of micro_auc, in words; "" where there is one."""
    if not resamples:
        return "--bootstrap 0"
    abnormal, normal = map(int, _classes(labels).sum(axis=0))
    few = min(abnormal, normal)
    if few >= FEWEST:
        return ""
    of = "" if few == len(labels) else f" with {'abnormal' if abnormal == few else 'normal'} frames"
    return f"too few videos{of} to tell ({few})"


def _classes(labels: Sequence[np.ndarray]) -> np.ndarray:
    """Whether each video has abnormal, and normal frames: bool (V, 2)."""
    return np.array([[np.any(y), not np.all(y)] for y in labels])


def intervals(
    scores: Sequence[np.ndarray], labels: Sequence[np.ndarray], resamples: int = 1000, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """95 % interval of each metric of :func:`bootstrap`, fractions; empty without draws or with too few videos."""
    if no_interval(labels, resamples):
        return {}
    draws = bootstrap(scores, labels, resamples, seed)
    return intervals_of(frame_metrics(scores, labels), draws, rests_on(labels))


def intervals_of(
    figures: Mapping[str, float], draws: Mapping[str, np.ndarray], videos: Mapping[str, int], differences: bool = False
) -> dict[str, tuple[float, float]]:
    """95 % interval around each figure from its draws, undefined ones (NaN) left out: the t-interval described above.

    videos: how many each figure rests on, below FEWEST without interval.  differences: of two figures, not fractions.
    """
    there, back = (np.asarray, np.asarray) if differences else (lambda p: logit(np.clip(p, EDGE, 1 - EDGE)), expit)
    found = {}
    for name, values in draws.items():
        n, figure = videos[name], figures[name]
        if n < FEWEST:
            continue
        defined = values[~np.isnan(values)]
        if np.ptp(defined) == 0:  # nothing differs from video to video, as in a perfect score
            found[name] = (figure, figure)
            continue
        reach = stdtrit(n - 1, (1 + LEVEL) / 2) * np.sqrt(n / (n - 1)) * np.std(there(defined))
        low, high = (float(back(there(figure) + side)) for side in (-reach, reach))
        found[name] = (min(low, figure), max(high, figure))
    return found
