"""The threshold on curves whose tail is known: the rate of alarms on new normal video is that asked for."""

import numpy as np
import pytest

from ramvid_vad.errors import InputError
from ramvid_vad.events.events import alarms
from ramvid_vad.events.threshold import alarm_threshold

FPS, GAP = 1.0, 5


def normal(hours: float, seed: int) -> np.ndarray:
    """Independent exponential peaks every twelve frames, silence between."""
    count = round(hours * 3600 * FPS)
    curve = np.zeros(count)
    curve[::12] = np.random.default_rng(seed).exponential(1.0, len(curve[::12]))
    return curve + 1e-3 * np.random.default_rng(seed + 1).random(count)


@pytest.mark.parametrize(("hours", "asked", "how"), [(20, 2.0, "measured"), (4, 0.5, "extrapolated")])
@pytest.mark.parametrize("seed", [0, 10, 20])
def test_the_rate_on_new_video_is_within_a_factor_of_two(hours, asked, how, seed):
    found = alarm_threshold([normal(hours, seed)], FPS, asked, GAP)
    assert found.how == how and found.hours == pytest.approx(hours)
    fresh = normal(300, 1000 + seed)
    rate = len(alarms((fresh - found.usual) / (found.value - found.usual), GAP)) / 300
    assert asked / 2 <= rate <= asked * 2
    # in closed form: 300 peaks per hour, exp(-u) of them above u
    assert 300 * np.exp(-found.value) == pytest.approx(rate, rel=0.3)


def test_what_is_measured_is_at_most_what_is_asked():
    curve = normal(20, 3)
    found = alarm_threshold([curve[: len(curve) // 2], curve[len(curve) // 2 :]], FPS, 1.0, GAP)
    assert found.measured <= 1.0 and "asked for" in found.sentence()


def test_too_short_video_says_so_and_how_much_it_would_like():
    short = np.zeros(180)
    short[90] = 4.0
    found = alarm_threshold([short], FPS, 0.5, GAP)
    assert found.how == "margin" and found.measured == 0
    assert found.value == pytest.approx(4 + 0.25 * 4 * np.log(40) / np.log(100))  # two hours: forty times as long
    often = alarm_threshold([short], FPS, 30.0, GAP)  # one in two minutes
    assert often.how == "margin" and often.value == pytest.approx(4.0) and often.measured == 0
    assert "3 minutes" in found.sentence() and "6 hours of held-out normal video" in found.sentence()


def test_curves_that_cannot_be_used_are_refused():
    for curves, fps, rate in (([np.array([np.nan])], 1, 1), ([np.zeros(3)], 0, 1), ([np.zeros(3)], 1, 0)):
        with pytest.raises(InputError):
            alarm_threshold(curves, fps, rate, GAP)
