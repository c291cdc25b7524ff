"""A frame with the heat of its map and the box of what is unusual, at its own proportions."""

import numpy as np

from ramvid_vad.detectors.detector import CELL
from ramvid_vad.events.events import peak_box
from ramvid_vad.page.pictures import boxed, with_heat
from ramvid_vad.spaces.frame_size import LINES

Box = tuple[int, int, int, int]


def marked(rgb: np.ndarray, heat: np.ndarray, level: float, box: Box | None) -> np.ndarray:
    """uint8 (H, W, 3) -> the same, drawn upon.

    heat: (h, w) of any scale.  level: of the frame, 1 = the threshold; below it the heat is fainter.
    box: left, top, right, bottom in pixels; None: none.
    """
    share = (np.clip(heat / max(float(heat.max()), 1e-6), 0, 1) ** 2) * min(max(level, 0.0), 1.0)
    return boxed(with_heat(rgb, share), box)


def worst_place(heat: np.ndarray, level: float, size: tuple[int, int]) -> Box | None:
    """The box around the highest place of a map down to half its height; None: the frame is below the threshold.

    size: (height, width) of the frame in pixels.
    """
    if level < 1:
        return None
    return peak_box(heat, float(heat.max()) / 2, size, CELL * max(min(size) / LINES, 1.0))
