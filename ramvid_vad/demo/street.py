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
from dataclasses import asdict, replace

import cv2
import numpy as np

from ramvid_vad.demo import scenery
from ramvid_vad.demo.canvas import HEIGHT, Canvas, metre
from ramvid_vad.demo.clips import FPS, HEADWAY, TRAM_SPEED, Actor, Clip, SceneOptions, script
from ramvid_vad.demo.figures import draw_cart, draw_person, draw_thrown
from ramvid_vad.errors import InputError
from ramvid_vad.runtime.files import write_text
from ramvid_vad.runtime.randomness import stream
from ramvid_vad.video.truth.masks import save_masks

VERSION = 1  # raise it whenever the same options would draw other pictures
STAMP = "scene.json"
READ_NOISE, SHOT_NOISE = 0.006, 0.0005  # noise variance = read^2 + shot * signal, signal in 0..1


class _Street:
    """What all clips of a data set share: background, tram and tree, painted once at twice the final resolution."""

    def __init__(self, options: SceneOptions):
        self.size = options.size
        height, width = 2 * options.size[0], 2 * options.size[1]
        rng = stream(options.seed, "scene street")
        self.scale = height / HEIGHT
        self.width = width / self.scale
        self.background = scenery.paint_background(rng, height, width)
        self.tram = scenery.paint_tram(self.scale)
        self.crown = scenery.paint_crown(rng, self.scale)

    def picture(self, clip: Clip, t: int) -> tuple[np.ndarray, np.ndarray]:
        """Frame t before light and camera: float32 (H, W, 3) in [0, 1], and where the anomaly is, bool (H, W)."""
        canvas = Canvas(self.background)
        scenery.draw_wall(canvas, clip.show + t)
        trams = range(clip.tram_enters, t + 1, HEADWAY)
        fronts = [self.width - TRAM_SPEED * (t - enters) for enters in trams]
        places = [(actor, self.width / 2 + actor.speed * (t - actor.passes)) for actor in clip.actors]
        present = [(actor, x) for actor, x in places if -30 < x < self.width + 30]
        self._shadows(canvas, fronts, present, t)
        for x in fronts:
            canvas.paste(*self.tram, x, scenery.RAIL - 41)
        scenery.draw_beacon(canvas, clip.phase + t, any(-scenery.TRAM_LENGTH < x < self.width + 20 for x in fronts))
        scenery.draw_tree(canvas, self.crown, clip.phase + t)
        for actor, x in present:
            canvas.marking = actor.abnormal
            _draw_actor(canvas, actor, x, t, self.width)
        height, width = self.size
        image = cv2.resize(canvas.image, (width, height), interpolation=cv2.INTER_AREA)
        mask = cv2.resize(canvas.mask, (width, height), interpolation=cv2.INTER_AREA)
        return image.astype(np.float32) / 255, mask > 127

    def _shadows(self, canvas: Canvas, fronts: list[float], present: list[tuple[Actor, float]], t: int) -> None:
        """Darken the ground, softly, to the right of what stands on it."""
        top = round(55 * self.scale)
        shade = Canvas(np.zeros_like(canvas.image))
        white = (255, 255, 255)
        for x in fronts:
            y = scenery.RAIL
            shade.polygon(
                [(x, y - 2), (x + scenery.TRAM_LENGTH, y - 2), (x + scenery.TRAM_LENGTH + 3, y + 2), (x + 3, y + 2)],
                white,
            )
        for actor, x in present:
            m = metre(actor.depth)
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


def _draw_actor(canvas: Canvas, actor: Actor, x: float, t: int, width: float) -> None:
    facing = 1 if actor.speed > 0 else -1
    if actor.kind == "vehicle":
        draw_cart(canvas, x, actor.depth, facing, actor.look.top)
    elif actor.kind == "thrown":
        draw_thrown(canvas, x, actor.depth, *_flight(actor, t, width), actor.look.top)
    else:
        gait = 2 * np.pi * abs(actor.speed) * (t - actor.passes) / actor.stride
        draw_person(canvas, actor.look, x, actor.depth, facing, gait, running=actor.kind == "runner")


def render(options: SceneOptions, part: str, index: int) -> tuple[np.ndarray, np.ndarray]:
    """One clip before it is encoded.

    part: "training" or "testing"; index: from 0.  Returns frames uint8 (n, H, W, 3) RGB and masks bool (n, H, W), True
    where an anomaly is visible.
    """
    return _render(_Street(options), options, part, index)


def _render(street: _Street, options: SceneOptions, part: str, index: int) -> tuple[np.ndarray, np.ndarray]:
    clip = script(options, part, index)
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

    with av.open(os.path.abspath(path), "w") as container:  # a relative one with a colon: FFmpeg sees a protocol
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


def generate(out_dir: str, options: SceneOptions | None = None, **changes: object) -> SceneOptions:
    """Write the data set into out_dir, or keep it if it is there already with the same options.

    changes: fields of SceneOptions to replace, e.g. ``generate("runs/demo/data", size=(64, 64), seed=1)``.

    Files: training/NN.mp4 and testing/NN.mp4 (NN from 01); labels/NN.npy, uint8 per test frame, 1 = some anomaly is
    visible; masks/NN.npz, the pixels of the anomalies (``video.truth.masks``); scene.json, the options.
    Returns the options used. Raises InputError for impossible options, or when out_dir holds something else.
    """
    options = replace(options or SceneOptions(), **changes)
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
