"""A small surveillance data set drawn by the program: one street, one fixed camera, anomalies in the test clips only.

Normal: people walk along the pavement from left to right; trams of one type pass behind them from right to left on a
timetable, and a beacon flashes while one is near; a wall of lamps shows waves of light that swell and fade; the wind
sways a tree; the light drifts and the camera re-adjusts its exposure in steps; the sensor is noisy. Most change in the
picture is therefore normal *and predictable*, so "something changed" says little. Abnormal: a van on the pavement, a
runner, a thrown bag, somebody who walks against the stream. All move at real speeds at 25 frames per second: in the ten
frames between two pairs of anchors a walker makes half a step, a runner or a van several times its own width or more.
"""

import json
import os
import shutil
from dataclasses import asdict, dataclass, replace

import cv2
import numpy as np

from ramvid_vad.demo import drawing as draw
from ramvid_vad.errors import InputError
from ramvid_vad.runtime.files import write_text
from ramvid_vad.runtime.randomness import stream
from ramvid_vad.video.masks import save_masks

VERSION = 1  # raise it whenever the same options would draw other pictures
STAMP = "scene.json"
FPS = 25
READ_NOISE, SHOT_NOISE = 0.006, 0.0005  # noise variance = read^2 + shot * signal, signal in 0..1
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
    look: draw.Look
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


def _look(rng: np.random.Generator, bold: bool) -> draw.Look:
    """Muted street clothes; ``bold``: the lighter, darker or yellower colours of vans, sports clothes and sacks."""
    tops = [(150, 76, 70), (84, 98, 134), (100, 100, 104), (172, 166, 156), (96, 122, 98), (166, 140, 92)]
    trousers = [(82, 88, 108), (92, 92, 94), (126, 114, 98), (104, 108, 116)]
    hairs = [(64, 54, 48), (90, 70, 54), (128, 104, 72), (126, 124, 120)]
    if bold:
        tops, trousers = [(198, 196, 190), (202, 170, 84), (58, 66, 100)], [(28, 28, 34), (224, 220, 212)]
    skins = [(222, 178, 150), (190, 140, 108), (124, 84, 62)]

    def pick(colours: list[draw.Colour]) -> draw.Colour:
        return draw.darker(colours[int(rng.integers(len(colours)))], float(rng.uniform(0.85, 1.15)))

    return draw.Look(
        pick(tops), pick(trousers), pick(hairs), pick(skins),
        height=float(rng.uniform(1.55, 1.88)), coat=bool(rng.random() < 0.3),
        carries=("", "backpack", "bag")[int(rng.integers(3))],
    )  # fmt: skip


def _actor(rng: np.random.Generator, kind: str, passes: float) -> Actor:
    depth = float(rng.uniform(70, 92))
    m = draw.metre(depth)
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
        gain = gain + step * np.where(t >= start, 1 - 0.45 ** (t - start + 1), 0) * np.where(t < start + 40, 1, 0)
    gain = gain * (1 + 0.008 * np.sin(2 * np.pi * t / 5 + rng.uniform(0, 6.28)))
    warmth = rng.uniform(-0.03, 0.03)
    return gain[:, None] * np.array([1 + warmth, 1.0, 1 - warmth])


def _balanced_phase(rng: np.random.Generator, on: np.ndarray, odd: np.ndarray) -> int:
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


def _script(options: SceneOptions, part: str, index: int) -> Clip:
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
    width = options.size[1] / options.size[0] * draw.HEIGHT
    odd = [abs(actor.speed * (t - actor.passes)) < width / 2 for actor in actors if actor.abnormal]
    odd = np.any(odd, axis=0) if odd else np.zeros(frames, bool)
    passage = int((width + draw.TRAM_LENGTH) / TRAM_SPEED)
    return Clip(
        frames=frames,
        actors=sorted(actors, key=lambda actor: actor.depth),
        tram_enters=-_balanced_phase(rng, np.arange(HEADWAY) < passage, odd),
        show=_balanced_phase(rng, draw.swell(np.arange(draw.SWELL_PERIOD)) > 0.5, odd),
        phase=int(rng.integers(draw.TREE_PERIOD)),
        gain=_light(rng, frames),
    )


class _Street:
    """What all clips of a data set share: background, tram and tree, painted once at twice the final resolution."""

    def __init__(self, options: SceneOptions):
        self.size = options.size
        height, width = 2 * options.size[0], 2 * options.size[1]
        rng = stream(options.seed, "scene street")
        self.scale = height / draw.HEIGHT
        self.width = width / self.scale
        self.background = draw.paint_background(rng, height, width)
        self.tram = draw.paint_tram(self.scale)
        self.crown = draw.paint_crown(rng, self.scale)

    def picture(self, clip: Clip, t: int) -> tuple[np.ndarray, np.ndarray]:
        """Frame t before light and camera: float32 (H, W, 3) in [0, 1], and where the anomaly is, bool (H, W)."""
        canvas = draw.Canvas(self.background)
        draw.draw_wall(canvas, clip.show + t)
        trams = range(clip.tram_enters, t + 1, HEADWAY)
        fronts = [self.width - TRAM_SPEED * (t - enters) for enters in trams]
        places = [(actor, self.width / 2 + actor.speed * (t - actor.passes)) for actor in clip.actors]
        present = [(actor, x) for actor, x in places if -30 < x < self.width + 30]
        self._shadows(canvas, fronts, present, t)
        for x in fronts:
            canvas.paste(*self.tram, x, draw.RAIL - 41)
        draw.draw_beacon(canvas, clip.phase + t, any(-draw.TRAM_LENGTH < x < self.width + 20 for x in fronts))
        draw.draw_tree(canvas, self.crown, clip.phase + t)
        for actor, x in present:
            canvas.marking = actor.abnormal
            _draw_actor(canvas, actor, x, t, self.width)
        height, width = self.size
        image = cv2.resize(canvas.image, (width, height), interpolation=cv2.INTER_AREA)
        mask = cv2.resize(canvas.mask, (width, height), interpolation=cv2.INTER_AREA)
        return image.astype(np.float32) / 255, mask > 127

    def _shadows(self, canvas: draw.Canvas, fronts: list[float], present: list[tuple[Actor, float]], t: int) -> None:
        """Darken the ground, softly, to the right of what stands on it."""
        top = round(55 * self.scale)
        shade = draw.Canvas(np.zeros_like(canvas.image))
        white = (255, 255, 255)
        for x in fronts:
            y = draw.RAIL
            shade.polygon(
                [(x, y - 2), (x + draw.TRAM_LENGTH, y - 2), (x + draw.TRAM_LENGTH + 3, y + 2), (x + 3, y + 2)], white
            )
        for actor, x in present:
            m = draw.metre(actor.depth)
            if actor.kind == "vehicle":
                shade.ellipse((x + 0.3 * m, actor.depth), 1.6 * m, 0.16 * m, white)
            elif actor.kind == "thrown":
                shade.ellipse((x + 0.6 * _flight(actor, t, self.width)[0] * m, actor.depth), 0.35 * m, 0.1 * m, white)
            else:
                shade.ellipse((x + 0.42 * m, actor.depth), 0.6 * m, 0.09 * m, white)
        soft = cv2.GaussianBlur(shade.image[top:], (0, 0), 0.7 * self.scale)
        ground = canvas.image[top:]
        cv2.multiply(ground, 255 - soft // 2, dst=ground, scale=1 / 255)


def _flight(actor: Actor, t: float, width: float) -> tuple[float, float]:
    """Height in metres and turn in radians of the thrown bag: off a hand outside the picture, down, then bouncing."""
    seconds = (t - actor.passes + 0.55 * width / abs(actor.speed)) / FPS
    lands = (3.2 + np.sqrt(3.2**2 + 2 * 9.8 * 1.5)) / 9.8
    if seconds < lands:
        up = 1.5 + 3.2 * seconds - 4.9 * seconds**2
    else:
        since = (seconds - lands) % (2 * 2.4 / 9.8)
        up = 2.4 * since - 4.9 * since**2
    return up, 9.0 * seconds


def _draw_actor(canvas: draw.Canvas, actor: Actor, x: float, t: int, width: float) -> None:
    facing = 1 if actor.speed > 0 else -1
    if actor.kind == "vehicle":
        draw.draw_cart(canvas, x, actor.depth, facing, actor.look.top)
    elif actor.kind == "thrown":
        draw.draw_thrown(canvas, x, actor.depth, *_flight(actor, t, width), actor.look.top)
    else:
        gait = 2 * np.pi * abs(actor.speed) * (t - actor.passes) / actor.stride
        draw.draw_person(canvas, actor.look, x, actor.depth, facing, gait, running=actor.kind == "runner")


def render(options: SceneOptions, part: str, index: int) -> tuple[np.ndarray, np.ndarray]:
    """One clip before it is encoded.

    part: "training" or "testing"; index: from 0.  Returns frames uint8 (n, H, W, 3) RGB and masks bool (n, H, W), True
    where an anomaly is visible.
    """
    return _render(_Street(options), options, part, index)


def _render(street: _Street, options: SceneOptions, part: str, index: int) -> tuple[np.ndarray, np.ndarray]:
    clip = _script(options, part, index)
    frames = np.empty((clip.frames, *options.size, 3), np.uint8)
    masks = np.empty((clip.frames, *options.size), bool)
    noise = stream(options.seed, f"scene noise {part}", index)
    for t in range(clip.frames):
        light, masks[t] = street.picture(clip, t)
        light = light * clip.gain[t].astype(np.float32)
        sigma = np.sqrt(READ_NOISE**2 + SHOT_NOISE * light)
        light += sigma * noise.standard_normal(light.shape, dtype=np.float32)
        frames[t] = np.clip(light * 255 + 0.5, 0, 255)
    return frames, masks


def _encode(path: str, frames: np.ndarray) -> None:
    """Write an H.264 mp4 whose bytes depend on the frames alone.

    One thread, and no macroblock tree: on pictures this small x264's reads beyond its buffer, and the bytes vary.
    """
    import av

    with av.open(path, "w") as container:
        out = container.add_stream("libx264", rate=FPS)
        out.height, out.width = frames.shape[1:3]
        out.pix_fmt = "yuv420p"
        out.options = {"crf": "12", "threads": "1", "x264-params": "mbtree=0"}
        for frame in frames:
            container.mux(out.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(out.encode())


def _check(options: SceneOptions) -> None:
    height, width = options.size
    if height % 2 or width % 2 or min(height, width) < 32:
        raise InputError(f"scene size {height}x{width}: height and width must be even and at least 32")
    if min(options.num_train, options.num_test, options.frames, options.test_frames) < 1:
        raise InputError(f"scene {options}: numbers of clips and frames must be at least 1")


def generate(out_dir: str, options: SceneOptions = SceneOptions(), **changes: object) -> SceneOptions:
    """Write the data set into out_dir, or keep it if it is there already with the same options.

    changes: fields of SceneOptions to replace, e.g. ``generate("runs/demo/data", size=(64, 64), seed=1)``.

    Files: training/NN.mp4 and testing/NN.mp4 (NN from 01); labels/NN.npy, uint8 per test frame, 1 = some anomaly is
    visible; masks/NN.npz, the pixels of the anomalies (``video.masks``); scene.json, the options.
    Returns the options used. Raises InputError for impossible options, or when out_dir holds something else.
    """
    options = replace(options, **changes)
    _check(options)
    stamp = os.path.join(out_dir, STAMP)
    wanted = {"version": VERSION, "complete": True, **json.loads(json.dumps(asdict(options)))}
    if os.path.exists(stamp):
        with open(stamp) as file:
            if json.load(file) == wanted:
                return options
    elif os.path.isdir(out_dir) and os.listdir(out_dir):
        raise InputError(f"{out_dir}: holds files but no synthetic scene; name an empty directory")
    os.makedirs(out_dir, exist_ok=True)
    _stamp(stamp, {**wanted, "complete": False})
    for folder in ("training", "testing", "labels", "masks"):
        shutil.rmtree(os.path.join(out_dir, folder), ignore_errors=True)
        os.makedirs(os.path.join(out_dir, folder))
    street = _Street(options)
    for part, count in (("training", options.num_train), ("testing", options.num_test)):
        for index in range(count):
            name = f"{index + 1:02d}"
            frames, masks = _render(street, options, part, index)
            _encode(os.path.join(out_dir, part, f"{name}.mp4"), frames)
            if part == "testing":
                np.save(os.path.join(out_dir, "labels", f"{name}.npy"), masks.any(axis=(1, 2)).astype(np.uint8))
                save_masks(os.path.join(out_dir, "masks", f"{name}.npz"), masks)
    _stamp(stamp, wanted)
    return options


def _stamp(path: str, content: dict) -> None:
    write_text(path, json.dumps(content, indent=1))
