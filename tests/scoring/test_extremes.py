"""Extreme-value thresholds: closed forms of the tail, clusters by hand, and what cannot be fitted."""

import numpy as np
import pytest

from ramvid_vad.errors import InputError
from ramvid_vad.scoring.extremes import cluster_peaks, extreme_value_threshold


def test_clusters_by_hand():
    scores = np.array([0, 3, 5, 0, 4, 0, 0, 0, 9, 2, 7.0])
    assert cluster_peaks(scores, 1, gap=0).tolist() == [5, 4, 9]
    assert cluster_peaks(scores, 1, gap=1).tolist() == [5, 9]
    assert cluster_peaks(scores, 1, gap=3).tolist() == [9]
    assert cluster_peaks(scores, 2.5, gap=0).tolist() == [5, 4, 9, 7]
    assert cluster_peaks(scores, 9, gap=0).tolist() == []


TAILS = {  # of independent scores: the value exceeded with probability p
    "exponential": (lambda rng, n: rng.exponential(1, n), lambda p: -np.log(p), 0.0),
    "beta": (lambda rng, n: rng.beta(1, 4, n), lambda p: 1 - p ** (1 / 4), -0.25),
    "pareto": (lambda rng, n: rng.pareto(5, n), lambda p: p ** (-1 / 5) - 1, 0.2),
}


@pytest.mark.parametrize("name", TAILS)
def test_the_return_level_of_a_known_tail(name):
    draw, level_of, shape = TAILS[name]
    videos = [draw(np.random.default_rng([5, i]), 8000) for i in range(5)]
    fit = extreme_value_threshold(videos, period=20000, gap=0)
    # neighbours above u are one cluster, of two frames or more: one in ten, so there are 0.9 peaks per exceedance
    assert fit.peaks / fit.frames == pytest.approx(0.1 * 0.9, rel=0.03)
    assert fit.shape == pytest.approx(shape, abs=0.05)
    assert fit.threshold == pytest.approx(level_of(1 / 20000), rel=0.1)


def test_one_alarm_per_period_comes_true_on_new_video():
    """Autocorrelated scores: clusters, not frames, come once per period."""

    def video(seed):
        noise = np.random.default_rng([9, seed]).standard_normal(20000)
        return np.convolve(noise, np.ones(8), "valid")

    fit = extreme_value_threshold([video(i) for i in range(4)], period=2000, gap=10)
    new = [video(100 + i) for i in range(10)]
    alarms = sum(len(cluster_peaks(s, fit.threshold, 10)) for s in new)
    assert alarms == pytest.approx(sum(map(len, new)) / 2000, abs=30)  # 100 expected, three standard deviations


def test_unit_and_origin_of_the_scores_do_not_matter():
    videos = [np.random.default_rng(i).gamma(2, 1, 3000) for i in range(3)]
    plain = extreme_value_threshold(videos, 5000, 5)
    other = extreme_value_threshold([1e-6 * s + 7 for s in videos], 5000, 5)
    assert other.shape == pytest.approx(plain.shape, abs=1e-3)
    assert (other.threshold - 7) / 1e-6 == pytest.approx(plain.threshold, rel=1e-3)
    assert extreme_value_threshold(videos[::-1], 5000, 5).threshold == pytest.approx(plain.threshold, rel=1e-3)


def test_clusters_do_not_cross_videos():
    ends = np.zeros(100)
    ends[[0, -1]] = [5, 6]
    videos = [ends] * 20
    assert extreme_value_threshold(videos, 1000, gap=10).peaks == 40


@pytest.mark.parametrize(
    ("scores", "period", "reason"),
    [
        ([np.ones(500)], 1000, "0 peaks in the normal video, 10 are needed"),
        ([np.arange(100.0)], 1000, "1 peaks"),
        ([np.random.default_rng(0).random(5000)], 5, "rarer than the period"),
    ],
)
def test_what_has_no_threshold_says_why(scores, period, reason):
    fit = extreme_value_threshold(scores, period, gap=2)
    assert fit.threshold is None and reason in fit.reason


@pytest.mark.parametrize("scores", [[], [np.array([])], [np.array([1.0, np.nan])]])
def test_normal_scores_must_be_finite(scores):
    with pytest.raises(InputError, match="finite"):
        extreme_value_threshold(scores, 100, 1)
    with pytest.raises(InputError, match="period"):
        extreme_value_threshold([np.ones(3)], 0, 1)
