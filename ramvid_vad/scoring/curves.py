"""From raw frame scores to a curve: smoothing and normalisation inside one video, thresholds from normal video."""

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter1d

from ramvid_vad.errors import InputError
from ramvid_vad.scoring.extremes import finite_normal


def smooth(scores: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian smoothing over time of ONE video's scores (n,) -> float64 (n,).

    sigma: standard deviation in frames; 0 leaves the scores as they are. The border is mirrored (d c b a | a b c d):
    zero padding would pull the ends of every video down and so reward a video position, which alone is worth up to
    27 points of AUC where anomalies sit mid-video.
    """
    if sigma < 0:
        raise InputError(f"sigma is a standard deviation in frames and cannot be negative: {sigma}")
    scores = np.asarray(scores, dtype=np.float64)
    return gaussian_filter1d(scores, sigma, mode="reflect") if sigma > 0 else scores.copy()


def normalise_per_video(scores: np.ndarray) -> np.ndarray:
    """(s - min) / (max - min) over ONE video (n,) -> [0, 1]; a constant video becomes 0.

    Offline: it needs the whole video, and it gives every video, normal ones too, a frame of score 1.
    """
    scores = np.asarray(scores, dtype=np.float64) / 2  # so that no difference overflows
    low, high = scores.min(), scores.max()
    return (scores - low) / (high - low) if high > low else np.zeros_like(scores)


def threshold_from_normal(scores: Sequence[np.ndarray], quantile: float = 0.99) -> float:
    """Alarm threshold from the scores of *normal training* videos: their pooled ``quantile``.

    An alarm is a score strictly above it, so at most 1 - quantile of the normal frames raise one.
    """
    if not 0 <= quantile <= 1:
        raise InputError(f"the quantile of normal scores must lie in [0, 1], not {quantile}")
    return float(np.quantile(finite_normal(scores), quantile, method="higher"))
