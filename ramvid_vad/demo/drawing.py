"""Drawing of the synthetic street: background, wall of lamps, tram, beacon, tree, walkers, van, thrown bag.

Lengths are in *units*: the picture is 96 units high whatever its resolution, x to the right, y downwards. An actor
stands on the ground at depth ``y``; the camera looks down from above, its horizon lies at y = HORIZON, and a metre at
depth y is ``metre(y)`` units long, so nearer people are larger and their steps longer.
"""

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

HEIGHT = 96.0  # units
HORIZON = -3.3  # y of the vanishing line
KERB = 63.0  # y of the edge between road and pavement
RAIL = 60.0  # y at which the tram's wheels touch the ground
TRAM_LENGTH = 160.0  # units
TRAM_WINDOW = 40.0  # units from one tram window to the next
WALL = 22.0  # y down to which the front of the department store is one wall of lamps
WAVE_PERIOD = 14  # frames in which a wave of light repeats
WAVE_LENGTH = 64.0  # units
SWELL_PERIOD = 96  # frames from one time of strong waves to the next
BEAT = 0.08  # the lamps' supply beats with the shutter: every other frame is brighter by this share
BEACON = (52.0, 55.0)  # lamps that warn of the tram
BEACON_PERIOD = 2  # frames
TREE = (104.0, 67.0)  # foot of the tree
TREE_PERIOD = 20  # frames of one sway
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


# --- what does not move -----------------------------------------------------------------------------------------------


def noise_texture(rng: np.random.Generator, height: int, width: int, cell: float) -> np.ndarray:
    """Smooth noise with octaves, float32 (height, width), about unit variance; cell = coarsest grain in pixels."""
    total = np.zeros((height, width), np.float32)
    amplitude = 1.0
    while cell >= 1.0:
        grain = (max(2, int(np.ceil(height / cell)) + 1), max(2, int(np.ceil(width / cell)) + 1))
        coarse = rng.standard_normal(grain).astype(np.float32)
        total += amplitude * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        amplitude *= 0.75
        cell /= 2
    return total / total.std()


def paint_background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """The empty street, uint8 (height, width, 3): facade, shops, far pavement, road with rails, near pavement."""
    scale = height / HEIGHT
    units = width / scale
    canvas = Canvas(np.zeros((height, width, 3), np.uint8))

    def band(y0: float, y1: float, colour: Colour, x0: float = 0.0, x1: float = units) -> None:
        canvas.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour)

    def soil(y0: float, y1: float, strength: float, cell: float) -> None:
        rows = slice(round(y0 * scale), round(y1 * scale))
        part = canvas.image[rows].astype(np.float32)
        grain = noise_texture(rng, part.shape[0], width, cell * scale)
        canvas.image[rows] = np.clip(part * (1 + strength * grain[..., None]), 0, 255)

    houses = [(150, 126, 106), (168, 156, 138), (136, 116, 112)]
    edges = [0.0, 0.36 * units, 0.74 * units, units]
    for colour, x0, x1 in zip(houses, edges[:-1], edges[1:], strict=True):
        band(0, 40, colour, x0, x1)
    soil(0, 40, 0.05, 12)
    for colour, x0, x1 in zip(houses, edges[:-1], edges[1:], strict=True):
        band(19.5, 20.6, darker(colour, 1.2), x0, x1)  # ledge between the floors
        count = max(2, round((x1 - x0) / 11))
        for i in range(count):
            x = x0 + (i + 0.5) * (x1 - x0) / count
            for y in (4.0, -10.0):
                glass = int(rng.integers(50, 95))
                band(y - 0.7, y + 12.7, darker(colour, 1.25), x - 3.4, x + 3.4)
                band(y, y + 12, (glass, glass + 8, glass + 16), x - 2.7, x + 2.7)
                canvas.polygon(
                    [(x - 2.7, y + 7), (x + 2.7, y + 2), (x + 2.7, y + 5), (x - 2.7, y + 10)],
                    (glass + 30, glass + 38, glass + 46),
                )
                band(y, y + 12, darker(colour, 1.15), x - 0.35, x + 0.35)
        awning = [(128, 52, 46), (52, 92, 74), (56, 72, 112)][int(rng.integers(3))]
        band(25, 40, (58, 56, 58), x0 + 1, x1 - 1)  # shop window
        for x in np.arange(x0 + 3, x1 - 6, 9):
            shade = int(rng.integers(78, 150))
            band(28, 38.5, (shade, shade - 8, shade - 26), x, x + 7)
        canvas.polygon([(x0 + 1, 22), (x1 - 1, 22), (x1, 26.5), (x0, 26.5)], awning)
    band(40, 45, (142, 138, 132))  # far pavement
    band(45, 46, (104, 102, 100))
    band(46, KERB - 1, (92, 93, 97))  # road
    soil(40, KERB - 1, 0.05, 6)
    for y in (52.5, RAIL - 0.5):
        band(y - 0.9, y + 0.9, (78, 78, 80))
        band(y - 0.3, y + 0.3, (150, 150, 152))
    band(KERB - 1, KERB + 0.6, (168, 164, 156))
    band(KERB + 0.6, HEIGHT, (150, 143, 134))  # near pavement
    rows = 66.0
    while rows < HEIGHT:  # paving joints: parallel ones denser with distance, the others meet at the vanishing point
        band(rows, rows + 0.35, (124, 118, 110))
        rows += 0.09 * (rows - HORIZON) * 0.75
    middle = units / 2
    for i in range(-24, 25):
        x0, x1 = (middle + i * 11.0 * (y - HORIZON) / (80 - HORIZON) for y in (KERB + 0.6, HEIGHT))
        canvas.polygon([(x0, KERB + 0.6), (x0 + 0.3, KERB + 0.6), (x1 + 0.4, HEIGHT), (x1, HEIGHT)], (128, 122, 114))
    soil(KERB + 0.6, HEIGHT, 0.035, 20)
    band(0, WALL, (250, 250, 250))
    for x in np.arange(0, units, 8.0):
        band(0, WALL, (170, 170, 176), x - 0.4, x + 0.4)
    for y in np.arange(WALL, -1, -6.0):
        band(y - 0.35, y + 0.35, (170, 170, 176))
    falloff = np.linspace(1.06, 0.94, width, dtype=np.float32)[None, :, None]  # the sun stands to the left
    return np.clip(canvas.image * falloff, 0, 255).astype(np.uint8)


# --- what moves in the same way every day -----------------------------------------------------------------------------


def paint_tram(scale: float) -> tuple[np.ndarray, np.ndarray]:
    """The tram (every tram is of this one type): picture uint8 (h, w, 3) and opacity uint8 (h, w), 42 units high."""
    height, width = round(42 * scale), round(TRAM_LENGTH * scale)
    canvas = Canvas(np.zeros((round(HEIGHT * scale), width, 3), np.uint8))
    canvas.marking = True
    end = TRAM_LENGTH

    def band(y0: float, y1: float, colour: Colour, x0: float, x1: float) -> None:
        canvas.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour)

    canvas.polygon([(4, 2), (end - 4, 2), (end, 12), (end, 39), (0, 39), (0, 12)], (164, 156, 142))
    band(1, 3, (120, 120, 122), 8, end - 8)  # roof
    band(24, 35, (150, 70, 62), 0, end)
    band(35, 39, (96, 90, 88), 0, end)
    band(29, 30.2, (176, 168, 150), 0, end)
    for x in np.arange(0, end, TRAM_WINDOW):
        band(7, 22, (128, 132, 134), x + 5, x + 35)
        canvas.polygon([(x + 5, 19), (x + 35, 9), (x + 35, 13), (x + 5, 22)], (144, 148, 150))
        canvas.ellipse((x + 20, 39), 2.2, 2.2, (36, 36, 38))
    band(3, 37, (132, 126, 118), end / 2 - 2, end / 2 + 2)  # bellows between the two halves
    return canvas.image[:height], canvas.mask[:height]


def swell(frame: np.ndarray | int) -> np.ndarray | float:
    """Strength of the light show in a frame, 0 (rests) to 1."""
    return 0.5 - 0.5 * np.tanh(3 * np.cos(2 * np.pi * frame / SWELL_PERIOD) - 1.4)


def draw_wall(canvas: Canvas, frame: int) -> None:
    """Waves of light run along the wall of lamps; they swell and fade as in a slow show."""
    rows, columns = round(WALL * canvas.scale), canvas.image.shape[1]
    x = np.arange(columns, dtype=np.float32) / canvas.scale
    strength = swell(frame)
    wave = 0.5 + 0.5 * strength * np.cos(2 * np.pi * (frame / WAVE_PERIOD + x / WAVE_LENGTH))
    low, high = np.float32([16, 26, 70]), np.float32([250, 216, 166])
    light = low + wave[:, None] * (high - low)  # (columns, 3)
    light *= 1 + BEAT * strength * (-1) ** frame
    lamps = canvas.image[:rows].astype(np.float32) * light * (1 / 255)
    canvas.image[:rows] = np.minimum(lamps, 255).astype(np.uint8)


def draw_beacon(canvas: Canvas, frame: int, warns: bool) -> None:
    """A post with two lamps beside the track; while a tram is near they flash in turn."""
    x, y = BEACON
    canvas.polygon([(x - 0.6, y), (x + 0.6, y), (x + 0.6, KERB), (x - 0.6, KERB)], (70, 70, 72))
    canvas.polygon([(x - 4.5, y - 2.5), (x + 4.5, y - 2.5), (x + 4.5, y + 2.5), (x - 4.5, y + 2.5)], (36, 36, 38))
    lit = frame % BEACON_PERIOD < BEACON_PERIOD // 2
    for side in (-1, 1):
        on = warns and lit == (side > 0)
        canvas.ellipse((x + side * 2.2, y), 1.8, 1.8, (255, 236, 190) if on else (84, 30, 26))


def paint_crown(rng: np.random.Generator, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Leaves of the tree, 44 x 34 units: picture and opacity."""
    height, width = round(34 * scale), round(44 * scale)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    radius = np.hypot((x / width - 0.5) / 0.46, (y / height - 0.5) / 0.46)
    ragged = radius + 0.13 * noise_texture(rng, height, width, 7 * scale)
    alpha = np.clip((1 - ragged) * 900, 0, 255).astype(np.uint8)
    leaf = 1 + 0.30 * noise_texture(rng, height, width, 4 * scale) + 0.35 * (0.5 - y / height)
    picture = np.clip(np.array([66, 92, 44], np.float32) * leaf[..., None], 0, 255).astype(np.uint8)
    return picture, alpha


def draw_tree(canvas: Canvas, crown: tuple[np.ndarray, np.ndarray], frame: int) -> None:
    """Trunk and crown; the wind bends the tree with a fixed period."""
    x, y = TREE
    sway = 1.4 * np.sin(2 * np.pi * frame / TREE_PERIOD)
    canvas.polygon([(x - 1.6, y), (x - 1.0 + 0.4 * sway, 28), (x + 1.0 + 0.4 * sway, 28), (x + 1.6, y)], (70, 58, 48))
    picture, alpha = crown
    height, width = alpha.shape
    # the top moves by twice the sway, the bottom by nothing
    shear = np.float32([[1, -2 * sway * canvas.scale / height, 2 * sway * canvas.scale], [0, 1, 0]])
    picture = cv2.warpAffine(picture, shear, (width, height), borderMode=cv2.BORDER_REFLECT)
    canvas.paste(picture, cv2.warpAffine(alpha, shear, (width, height)), x - 22, 0.5)


# --- who walks, and what does not belong ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Look:
    """How a person looks: clothes, body height in metres, and what they carry ("", "backpack" or "bag")."""

    top: Colour
    trousers: Colour
    hair: Colour
    skin: Colour
    height: float
    coat: bool
    carries: str


def draw_person(
    canvas: Canvas, look: Look, x: float, y: float, facing: int, gait: float, running: bool = False
) -> None:
    """A person seen from the side. gait: radians, 2 pi per two steps; facing: +1 right, -1 left."""
    m = metre(y)
    h = look.height * m
    swing, knee, lean, elbow = (0.78, 1.35, 0.24, 1.5) if running else (0.44, 0.75, 0.04, 0.25)
    lift = (0.035 if running else 0.012) * h * (1 - np.cos(2 * gait))
    hip = (x, y - 0.50 * h - lift)
    shoulder = (x + facing * lean * 0.32 * h, hip[1] - 0.31 * h)

    def leg(phase: float) -> list[Point]:
        thigh = swing * np.sin(phase)
        shin = thigh - knee * max(0.0, np.cos(phase)) ** 1.5 - 0.08
        k = (hip[0] + facing * 0.245 * h * np.sin(thigh), hip[1] + 0.245 * h * np.cos(thigh))
        a = (k[0] + facing * 0.235 * h * np.sin(shin), k[1] + 0.235 * h * np.cos(shin))
        return [hip, k, a]

    def foot(ankle: Point) -> None:
        canvas.ellipse((ankle[0] + facing * 0.03 * h, ankle[1] + 0.005 * h), 0.058 * h, 0.022 * h, (34, 30, 30))

    def arm(phase: float) -> list[Point]:
        upper = 0.85 * swing * np.sin(phase)
        e = (shoulder[0] + facing * 0.16 * h * np.sin(upper), shoulder[1] + 0.03 * h + 0.16 * h * np.cos(upper))
        fore = upper + elbow
        return [
            (shoulder[0], shoulder[1] + 0.03 * h),
            e,
            (e[0] + facing * 0.15 * h * np.sin(fore), e[1] + 0.15 * h * np.cos(fore)),
        ]

    far_arm, near_arm = arm(gait), arm(gait + np.pi)
    canvas.limb(far_arm, 0.06 * h, darker(look.top, 0.7))
    for phase, shade in ((gait + np.pi, 0.72), (gait, 1.0)):
        joints = leg(phase)
        canvas.limb(joints, 0.085 * h, darker(look.trousers, shade))
        foot(joints[-1])
    if look.carries == "backpack":
        canvas.ellipse((shoulder[0] - facing * 0.10 * h, shoulder[1] + 0.13 * h), 0.075 * h, 0.12 * h, (52, 56, 70))
    hem = 0.14 * h if look.coat else 0.02 * h
    w0, w1 = 0.085 * h, (0.10 if look.coat else 0.075) * h
    canvas.polygon(
        [
            (shoulder[0] - 0.7 * w0, shoulder[1] - 0.01 * h),
            (shoulder[0] + 0.7 * w0, shoulder[1] - 0.01 * h),
            (shoulder[0] + w0, shoulder[1] + 0.05 * h),
            (hip[0] + w1, hip[1] + hem),
            (hip[0] - w1, hip[1] + hem),
            (shoulder[0] - w0, shoulder[1] + 0.05 * h),
        ],
        look.top,
    )
    head = (shoulder[0] + facing * (0.015 + 0.2 * lean) * h, shoulder[1] - 0.095 * h)
    canvas.limb([shoulder, head], 0.05 * h, darker(look.skin, 0.85))
    canvas.ellipse(head, 0.056 * h, 0.072 * h, look.skin)
    canvas.ellipse((head[0] - facing * 0.018 * h, head[1] - 0.024 * h), 0.054 * h, 0.052 * h, look.hair)
    canvas.limb(near_arm, 0.062 * h, darker(look.top, 0.9))
    canvas.ellipse(near_arm[-1], 0.025 * h, 0.025 * h, look.skin)
    if look.carries == "bag":
        bx, by = near_arm[-1]
        canvas.polygon(
            [
                (bx, by),
                (bx + 0.05 * h, by + 0.05 * h),
                (bx + 0.05 * h, by + 0.16 * h),
                (bx - 0.05 * h, by + 0.16 * h),
                (bx - 0.05 * h, by + 0.05 * h),
            ],
            (176, 160, 130),
        )


def draw_cart(canvas: Canvas, x: float, y: float, facing: int, colour: Colour) -> None:
    """A small delivery van, 2.7 m long and 1.75 m high, centred on x."""
    m = metre(y)

    def at(u: float, v: float) -> Point:
        return x + facing * u * m, y - v * m

    canvas.polygon(
        [at(-1.35, 0.25), at(-1.35, 1.75), at(0.45, 1.75), at(0.95, 1.05), at(1.35, 0.95), at(1.35, 0.25)], colour
    )
    canvas.polygon([at(-1.35, 0.25), at(-1.35, 0.5), at(1.35, 0.5), at(1.35, 0.25)], darker(colour, 0.6))
    canvas.polygon([at(0.0, 1.05), at(0.0, 1.6), at(0.42, 1.6), at(0.82, 1.05)], (50, 60, 70))
    canvas.polygon([at(-1.2, 0.8), at(-1.2, 1.5), at(-0.15, 1.5), at(-0.15, 0.8)], darker(colour, 0.85))
    for u in (-0.8, 0.85):
        canvas.ellipse(at(u, 0.27), 0.27 * m, 0.27 * m, (30, 30, 32))
        canvas.ellipse(at(u, 0.27), 0.12 * m, 0.12 * m, (140, 140, 144))


def draw_thrown(canvas: Canvas, x: float, y: float, up: float, spin: float, colour: Colour) -> None:
    """A bag in the air, ``up`` metres above the ground at depth y, turned by ``spin`` radians."""
    m = metre(y)
    canvas.ellipse((x, y - (up + 0.2) * m), 0.40 * m, 0.28 * m, colour, spin)
    canvas.ellipse((x, y - (up + 0.2) * m), 0.24 * m, 0.06 * m, darker(colour, 0.6), spin)
