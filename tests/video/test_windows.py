"""Windows: where they start, that every frame is generated, and that a residual lands on its own frame."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramvid_vad.errors import InputError
from ramvid_vad.video import windows
from ramvid_vad.video.windows import (
    copies,
    covering_starts,
    frame_indices,
    in_video,
    masked_rows,
    merge_max,
    mirrored,
    times_masked,
    window_anchors,
    window_starts,
)

T = 30
SELECTIVE = np.isin(np.arange(T), [0, 1, 10, 11, 20, 21, 28, 29])


def selective(seq_len: int) -> np.ndarray:
    t = np.arange(seq_len)
    return np.isin(t % 10, [0, 1]) | (t < 2) | (t >= seq_len - 2)


@pytest.mark.parametrize(
    ("num_frames", "starts"),
    [
        (1, [0]),
        (29, [0]),
        (30, [0]),
        (31, [0, 1]),
        (44, [0, 14]),
        (45, [0, 15]),
        (46, [0, 15, 16]),
        (60, [0, 15, 30]),
        (76, [0, 15, 30, 45, 46]),
    ],
)
def test_window_starts(num_frames, starts):
    assert window_starts(num_frames, 30, 15) == starts


def test_stride_of_a_whole_window_and_of_one_frame():
    assert window_starts(100, 30, 30) == [0, 30, 60, 70]
    assert window_starts(33, 30, 1) == [0, 1, 2, 3]
    assert window_starts(4, 1, 1) == [0, 1, 2, 3]


@pytest.mark.parametrize(("num_frames", "seq_len", "stride"), [(0, 30, 15), (50, 0, 1), (50, 30, 0), (50, 30, 31)])
def test_windows_that_would_leave_frames_out(num_frames, seq_len, stride):
    with pytest.raises(InputError, match=str(stride)):
        window_starts(num_frames, seq_len, stride)


def test_padding_repeats_the_edge_and_is_marked():
    assert frame_indices(-2, 6, 3).tolist() == [0, 0, 0, 1, 2, 2]
    assert in_video(-2, 6, 3).tolist() == [False, False, True, True, True, False]
    assert frame_indices(4, 3, 100).tolist() == [4, 5, 6] and frame_indices(4, 3, 100).dtype == np.int64
    assert in_video(4, 3, 100).all()


@given(st.integers(1, 40), st.integers(1, 45), st.integers(-60, 80))
def test_infilling_mirrors_the_video_at_its_ends(num_frames, seq_len, start):
    """numpy's own reflection is the oracle; a video of one frame has nothing to mirror."""
    video = np.pad(np.arange(num_frames), 200, mode="reflect") if num_frames > 1 else np.zeros(500, int)
    assert mirrored(np.arange(start, start + seq_len), num_frames).tolist() == video[200 + start :][:seq_len].tolist()


@given(st.integers(1, 100), st.lists(st.booleans(), min_size=2, max_size=30).filter(lambda a: not all(a)), st.data())
def test_no_window_shows_a_copy_of_a_frame_that_it_generates(num_frames, anchors, data):
    anchors = np.array(anchors)
    for start in covering_starts(num_frames, len(anchors), data.draw(st.integers(1, len(anchors))), anchors):
        given_here = window_anchors(start, anchors, num_frames)
        shown = mirrored(np.arange(start, start + len(anchors)), num_frames)
        generated = {start + t for t in range(len(anchors)) if not anchors[t] and 0 <= start + t < num_frames}
        clean = [t for t in range(len(anchors)) if anchors[t] and shown[t] not in generated]
        assert np.flatnonzero(given_here).tolist() == (clean or np.flatnonzero(anchors).tolist())


def test_the_first_frame_is_generated_between_anchors():
    """The window that generates frame 0 begins at -5: frames 5 and 4 stand at -5 and -4, and 4 is generated there."""
    assert mirrored(np.arange(-5, 1), 60).tolist() == [5, 4, 3, 2, 1, 0]
    assert np.flatnonzero(window_anchors(-5, SELECTIVE, 60)).tolist() == [0, 10, 11, 20, 21, 28, 29]
    assert np.flatnonzero(window_anchors(35, SELECTIVE, 60)).tolist() == [0, 1, 10, 11, 20, 21, 28]
    np.testing.assert_array_equal(window_anchors(30, SELECTIVE, 60), SELECTIVE)
    np.testing.assert_array_equal(window_anchors(-5, SELECTIVE, 1), SELECTIVE)  # nothing but copies: they stay


@pytest.mark.parametrize("stride", [15, 30])
def test_work_grows_with_the_length_and_not_with_its_square(stride, monkeypatch):
    """What looks at all frames is called as often for a long video as for a short one."""
    calls = []
    monkeypatch.setattr(windows, "times_masked", lambda *a: calls.append(a[0]) or times_masked(*a))
    for num_frames in (300, 3_000, 30_000):
        covering_starts(num_frames, T, stride, SELECTIVE)
    assert sorted(calls) == [300] * 2 + [3_000] * 2 + [30_000] * 2


def test_extra_windows_are_shifted_by_half_an_anchor_period():
    assert covering_starts(60, T, 15, SELECTIVE) == [0, 15, 30, -5, 35]
    assert covering_starts(180, T, 15, SELECTIVE) == [*range(0, 151, 15), -5, 155]
    # at a stride of T all anchors of all windows are missing, and each extra window serves the end of two of them
    assert covering_starts(120, T, 30, SELECTIVE) == [0, 30, 60, 90, -5, 25, 55, 85, 95]
    assert covering_starts(60, T, 15, SELECTIVE, extra=False) == [0, 15, 30]


def test_regular_windows_miss_the_frames_that_the_method_names():
    never = np.flatnonzero(times_masked(60, window_starts(60, T, 15), SELECTIVE) == 0)
    assert never.tolist() == [0, 1, 10, 11, 50, 51, 58, 59]


@pytest.mark.parametrize("seq_len, given", [(6, 3), (16, 3), (16, 5), (30, 5)])
def test_the_first_frames_are_predicted_from_an_anchor_that_shows_none_of_them(seq_len, given):
    anchors = np.arange(seq_len) < given
    for start in covering_starts(600, seq_len, seq_len - given, anchors):
        assert (anchors & ~copies(start, anchors, 600)).any()


@given(st.integers(1, 400), st.integers(5, 40), st.data())
def test_every_frame_is_generated(num_frames, seq_len, data):
    stride = data.draw(st.integers(1, seq_len))
    anchors = selective(seq_len)
    if anchors.all():
        with pytest.raises(InputError, match="anchors"):
            covering_starts(num_frames, seq_len, stride, anchors)
        return
    regular = window_starts(num_frames, seq_len, stride)
    starts = covering_starts(num_frames, seq_len, stride, anchors)
    assert starts[: len(regular)] == regular
    assert len(set(starts)) == len(starts)
    generated = set()
    for start in starts:
        generated |= {start + t for t in range(seq_len) if not anchors[t]}
    assert set(range(num_frames)) <= generated
    if seq_len in (20, 30, 40):  # whole periods: no more than one extra window per regular one, and one for either end
        assert len(starts) <= 2 * len(regular) + 2


@given(st.integers(1, 120), st.lists(st.booleans(), min_size=1, max_size=24).filter(lambda a: not all(a)), st.data())
def test_every_frame_is_generated_for_any_anchors(num_frames, anchors, data):
    stride = data.draw(st.integers(1, len(anchors)))
    starts = covering_starts(num_frames, len(anchors), stride, np.array(anchors))
    counts = times_masked(num_frames, starts, np.array(anchors))
    slow = [sum(0 <= f - s < len(anchors) and not anchors[f - s] for s in starts) for f in range(num_frames)]
    assert counts.tolist() == slow
    assert min(slow) >= 1


def test_anchors_that_do_not_fit():
    with pytest.raises(InputError, match="all 30 frames"):
        covering_starts(60, T, 15, np.ones(T, bool))
    with pytest.raises(InputError, match="do not fit windows of 20"):
        covering_starts(60, 20, 10, SELECTIVE)


@given(st.integers(1, 400), st.integers(5, 40), st.data())
def test_a_residual_belongs_to_its_own_frame(num_frames, seq_len, data):
    """A reconstruction that encodes its own index: what is merged for frame f is f, wherever it was generated."""
    stride = data.draw(st.integers(1, seq_len))
    anchors = np.array(data.draw(st.lists(st.booleans(), min_size=seq_len, max_size=seq_len)))
    anchors[data.draw(st.integers(0, seq_len - 1))] = False
    video = np.arange(num_frames) * 2.0 + 1
    starts = covering_starts(num_frames, seq_len, stride, anchors)
    windows = np.stack([video[frame_indices(start, seq_len, num_frames)] for start in starts])
    window, position, frame = masked_rows(num_frames, starts, anchors)
    assert np.array_equal(merge_max(windows[window, position], frame, num_frames), video)
    assert not anchors[position].any()
    assert all(in_video(starts[w], seq_len, num_frames)[t] for w, t in zip(window, position, strict=True))


def test_rows_are_in_the_order_of_windows_and_positions():
    window, position, frame = masked_rows(5, [0, -1], np.array([True, False, False]))
    assert window.tolist() == [0, 0, 1, 1]
    assert position.tolist() == [1, 2, 1, 2]
    assert frame.tolist() == [1, 2, 0, 1]


def test_merge_takes_the_largest_and_fills_the_rest():
    merged = merge_max(np.array([3.0, -5.0, 7.0, -6.0]), np.array([1, 2, 1, 2]), 4, fill=-1.0)
    assert merged.tolist() == [-1, 7, -5, -1]
    assert merge_max(np.array([]), np.array([], int), 2).tolist() == [0, 0]
    assert np.isnan(merge_max(np.array([np.nan, 1.0]), np.array([0, 0]), 1)[0])


@pytest.mark.parametrize("frame", [-1, 4])
def test_a_frame_outside_the_video_is_an_error(frame):
    with pytest.raises(ValueError, match="do not lie in a video of 4 frames"):
        merge_max(np.array([1.0]), np.array([frame]), 4)
    with pytest.raises(ValueError, match="one value per frame index"):
        merge_max(np.array([1.0, 2.0]), np.array([0]), 4)
