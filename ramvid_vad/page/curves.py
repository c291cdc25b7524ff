"""Curves of hours, short enough for a page."""

import numpy as np

POINTS = 3000  # of one curve: more than a screen has columns


def thinned(scores: np.ndarray, points: int = POINTS) -> tuple[int, np.ndarray]:
    """Scores (n,) -> frames per point, and the frame of the highest score of each: no peak is lost. NaN: no score."""
    step = max(1, -(-len(scores) // points))
    padded = np.full(-(-len(scores) // step) * step, -np.inf)
    padded[: len(scores)] = np.where(np.isnan(scores), -np.inf, scores)
    return step, np.arange(0, len(padded), step) + padded.reshape(-1, step).argmax(axis=1)
