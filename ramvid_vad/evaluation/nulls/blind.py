"""Null baselines that know only how long a video is: what the benchmark and the post-processing give away.

A model that does not beat them has learnt nothing. They go through the same post-processing as the model's scores.
"""

from collections.abc import Sequence

import numpy as np

from ramvid_vad.reconstructions import Reconstruction


def constant(lengths: Sequence[int]) -> list[np.ndarray]:
    """The same score everywhere: what the post-processing alone is worth."""
    return [np.ones(n) for n in lengths]


def noise(lengths: Sequence[int], seed: int) -> list[np.ndarray]:
    """Independent standard normal scores, a pure function of the lengths and the seed."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(n) for n in lengths]


def triangle(lengths: Sequence[int]) -> list[np.ndarray]:
    """From 0 at both ends to 1 in the middle of each video: anomalies are seldom filmed at the edge of a clip."""
    return [1 - np.abs(np.linspace(-1, 1, n)) for n in lengths]


def ramp(lengths: Sequence[int]) -> list[np.ndarray]:
    """From 0 to 1 over each video."""
    return [np.linspace(0, 1, n) for n in lengths]


def coverage(made: Reconstruction) -> np.ndarray:
    """How often each frame was reconstructed, float64 (n,): what the choice of windows alone gives away."""
    return np.bincount(made.frame, minlength=made.num_frames).astype(np.float64)
