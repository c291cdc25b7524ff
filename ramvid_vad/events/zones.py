"""The part of the picture that is watched: a mask picture or a polygon."""

import os

import cv2
import numpy as np

from ramvid_vad.detectors.detector import CELL
from ramvid_vad.errors import InputError
from ramvid_vad.spaces.frame_size import reduced
from ramvid_vad.video.reader import read_frames, read_image

WHITE = 128  # grey levels from here on are watched


def zone_mask(text: str, size: tuple[int, int], cells: tuple[int, int]) -> np.ndarray:
    """Watched cells, bool ``cells`` (h, w), of frames of ``size`` (H, W); a cell counts if half of it is watched.

    text: a picture, white where it is watched, brought to the frame's size; or a polygon "x,y x,y x,y" in pixels, or in
    fractions of width and height where no number is above 1.  InputError: neither, or nothing is left to watch.
    """
    if os.path.exists(text):
        picture = read_image(text, rgb=False)[..., 0]
        watched = (cv2.resize(picture, size[::-1], interpolation=cv2.INTER_NEAREST) >= WHITE).astype(np.float32)
    else:
        corners = _polygon(text)
        if corners.max() <= 1:
            corners = corners * [size[1], size[0]]
        if corners.min() < 0 or (corners > [size[1], size[0]]).any():
            raise InputError(f"--zone {text[:80]!r}: a corner lies outside of the {size[1]}x{size[0]} picture")
        watched = cv2.fillPoly(np.zeros(size, np.float32), [corners.round().astype(np.int32)], 1.0)
    found = cv2.resize(watched, cells[::-1], interpolation=cv2.INTER_AREA) >= 0.5
    if not found.any():
        raise InputError(f"--zone {text[:80]!r}: nothing is left to watch; white is watched, or inside the polygon")
    return found


def zone_of(text: str, video: str) -> np.ndarray:
    """Watched cells, bool (h, w), of the video's first frame. InputError: as ``zone_mask``."""
    frame = next(read_frames(video, rgb=False))
    height, width = reduced(frame).shape[:2]
    return zone_mask(text, frame.shape[:2], (-(-height // CELL), -(-width // CELL)))


def watched_cells(zone: np.ndarray, cells: tuple[int, int]) -> np.ndarray:
    """The zone on a map of ``cells`` (h, w), which has others where the stream is smaller than the normal video."""
    if zone.shape == cells:
        return zone
    shares = cv2.resize(zone.astype(np.float32), cells[::-1], interpolation=cv2.INTER_AREA)
    return shares >= 0.5 if (shares >= 0.5).any() else shares > 0


def _polygon(text: str) -> np.ndarray:
    try:
        corners = np.array([[float(v) for v in corner.split(",")] for corner in text.split()], np.float64)
        if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < 3 or not np.isfinite(corners).all():
            raise ValueError
    except ValueError:
        raise InputError(
            f"--zone {text[:80]!r}: neither a picture nor a polygon of at least three corners, e.g. '0,0 1,0 1,0.5'"
        ) from None
    return corners
