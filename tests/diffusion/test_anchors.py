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
    batch_of,
    explicit_anchors,
    infill_anchors,
    over_entries,
    prediction_anchors,
    random_anchors,
    random_tube,
    selective_anchors,
    tube_anchors,
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
        ("none:2,every", 30, {}, "--anchors 'every': choose"),
        ("none:0", 30, {}, "--anchors none:0: a share is a number above 0"),
        ("none:x,tube", 30, {}, "--anchors none:x: a share"),
        ("infill", 2, {}, "--anchors infill: every one of the 2 frames"),
        ("none,motion_given_appearance", 6, {}, "--anchors motion_given_appearance: the space has no group 'motion'"),
        ("tube", 6, {"tube": (5, 4)}, "--tube_cells 5,4"),
        ("tube", 6, {"tube": (0, 4)}, "--tube_cells 0,4"),
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


# --- groups, places and mixtures --------------------------------------------------------------------------------------

FEATURES = {"groups": ("appearance", "motion"), "grid": (6, 9)}
CHANNELS = (3, 2)


def entries(kind, frames=4, step=0, sample=0, **options) -> torch.Tensor:
    """What is given of one window, bool (T, C, 6, 9): where, however it broadcasts."""
    pattern = AnchorPattern(kind, frames, **FEATURES, **options)
    given = over_entries(batch_of([pattern(step, sample)], CHANNELS))
    return given.expand(1, sum(CHANNELS), frames, 6, 9)[0].movedim(0, 1)


def test_patterns_over_groups_and_frames_by_hand():
    appearance = torch.tensor([True] * 3 + [False] * 2).view(1, 5, 1, 1).expand(4, 5, 6, 9)
    assert torch.equal(entries("motion_given_appearance"), appearance)
    assert torch.equal(entries("appearance_given_motion"), ~appearance)
    assert not entries("none").any()
    assert entries("infill")[[0, -1]].all() and not entries("infill")[1:-1].any()
    assert frames_of(infill_anchors(5)) == [0, 4]


def test_tube_hides_one_box_in_every_frame_and_group():
    given = tube_anchors((6, 9), 1, 2, 3, 4)
    assert given.shape == (1, 1, 6, 9)
    by_hand = np.ones((6, 9), bool)
    by_hand[1:4, 2:6] = False
    np.testing.assert_array_equal(given[0, 0], by_hand)


def test_tubes_are_drawn_within_their_bounds_and_everywhere():
    hidden = np.zeros((6, 9))
    sides = Counter()
    for step in range(600):
        given = random_tube((6, 9), (2, 4), 1, step, step % 3)[0, 0].numpy()
        rows, columns = np.nonzero(~given)
        box = np.zeros((6, 9), bool)
        box[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
        np.testing.assert_array_equal(~given, box)
        sides[(np.ptp(rows) + 1, np.ptp(columns) + 1)] += 1
        hidden += ~given
    assert set(sides) == {(h, w) for h in (2, 3, 4) for w in (2, 3, 4)}
    assert stats.chisquare(list(sides.values())).pvalue > 0.001
    assert hidden.min() > 0
    again = random_tube((6, 9), (2, 4), 1, 5, 2)
    assert torch.equal(again, random_tube((6, 9), (2, 4), 1, 5, 2))
    assert not random_tube((2, 3), (5, 10), 0, 0, 0).any()  # a grid smaller than any tube is hidden as a whole


def test_a_mixture_draws_its_patterns_by_their_shares():
    text = "none:2,motion_given_appearance:1, tube:0.5,prediction:0.5"
    pattern = AnchorPattern(text, 4, num_prediction=2, seed=3, **FEATURES)
    assert pattern.kinds == ("none", "motion_given_appearance", "tube", "prediction") and pattern.fixed is None
    counts = Counter(pattern.kind(step, step % 5) for step in range(4000))
    expected = [4000 * share / 4 for share in (2, 1, 0.5, 0.5)]
    assert stats.chisquare([counts[kind] for kind in pattern.kinds], expected).pvalue > 0.001
    again = AnchorPattern(text, 4, num_prediction=2, seed=3, **FEATURES)
    for step in range(40):
        alone = AnchorPattern(pattern.kind(step, 1), 4, num_prediction=2, seed=3, **FEATURES)
        assert torch.equal(pattern(step, 1), alone(step, 1))
        assert torch.equal(pattern(step, 1), again(step, 1))
    assert len({AnchorPattern(text, 4, num_prediction=2, seed=s, **FEATURES).kind(0, 0) for s in range(30)}) > 2


def test_a_batch_of_patterns_gives_each_window_its_own():
    kinds = ["none", "motion_given_appearance", "tube", "prediction"]
    patterns = [AnchorPattern(kind, 4, num_prediction=2, **FEATURES)(0, 0) for kind in kinds]
    batch = batch_of(patterns, CHANNELS)
    assert batch.shape == (4, 5, 4, 6, 9)
    for window, kind in zip(batch, kinds, strict=True):
        assert torch.equal(window.movedim(0, 1), entries(kind, num_prediction=2))
    # patterns of one kind stay as small as they are
    assert batch_of(patterns[1:2] * 3, CHANNELS).shape == (3, 5, 1, 1, 1)
    assert batch_of(patterns[2:3], CHANNELS).shape == (1, 1, 1, 6, 9)


def test_patterns_over_frames_alone_stay_rows_of_frames():
    """As in version 0.1, so that the same numbers come out."""
    pattern = AnchorPattern("random", 8, max_given=3, seed=1)
    batch = batch_of([pattern(0, sample) for sample in range(5)], (3,))
    assert torch.equal(batch, torch.stack([random_anchors(8, 3, None, 0.0, 1, 0, sample) for sample in range(5)]))
