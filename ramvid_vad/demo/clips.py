"""The script of each clip of the synthetic street: who moves when, and the light."""

from dataclasses import dataclass

import numpy as np

from ramvid_vad.demo import canvas, figures, scenery
from ramvid_vad.runtime.randomness import stream

FPS = 25
TRAM_SPEED = 4.0  # units per frame
HEADWAY = 105  # frames between two trams
# What happens in test clip i: (kind, when the middle of the picture is passed as a fraction of the clip). Starts,
# middles and ends of clips are all used, so that a score that only knows the time is worth nothing.
PLANS = (
    (("vehicle", 0.50),),
    (("runner", 0.85),),
    (("thrown", 0.08), ("thrown", 0.72)),
    (("wrong_way", -0.42), ("thrown", 0.80)),
    (("vehicle", 0.90),),
    (("runner", 0.30),),
)


@dataclass(frozen=True)
class SceneOptions:
    """Everything the data set depends on; the same options give the same data set."""

    size: tuple[int, int] = (96, 128)  # height, width in pixels, both even; the width shows more or less of the street
    num_train: int = 8  # training clips, normal only
    num_test: int = 6  # test clips, one or two anomalies each
    frames: int = 150  # frames of a training clip
    test_frames: int = 120  # frames of a test clip
    seed: int = 0


@dataclass(frozen=True)
class Actor:
    """Somebody or something on the pavement. x(t) = middle + speed * (t - passes), in units and frames."""

    kind: str  # "walker", "runner", "wrong_way", "vehicle" or "thrown"
    passes: float  # frame at which the middle of the picture is passed
    depth: float  # y of the ground under it
    speed: float  # units per frame, positive to the right
    look: figures.Look
    stride: float  # units walked per two steps

    @property
    def abnormal(self) -> bool:
        return self.kind != "walker"


@dataclass(frozen=True)
class Clip:
    """The script of one clip: who moves when, and the light."""

    frames: int
    actors: list[Actor]
    tram_enters: int  # frame at which some tram's front enters at the right
    phase: int  # of the tree's sway and the beacon, frames
    show: int  # frame of the light show at the clip's start
    gain: np.ndarray  # (frames, 3) light and exposure, 1 = as painted


def _look(rng: np.random.Generator, bold: bool) -> figures.Look:
    """Muted street clothes; ``bold``: the lighter, darker or yellower colours of vans, sports clothes and sacks."""
    tops = [(150, 76, 70), (84, 98, 134), (100, 100, 104), (172, 166, 156), (96, 122, 98), (166, 140, 92)]
    trousers = [(82, 88, 108), (92, 92, 94), (126, 114, 98), (104, 108, 116)]
    hairs = [(64, 54, 48), (90, 70, 54), (128, 104, 72), (126, 124, 120)]
    if bold:
        tops, trousers = [(198, 196, 190), (202, 170, 84), (58, 66, 100)], [(28, 28, 34), (224, 220, 212)]
    skins = [(222, 178, 150), (190, 140, 108), (124, 84, 62)]

    def pick(colours: list[canvas.Colour]) -> canvas.Colour:
        return canvas.darker(colours[int(rng.integers(len(colours)))], float(rng.uniform(0.85, 1.15)))

    return figures.Look(
        pick(tops), pick(trousers), pick(hairs), pick(skins),
        height=float(rng.uniform(1.55, 1.88)), coat=bool(rng.random() < 0.3),
        carries=("", "backpack", "bag")[int(rng.integers(3))],
    )  # fmt: skip


def _actor(rng: np.random.Generator, kind: str, passes: float) -> Actor:
    depth = float(rng.uniform(70, 92))
    m = canvas.metre(depth)
    speed = {"walker": 1.1, "wrong_way": 1.2, "runner": 4.6, "vehicle": 4.8, "thrown": 6.0}[kind]  # metres per second
    speed *= float(rng.uniform(0.9, 1.1))
    sign = {"walker": 1, "wrong_way": -1}.get(kind) or (1 if rng.random() < 0.5 else -1)
    look = _look(rng, bold=kind in ("runner", "vehicle", "thrown"))
    stride = (2.3 if kind == "runner" else 0.83) * look.height * m
    return Actor(kind, passes, depth, sign * speed * m / FPS, look, stride)


def _light(rng: np.random.Generator, frames: int) -> np.ndarray:
    """Gain per frame and colour channel: time of day, slow drift, exposure steps that settle, flicker of the supply."""
    t = np.arange(frames)
    gain = rng.uniform(0.90, 1.08) + 0.05 * np.sin(2 * np.pi * (t / rng.uniform(160, 320) + rng.random()))
    for start in np.cumsum(rng.uniform(25, 70, size=frames // 25 + 1)):
        step = rng.choice([-1, 1]) * rng.uniform(0.03, 0.06)
        settled = 1 - 0.45 ** np.maximum(t - start + 1, 0)
        gain = gain + step * np.where(t >= start, settled, 0) * np.where(t < start + 40, 1, 0)
    gain = gain * (1 + 0.008 * np.sin(2 * np.pi * t / 5 + rng.uniform(0, 6.28)))
    warmth = rng.uniform(-0.03, 0.03)
    return gain[:, None] * np.array([1 + warmth, 1.0, 1 - warmth])


def balanced_phase(rng: np.random.Generator, on: np.ndarray, odd: np.ndarray) -> int:
    """The phase at which something periodic starts a clip, so that it is on as often in odd frames as in the others.

    on: bool, one period; odd: bool (frames,).  Without this, six clips are so few that by chance the tram or the light
    show would speak for or against an anomaly.
    """
    t, first = np.arange(len(odd)), int(rng.integers(len(on)))
    if odd.all() or not odd.any():
        return first
    phases = [(first + k) % len(on) for k in range(len(on))]
    shown = [on[(phase + t) % len(on)] for phase in phases]
    return phases[int(np.argmin([abs(s[odd].mean() - s[~odd].mean()) for s in shown]))]


def script(options: SceneOptions, part: str, index: int) -> Clip:
    """The script of one clip, a pure function of its place in the data set."""
    rng = stream(options.seed, f"scene {part}", index)
    frames = options.frames if part == "training" else options.test_frames
    actors, passes = [], -120.0
    while passes < frames + 120:
        passes += rng.uniform(25, 85)
        actors.append(_actor(rng, "walker", passes))
    if part == "testing":
        actors += [_actor(rng, kind, when * frames) for kind, when in PLANS[index % len(PLANS)]]
    t = np.arange(frames)
    width = options.size[1] / options.size[0] * canvas.HEIGHT
    odd = [abs(actor.speed * (t - actor.passes)) < width / 2 for actor in actors if actor.abnormal]
    odd = np.any(odd, axis=0) if odd else np.zeros(frames, bool)
    passage = int((width + scenery.TRAM_LENGTH) / TRAM_SPEED)
    return Clip(
        frames=frames,
        actors=sorted(actors, key=lambda actor: actor.depth),
        tram_enters=-balanced_phase(rng, np.arange(HEADWAY) < passage, odd),
        show=balanced_phase(rng, scenery.swell(np.arange(scenery.SWELL_PERIOD)) > 0.5, odd),
        phase=int(rng.integers(scenery.TREE_PERIOD)),
        gain=_light(rng, frames),
    )
