"""WMSE, the blob score: a weighted mean of squared residuals over connected active regions (thesis, section 4.5).

A frame whose residual is one coherent region scores high; the same energy scattered as single pixels scores 0.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np

from ramvid_vad.errors import InputError

WEIGHTS = ("area", "superlinear", "uniform")
_CHUNK = 32  # frames whose differences are formed at once: keeps the temporaries inside the cache


class Blob(NamedTuple):
    """One 8-connected active region. box: (x0, y0, x1, y1) in pixels, x1 and y1 exclusive. score: its mean delta2."""

    box: tuple[int, int, int, int]
    area: int
    score: float


class BlobScore(NamedTuple):
    """The frame's WMSE (0 if no blob) and its blobs, the largest first."""

    score: float
    blobs: list[Blob]


def wmse(
    x: np.ndarray, x_hat: np.ndarray, threshold: float = 0.04, min_area: int = 12, weight: str = "area"
) -> BlobScore:
    """WMSE of one frame, and where its residual is.

    x, x_hat: (H, W) or (H, W, C), both uint8 (read as value / 255, compared exactly) or both float in [0, 1].
    threshold: tau in [0, 1]; a pixel is active where d(p) = |mean_c x - mean_c x_hat| >= tau.
    min_area: a_min, in pixels; smaller blobs are dropped.  weight: w_k of a blob of area A:
    "area" A, "superlinear" A ln(1 + A), "uniform" 1; the background has weight 0.
    Score = sum_p W(p) delta2(p) / sum_p W(p), delta2(p) = mean_c (x - x_hat)^2; 0 if there is no blob.
    """
    _check(threshold, min_area, weight)
    x, x_hat = np.asarray(x)[None], np.asarray(x_hat)[None]
    if x.ndim == 3:
        x, x_hat = x[..., None], x_hat[..., None]
    active, delta2 = _residual(x, x_hat, threshold)
    labels, stats, means = _components(active[0], delta2[0], min_area)
    order = sorted(range(len(stats)), key=lambda k: (-stats[k, cv2.CC_STAT_AREA], labels[k]))
    blobs = [Blob(_box(stats[k]), int(stats[k, cv2.CC_STAT_AREA]), float(means[k])) for k in order]
    return BlobScore(_weighted_mean(stats[:, cv2.CC_STAT_AREA], means, weight), blobs)


def wmse_scores(
    x: np.ndarray, x_hat: np.ndarray, threshold: float = 0.04, min_area: int = 12, weight: str = "area"
) -> np.ndarray:
    """WMSE of each frame of two batches (n, H, W, C) -> float64 (n,); arguments as in :func:`wmse`."""
    _check(threshold, min_area, weight)
    scores = np.zeros(len(x))
    for first in range(0, len(x), _CHUNK):
        rows = slice(first, first + _CHUNK)
        active, delta2 = _residual(x[rows], x_hat[rows], threshold)
        for i in np.flatnonzero(active.any(axis=(1, 2))):
            _, stats, means = _components(active[i], delta2[i], min_area)
            scores[first + i] = _weighted_mean(stats[:, cv2.CC_STAT_AREA], means, weight)
    return scores


def _check(threshold: float, min_area: int, weight: str) -> None:
    if not 0 <= threshold <= 1:
        raise InputError(f"tau must lie in [0, 1] (frames are scaled to [0, 1]), not {threshold}")
    if min_area < 1:
        raise InputError(f"min_area must be at least 1 pixel, not {min_area}")
    if weight not in WEIGHTS:
        raise InputError(f"unknown blob weight {weight!r}: choose from {', '.join(WEIGHTS)}")


def _residual(x: np.ndarray, x_hat: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Active mask (bool) and delta2 (float64), both (n, H, W), of two batches (n, H, W, C) of one type."""
    if x.shape != x_hat.shape or x.ndim != 4:
        raise ValueError(f"WMSE needs two batches (n, H, W, C) of one shape, not {x.shape} and {x_hat.shape}")
    if (x.dtype == np.uint8) != (x_hat.dtype == np.uint8):
        raise ValueError(f"WMSE needs both frames as uint8 or both as float in [0, 1], not {x.dtype}, {x_hat.dtype}")
    channels = x.shape[3]
    if x.dtype == np.uint8:
        difference = [x[..., c].astype(np.int32) - x_hat[..., c] for c in range(channels)]
        # |sum_c| >= tau * 255 * C in whole numbers: a pixel exactly at the threshold is active, whatever the rounding
        active = np.abs(sum(difference)) >= math.ceil(threshold * 255 * channels - 1e-6)
        return active, sum(d * d for d in difference) / (255.0**2 * channels)
    difference = [x[..., c].astype(np.float64) - x_hat[..., c] for c in range(channels)]
    return np.abs(sum(difference)) / channels >= threshold, sum(d * d for d in difference) / channels


def _components(active: np.ndarray, delta2: np.ndarray, min_area: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Blobs of one frame: their labels (K,), cv2's statistics (K, 5) and mean delta2 (K,)."""
    count, label, stats, _ = cv2.connectedComponentsWithStats(active.view(np.uint8), connectivity=8, ltype=cv2.CV_32S)
    kept = 1 + np.flatnonzero(stats[1:, cv2.CC_STAT_AREA] >= min_area)  # label 0 is the background
    sums = np.bincount(label[active], weights=delta2[active], minlength=count)
    return kept, stats[kept], sums[kept] / stats[kept, cv2.CC_STAT_AREA]


def _weighted_mean(area: np.ndarray, means: np.ndarray, weight: str) -> float:
    """sum_k w_k A_k mean_k / sum_k w_k A_k: the sums over pixels, blob by blob."""
    if not len(area):
        return 0.0
    area = area.astype(np.float64)
    w = {"area": area, "superlinear": area * np.log1p(area), "uniform": np.ones_like(area)}[weight]
    return float((w * area * means).sum() / (w * area).sum())


def _box(stats: np.ndarray) -> tuple[int, int, int, int]:
    x, y, width, height = (int(v) for v in stats[:4])
    return x, y, x + width, y + height
