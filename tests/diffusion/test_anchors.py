"""Which frames are given: the patterns, the law of the random one, and what is refused."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ramvid_vad.diffusion.anchors import (
    AnchorPattern,
    explicit_anchors,
    prediction_anchors,
    random_anchors,
    selective_anchors,
)
from ramvid_vad.errors import InputError


def frames_of(anchors: torch.Tensor) -> list[int]:
    assert anchors.dtype == torch.bool
    return anchors.nonzero().flatten().tolist()


def test_selective_pattern_of_the_thesis():
    """8 given, 22 generated."""
    assert frames_of(selective_anchors(30)) == [0, 1, 10, 11, 20, 21, 28, 29]


@given(st.integers(1, 100))
def test_selective_pattern_of_any_window(num_frames):
    expected = [t for t in range(num_frames) if t < 2 or t % 10 in (0, 1) or t >= num_frames - 2]
    assert frames_of(selective_anchors(num_frames)) == expected


def test_prediction_and_explicit_patterns():
    assert frames_of(prediction_anchors(8, 3)) == [0, 1, 2]
    assert frames_of(explicit_anchors(8, [7, 0, 3])) == [0, 3, 7]
    for frame in (-1, 8):
        with pytest.raises(InputError, match=f"--cond_frames {frame}: the window has frames 0 to 7"):
            explicit_anchors(8, [0, frame])


# --- RaMViD's random pattern ------------------------------------------------------------------------------------------


def draws(count=4000, frames=16, max_given=4, frame_range=None, rate=0.25, seed=0):
    return [random_anchors(frames, max_given, frame_range, rate, seed, step, step % 7) for step in range(count)]


def test_random_count_is_uniform_and_the_rest_unconditional():
    """u ~ Bernoulli(rate), else r ~ U{1..K}: chi-square over 0..K."""
    counts = Counter(len(frames_of(anchors)) for anchors in draws())
    assert sorted(counts) == [0, 1, 2, 3, 4]
    expected = [4000 * p for p in (0.25, *[0.75 / 4] * 4)]
    assert stats.chisquare([counts[r] for r in range(5)], expected).pvalue > 0.001


def test_random_frames_are_uniform_in_their_range():
    hits = np.stack([anchors.numpy() for anchors in draws(rate=0.0, frame_range=(3, 11))]).sum(0)
    assert hits[:3].sum() == hits[11:].sum() == 0
    # without replacement: r of 8 frames, r uniform on 1..4
    assert stats.chisquare(hits[3:11]).pvalue > 0.001
    assert abs(hits.sum() / 4000 - 2.5) < 4 * np.sqrt(1.25 / 4000)


def test_random_rates_at_their_ends():
    assert not any(anchors.any() for anchors in draws(200, rate=1.0))
    assert all(anchors.any() for anchors in draws(200, rate=0.0))


def test_random_pattern_is_a_pure_function_of_seed_step_and_sample():
    pattern = AnchorPattern("random", 30, max_given=10, seed=5)
    there = {(step, sample): pattern(step, sample) for step in range(6) for sample in range(6)}
    again = AnchorPattern("random", 30, max_given=10, seed=5)
    for place in reversed(there):
        assert torch.equal(again(*place), there[place])
    assert len({tuple(frames_of(anchors)) for anchors in there.values()}) > 25
    other_seed = AnchorPattern("random", 30, max_given=10, seed=6)
    assert sum(torch.equal(other_seed(*place), there[place]) for place in there) < 5
    assert pattern.fixed is None


# --- the choice -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind, options, expected",
    [
        ("selective", {}, selective_anchors(30)),
        ("prediction", {"num_prediction": 7}, prediction_anchors(30, 7)),
        ("explicit", {"frames": [0, 12, 29]}, explicit_anchors(30, [0, 12, 29])),
    ],
)
def test_fixed_patterns_are_the_same_for_every_window(kind, options, expected):
    pattern = AnchorPattern(kind, 30, **options)
    assert torch.equal(pattern.fixed, expected)
    assert torch.equal(pattern(0, 0), expected)
    assert torch.equal(pattern(17, 3), expected)


@pytest.mark.parametrize(
    "kind, frames, options, message",
    [
        ("every", 30, {}, "--anchors 'every': choose selective"),
        ("selective", 4, {}, "--anchors selective: every one of the 4 frames"),
        ("prediction", 5, {"num_prediction": 5}, "--anchors prediction: every one"),
        ("prediction", 5, {"num_prediction": -1}, "--num_prediction_anchors -1"),
        ("explicit", 5, {}, "--cond_frames"),
        ("explicit", 2, {"frames": [0, 1]}, "--anchors explicit: every one"),
        ("random", 16, {"frame_range": (0, 17)}, "--mask_range 0,17"),
        ("random", 16, {"frame_range": (5, 5)}, "--mask_range 5,5"),
        ("random", 16, {"frame_range": (-1, 5)}, "--mask_range -1,5"),
        ("random", 16, {"max_given": 0}, "--max_num_mask_frames 0"),
        ("random", 16, {"max_given": 17}, "--max_num_mask_frames 17"),
        ("random", 16, {"max_given": 16}, "--max_num_mask_frames 16: leaves no frame"),
        ("random", 16, {"max_given": 4, "frame_range": (0, 2)}, "--max_num_mask_frames 4: must be 1 to 2"),
        ("random", 16, {"unconditional_rate": 1.5}, "--uncondition_rate 1.5"),
    ],
)
def test_what_leaves_nothing_to_do_is_refused(kind, frames, options, message):
    with pytest.raises(InputError, match=message):
        AnchorPattern(kind, frames, **options)
