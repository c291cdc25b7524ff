"""Pixel AUC and AUPRO from maps of per-pixel scores, over any number of frames in bounded memory.

A map may have another size than the mask (a residual is computed at the model's resolution, the truth is drawn at the
video's): each pixel of the mask has the score of the cell of the map that its centre lies in, and all pixels of the
video's own size are counted.
"""

from typing import NamedTuple

import numpy as np

from ramvid_vad.errors import InputError
from ramvid_vad.video.cache import crop_box

EXACT_CELLS = 1 << 21  # distinct scores up to which all are kept apart
DROPPED_BITS = 11  # of a float32's 23-bit mantissa beyond that: scores that agree to 1 part in 4096 are joined
_BUFFER = 1 << 21  # cells gathered before they are counted


class PixelMetrics(NamedTuple):
    """pixel_auc, aupro: in [0, 1], nan where undefined (no anomalous, or no normal, pixel).

    error_bound: pixel_auc is off by at most this much; 0 as long as the scores were kept apart exactly.
    """

    pixel_auc: float
    aupro: float
    pixels: int
    anomalous_pixels: int
    regions: int
    error_bound: float


class PixelCurve:
    """Gathers pixels frame by frame and knows the ROC and the PRO curve of all of them.

    Scores are taken as float32 and each distinct value is counted, so the result is that of sorting all pixels. Above
    ``exact_cells`` distinct values, neighbouring float32 values are joined (their last ``dropped_bits`` bits dropped)
    and the largest possible error of the AUC is reported.
    """

    def __init__(self, exact_cells: int = EXACT_CELLS, dropped_bits: int = DROPPED_BITS) -> None:
        self.exact_cells = exact_cells
        self.dropped_bits = dropped_bits
        self.regions = 0
        self._shift = 0  # bits dropped so far
        self._keys = np.zeros(0, np.uint32)  # distinct scores, ascending, as sortable integers
        self._counts = np.zeros((3, 0))  # per score: normal pixels, anomalous pixels, sum of 1 / area of their regions
        self._waiting: list[tuple[np.ndarray, np.ndarray]] = []
        self._num_waiting = 0

    def add(self, maps: np.ndarray, masks: np.ndarray, keep_aspect: bool = False) -> None:
        """Add frames: maps (n, h, w) of finite scores, higher = worse; masks bool (n, H, W), True = anomalous.

        keep_aspect: the map shows the largest centred part of the frame that has its aspect (``video.cache``); pixels
        outside it, which nobody looked at, have the lowest score of all.
        """
        maps, masks = np.asarray(maps, np.float32), np.asarray(masks, bool)
        if maps.ndim != 3 or masks.ndim != 3 or len(maps) != len(masks):
            raise InputError(f"pixel scores {maps.shape} and masks {masks.shape} must be (n, h, w) of the same frames")
        if not np.isfinite(maps).all():
            raise InputError("a pixel score is not finite")
        if not len(maps):
            return
        cell = _cells(maps.shape[1:], masks.shape[1:], keep_aspect)
        num_cells = maps[0].size + 1  # one more for what the map does not show
        everywhere = np.bincount(cell, minlength=num_cells)
        for frame_map, mask in zip(maps, masks, strict=True):
            counts = np.zeros((3, num_cells))
            if mask.any():
                inside = cell[mask.ravel()]
                counts[1] = np.bincount(inside, minlength=num_cells)
                counts[2] = np.bincount(inside, self._weights(mask), num_cells)
            counts[0] = everywhere - counts[1]
            self._wait(np.append(_sortable(frame_map.ravel()), np.uint32(0)), counts)

    def merge(self, other: "PixelCurve") -> None:
        """Add all that another curve holds."""
        other.compact()
        self.regions += other.regions
        self.dropped_bits = max(self.dropped_bits, other.dropped_bits)
        if other._shift:
            self._coarsen()
        self._wait(other._keys << other._shift, other._counts)

    def _weights(self, mask: np.ndarray) -> np.ndarray:
        """1 / area of its 8-connected region, for each anomalous pixel in row order."""
        import cv2

        count, labels, stats, _ = cv2.connectedComponentsWithStats(
            np.ascontiguousarray(mask).view(np.uint8), connectivity=8
        )
        self.regions += count - 1
        return 1.0 / stats[labels[mask], cv2.CC_STAT_AREA]

    def _wait(self, keys: np.ndarray, counts: np.ndarray) -> None:
        self._waiting.append((keys, counts))
        self._num_waiting += len(keys)
        if self._num_waiting > _BUFFER:
            self.compact()

    def compact(self) -> None:
        """Count the waiting cells into the table of distinct scores: what is left is small."""
        if not self._waiting:
            return
        keys = np.concatenate([self._keys, *(keys >> np.uint32(self._shift) for keys, _ in self._waiting)])
        counts = np.concatenate([self._counts, *(counts for _, counts in self._waiting)], axis=1)
        self._waiting, self._num_waiting = [], 0
        if not self._shift:
            self._keys, position = np.unique(keys, return_inverse=True)
            self._counts = np.stack([np.bincount(position, row, len(self._keys)) for row in counts])
            if len(self._keys) > self.exact_cells:
                self._coarsen()
            return
        # so few possible scores that counting into all of them beats sorting
        table = np.stack([np.bincount(keys, row, (1 << 32 - self._shift)) for row in counts])
        self._keys = np.flatnonzero(table.any(axis=0)).astype(np.uint32)
        self._counts = table[:, self._keys]

    def _coarsen(self) -> None:
        """Join neighbouring scores, from now on."""
        if self._shift:
            return
        self._shift = self.dropped_bits
        self._keys, position = np.unique(self._keys >> np.uint32(self._shift), return_inverse=True)
        self._counts = np.stack([np.bincount(position, row, len(self._keys)) for row in self._counts])

    def metrics(self, fpr_limit: float = 0.3) -> PixelMetrics:
        """Pixel AUC and AUPRO of everything added so far.

        pixel_auc: area under one ROC over the pixels of all frames; tied scores count one half.
        aupro: area under PRO over FPR in [0, ``fpr_limit``], divided by ``fpr_limit``; FPR is the share of the normal
        pixels of all frames at or above the threshold, PRO the mean over regions (8-connected, per frame) of the share
        of their pixels at or above it (Bergmann et al., MVTec AD, IJCV 2021).
        """
        if not 0 < fpr_limit <= 1:
            raise InputError(f"the FPR limit of AUPRO must lie in (0, 1], not {fpr_limit}")
        self.compact()
        normal, anomalous, weight = self._counts
        num_normal, num_anomalous = round(normal.sum()), round(anomalous.sum())
        if not num_normal or not num_anomalous:
            undefined = float("nan")
            return PixelMetrics(undefined, undefined, num_normal + num_anomalous, num_anomalous, self.regions, 0.0)
        below = np.cumsum(normal) - normal
        pairs = float(num_normal) * num_anomalous
        auc = float((anomalous * (below + normal / 2)).sum() / pairs)
        bound = float((anomalous * normal).sum() / (2 * pairs)) if self._shift else 0.0
        fpr = np.concatenate([[0.0], np.cumsum(normal[::-1]) / num_normal])
        pro = np.concatenate([[0.0], np.cumsum(weight[::-1]) / self.regions])
        pixels = num_normal + num_anomalous
        return PixelMetrics(auc, area(fpr, pro, fpr_limit) / fpr_limit, pixels, num_anomalous, self.regions, bound)


def _cells(size: tuple[int, int], target: tuple[int, int], keep_aspect: bool) -> np.ndarray:
    """Which cell of a map of ``size`` each pixel of a frame of ``target`` lies in, int64 (H * W,); h * w: in none."""
    left, top, right, bottom = crop_box(*target, size, keep_aspect)
    rows = np.floor((np.arange(target[0]) + 0.5 - top) / (bottom - top) * size[0]).astype(np.int64)
    columns = np.floor((np.arange(target[1]) + 0.5 - left) / (right - left) * size[1]).astype(np.int64)
    shown = ((rows >= 0) & (rows < size[0]))[:, None] & ((columns >= 0) & (columns < size[1]))
    return np.where(shown, rows[:, None] * size[1] + columns, size[0] * size[1]).ravel()


def _sortable(scores: np.ndarray) -> np.ndarray:
    """float32 -> uint32 whose order is that of the scores; 0 is below them all."""
    bits = (scores + np.float32(0)).view(np.uint32)  # + 0 turns -0 into 0
    return np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))


def area(x: np.ndarray, y: np.ndarray, limit: float) -> float:
    """Under the line through (x, y), x ascending from 0, from 0 to ``limit``; beyond its end the last y holds."""
    inside = x <= limit
    return float(np.trapezoid(np.append(y[inside], np.interp(limit, x, y)), np.append(x[inside], limit)))
