"""A thinned curve keeps what matters: its peaks, wherever they lie."""

import numpy as np
import pytest

from ramvid_vad.page.curves import thinned


@pytest.mark.parametrize(("length", "points"), [(1, 10), (10, 10), (11, 10), (1003, 100), (180_001, 3000)])
def test_no_maximum_is_lost(length, points):
    scores = np.random.default_rng(length).standard_normal(length)
    step, peaks = thinned(scores, points)
    assert len(peaks) <= points and len(peaks) == -(-length // step)
    for bin_, peak in enumerate(peaks):
        inside = range(bin_ * step, min(length, (bin_ + 1) * step))
        assert peak in inside and scores[peak] == max(scores[i] for i in inside)
    assert scores[peaks].max() == scores.max()


def test_one_frame_in_hours_is_seen():
    scores = np.zeros(25 * 3600 * 3)
    scores[123_457] = 9
    _, peaks = thinned(scores)
    assert 123_457 in peaks and len(peaks) <= 3000


def test_frames_without_a_score_hide_no_peak():
    scores = np.array([1.0, np.nan, 3.0, np.nan, np.nan, np.nan, 2.0])
    step, peaks = thinned(scores, 3)
    assert step == 3 and peaks.tolist() == [2, 3, 6]
    assert np.isnan(scores[peaks[1]])
