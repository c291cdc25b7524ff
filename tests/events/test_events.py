"""Levels -> events: hand-made curves, and the tracker against the one-liner over whole curves."""

import numpy as np
import pytest

from ramvid_vad.events.events import GAP, EventTracker, alarms, peak_box, smoothed, window


def tracked(scores, length, gap, hold=()):
    tracker, changes, levels = EventTracker("c", length, gap, 10), [], []
    for frame, score in enumerate(scores):
        levels.append(tracker.level(score, frame / 10))
        changes += tracker.step(frame, frame / 10, levels[-1], hold=frame in hold)
    return changes + tracker.finish(), levels


def test_one_event_with_a_bridged_gap_and_one_too_short():
    scores = np.zeros(100)
    scores[20:30] = 2
    scores[33:40] = 3  # three frames between: one event
    scores[70] = 50  # a single frame is none
    changes, _ = tracked(scores, 3, 5)
    assert [kind for kind, _ in changes] == ["new", "update", "end"]
    event = changes[-1][1]
    # the median of three is high from the second frame on, and one frame longer than the scores
    assert (event.start, event.end, event.severity, event.peak) == (21, 40, 3, 34)
    assert (event.start_seconds, event.end_seconds, event.id, event.fault) == (2.1, 4.0, 0, "")


def test_hysteresis_keeps_an_event_and_does_not_begin_one():
    low = np.full(30, 0.9)
    assert tracked(low, 1, 2)[0] == []
    low[10] = 1.0
    (_, event), *_ = tracked(low, 1, 2)[0]
    assert (event.start, event.end) == (0, 29)


def test_what_is_held_back_is_told_later_or_dropped():
    scores = np.full(20, 2.0)
    changes, _ = tracked(scores, 1, 2, hold=range(8))
    assert changes[0][0] == "new" and changes[0][1].start == 0
    tracker = EventTracker("c", 1, 2, 10)
    assert tracker.step(0, 0.0, tracker.level(2, 0.0), hold=True) == [] and tracker.pause() == []


def test_the_tracker_finds_what_alarms_finds_and_levels_are_the_smoothed_scores():
    rng = np.random.default_rng(0)
    for length, gap in ((1, 0), (3, 4), (9, 2)):
        scores = rng.gamma(1.0, 0.5, 2000)
        changes, levels = tracked(scores, length, gap)
        np.testing.assert_array_equal(levels, smoothed(scores, length, 0.0))
        ended = [(event.start, event.end) for kind, event in changes if kind == "end"]
        assert ended == alarms(np.array(levels), gap) and len(ended) > (3 if length < 9 else -1)
        assert [event.id for kind, event in changes if kind == "new"] == list(range(len(ended)))


def unusual_for(seconds, rate, min_seconds=10.0, fps=25):
    """When an unusual thing that stays ``seconds`` is told, and when it ends, at ``rate`` frames a second."""
    tracker, changes = EventTracker("c", window(min_seconds, fps), round(GAP * fps), fps), []
    for frame in range(round(90 * rate)):
        now = frame / rate
        level = tracker.level(2.0 if 20 <= now < 20 + seconds else 0.0, now)
        changes += [(kind, now) for kind, _ in tracker.step(frame, now, level)]
    return [now for kind, now in changes if kind in ("new", "end")]


@pytest.mark.parametrize("rate", [5, 10, 25, 60])
def test_seconds_are_seconds_at_any_rate(rate):
    told, ended = unusual_for(40, rate)
    assert told == pytest.approx(25, abs=0.3) and ended == pytest.approx(67, abs=0.6)
    assert unusual_for(4, rate) == []
    assert len(unusual_for(7, rate)) == 2


def test_a_frame_every_three_seconds_and_a_stream_eight_times_as_fast_have_their_rates():
    slow = EventTracker("c", 13, 50, 25)
    levels = [slow.level(2.0 if frame >= 20 else 0.0, 3.0 * frame) for frame in range(24)]
    assert levels[20:] == [0, 2, 2, 2]  # two of three
    fast = EventTracker("c", window(10, 3), round(GAP * 3), 3)
    levels = [fast.level(2.0 if frame >= 1000 else 0.0, frame / 25) for frame in range(1200)]
    assert levels[1050] == 0 and levels[1060] == 2  # half of four times the frames, the most that are kept


@pytest.mark.parametrize("burst", [2, 5, 25])
def test_frames_that_arrive_in_bursts_are_as_many_a_second(burst):
    tracker, changes = EventTracker("c", 13, 50, 25), []
    for frame in range(1000):
        now = frame // burst * burst / 25
        level = tracker.level(2.0 if 500 <= frame < 525 else 0.0, now)
        changes += [(kind, frame) for kind, _ in tracker.step(frame, now, level)]
    assert changes[0] == ("new", 506) and [kind for kind, _ in changes].count("end") == 1


def test_a_frame_that_comes_late_changes_no_rate():
    tracker = EventTracker("c", 5, 50, 25)
    times = [frame / 25 for frame in range(30)] + [4 + frame / 25 for frame in range(5)]
    assert [tracker.level(1.0, now) for now in times][:5] == [0, 0, 1, 1, 1]
    assert tracker.level(0.0, 4.2) == 1  # still the median of five


def test_window_is_odd_and_about_as_long():
    assert [window(s, 10) for s in (0.01, 0.1, 0.5, 1)] == [1, 1, 5, 9]


def test_the_box_is_the_blob_around_the_peak_in_pixels_of_the_frame():
    field = np.zeros((6, 8), np.float32)
    field[1:3, 2:5] = 2
    field[2, 3] = 5
    field[5, 7] = 4  # another blob
    assert peak_box(field, 1.5, (48, 64), 8) == (16, 8, 40, 24)
    assert peak_box(field, 1.5, (90, 126), 16) == (32, 16, 80, 48)
    field[5, 7] = 9
    assert peak_box(field, 1.5, (46, 62), 8) == (56, 40, 62, 46)
