"""Pixel masks of anomalies on disk, their boxes, and tracks of these boxes.

A box is (x0, y0, x1, y1) in pixels with x1 and y1 exclusive. Tracks of one video are an int64 array (m, 6) with rows
[track, frame, x0, y0, x1, y1]. On disk they have the public text format of the RBDC/TBDC tool (Georgescu et al., PAMI
2021): ``track,frame,x_min,y_min,x_max,y_max`` with *inclusive* corners, frames from 0.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ramvid_vad.errors import InputError

TRACK_COLUMNS = 6
_EXCLUSIVE = np.array([0, 0, 0, 0, 1, 1])  # inclusive corners -> exclusive


def save_masks(path: str | Path, frames: Iterable[np.ndarray]) -> tuple[int, int, int]:
    """Write boolean masks (H, W), frame by frame, packed eight pixels to a byte. Returns (frames, height, width)."""
    packed, size = [], None
    for index, frame in enumerate(frames):
        if frame.ndim != 2 or (size is not None and frame.shape != size):
            raise InputError(f"{path}: mask of frame {index} has shape {frame.shape}, the first has {size}")
        size = frame.shape
        packed.append(np.packbits(frame.astype(bool), axis=-1))
    if size is None:
        raise InputError(f"{path}: a mask file needs at least one frame")
    shape = (len(packed), *size)
    np.savez_compressed(path, masks=np.stack(packed), shape=np.array(shape))
    return shape


def load_masks(path: str | Path) -> np.ndarray:
    """Masks of one video, bool (frames, height, width), as :func:`save_masks` wrote them."""
    try:
        with np.load(path, allow_pickle=False) as file:
            packed, shape = file["masks"], tuple(int(side) for side in file["shape"])
    except Exception as error:  # a damaged file surfaces as any of a dozen types
        raise InputError(f"{path}: not a mask file (npz with packed 'masks' and 'shape'): {str(error)[:120]}") from None
    if len(shape) != 3 or packed.dtype != np.uint8 or packed.shape != (*shape[:2], -(-shape[2] // 8)):
        raise InputError(f"{path}: packed masks {packed.shape} do not fit the stated shape {shape}")
    return np.unpackbits(packed, axis=-1, count=shape[2]).view(bool)


def mask_boxes(mask: np.ndarray) -> np.ndarray:
    """Boxes of the 8-connected regions of one mask (H, W), int64 (k, 4), from the top down."""
    import cv2

    stats = cv2.connectedComponentsWithStats(np.ascontiguousarray(mask).astype(np.uint8), connectivity=8)[2]
    boxes = stats[1:, :4].astype(np.int64)  # label 0 is the background; x, y, width, height
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def pairwise_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes a (..., 4) and b (..., 4) that broadcast against each other."""
    low, high = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])
    overlap = np.clip(high - low, 0, None).prod(axis=-1)
    union = (a[..., 2:] - a[..., :2]).prod(axis=-1) + (b[..., 2:] - b[..., :2]).prod(axis=-1) - overlap
    return overlap / union


def link_tracks(masks: Iterable[np.ndarray], min_iou: float = 0.1) -> np.ndarray:
    """Tracks from pixel masks alone, for data sets whose authors publish no tracks.

    The regions of a frame are the 8-connected components of its mask. A region continues the track of a region of the
    frame just before if their boxes have IoU >= ``min_iou``; each region has at most one predecessor and one successor,
    chosen to maximise the summed IoU. Everything else starts a new track (so a frame without mask ends all tracks).
    Returns (m, 6) sorted by track, then frame.
    """
    from scipy.optimize import linear_sum_assignment

    rows, next_track = [], 0
    boxes, tracks = np.zeros((0, 4), np.int64), np.zeros(0, np.int64)
    for frame, mask in enumerate(masks):
        new_boxes = mask_boxes(mask)
        new_tracks = np.full(len(new_boxes), -1, np.int64)
        iou = pairwise_iou(boxes[:, None], new_boxes[None])
        before, after = linear_sum_assignment(np.where(iou >= min_iou, iou, 0.0), maximize=True)
        linked = iou[before, after] >= min_iou
        new_tracks[after[linked]] = tracks[before[linked]]
        fresh = np.flatnonzero(new_tracks < 0)
        new_tracks[fresh] = next_track + np.arange(len(fresh))
        next_track += len(fresh)
        rows.append(np.column_stack([new_tracks, np.full(len(new_boxes), frame), new_boxes]))
        boxes, tracks = new_boxes, new_tracks
    table = np.concatenate(rows) if rows else np.zeros((0, TRACK_COLUMNS), np.int64)
    return table[np.lexsort((table[:, 1], table[:, 0]))]


def save_tracks(path: str | Path, tracks: np.ndarray) -> None:
    """Write tracks (m, 6) as text with inclusive corners."""
    inclusive = np.asarray(tracks, np.int64).reshape(-1, TRACK_COLUMNS) - _EXCLUSIVE
    Path(path).write_text("".join(",".join(map(str, row)) + "\n" for row in inclusive.tolist()), encoding="ascii")


def load_tracks(path: str | Path) -> np.ndarray:
    """Tracks (m, 6) of one video from text with inclusive corners; an empty file is a video without anomaly."""
    rows = []
    try:
        for line in Path(path).read_text(encoding="utf-8").splitlines():
            if line.strip():
                rows.append([float(part) for part in line.split(",")])
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a track file: {str(error)[:120]}") from None
    if any(len(row) != TRACK_COLUMNS for row in rows):
        raise InputError(f"{path}: expected six numbers per line: track,frame,x_min,y_min,x_max,y_max")
    table = np.array(rows).reshape(-1, TRACK_COLUMNS)
    if not np.array_equal(table, np.round(table)):
        raise InputError(f"{path}: tracks must be whole numbers (frames and pixels)")
    tracks = table.astype(np.int64) + _EXCLUSIVE
    if (tracks[:, 1] < 0).any() or (tracks[:, 2] >= tracks[:, 4]).any() or (tracks[:, 3] >= tracks[:, 5]).any():
        raise InputError(f"{path}: a track has a negative frame or an empty box")
    return tracks
