"""The Python interface: fit a detector on normal video, load it, score video; load a diffusion model, infill video."""

import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from datetime import date
from typing import Any

import numpy as np
import torch

from ramvid_vad import __version__
from ramvid_vad.detectors import detector as detectors
from ramvid_vad.detectors.detector import MINUTES, SCENES_FILE, SEED, Detector
from ramvid_vad.detectors.registry import FITTED, RECIPES, SAVED
from ramvid_vad.diffusion.gaussian import GaussianDiffusion
from ramvid_vad.errors import InputError
from ramvid_vad.events.calibration import add_normal, camera_of, check_adds, check_one_camera
from ramvid_vad.events.camera import FILE as ALARM
from ramvid_vad.events.camera import Camera
from ramvid_vad.events.light import NIGHT, two_lights
from ramvid_vad.events.zones import zone_of
from ramvid_vad.infill_videos import FolderInfilling, sampling_settings
from ramvid_vad.loading import anchor_pattern, frame_cache, weights_in, with_anchor_kind
from ramvid_vad.loading import load_model as load_weights_and_options
from ramvid_vad.models.precision import resolve_precision
from ramvid_vad.models.unet import UNet
from ramvid_vad.options import GROUPS, RunOptions
from ramvid_vad.options.aliases import spelled_out
from ramvid_vad.options.option import convert_all, nearest
from ramvid_vad.reconstructions import Reconstruction, load_reconstruction
from ramvid_vad.runtime.files import sha256_of
from ramvid_vad.runtime.logger import result_dir
from ramvid_vad.runtime.progress import say
from ramvid_vad.runtime.text import plain_name
from ramvid_vad.video.files import content_digest
from ramvid_vad.video.prefetch import prefetch
from ramvid_vad.video.reader import find_videos, video_name


def fit(
    normal: str | Sequence[str],
    out: str | None = None,
    recipe: str = "fast",
    progress: bool = True,
    minutes: float = MINUTES,
    detector: str | None = None,
    seed: int = SEED,
    alarms_per_hour: float | None = 0.5,
    zone: str = "",
    min_seconds: float = 0.5,
) -> Detector:
    """Learn what is usual from normal video, without labels.

    normal: a video file, a folder of videos (or of folders of frames), or several of these.  out: folder to save the
    detector to; None: it is only returned.  recipe: "fast", the training-free calibrated sum of frame difference,
    optical flow and nearest frozen feature; "full", a diffusion model is trained in the space of frozen features, and
    its residuals are added to these.  progress: show a bar.  minutes: of what is trained; its run lies in
    ``out/training``, from which an interrupted call goes on.  detector: another one in place of a recipe's, by its name
    in ``detectors.registry``.  seed: of what is trained.  With ``out``, normal videos of two lights (``events.light``)
    make two detectors, each trained for ``minutes``: the day's is returned and lies in ``out``, the night's lies in
    ``out/night``; ``Camera`` chooses between them.  alarms_per_hour, zone, min_seconds: of the alarm that is
    saved beside the detector (``events.camera.Camera``), as the options of ``ramvid-vad fit``; alarms_per_hour None:
    no alarm, and one detector whatever the light.
    InputError: no such video, too little of it, an unknown recipe or detector.  RunError: training has
    diverged.  KeyboardInterrupt: a signal ended it, after a checkpoint.
    """
    if recipe not in RECIPES:
        raise InputError(f"recipe {recipe!r}: choose one of {', '.join(RECIPES)}")
    name = detector or recipe
    if name not in FITTED:
        raise InputError(f"detector {name!r}: choose one of {', '.join(FITTED)}")
    if out == "":
        raise InputError("out: give a folder for the detector, e.g. 'camera', or None")
    places = [normal] if isinstance(normal, str | os.PathLike) else list(normal)
    paths = [path for place in places for path in find_videos(os.fspath(place))]
    if len(set(paths)) < len(paths):
        raise InputError(f"{next(path for path in paths if paths.count(path) > 1)}: given twice")
    if out is not None:
        result_dir(out, make=False, flag="out")  # before minutes of work
        if os.path.exists(os.path.join(out, SCENES_FILE)):
            raise InputError(f"{out}: has a detector for each scene: give another folder, or that of one scene in it")
    watched = zone_of(zone, paths[0]) if zone and out is not None else None
    alarms = out is not None and alarms_per_hour is not None and FITTED[name].streams()
    if alarms:
        check_one_camera(paths)
    light, dark = (two_lights(paths, progress) if alarms else None) or (None, [])
    bright = [path for path in paths if path not in dark]
    training = {"minutes": minutes, "seed": seed}
    night = _fitted(name, dark, os.path.join(out, NIGHT), progress, **training) if dark else None
    found = _fitted(name, bright, out, progress, **training)
    if out is not None:
        with suppress(FileNotFoundError):
            os.remove(os.path.join(out, ALARM))  # of an earlier detector
        found.save(out)
    if alarms:
        alarm = (
            plain_name(os.path.basename(os.path.abspath(out))),
            alarms_per_hour,
            zone,
            min_seconds,
            progress,
            watched,
        )
        camera = camera_of(found, bright, *alarm)
        if night:
            night.save(os.path.join(out, NIGHT))
            camera.light, camera.night = light, camera_of(night, dark, *alarm)
        camera.save(out)
    return found


def _fitted(name: str, paths: list[str], out: str | None, progress: bool, **training: Any) -> Detector:
    """With its card. out: folder whose ``training`` keeps what can go on."""
    with tempfile.TemporaryDirectory() if out is None else nullcontext(os.path.join(out, "training")) as work:
        found = FITTED[name].fit(paths, progress, work=work, **training)
    found.card = {
        "recipe": name,
        "version": __version__,
        "fitted": date.today().isoformat(),
        "normal_videos": [plain_name(os.path.basename(path.rstrip("/"))) for path in paths],
    }
    return found


def add(normal: str | Sequence[str], camera: str, progress: bool = True) -> Camera:
    """Take more normal video ("this is normal") into the folder of a camera of recipe fast, without starting over.

    What is kept and what is new: ``events.calibration.add_normal``. A video with the content of one that was added
    before is passed over, which a line says. InputError: no such video or camera, another recipe."""
    places = [normal] if isinstance(normal, str | os.PathLike) else list(normal)
    found = Camera.load(camera)
    check_adds(found)
    contents: dict[str, str] = {}
    for path in (path for place in places for path in find_videos(os.fspath(place))):
        content = content_digest(path)
        if content in (*found.added, *contents.values()):
            say(f"{plain_name(path)}: was added before: passed over", sys.stderr)
        else:
            contents[path] = content
    lights = {path: found.light.of_video(path) if found.light else "" for path in contents}
    for light in sorted(set(lights.values())):
        chosen, lit = [path for path in contents if lights[path] == light], found.under(light)
        add_normal(lit, chosen, progress)
        lit.detector.card["normal_videos"] += [plain_name(os.path.basename(path.rstrip("/"))) for path in chosen]
    for light in sorted(set(lights.values())):  # nothing is written before all were read
        found.under(light).detector.save(os.path.join(camera, NIGHT) if light == NIGHT else camera)
    if lights:
        found.added += contents.values()
        found.save(camera)
    return found


def load(folder: str) -> Detector:
    """A detector that :func:`fit` saved. InputError: there is none, or it is damaged."""
    return detectors.load(folder, SAVED)


class Infiller:
    """A diffusion model of normal video: hides frames of a video and fills them in.

    model, diffusion: network and process of the checkpoint.  options: as resolved, the checkpoint's own ones included.
    """

    def __init__(self, path: str, model: UNet, diffusion: GaussianDiffusion, options: RunOptions) -> None:
        self.path, self.model, self.diffusion, self.options = path, model, diffusion, options
        pattern = anchor_pattern(options.anchors, options.video.seq_len, options.sample.seed)
        if pattern.fixed is None:
            raise InputError("anchors='random': infilling needs the same anchors in every window: use e.g. selective")
        self.anchors = pattern.fixed

    def infill(self, video: str, out: str | None = None, progress: bool = False) -> Reconstruction:
        """Every frame of a video file or folder of frames that a window hides, filled in.

        out: folder that keeps the file (as of video_sample.py), and from which an interrupted call goes on; None: none
        is kept.  Returns the generated frames uint8 (R, H, W, C) at the model's size, and the true index of each.
        """
        if out is None:
            with tempfile.TemporaryDirectory() as folder:
                made = self.infill(video, folder, progress)
                rows = np.asarray(made.frames[np.arange(len(made.frame))])
                return Reconstruction(**vars(made) | {"frames": rows})
        device = next(self.model.parameters()).device
        precision = resolve_precision(self.options.sample.precision, device)
        cache = frame_cache(self.options.video, self.options.model)
        prefetch(cache, [video], progress=progress)
        name = video_name(video, os.path.dirname(video.rstrip("/")))
        weights = {"model": os.path.basename(self.path), "model_sha256": sha256_of([self.path])}
        settings = sampling_settings(self.options, weights, self.anchors, precision)
        work = FolderInfilling(out, [name], [video], cache, self.anchors, self.options.sample, settings)
        work.run(self.model, self.diffusion, device, precision, progress=progress)
        work.finish()
        return load_reconstruction(os.path.join(out, f"{name}.npz"))


def load_model(checkpoint: str, device: str | torch.device = "cpu", **options: Any) -> Infiller:
    """A trained diffusion model: a checkpoint file or the folder of a training run, whose newest averaged weights it
    takes.

    options: of DiffusionOptions, VideoOptions, AnchorOptions and SampleOptions by name, e.g. timestep_respacing="10",
    sampler="ddim", stride=15; and ModelOptions for files that do not carry their own (RaMViD's).
    InputError: no such checkpoint, an unknown option, one that contradicts the checkpoint.
    """
    sections = ("model", "diffusion", "video", "anchors", "sample")
    plain = spelled_out({k: v for name in sections for k, v in convert_all(GROUPS[name], options, "").items()})
    known = {spec for name in sections for spec in GROUPS[name].__dataclass_fields__}
    for name in options:
        if name not in known:
            raise InputError(f"unknown option {name!r}: did you mean {nearest(name, sorted(known))!r}?")
    run = RunOptions(sections, given=frozenset(plain))
    for name in sections:
        run = run.but(name, **{k: v for k, v in plain.items() if k in GROUPS[name].__dataclass_fields__})
    path = weights_in(checkpoint, run.sample.use_ema)
    model, diffusion, run = load_weights_and_options(path, run)
    return Infiller(path, model.to(device).requires_grad_(False).eval(), diffusion, with_anchor_kind(run))
