"""A picture to draw on in units of the street, and the mask of what does not belong in it.

Lengths are in *units*: the picture is 96 units high whatever its resolution, x to the right, y downwards. An actor
stands on the ground at depth ``y``; the camera looks down from above, its horizon lies at y = HORIZON, and a metre at
depth y is ``metre(y)`` units long, so nearer people are larger and their steps longer.
"""

from itertools import pairwise

import cv2
import numpy as np

HEIGHT = 96.0  # units
HORIZON = -3.3  # y of the vanishing line
_SHIFT = 4  # OpenCV's fixed-point bits for positions between pixels

Colour = tuple[int, int, int]  # RGB, 0..255
Point = tuple[float, float]


def metre(y: float) -> float:
    """Units per metre for something that stands at depth y."""
    return 0.198 * (y - HORIZON)


class Canvas:
    """An RGB picture in units, and the mask of what was drawn while ``marking`` was on and is still visible."""

    def __init__(self, background: np.ndarray):
        """background: uint8 (h, w, 3); the scale is h / HEIGHT pixels per unit."""
        self.image = background.copy()
        self.mask = np.zeros(background.shape[:2], np.uint8)
        self.scale = background.shape[0] / HEIGHT
        self.marking = False

    def polygon(self, points: list[Point], colour: Colour) -> None:
        """Fill an antialiased polygon."""
        fixed = np.round((np.asarray(points) * self.scale - 0.5) * (1 << _SHIFT)).astype(np.int32)
        cv2.fillPoly(self.image, [fixed], colour, cv2.LINE_AA, _SHIFT)
        cv2.fillPoly(self.mask, [fixed], 255 if self.marking else 0, cv2.LINE_8, _SHIFT)

    def ellipse(self, centre: Point, rx: float, ry: float, colour: Colour, tilt: float = 0.0) -> None:
        """Fill an ellipse; tilt in radians."""
        a = np.linspace(0, 2 * np.pi, 17)[:-1]
        x, y = rx * np.cos(a), ry * np.sin(a)
        c, s = np.cos(tilt), np.sin(tilt)
        self.polygon(list(zip(centre[0] + c * x - s * y, centre[1] + s * x + c * y, strict=True)), colour)

    def limb(self, points: list[Point], width: float, colour: Colour) -> None:
        """A chain of rounded segments, e.g. hip, knee, ankle."""
        for (x0, y0), (x1, y1) in pairwise(points):
            length = max(np.hypot(x1 - x0, y1 - y0), 1e-6)
            nx, ny = -(y1 - y0) / length * width / 2, (x1 - x0) / length * width / 2
            self.polygon([(x0 + nx, y0 + ny), (x1 + nx, y1 + ny), (x1 - nx, y1 - ny), (x0 - nx, y0 - ny)], colour)
            self.ellipse((x1, y1), width / 2, width / 2, colour)

    def paste(self, sprite: np.ndarray, alpha: np.ndarray, x: float, y: float) -> None:
        """Lay sprite uint8 (h, w, 3) with opacity alpha uint8 (h, w) over the picture, its corner at (x, y) units."""
        height, width = self.mask.shape
        left, top = round(x * self.scale), round(y * self.scale)
        x0, x1 = max(left, 0), min(left + sprite.shape[1], width)
        y0, y1 = max(top, 0), min(top + sprite.shape[0], height)
        if x0 >= x1 or y0 >= y1:
            return
        part = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
        opacity = alpha[part].astype(np.uint16)[..., None]
        target = self.image[y0:y1, x0:x1]
        target[:] = (sprite[part] * opacity + target * (255 - opacity) + 127) // 255
        self.mask[y0:y1, x0:x1][alpha[part] > 127] = 255 if self.marking else 0


def darker(colour: Colour, factor: float) -> Colour:
    """The colour times a factor, clipped to 0..255."""
    return tuple(int(min(255, c * factor)) for c in colour)
