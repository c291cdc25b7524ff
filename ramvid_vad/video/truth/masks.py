"""Pixel masks of anomalies on disk, their boxes, and tracks of these boxes.

A box is (x0, y0, x1, y1) in pixels with x1 and y1 exclusive. Tracks of one video are an int64 array (m, 6) with rows
[track, frame, x0, y0, x1, y1]. On disk they have the public text format of the RBDC/TBDC tool (Georgescu et al., PAMI
2021): ``track,frame,x_min,y_min,x_max,y_max`` with *inclusive* corners, frames from 0.
"""

import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ramvid_vad.errors import InputError
from ramvid_vad.runtime.files import ARRAY_HEADERS
from ramvid_vad.runtime.text import decode_text

TRACK_COLUMNS = 6
LARGEST_SHIFT = 5  # frames by which tracks are tried to be early or late
LINKED_IOU = 0.1  # of the boxes of one track in neighbouring frames, at least
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


class MaskFile:
    """Masks of one video as :func:`save_masks` wrote them: iterating gives bool (H, W), frame by frame.

    shape: (frames, height, width).  InputError, here or while iterating: not such a file, or a damaged one.
    """

    def __init__(self, path: str | Path):
        self._path = path
        with self._reading(), ARRAY_HEADERS, np.load(path, allow_pickle=False) as file:
            self.shape = tuple(int(side) for side in file["shape"])

    def __iter__(self) -> Iterator[np.ndarray]:
        with self._reading(), zipfile.ZipFile(self._path) as archive, archive.open("masks.npy") as member:
            np.lib.format.read_magic(member)
            with ARRAY_HEADERS:
                packed, fortran_order, dtype = np.lib.format.read_array_header_1_0(member)
            rows, width = self.shape[1:] if len(self.shape) == 3 else (0, 0)
            if dtype != np.uint8 or fortran_order or packed != (self.shape[0], rows, -(-width // 8)):
                raise InputError(f"{self._path}: packed masks {packed} do not fit the stated shape {self.shape}")
            for _ in range(packed[0]):
                content = np.frombuffer(member.read(packed[1] * packed[2]), np.uint8).reshape(packed[1:])
                yield np.unpackbits(content, axis=-1, count=width).view(bool)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except InputError:
            raise
        except Exception as error:  # a damaged file surfaces as any of a dozen types
            raise InputError(
                f"{self._path}: not a mask file (npz with packed 'masks' and 'shape'): {str(error)[:120]}"
            ) from None


def load_masks(path: str | Path) -> np.ndarray:
    """All masks of one video at once, bool (frames, height, width)."""
    file = MaskFile(path)
    return np.concatenate([np.zeros((0, *file.shape[1:]), bool), [mask for mask in file]])


def masked_frames(path: str | Path) -> np.ndarray:
    """Which frames of a mask file have a pixel of an anomaly, bool (frames,)."""
    return np.array([mask.any() for mask in MaskFile(path)], bool)


@dataclass(frozen=True)
class Unlike:
    """How the frames in which boxes or masks show an anomaly differ from those that the labels call abnormal.

    shown_normal: shown, but called normal.  abnormal_hidden: called abnormal, but not shown.  frames: of all videos
    compared.  late: frames by which what is shown comes late (negative: early) where that explains most of it, else 0.
    """

    shown_normal: int
    abnormal_hidden: int
    frames: int
    late: int = 0

    def __str__(self) -> str:
        """In words, "" where nothing differs."""
        if not self.shown_normal + self.abnormal_hidden:
            return ""
        when = f": as if {abs(self.late)} frames {'late' if self.late > 0 else 'early'}" if self.late else ""
        return (
            f"{self.shown_normal + self.abnormal_hidden} of {self.frames} frames unlike the labels "
            f"({self.shown_normal} shown but called normal, {self.abnormal_hidden} abnormal but not shown){when}"
        )


def unlike_labels(shown: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> Unlike:
    """Compare, per video, bool (n,) of frames with a box or mask with uint8 (n,) of labels."""

    def differing(late: int) -> list[np.ndarray]:
        pairs = [
            (s[max(late, 0) : len(s) + min(late, 0)], y[max(-late, 0) : len(y) - max(late, 0)] == 1)
            for s, y in zip(shown, labels, strict=True)
        ]
        return [np.array([(s & ~y).sum(), (~s & y).sum()]) for s, y in pairs]

    first, second = (int(n) for n in sum(differing(0), np.zeros(2, int)))
    shifts = sorted(range(-LARGEST_SHIFT, LARGEST_SHIFT + 1), key=abs)
    best = min(shifts, key=lambda late: sum(map(np.sum, differing(late))))
    explains = 4 * sum(map(np.sum, differing(best))) < first + second
    return Unlike(first, second, sum(map(len, labels)), best if explains else 0)


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


def link_tracks(masks: Iterable[np.ndarray]) -> np.ndarray:
    """Tracks from pixel masks alone, for data sets whose authors publish no tracks.

    The regions of a frame are the 8-connected components of its mask. A region continues the track of a region of the
    frame just before if their boxes have IoU >= LINKED_IOU; each region has at most one predecessor and one successor,
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
        before, after = linear_sum_assignment(np.where(iou >= LINKED_IOU, iou, 0.0), maximize=True)
        linked = iou[before, after] >= LINKED_IOU
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


def tracked_frames(tracks: np.ndarray, num_frames: int) -> np.ndarray:
    """Which frames have a box of a track, bool (num_frames,)."""
    return np.isin(np.arange(num_frames), tracks[:, 1])


def load_tracks(path: str | Path) -> np.ndarray:
    """Tracks (m, 6) of one video from text with inclusive corners; an empty file is a video without anomaly."""
    rows = []
    try:
        for line in decode_text(Path(path).read_bytes()).splitlines():
            if line.strip():
                rows.append([float(part) for part in line.split(",")])
    except (OSError, ValueError) as error:  # a UnicodeDecodeError is a ValueError
        raise InputError(f"{path}: not a track file: {str(error)[:120]}") from None
    if any(len(row) != TRACK_COLUMNS for row in rows):
        raise InputError(f"{path}: expected six numbers per line: track,frame,x_min,y_min,x_max,y_max")
    table = np.array(rows).reshape(-1, TRACK_COLUMNS)
    if not (np.abs(table) < 2**53).all():
        raise InputError(f"{path}: a number that is no frame and no pixel: {table[~(np.abs(table) < 2**53)][0]:g}")
    if not np.array_equal(table, np.round(table)):
        raise InputError(f"{path}: tracks must be whole numbers (frames and pixels)")
    tracks = table.astype(np.int64) + _EXCLUSIVE
    if (tracks[:, 1] < 0).any() or (tracks[:, 2] >= tracks[:, 4]).any() or (tracks[:, 3] >= tracks[:, 5]).any():
        raise InputError(f"{path}: a track has a negative frame or an empty box")
    return tracks
