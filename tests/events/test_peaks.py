"""The highest moments: the whole is known, and what is kept lies apart."""

import numpy as np
import pytest

from ramvid_vad.events.peaks import Highest, Peak


def kept(levels, count, apart):
    highest = Highest(count, apart)
    for number, level in enumerate(levels):
        highest.add(Peak(number, float(level), b"", np.zeros((1, 1))))
    return [peak.number for peak in highest.peaks]


def test_single_peaks_on_a_flat_line_are_those_of_sorting():
    levels = np.zeros(300)
    at = np.array([20, 60, 130, 200, 290])
    levels[at] = [2, 5, 1, 4, 3]
    assert kept(levels, 3, 20) == [60, 200, 290]
    assert kept(np.zeros(5), 4, 20) == [0] and kept([], 4, 20) == []


@pytest.mark.parametrize("seed", range(5))
def test_the_highest_is_kept_and_all_lie_apart(seed):
    levels = np.random.default_rng(seed).random(500)
    found = kept(levels, 4, 20)
    assert found[0] == levels.argmax() and len(found) == 4
    assert all(abs(a - b) >= 20 for i, a in enumerate(found) for b in found[:i])
    assert levels[found].tolist() == sorted(levels[found], reverse=True)
    assert levels[found].min() > np.quantile(levels, 0.9)
