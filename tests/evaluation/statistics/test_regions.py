"""RBDC and TBDC against closed cases and a brute-force implementation of the definitions, threshold by threshold."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ramvid_vad.errors import InputError
from ramvid_vad.evaluation.statistics.regions import region_metrics, scale_boxes

TRACK = np.array([[0, frame, 10, 10, 21, 21] for frame in range(5)])


def as_detections(tracks, score=0.5):
    return np.column_stack([tracks[:, 1:], np.full(len(tracks), score)])


def overlap(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def brute_force(detections, tracks, num_frames, iou=0.1, alpha=0.1):
    """Definitions 1-5 of region_metrics, one threshold at a time, with Python loops only."""
    scores = sorted({row[5] for video in detections for row in video}, reverse=True)
    points = [(0.0, 0.0, 0.0)]
    num_regions = sum(len(video) for video in tracks)
    all_tracks = [(v, t) for v, video in enumerate(tracks) for t in sorted({row[0] for row in video})]
    for threshold in scores:
        found, false = set(), 0
        for v, video in enumerate(detections):
            for row in video:
                if row[5] < threshold:
                    continue
                hits = [i for i, gt in enumerate(tracks[v]) if gt[1] == row[0] and overlap(row[1:5], gt[2:6]) >= iou]
                found |= {(v, i) for i in hits}
                false += not hits
        tracks_found = 0
        for v, t in all_tracks:
            regions = [i for i, gt in enumerate(tracks[v]) if gt[0] == t]
            tracks_found += sum((v, i) in found for i in regions) / len(regions) >= alpha
        points.append((false / sum(num_frames), len(found) / num_regions, tracks_found / len(all_tracks)))
    areas = []
    for column in (1, 2):
        area = 0.0
        for (x0, *y0), (x1, *y1) in pairwise(points):
            if x0 >= 1:
                break
            a, b = y0[column - 1], y1[column - 1]
            end = min(x1, 1.0)
            if x1 > x0:
                b = a + (b - a) * (end - x0) / (x1 - x0)
                area += (end - x0) * (a + b) / 2
        area += max(0.0, 1 - points[-1][0]) * points[-1][column]
        areas.append(area)
    return areas


def random_case(seed, per_frame=3.0):
    rng = np.random.default_rng(seed)
    num_frames = rng.integers(1, 8, 3)
    detections, tracks = [], []
    for length in num_frames:
        rows = []
        for track in range(rng.integers(0, 4)):
            first = rng.integers(0, length)
            x, y, w, h = rng.integers(0, 20, 2).tolist() + rng.integers(1, 12, 2).tolist()
            rows += [[track * 7 + 3, f, x + f, y, x + f + w, y + h] for f in range(first, length)]
        tracks.append(np.array(rows).reshape(-1, 6))
        k = rng.poisson(per_frame * length)
        corner, size = rng.integers(0, 20, (k, 2)), rng.integers(1, 12, (k, 2))
        boxes = np.column_stack([rng.integers(0, length, k), corner, corner + size])
        if rows:  # some detections lie near the ground truth
            near = np.array(rows)[rng.integers(0, len(rows), k // 3), 1:]
            boxes[: k // 3] = near + rng.integers(-2, 3, (k // 3, 1)) * [0, 1, 1, 1, 1]
        score = rng.integers(0, 6, k) / 5 if seed % 2 else rng.random(k)  # odd seeds have many ties
        detections.append(np.column_stack([boxes, score]))
    return detections, tracks, num_frames


@pytest.mark.parametrize("seed", range(60))
def test_equals_brute_force_on_random_boxes(seed):
    detections, tracks, num_frames = random_case(seed, per_frame=[0.4, 1.0, 5.0][seed % 3])
    if not sum(map(len, tracks)):
        tracks[0] = np.array([[0, 0, 2, 2, 9, 9]])
    for iou, alpha in ((0.1, 0.1), (0.3, 0.5), (0.1, 1.0)):
        result = region_metrics(detections, tracks, num_frames, iou, alpha)
        rbdc, tbdc = brute_force(detections, tracks, num_frames, iou, alpha)
        assert result.rbdc == pytest.approx(rbdc, abs=1e-12)
        assert result.tbdc == pytest.approx(tbdc, abs=1e-12)


def test_random_cases_are_not_trivial():
    results = [region_metrics(*random_case(seed, 0.7)) for seed in range(20)]
    assert sum(0.1 < result.rbdc < 0.9 for result in results) >= 8
    assert sum(0.1 < result.tbdc < 0.9 for result in results) >= 5
    assert sum(abs(result.tbdc - result.rbdc) > 0.05 for result in results) >= 5


def test_perfect_toy_is_one_and_nothing_is_zero():
    extra = np.array([[3, 0, 0, 21, 21, 0.1]])  # overlaps the region well enough to count as a second hit, not as false
    perfect = region_metrics([np.concatenate([as_detections(TRACK), extra])], [TRACK], [5])
    assert (perfect.rbdc, perfect.tbdc) == (1.0, 1.0)
    nothing = region_metrics([np.zeros((0, 6))], [TRACK], [5])
    assert (nothing.rbdc, nothing.tbdc) == (0.0, 0.0)


def test_false_positives_are_charged_per_frame_of_all_videos():
    false = np.array([[0, 100, 100, 110, 110, 0.9], [1, 100, 100, 110, 110, 0.8]])
    one = region_metrics([np.concatenate([false, as_detections(TRACK)])], [TRACK], [5])
    assert one.rbdc == pytest.approx(1 - 2 / 5)
    two = region_metrics([np.concatenate([false, as_detections(TRACK)]), np.zeros((0, 6))], [TRACK, TRACK[:0]], [5, 15])
    assert two.rbdc == pytest.approx(1 - 2 / 20)


def test_a_track_needs_a_tenth_of_its_regions():
    tracks = np.array([[0, frame, 0, 0, 10, 10] for frame in range(30)])
    for hits, expected in ((2, 0.0), (3, 1.0)):
        result = region_metrics([as_detections(tracks[:hits])], [tracks], [30])
        assert result.tbdc == expected
        assert result.rbdc == pytest.approx(hits / 30)
    tracks = np.array([[0, frame, 0, 0, 10, 10] for frame in range(100)])
    for hits, expected in ((6, 0.0), (7, 1.0)):  # 0.07 * 100 is 7.000000000000001 in floating point
        assert region_metrics([as_detections(tracks[:hits])], [tracks], [100], alpha=0.07).tbdc == expected


def test_same_track_number_in_two_videos_is_two_tracks():
    result = region_metrics([as_detections(TRACK), np.zeros((0, 6))], [TRACK, TRACK], [5, 5])
    assert result.tbdc == pytest.approx(0.5)


def test_a_matching_box_in_another_frame_is_false():
    late = as_detections(TRACK[:1])
    late[:, 0] = 4
    assert region_metrics([late], [TRACK[:1]], [5]).rbdc == 0.0


def test_iou_of_exclusive_corners_at_the_threshold():
    truth = np.array([[0, 0, 0, 0, 10, 10]])
    tenth = np.array([[0, 0, 0, 1, 10, 0.5]])  # 10 of 100 pixels: IoU 0.1 exactly
    less = np.array([[0, 0, 0, 1, 9, 0.5]])
    assert region_metrics([tenth], [truth], [1]).rbdc == 1.0
    assert region_metrics([less], [truth], [1]).rbdc == 0.0


def test_properties_scores_may_be_mapped_and_videos_permuted():
    detections, tracks, num_frames = random_case(5)
    result = region_metrics(detections, tracks, num_frames)
    mapped = [np.column_stack([d[:, :5], np.exp(3 * d[:, 5]) - 7]) for d in detections]
    assert region_metrics(mapped, tracks, num_frames)[:2] == pytest.approx(result[:2], abs=1e-15)
    order = [2, 0, 1]
    permuted = region_metrics(*([part[i] for i in order] for part in (detections, tracks, num_frames)))
    assert permuted[:2] == pytest.approx(result[:2], abs=1e-15)


def test_no_anomaly_is_undefined_and_bad_input_is_refused():
    assert np.isnan(region_metrics([as_detections(TRACK)], [TRACK[:0]], [5]).rbdc)
    with pytest.raises(InputError, match="not finite"):
        region_metrics([as_detections(TRACK, np.nan)], [TRACK], [5])
    with pytest.raises(InputError, match=r"outside 0\.\.3"):
        region_metrics([as_detections(TRACK)], [TRACK], [4])
    with pytest.raises(InputError, match="empty box"):
        region_metrics([np.array([[0, 5, 5, 5, 9, 1.0]])], [TRACK], [5])
    with pytest.raises(InputError, match="same videos"):
        region_metrics([as_detections(TRACK)], [TRACK], [5, 5])


def test_boxes_are_scaled_to_the_size_of_the_ground_truth():
    assert scale_boxes(np.array([[2, 4, 6, 8]]), (128, 128), (240, 360)).tolist() == [[5.625, 7.5, 16.875, 15.0]]


def test_boxes_of_a_cropped_frame_lie_in_the_part_that_it_shows():
    """120 x 120 of a 240 x 360 frame shows its middle 240 x 240."""
    scaled = scale_boxes(np.array([[0, 0, 120, 120], [10, 20, 30, 40]]), (120, 120), (240, 360), keep_aspect=True)
    assert scaled.tolist() == [[60, 0, 300, 240], [80, 40, 120, 80]]


@st.composite
def cases(draw):
    """One to three short videos on a small grid, so that boxes overlap, scores tie and tracks are missed."""
    number = st.integers
    num_frames = draw(st.lists(number(1, 4), min_size=1, max_size=3))

    def boxes(length, first):
        corner, side = number(0, 8), number(1, 6)
        row = st.tuples(first, number(0, length - 1), corner, corner, side, side)
        rows = [[a, f, x, y, x + w, y + h] for a, f, x, y, w, h in draw(st.lists(row, max_size=8))]
        return np.array(rows).reshape(-1, 6)

    tracks = [boxes(length, number(0, 2)) for length in num_frames]
    scored = [boxes(length, number(0, 3)) for length in num_frames]
    return [np.column_stack([rows[:, 1:], rows[:, 0]]) for rows in scored], tracks, num_frames


@settings(max_examples=150)
@given(cases(), st.sampled_from([0.1, 0.3, 1.0]), st.sampled_from([0.1, 0.5, 1.0]))
def test_equals_brute_force_on_any_boxes(case, iou, alpha):
    detections, tracks, num_frames = case
    result = region_metrics(detections, tracks, num_frames, iou, alpha)
    if not sum(map(len, tracks)):
        assert np.isnan(result[:2]).all()
    else:
        assert result[:2] == pytest.approx(brute_force(detections, tracks, num_frames, iou, alpha), abs=1e-12)
