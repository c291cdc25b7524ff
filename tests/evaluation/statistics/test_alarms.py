"""Alarms, delays and operating points: by hand, by brute force, and nothing taken from test labels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from ramvid_vad.errors import InputError
from ramvid_vad.evaluation.statistics.alarms import alarm_figures, merged, spans
from ramvid_vad.evaluation.statistics.operating_points import AlarmRules, operating_points
from ramvid_vad.evaluation.statistics.protocols import PROTOCOLS, choose


def test_spans_and_merging_by_hand():
    assert spans(np.array([1, 1, 0, 0, 1, 0, 1], np.uint8)) == [(0, 2), (4, 5), (6, 7)]
    assert spans(np.zeros(3)) == []
    assert merged([(0, 2), (4, 5), (6, 7)], 1) == [(0, 2), (4, 7)]
    assert merged([(0, 2), (4, 5), (6, 7)], 2) == [(0, 7)]


def test_figures_by_hand():
    #                   0  1  2  3  4  5  6  7  8  9
    labels = [np.array([0, 0, 0, 1, 1, 1, 0, 0, 0, 0]), np.array([1, 1, 0, 0])]
    scores = [np.array([9, 0, 0, 0, 9, 0, 9, 0, 0, 9.0]), np.array([1, 1, 1, 1.0])]
    f = alarm_figures(scores, labels, threshold=1.0, merge_gap=1, fps=2.0)
    # runs 0-0, 4-4, 6-6, 9-9; 4 and 6 are merged and hold abnormal frames: 2 of 3 alarms are false; 9 normal frames
    assert (f["alarms"], f["false_alarms"]) == (3, 2)
    assert f["false_alarms_per_hour"] == pytest.approx(2 / (9 / 2 / 3600))
    assert f["false_alarms_per_1000_normal_frames"] == pytest.approx(2000 / 9)
    # events 3-5 (first alarm at 4: one frame) and 0-1 of the second video (a score equal to the threshold is none)
    assert (f["events"], f["missed_events"], f["mean_delay_frames"], f["mean_delay_seconds"]) == (2, 1, 1, 0.5)
    assert f["accuracy"] == pytest.approx((1 + 6) / 14)
    assert (f["precision"], f["recall"], f["f1"]) == pytest.approx((1 / 4, 1 / 5, 2 / 9))
    assert alarm_figures(scores, labels, 1.0, merge_gap=0)["alarms"] == 4
    assert alarm_figures(scores, labels, 1.0)["false_alarms_per_hour"] is None


flags = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1)), min_size=1, max_size=25)


@given(st.lists(flags, min_size=1, max_size=4), st.integers(0, 3))
def test_figures_equal_brute_force(videos, gap):
    scores = [np.array([s for s, _ in v], float) for v in videos]
    labels = [np.array([y for _, y in v]) for v in videos]
    f = alarm_figures(scores, labels, 1.5, gap, fps=10)
    flat, truth = np.concatenate(scores) > 1.5, np.concatenate(labels)
    assert f["accuracy"] == pytest.approx(sk.accuracy_score(truth, flat))
    if truth.any():
        assert f["f1"] == pytest.approx(sk.f1_score(truth, flat))
    alarms = false = events = 0
    delays = []
    for s, y in zip(scores, labels, strict=True):
        state, quiet, hit = False, 0, False  # frame by frame, as a person would count
        for frame, (value, label) in enumerate(zip(s, y, strict=True)):
            if value > 1.5:
                if not state or quiet > gap:
                    alarms, false = alarms + 1, false + (state and not hit)
                    state, hit = True, False
                elif y[frame - quiet : frame].any():
                    hit = True
                quiet, hit = 0, hit or bool(label)
            else:
                quiet += 1
        false += state and not hit
        frame = 0
        while frame < len(y):
            if not y[frame]:
                frame += 1
                continue
            start, events = frame, events + 1
            first = None
            while frame < len(y) and y[frame]:
                first = frame if first is None and s[frame] > 1.5 else first
                frame += 1
            delays += [] if first is None else [first - start]
    assert (f["alarms"], f["false_alarms"], f["events"]) == (alarms, false, events)
    assert f["missed_events"] == events - len(delays)
    assert f["mean_delay_frames"] == (pytest.approx(np.mean(delays)) if delays else None)
    assert f["median_delay_seconds"] == (pytest.approx(np.median(delays) / 10) if delays else None)


def test_undefined_is_none_never_a_number():
    normal = alarm_figures([np.arange(5.0)], [np.zeros(5, int)], 10, fps=25)
    assert (normal["recall"], normal["f1"], normal["precision"], normal["mean_delay_frames"]) == (None,) * 4
    assert normal["false_alarms_per_hour"] == 0
    abnormal = alarm_figures([np.arange(5.0)], [np.ones(5, int)], 10, fps=25)
    assert (abnormal["false_positive_rate"], abnormal["false_alarms_per_hour"]) == (None, None)
    assert (abnormal["recall"], abnormal["missed_events"]) == (0, 1)


@pytest.fixture
def toy():
    rng = np.random.default_rng(0)
    normal = [rng.gamma(2, 1, 600) for _ in range(4)]
    labels = [np.repeat([0, 1, 0], 100) for _ in range(3)]
    test = [rng.gamma(2, 1, 300) + 6 * y for y in labels]
    return test, labels, normal


def test_the_threshold_knows_normal_video_only(toy):
    test, labels, normal = toy
    protocol, rules = choose("default", 2, False), AlarmRules(fps=25)
    points = operating_points([protocol(s) for s in test], labels, normal, protocol, rules)
    other = operating_points([protocol(s) for s in test], [1 - y for y in labels], normal, protocol, rules)
    assert [p.rule for p in points] == ["quantile", "extreme_value"]
    assert [p.threshold for p in points] == [p.threshold for p in other]
    curves = np.concatenate([protocol(s) for s in normal])
    assert points[0].threshold == np.quantile(curves, 0.99, method="higher")
    assert points[1].threshold > points[0].threshold and points[1].settings["period"] == 10000
    for point in points:
        assert point.figures == alarm_figures([protocol(s) for s in test], labels, point.threshold, 10, 25)
    assert points[0].figures["recall"] > 0.9


def test_without_normal_video_nothing_is_chosen(toy):
    test, labels, normal = toy
    assert operating_points(test, labels, None, choose("default", 0, False), AlarmRules()) == ()
    for protocol in (choose("default", 0, True), PROTOCOLS["mnad"]):
        points = operating_points([protocol(s) for s in test], labels, normal, protocol, AlarmRules())
        assert all(p.threshold is None and "scales every video" in p.reason and not p.figures for p in points)
    flat = operating_points(test, labels, [np.ones(50)], choose("default", 0, False), AlarmRules())
    assert flat[0].threshold == 1 and flat[1].threshold is None and "peaks" in flat[1].reason


@pytest.mark.parametrize("rules", [{"quantile": 1.0}, {"period": 0}, {"merge_gap": -1}, {"fps": -2}])
def test_rules_that_do_not_fit_are_named(rules):
    (name,) = rules
    with pytest.raises(InputError, match="alarm_period" if name == "period" else name):
        AlarmRules(**rules)
