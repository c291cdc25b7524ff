"""Pixel AUC and AUPRO from maps of per-pixel scores, over any number of frames in bounded memory."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from ramvid_vad.errors import InputError

_BUFFER = 1 << 22  # pixels gathered before they are sorted into the table


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
    ``max_values`` distinct values, neighbouring float32 values are joined (their last bits dropped) and the largest
    possible error of the AUC is reported.
    """

    def __init__(self, max_values: int = 1 << 23) -> None:
        self.max_values = max_values
        self.regions = 0
        self._dropped_bits = 0
        self._values = np.zeros(0, np.uint32)  # distinct scores, ascending, as sortable integers
        self._counts = np.zeros((3, 0))  # per value: normal pixels, anomalous pixels, sum of 1 / area of their regions
        self._waiting: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._num_waiting = 0

    def add(self, maps: np.ndarray, masks: np.ndarray) -> None:
        """Add frames: maps (n, H, W) of finite scores, higher = worse; masks bool (n, H, W), True = anomalous."""
        maps, masks = np.asarray(maps, np.float32), np.asarray(masks, bool)
        if maps.shape != masks.shape or maps.ndim != 3:
            raise InputError(f"pixel scores {maps.shape} and masks {masks.shape} must be of one shape (n, H, W)")
        for frame_map, mask in zip(maps, masks, strict=True):
            if not np.isfinite(frame_map).all():
                raise InputError("a pixel score is not finite")
            keys = _sortable(frame_map.ravel())
            inside = mask.ravel()
            self._waiting.append((keys[~inside], keys[inside], self._weights(mask)))
            self._num_waiting += keys.size
            if self._num_waiting > max(_BUFFER, 4 * len(self._values)):
                self._flush()

    def _weights(self, mask: np.ndarray) -> np.ndarray:
        """1 / area of its 8-connected region, for each anomalous pixel in row order."""
        if not mask.any():
            return np.zeros(0)
        import cv2

        count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
        self.regions += count - 1
        return 1.0 / stats[labels[mask], cv2.CC_STAT_AREA]

    def _flush(self) -> None:
        """Sort the waiting pixels into the table of distinct values."""
        if not self._waiting:
            return
        normal, anomalous, weights = (np.concatenate(part) for part in zip(*self._waiting, strict=True))
        self._waiting, self._num_waiting = [], 0
        normal, normal_count = np.unique(normal >> self._dropped_bits, return_counts=True)
        anomalous, position, anomalous_count = np.unique(
            anomalous >> self._dropped_bits, return_inverse=True, return_counts=True
        )
        rows = np.zeros((3, len(normal) + len(anomalous)))
        rows[0, : len(normal)] = normal_count
        rows[1, len(normal) :] = anomalous_count
        rows[2, len(normal) :] = np.bincount(position, weights, len(anomalous))
        self._merge(np.concatenate([self._values, normal, anomalous]), np.concatenate([self._counts, rows], axis=1))
        while len(self._values) > self.max_values:
            self._dropped_bits += 1
            self._merge(self._values >> 1, self._counts)

    def _merge(self, values: np.ndarray, counts: np.ndarray) -> None:
        self._values, position = np.unique(values, return_inverse=True)
        self._counts = np.stack([np.bincount(position, row, len(self._values)) for row in counts])

    def metrics(self, fpr_limit: float = 0.3) -> PixelMetrics:
        """Pixel AUC and AUPRO of everything added so far.

        pixel_auc: area under one ROC over the pixels of all frames; tied scores count one half.
        aupro: area under PRO over FPR in [0, ``fpr_limit``], divided by ``fpr_limit``; FPR is the share of the normal
        pixels of all frames at or above the threshold, PRO the mean over regions (8-connected, per frame) of the share
        of their pixels at or above it (Bergmann et al., MVTec AD, IJCV 2021).
        """
        if not 0 < fpr_limit <= 1:
            raise InputError(f"the FPR limit of AUPRO must lie in (0, 1], not {fpr_limit}")
        self._flush()
        normal, anomalous, weight = self._counts
        num_normal, num_anomalous = int(normal.sum()), int(anomalous.sum())
        if not num_normal or not num_anomalous:
            undefined = float("nan")
            return PixelMetrics(undefined, undefined, num_normal + num_anomalous, num_anomalous, self.regions, 0.0)
        below = np.cumsum(normal) - normal
        pairs = float(num_normal) * num_anomalous
        auc = float((anomalous * (below + normal / 2)).sum() / pairs)
        bound = float((anomalous * normal).sum() / (2 * pairs)) if self._dropped_bits else 0.0
        fpr = np.concatenate([[0.0], np.cumsum(normal[::-1]) / num_normal])
        pro = np.concatenate([[0.0], np.cumsum(weight[::-1]) / self.regions])
        pixels = num_normal + num_anomalous
        return PixelMetrics(auc, _area(fpr, pro, fpr_limit), pixels, num_anomalous, self.regions, bound)


def pixel_metrics(videos: Iterable[tuple[np.ndarray, np.ndarray]], fpr_limit: float = 0.3) -> PixelMetrics:
    """Pixel AUC and AUPRO over (maps (n, H, W), masks (n, H, W)) of each video; see :meth:`PixelCurve.metrics`."""
    curve = PixelCurve()
    for maps, masks in videos:
        curve.add(maps, masks)
    return curve.metrics(fpr_limit)


def _sortable(scores: np.ndarray) -> np.ndarray:
    """float32 -> uint32 whose order is that of the scores."""
    bits = (scores + np.float32(0)).view(np.uint32)  # + 0 turns -0 into 0
    return np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))


def _area(x: np.ndarray, y: np.ndarray, limit: float) -> float:
    """Area under the line through (x, y), x ascending, from 0 to ``limit``, as a share of ``limit``."""
    inside = int(np.searchsorted(x, limit, "right"))
    if inside < len(x):
        part = (limit - x[inside - 1]) / (x[inside] - x[inside - 1])
        x, y = np.append(x[:inside], limit), np.append(y[:inside], y[inside - 1] + part * (y[inside] - y[inside - 1]))
    return float(np.trapezoid(y, x) / limit)
