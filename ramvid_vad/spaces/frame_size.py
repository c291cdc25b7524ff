"""The size at which frames are looked at."""

import cv2
import numpy as np

LINES = 240  # pixels, larger frames are first reduced to this shorter side
LEAST = 16  # pixels, smaller frames are enlarged to this shorter side: optical flow needs as much


def reduced(frame: np.ndarray, lines: int = LINES) -> np.ndarray:
    """uint8 (H, W, C) -> (h, w, C) with a shorter side of at most ``lines`` pixels (0: as it is), and at least LEAST.

    By area averaging, so that each pixel counts; enlarged bilinearly.
    """
    height, width, _ = frame.shape
    side = min(height, width)
    scale = max(min(1.0, (lines or side) / side), LEAST / side)
    return resized(frame, (round(height * scale), round(width * scale)))


def resized(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 (H, W, C) -> (*size, C): area averaging where it shrinks, bilinear where it grows; contiguous."""
    if frame.shape[:2] == tuple(size):
        return np.ascontiguousarray(frame)
    shrinks = frame.shape[0] * frame.shape[1] > size[0] * size[1]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(frame, (size[1], size[0]), interpolation=interpolation).reshape(*size, frame.shape[2])
