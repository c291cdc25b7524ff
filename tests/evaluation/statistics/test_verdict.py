"""The verdict in words: which side of the nulls' spread a result lies on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramvid_vad.evaluation.statistics.verdict import NullResult, blind_range, verdict

BLIND = [
    NullResult("constant", 0.5),
    NullResult("noise", 0.52, sd=0.05),
    NullResult("triangle", 0.61),
    NullResult("ramp", 0.45),
]
SEEING = [NullResult("frame difference", 0.9, sees_video=True), NullResult("flow", 0.8, sees_video=True)]


def test_the_spread_by_hand():
    assert blind_range([*BLIND, *SEEING]) == (pytest.approx(0.42), pytest.approx(0.62), "noise")
    assert blind_range(BLIND[2:3]) == (0.61, 0.61, "triangle")
    assert blind_range(SEEING) is None
    assert blind_range([NullResult("noise", 0.5, sd=0.4)])[:2] == (0, 1)


@pytest.mark.parametrize(
    ("auc", "words"),
    [
        (0.41, "is below the nulls' spread (42.0 to 62.0, highest: noise): not evidence of detection; is a higher"),
        (0.42, "is inside the nulls' spread (42.0 to 62.0, highest: noise): not evidence of detection."),
        (0.55, "is inside the nulls' spread (42.0 to 62.0, highest: noise): not evidence of detection."),
        (0.70, "is above the nulls' spread (42.0 to 62.0, highest: noise). It is 20.0 points below the best null that"),
        (0.90, "is above the nulls' spread (42.0 to 62.0, highest: noise). It is level with the best null that"),
        (0.95, "is above the nulls' spread (42.0 to 62.0, highest: noise). It is 5.0 points above the best null that"),
    ],
)
def test_every_side_has_its_words(auc, words):
    sentence = verdict("mse", auc, [*BLIND, *SEEING])
    assert sentence.startswith(f"mse (micro AUC {100 * auc:.1f}) {words}")
    assert ("nothing that needs learning" in sentence) == (auc in (0.70, 0.90))


def test_the_gap_is_that_of_the_figures_in_the_sentence():
    """98.84 and 98.76 are both 98.8."""
    sentence = verdict("mse", 0.9884, [NullResult("flow", 0.9876, sees_video=True)])
    assert "It is level with" in sentence and "flow (98.8)" in sentence
    assert "0.1 points above" in verdict("mse", 0.9886, [NullResult("flow", 0.9884, sees_video=True)])


def test_an_interval_that_reaches_into_the_spread_is_weak_evidence():
    sentence = verdict("mse", 0.7, BLIND, interval=(0.6, 0.8))
    assert "the lower end of its interval, 60.0, is inside: weak evidence" in sentence
    assert "weak" not in verdict("mse", 0.7, BLIND, interval=(0.65, 0.8))


def test_without_blind_nulls_or_without_a_figure():
    assert verdict("mse", 0.7, SEEING).startswith("mse (micro AUC 70.0): It is 20.0 points below")
    assert verdict("mse", None, BLIND) == verdict("mse", 0.5, []) == ""


@given(st.floats(0, 1), st.lists(st.tuples(st.floats(0, 1), st.floats(0, 0.3)), min_size=1, max_size=6))
def test_a_null_is_never_above_the_spread_it_is_part_of(share, values):
    """Whatever lies between any null less and plus two deviations is said to be inside."""
    nulls = [NullResult(str(i), auc, sd) for i, (auc, sd) in enumerate(values)]
    auc, sd = values[0]
    inside = min(max(auc + (2 * share - 1) * 2 * sd, 0), 1)
    assert "is inside the nulls' spread" in verdict("x", inside, nulls)
