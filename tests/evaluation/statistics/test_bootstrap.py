"""Intervals: every draw equals scikit-learn with the draw's weights and our own metrics of the copied videos."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from ramvid_vad.errors import InputError
from ramvid_vad.evaluation import frame_metrics
from ramvid_vad.evaluation.statistics.bootstrap import (
    WeightedFrames,
    bootstrap,
    draw_videos,
    intervals,
    intervals_of,
    no_interval,
    rests_on,
)

NAMES = ("micro_auc", "macro_auc", "ap", "eer")


def toy(seed, videos=6, ties=True, separation=0.7):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(5, 120, videos)
    labels = [(rng.random(n) < rng.random()).astype(np.uint8) for n in lengths]
    scores = [rng.standard_normal(n) + separation * y for n, y in zip(lengths, labels, strict=True)]
    return [np.round(s, 1) if ties else s for s in scores], labels


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_each_draw_equals_scikit_learn_with_multiplicities_as_weights(seed, ties):
    scores, labels = toy(seed, ties=ties)
    s, y = np.concatenate(scores), np.concatenate(labels)
    values = bootstrap(scores, labels, resamples=30, seed=seed)
    for i, draw in enumerate(draw_videos(len(scores), 30, seed)):
        weight = np.repeat(draw, [len(part) for part in scores])
        assert values["micro_auc"][i] == pytest.approx(sk.roc_auc_score(y, s, sample_weight=weight), abs=1e-12)
        assert values["ap"][i] == pytest.approx(sk.average_precision_score(y, s, sample_weight=weight), abs=1e-12)


@given(st.integers(0, 10**6), st.booleans())
def test_each_draw_equals_the_metrics_of_the_copied_videos(seed, one_class_videos):
    scores, labels = toy(seed, videos=5)
    if one_class_videos:
        labels[0][:], labels[3][:] = 0, 1
    values = bootstrap(scores, labels, resamples=4, seed=seed)
    for i, draw in enumerate(draw_videos(5, 4, seed)):
        copies = np.repeat(np.arange(5), draw)
        expected = frame_metrics([scores[c] for c in copies], [labels[c] for c in copies])
        for name in NAMES:
            wanted = np.nan if expected[name] is None else expected[name]
            assert values[name][i] == pytest.approx(wanted, abs=1e-12, nan_ok=True), name


def test_weights_of_one_are_the_plain_counts():
    scores, labels = toy(1)
    c = WeightedFrames(scores, labels).counts(np.ones(6, np.int64))
    expected = frame_metrics(scores, labels)
    assert (c.positives, c.positives + c.negatives) == (expected["abnormal_frames"], expected["frames"])
    assert bootstrap(scores, labels, 1, 0).keys() == set(NAMES)


def test_draws_are_whole_samples_and_named_by_their_seed():
    draws = draw_videos(7, 50, 3)
    assert draws.shape == (50, 7) and (draws.sum(axis=1) == 7).all() and draws.min() == 0
    np.testing.assert_array_equal(draws, draw_videos(7, 50, 3))
    assert (draws != draw_videos(7, 50, 4)).any()
    scores, labels = toy(2)
    assert intervals(scores, labels, 100, 0) == intervals(scores, labels, 100, 0) != intervals(scores, labels, 100, 1)


def test_the_interval_of_alike_videos_closes_on_the_figure():
    """Copies of one video: every draw is the same data, so the interval has no width."""
    scores, labels = toy(4, videos=1)
    result = intervals(scores * 5, labels * 5, 100, 0)
    expected = frame_metrics(scores * 5, labels * 5)
    for name in NAMES:
        assert result[name] == pytest.approx((expected[name], expected[name]), abs=1e-12)
    for sign, figure in ((1, 1.0), (-1, 0.0), (0, 0.5)):  # the ends of the scale, and scores that are all equal
        assert intervals([sign * y.astype(float) for y in labels * 5], labels * 5, 100)["micro_auc"] == (figure, figure)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    """40 videos of 60 frames, scores N(label, 1): the true micro AUC is Phi(1/sqrt 2) = 0.76025."""
    inside = 0
    for seed in range(60):
        rng = np.random.default_rng([seed, 7])
        labels = [np.repeat([0, 1], 30) for _ in range(40)]
        scores = [rng.standard_normal(60) + y + 0.3 * rng.standard_normal() for y in labels]
        low, high = intervals(scores, labels, 150, seed)["macro_auc"]
        inside += low <= 0.760250 <= high
    assert 51 <= inside <= 60  # 0.95 * 60 = 57, minus about four standard deviations


def with_effects(rng, videos, mean=2.5, offset=0.5):
    """Two methods equally good on videos of 100 frames, each with an effect of its own, and an offset."""
    labels = [np.repeat([0, 1, 0], [start, 30, 70 - start]) for start in rng.integers(0, 70, videos)]
    return [
        [rng.standard_normal(100) + rng.normal(mean, 1) * y + offset * rng.standard_normal() for y in labels]
        for _ in range(2)
    ], labels


def test_twelve_videos_with_effects_of_their_own_are_enough():
    """The interval holds the true micro AUC, and the difference 0, about 95 times in 100; percentiles do not."""
    scores, labels = with_effects(np.random.default_rng(1), 20_000)
    truth = frame_metrics(scores[0], labels)["micro_auc"]
    held, percentiles, differences = [], [], []
    for seed in range(240):
        scores, labels = with_effects(np.random.default_rng([seed, 2]), 12)
        a, b = (bootstrap(s, labels, 100, seed)["micro_auc"] for s in scores)
        whole_a, whole_b = (frame_metrics(s, labels)["micro_auc"] for s in scores)
        low, high = np.quantile(a, [0.025, 0.975])
        percentiles.append(low <= truth <= high)
        low, high = intervals_of({"": whole_a}, {"": a}, {"": 12})[""]
        held.append(low <= truth <= high)
        low, high = intervals_of({"": whole_b - whole_a}, {"": b - a}, {"": 12}, differences=True)[""]
        differences.append(low <= 0 <= high)
    assert np.mean(percentiles) < 0.90 < 0.92 < np.mean(held)
    assert np.mean(differences) > 0.92


def test_a_mean_over_videos_has_the_interval_of_student():
    """Every video has the same weight in macro AUC, so its interval is the textbook's over the videos' own figures."""
    rng = np.random.default_rng(3)
    labels = [np.repeat([0, 1], 20)] * 8
    scores = [rng.standard_normal(40) + y * rng.normal(1, 0.5) for y in labels]
    own = [sk.roc_auc_score(y, s) for s, y in zip(scores, labels, strict=True)]
    draws = {"macro_auc": bootstrap(scores, labels, 20_000, 0)["macro_auc"]}
    found = intervals_of({"macro_auc": np.mean(own)}, draws, rests_on(labels), differences=True)["macro_auc"]
    expected = stats.t.interval(0.95, 7, np.mean(own), stats.sem(own))
    assert found == pytest.approx(expected, abs=0.02 * (expected[1] - expected[0]))
    low, high = intervals(scores, labels, 1000)["macro_auc"]  # on the logit: nearer to 1 above, further below
    assert low < expected[0] < np.mean(own) < high < expected[1]


def test_an_interval_rests_on_the_videos_of_the_scarcer_class():
    """20 videos of which 4 have an anomaly, or 4 a normal frame, are 4; macro AUC counts those with both."""
    scores = [np.arange(10.0)] * 20
    half, normal, abnormal = np.arange(10) // 5, np.zeros(10, int), np.ones(10, int)
    assert no_interval([half] * 4, 100) == "too few videos to tell (4)"
    assert no_interval([half] * 4 + [normal] * 16, 100) == "too few videos with abnormal frames to tell (4)"
    assert no_interval([half] * 4 + [abnormal] * 16, 100) == "too few videos with normal frames to tell (4)"
    assert no_interval([half] * 5 + [normal] * 15, 100) == ""
    for few in ([half] * 4 + [normal] * 16, [half] * 4 + [abnormal] * 16):
        assert intervals(scores, few, 100) == {}
    assert set(intervals(scores, [half] * 4 + [normal] * 8 + [abnormal] * 8, 100)) == {"micro_auc", "ap", "eer"}


def test_where_there_is_no_interval():
    scores, labels = toy(0)
    assert intervals(scores[:1], labels[:1]) == {}
    assert intervals(scores, labels, resamples=0) == {}
    assert no_interval(labels, 0) == "--bootstrap 0"
    assert intervals(scores, [np.zeros_like(y) for y in labels], 100) == {}
    with pytest.raises(InputError, match="seed -1"):
        intervals(scores, labels, 10, -1)
