"""Null baselines by hand on small input. The rows measured on real frames are in test_from_videos.py."""

import cv2
import numpy as np
import pytest

from ramvid_vad.detectors.motion import FrameDifference, OpticalFlow
from ramvid_vad.errors import InputError
from ramvid_vad.evaluation import frame_metrics
from ramvid_vad.evaluation.nulls.blind import constant, noise, ramp, triangle
from ramvid_vad.evaluation.nulls.stand_ins import linear_blend, previous_frames
from ramvid_vad.video.windows import covering_starts, masked_rows

SELECTIVE = np.isin(np.arange(30), [0, 1, 10, 11, 20, 21, 28, 29])


def test_blind_nulls_by_hand():
    assert [s.tolist() for s in triangle([5, 1])] == [[0, 0.5, 1, 0.5, 0], [0]]
    assert [s.tolist() for s in ramp([3, 1])] == [[0, 0.5, 1], [0]]
    assert [s.tolist() for s in constant([2, 1])] == [[1, 1], [1]]
    first, again, other = noise([4, 7], 0), noise([4, 7], 0), noise([4, 7], 1)
    assert [len(s) for s in first] == [4, 7]
    np.testing.assert_array_equal(np.concatenate(first), np.concatenate(again))
    assert not np.array_equal(first[1], other[1])


def test_previous_frames():
    assert previous_frames(4).tolist() == [1, 0, 1, 2]
    assert previous_frames(1).tolist() == [0]


def test_linear_blend_by_hand():
    frames = np.array([0, 7, 10, 90, 30], np.uint8).reshape(5, 1, 1, 1)
    anchors = np.array([True, False, True, False, False])
    # window at 0: position 1 lies between 0 and 10; positions 3, 4 repeat anchor 2. Window at 1: between 7 and 90
    blend = linear_blend(frames, np.array([0, 1]), anchors, np.array([0, 0, 0, 1]), np.array([1, 3, 4, 1]))
    assert blend.reshape(-1).tolist() == [5, 10, 10, 48]
    # over the ends, mirrored: window at -1 sees 7 0 7 10 90, window at 3 sees 90 30 90 10 7
    over = linear_blend(frames, np.array([-1, 3]), anchors, np.array([0, 0, 1]), np.array([1, 3, 1]))
    assert over.reshape(-1).tolist() == [7, 7, 90]
    before_first = linear_blend(frames, np.array([0]), ~anchors, np.array([0, 0]), np.array([0, 2]))
    assert before_first.reshape(-1).tolist() == [7, 48]
    thirds = linear_blend(frames, np.array([1]), np.isin(np.arange(4), [0, 3]), np.array([0, 0]), np.array([1, 2]))
    assert thirds.reshape(-1).tolist() == [15, 22]  # 7 to 30 in three steps: 14.67, 22.33
    # window at -2 sees 10 7 0 7 10 and generates frames 1 and 2: its first anchor, a copy of frame 2, does not count
    hidden = linear_blend(frames, np.array([-2]), anchors, np.array([0, 0]), np.array([3, 4]))
    assert hidden.reshape(-1).tolist() == [0, 0]
    with pytest.raises(InputError, match="anchor"):
        linear_blend(frames, np.array([0]), np.zeros(5, bool), np.array([0]), np.array([0]))


def test_linear_blend_restores_a_linear_fade_exactly():
    """Frames that change linearly in time are given back to rounding, also in the windows that run over the ends."""
    frames = (2 * np.arange(100)[:, None, None, None] + np.arange(12).reshape(1, 3, 4, 1)).astype(np.uint8)
    starts = np.array(covering_starts(100, 30, 15, SELECTIVE))
    window, index, frame = masked_rows(100, list(starts), SELECTIVE)
    blend = linear_blend(frames, starts, SELECTIVE, window, index)
    inside = (starts[window] >= 0) & (starts[window] + 30 <= 100)
    np.testing.assert_array_equal(blend[inside], frames[frame[inside]])
    assert not np.array_equal(blend, frames[frame + 1 - (frame == 99) * 2])


def test_motion_by_hand():
    """A square of 21 pixels that jumps by 21: each place changes by 100 levels in a whole box."""
    frames = np.zeros((4, 120, 160, 1), np.uint8)
    for t in range(2, 4):
        frames[t, 40:61, 21 * t : 21 * t + 21] = 100
    scored = FrameDifference().score(iter(frames))
    np.testing.assert_allclose(scored.frames, [0, 0, 100, 100], atol=1e-3)
    assert scored.maps.shape == (4, 15, 20)
    assert np.unravel_index(scored.maps[3].argmax(), (15, 20)) == (6, 7)  # row 50 / 8; columns 52 to 73, / 8
    frames[:, 40:54] = 0  # a third of the box is left
    np.testing.assert_allclose(FrameDifference().score(iter(frames)).frames, [0, 0, 100 / 3, 100 / 3], atol=1e-3)


def test_optical_flow_measures_pixels_per_frame():
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.integers(0, 256, (120, 400)).astype(np.float32), (0, 0), 2)
    texture = ((texture - texture.min()) / (texture.max() - texture.min()) * 255).astype(np.uint8)
    frames = np.stack([texture[:, 3 * t : 3 * t + 160] for t in range(4)])[..., None]
    flow = OpticalFlow().score(iter(frames), maps=False).frames
    np.testing.assert_allclose(flow, 3, atol=0.3)
    assert flow[0] == flow[1]


@pytest.mark.parametrize("size", [(480, 640), (8, 9)])
def test_motion_takes_any_size(size):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (3, *size, 1), dtype=np.uint8)
    for detector in (FrameDifference(), OpticalFlow()):
        scores = detector.score(frames).frames
        assert len(scores) == 3 and np.isfinite(scores).all()


def test_one_frame_scores_nothing():
    for detector in (FrameDifference(), OpticalFlow()):
        assert detector.score(np.zeros((1, 40, 40, 1), np.uint8)).frames.tolist() == [0]


@pytest.mark.parametrize(("folder", "expected"), [("ped2/labels", 84.0), ("avenue_part/labels_liu2018", 73.0)])
def test_what_a_per_video_constant_can_reach(shared, folder, expected):
    """An oracle that knows each video's share of abnormal frames and nothing within it: no macro AUC, but a micro."""
    labels = [np.load(file) for file in sorted((shared / "data" / folder).glob("*.npy"))]
    figures = frame_metrics([np.full(len(y), y.mean()) for y in labels], labels)
    assert 100 * figures["micro_auc"] == pytest.approx(expected, abs=0.1)
    assert figures["macro_auc"] == 0.5
