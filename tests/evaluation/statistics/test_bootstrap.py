"""Intervals: every draw equals scikit-learn with the draw's weights and our own metrics of the copied videos."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from ramvid_vad.errors import InputError
from ramvid_vad.evaluation import frame_metrics
from ramvid_vad.evaluation.statistics.bootstrap import WeightedFrames, bootstrap, draw_videos, intervals

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
    result = intervals(scores * 5, labels * 5, 50, 0)
    expected = frame_metrics(scores * 5, labels * 5)
    for name in NAMES:
        assert result[name] == pytest.approx((expected[name], expected[name]), abs=1e-12)


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


def test_where_there_is_no_interval():
    scores, labels = toy(0)
    assert intervals(scores[:1], labels[:1]) == {}
    assert intervals(scores, labels, resamples=0) == {}
    assert intervals(scores, [np.zeros_like(y) for y in labels], 20) == {}
    # only one of four videos has an anomaly: a third of the draws is without it
    rare = [np.zeros(10, int)] * 3 + [np.arange(10) // 5]
    assert intervals([np.arange(10.0)] * 4, rare, 100) == {}
    with pytest.raises(InputError, match="seed -1"):
        intervals(scores, labels, 10, -1)
