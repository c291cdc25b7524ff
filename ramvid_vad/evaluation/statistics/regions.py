"""RBDC and TBDC: are the anomalous regions, and the tracks they form, found at few false alarms?

Ramachandra and Jones, "Street Scene: a new dataset and evaluation protocol for video anomaly detection", WACV 2020.
Boxes are (x0, y0, x1, y1) with x1 and y1 exclusive; ground truth and detections must be in the same pixel grid
(:func:`scale_boxes` brings the boxes of resized frames to the video's own).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ramvid_vad.errors import InputError
from ramvid_vad.evaluation.statistics.pixels import area
from ramvid_vad.video.cache import crop_box
from ramvid_vad.video.truth.masks import pairwise_iou


class RegionMetrics(NamedTuple):
    """Areas in [0, 1]; nan: undefined, no ground-truth region at all."""

    rbdc: float
    tbdc: float


def scale_boxes(
    boxes: np.ndarray, size: tuple[int, int], target: tuple[int, int], keep_aspect: bool = False
) -> np.ndarray:
    """Boxes (..., 4) of frames resized to ``size`` (height, width), in the pixels of frames of ``target``; float64.

    keep_aspect: the resized frames show the largest centred part of the frame that has their aspect.
    """
    left, top, right, bottom = crop_box(*target, size, keep_aspect)
    factor = np.array([(right - left) / size[1], (bottom - top) / size[0]] * 2)
    return np.asarray(boxes, np.float64) * factor + np.array([left, top] * 2)


def region_metrics(
    detections: Sequence[np.ndarray],
    tracks: Sequence[np.ndarray],
    num_frames: Sequence[int],
    iou: float = 0.1,
    alpha: float = 0.1,
) -> RegionMetrics:
    """RBDC and TBDC of detections against ground-truth tracks; all three lists hold one entry per video.

    detections: (k, 6) rows [frame, x0, y0, x1, y1, score], more anomalous = higher.
    tracks: (m, 6) rows [track, frame, x0, y0, x1, y1]; a track id counts within its video. num_frames: lengths.

    Definitions, for a threshold t (a detection is kept if its score >= t):
     1. A kept detection and a ground-truth region of the same frame match if the IoU of their boxes is >= ``iou``.
        One detection may match several regions, and several detections one region.
     2. A region is found if at least one kept detection matches it. RBDR(t) = found regions / all regions.
     3. A track is found if the share of its regions that are found is >= ``alpha``. TBDR(t) = found / all tracks.
     4. A kept detection that matches no region, in a frame with or without regions, is a false positive; further
        detections of a region that is already found are not. FPR(t) = false positives / frames of all videos.
     5. RBDC and TBDC are the areas under RBDR and TBDR over FPR in [0, 1]. The curve starts at (0, 0) and has one
        point per distinct score, in descending order, joined by straight lines (which slope only where scores are
        tied); at FPR = 1 it is cut by linear interpolation; if it ends before, its last rate holds up to 1.
    """
    if not 0 < alpha <= 1 or not 0 < iou <= 1:
        raise InputError(f"iou and alpha must lie in (0, 1], not {iou} and {alpha}")
    if not len(detections) == len(tracks) == len(num_frames):
        raise InputError(
            "detections, tracks and lengths must be of the same videos: "
            f"{len(detections)}, {len(tracks)}, {len(num_frames)}"
        )
    offsets = np.concatenate([[0], np.cumsum(num_frames)])
    found = _stack(detections, offsets, column=0, name="detection")
    truth = _stack(tracks, offsets, column=1, name="track")
    if not np.isfinite(found[:, 5]).all():
        raise InputError("a detection has a score that is not finite")
    if not len(truth):
        return RegionMetrics(float("nan"), float("nan"))

    score = found[:, 5]
    region_score, is_false = _match(found[:, :5], truth[:, 1:], score, iou)
    track_score = _track_scores(truth[:, 0], region_score, alpha)

    thresholds = np.unique(score)[::-1]
    fpr = np.concatenate([[0.0], _count_at_least(score[is_false], thresholds) / offsets[-1]])
    rbdr = np.concatenate([[0.0], _count_at_least(region_score, thresholds) / len(region_score)])
    tbdr = np.concatenate([[0.0], _count_at_least(track_score, thresholds) / len(track_score)])
    return RegionMetrics(area(fpr, rbdr, 1.0), area(fpr, tbdr, 1.0))


def _stack(parts: Sequence[np.ndarray], offsets: np.ndarray, column: int, name: str) -> np.ndarray:
    """All videos as one float64 table: frames count on through the videos, track ids are made unique, boxes checked."""
    tables, next_track = [], 0
    for video, part in enumerate(parts):
        table = np.array(part, np.float64).reshape(-1, 6)
        frame, length = table[:, column], offsets[video + 1] - offsets[video]
        boxes = table[:, 1 + column : 5 + column]
        if len(table) and not ((frame >= 0) & (frame < length) & (frame == np.floor(frame))).all():
            raise InputError(f"video {video}: a {name} has a frame outside 0..{length - 1}")
        if not (boxes[:, 2:] > boxes[:, :2]).all():
            raise InputError(f"video {video}: a {name} has an empty box (x1 and y1 are exclusive)")
        frame += offsets[video]
        if column == 1:
            _, table[:, 0] = np.unique(table[:, 0], return_inverse=True)
            table[:, 0] += next_track
            next_track = int(table[:, 0].max()) + 1 if len(table) else next_track
        tables.append(table)
    return np.concatenate([np.zeros((0, 6)), *tables])


def _match(found: np.ndarray, truth: np.ndarray, score: np.ndarray, min_iou: float) -> tuple[np.ndarray, np.ndarray]:
    """Highest score that finds each region (-inf: none), and which detections are false positives.

    found (k, 5) and truth (m, 5): [frame, x0, y0, x1, y1], frames unique over all videos.
    """
    order = np.argsort(truth[:, 0], kind="stable")
    frames = truth[order, 0]
    first = np.searchsorted(frames, found[:, 0], "left")
    count = np.searchsorted(frames, found[:, 0], "right") - first
    # every (detection, region of its frame) pair, without a loop
    detection = np.repeat(np.arange(len(found)), count)
    region = order[np.repeat(first - np.cumsum(count) + count, count) + np.arange(count.sum())]
    matched = pairwise_iou(found[detection, 1:], truth[region, 1:]) >= min_iou

    region_score = np.full(len(truth), -np.inf)
    np.maximum.at(region_score, region[matched], score[detection[matched]])
    is_false = np.ones(len(found), bool)
    is_false[detection[matched]] = False
    return region_score, is_false


def _track_scores(track: np.ndarray, region_score: np.ndarray, alpha: float) -> np.ndarray:
    """Highest threshold at which each track is found: the k-th best of its regions, k / length >= alpha."""
    _, track, length = np.unique(track, return_inverse=True, return_counts=True)
    needed = np.ceil(alpha * length).astype(np.int64)
    needed -= (needed - 1) / length >= alpha  # 0.07 * 100 = 7.000000000000001 asks for 7 regions, not 8
    start = np.cumsum(length) - length
    return region_score[np.lexsort((-region_score, track))][start + needed - 1]


def _count_at_least(values: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """How many values are >= each threshold."""
    return len(values) - np.searchsorted(np.sort(values), thresholds, "left")
