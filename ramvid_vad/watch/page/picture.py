"""A frame with the heat of its map and the box of what is unusual, at its own proportions."""

import cv2
import numpy as np

HOT = 0.55  # of the colour where the map is highest


def marked(
    rgb: np.ndarray, heat: np.ndarray | None, level: float, boxes: list[tuple[int, int, int, int]]
) -> np.ndarray:
    """uint8 (H, W, 3) -> the same, drawn upon.

    heat: (h, w) of any scale, None: none.  level: of the frame, 1 = the threshold; below it the heat is fainter.
    boxes: left, top, right, bottom in pixels.
    """
    drawn = rgb.copy()
    height, width = rgb.shape[:2]
    if heat is not None and float(heat.max()) > 0:
        share = np.clip(heat / heat.max(), 0, 1).astype(np.float32) ** 2
        share = cv2.resize(share, (width, height), interpolation=cv2.INTER_LINEAR)
        share *= HOT * min(max(level, 0.0), 1.0)
        colours = cv2.applyColorMap((255 * share / HOT).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
        drawn = (drawn + share[..., None] * (colours.astype(np.float32) - drawn)).astype(np.uint8)
    thick = max(round(height / 240), 1)
    for left, top, right, bottom in boxes:
        for colour, width_of_line in (((0, 0, 0), 2 * thick + 1), ((255, 210, 0), thick)):
            cv2.rectangle(drawn, (left, top), (right, bottom), colour, width_of_line)
    return drawn
