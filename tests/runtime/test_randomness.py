"""Random numbers are pure functions of (seed, purpose, place), different at every place, and of the stated law."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from ramvid_vad.runtime.randomness import standard_normal, stream


def test_same_place_same_numbers_whatever_was_drawn_before():
    first = stream(7, "noise", 3, 1).random(4)
    stream(7, "noise", 0).random(1000)
    np.random.seed(1)
    torch.manual_seed(1)
    assert np.array_equal(stream(7, "noise", 3, 1).random(4), first)


def test_every_place_is_its_own():
    """Places of another length, order, sign or width, other seeds and purposes: no two streams begin alike."""
    values = (0, 1, 5, -1, 2**32 - 1, 2**32, 2**32 + 5)
    places = [(), *((v,) for v in values), *itertools.product(values, repeat=2), (0, 0, 0), (0, 0, 0, 0)]
    drawn = {
        (seed, purpose, place): stream(seed, purpose, *place).integers(2**63)
        for seed in (0, 1, -1, 2**32)
        for purpose in ("noise", "anchors")
        for place in places
    }
    assert len(set(drawn.values())) == len(drawn)


def test_normal_is_standard_normal_and_independent_between_places():
    first, second = (standard_normal((64, 1000), 0, "noise", step).double().numpy().ravel() for step in (0, 1))
    assert stats.kstest(first, "norm").pvalue > 0.01
    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / np.sqrt(first.size)


def test_first_numbers_of_neighbouring_places_are_independent():
    """Anchors and timesteps take one number each from many streams: that sequence must be uniform, too."""
    drawn = np.array([stream(0, "timestep", step, 0).random() for step in range(2000)])
    assert stats.kstest(drawn, "uniform").pvalue > 0.01
    assert abs(np.corrcoef(drawn[1:], drawn[:-1])[0, 1]) < 4 / np.sqrt(len(drawn))


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4)])
def test_normal_has_the_shape_and_type_asked_for(shape):
    drawn = standard_normal(shape, 0, "noise")
    assert drawn.shape == shape
    assert drawn.dtype == torch.float32
