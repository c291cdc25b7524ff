"""A frame with the heat of its map and the box of what is unusual, at its own proportions."""

import cv2
import numpy as np

from ramvid_vad.detectors.detector import CELL
from ramvid_vad.events.events import peak_box
from ramvid_vad.spaces.space import LINES

HOT = 0.55  # of the colour where the map is highest
Box = tuple[int, int, int, int]


def marked(rgb: np.ndarray, heat: np.ndarray, level: float, box: Box | None) -> np.ndarray:
    """uint8 (H, W, 3) -> the same, drawn upon.

    heat: (h, w) of any scale.  level: of the frame, 1 = the threshold; below it the heat is fainter.
    box: left, top, right, bottom in pixels; None: none.
    """
    drawn = rgb.copy()
    height, width = rgb.shape[:2]
    if float(heat.max()) > 0:
        share = np.clip(heat / heat.max(), 0, 1).astype(np.float32) ** 2
        share = cv2.resize(share, (width, height), interpolation=cv2.INTER_LINEAR)
        share *= HOT * min(max(level, 0.0), 1.0)
        colours = cv2.applyColorMap((255 * share / HOT).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
        drawn = (drawn + share[..., None] * (colours.astype(np.float32) - drawn)).astype(np.uint8)
    if box is not None:
        thick = max(round(height / 240), 1)
        for colour, width_of_line in (((0, 0, 0), thick + 2), ((255, 210, 0), thick)):
            cv2.rectangle(drawn, box[:2], (box[2] - 1, box[3] - 1), colour, width_of_line)
    return drawn


def worst_place(heat: np.ndarray, level: float, size: tuple[int, int]) -> Box | None:
    """The box around the highest place of a map down to half its height; None: the frame is below the threshold.

    size: (height, width) of the frame in pixels.
    """
    if level < 1:
        return None
    return peak_box(heat, float(heat.max()) / 2, size, CELL * max(min(size) / LINES, 1.0))
