"""Smoothing, normalisation and thresholds."""

import numpy as np
import pytest

from ramvid_vad.errors import InputError
from ramvid_vad.scoring.curves import normalise_per_video, smooth, threshold_from_normal


def test_smoothing_equals_a_normalised_kernel_on_the_mirrored_curve():
    rng = np.random.default_rng(0)
    scores, sigma, radius = rng.random(50), 2.0, 8  # 4 sigma
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    mirrored = np.concatenate([scores[:radius][::-1], scores, scores[-radius:][::-1]])
    np.testing.assert_allclose(smooth(scores, sigma), np.convolve(mirrored, kernel / kernel.sum(), "valid"), rtol=1e-12)


@pytest.mark.parametrize("sigma", [0, 0.5, 3, 20, 300])
@pytest.mark.parametrize("length", [1, 2, 7, 100])
def test_a_constant_stays_one_exact_constant(sigma, length):
    assert np.unique(smooth(np.full(length, 0.1), sigma)).size == 1


def test_sigma_zero_copies():
    scores = np.array([1.0, 2, 3])
    result = smooth(scores, 0)
    result[0] = 9
    assert scores[0] == 1
    assert smooth(np.array([1, 2]), 0).dtype == np.float64


def test_negative_sigma_is_an_error():
    with pytest.raises(InputError, match="sigma"):
        smooth(np.zeros(3), -1)


def test_normalise_per_video():
    np.testing.assert_array_equal(normalise_per_video(np.array([-35.0, -30, -25])), [0, 0.5, 1])
    np.testing.assert_array_equal(normalise_per_video(np.full(4, 7.0)), np.zeros(4))
    largest = np.finfo(np.float64).max
    np.testing.assert_array_equal(normalise_per_video(np.array([-largest, 0, largest])), [0, 0.5, 1])


def test_threshold_lets_at_most_the_rest_alarm():
    rng = np.random.default_rng(0)
    videos = [rng.random(301), rng.random(77)]
    pooled = np.concatenate(videos)
    for quantile in (0.9, 0.95, 0.99, 1.0):
        threshold = threshold_from_normal(videos, quantile)
        assert (pooled > threshold).mean() <= 1 - quantile + 1e-12
        assert (pooled >= threshold).mean() >= 1 - quantile
    assert threshold_from_normal(videos, 1.0) == pooled.max()


@pytest.mark.parametrize("scores", [[], [np.array([])], [np.array([1.0, np.nan])], [np.array([np.inf])]])
def test_threshold_needs_finite_scores(scores):
    with pytest.raises(InputError):
        threshold_from_normal(scores)
    with pytest.raises(InputError, match="quantile"):
        threshold_from_normal([np.ones(3)], 99)
