"""What stands in the street or moves in the same way every day: background, wall of lamps, tram, beacon, tree."""

import cv2
import numpy as np

from ramvid_vad.demo.canvas import HEIGHT, HORIZON, Canvas, Colour, darker

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
