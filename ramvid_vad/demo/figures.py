"""Who walks in the street, and what does not belong there: a van, a thrown bag."""

from dataclasses import dataclass

import numpy as np

from ramvid_vad.demo.canvas import Canvas, Colour, Point, darker, metre


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
