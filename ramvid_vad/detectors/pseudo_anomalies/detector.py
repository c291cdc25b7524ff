"""Pseudo-anomalies (Rai et al., CVPRW 2024, arXiv 2311.16514): what networks that learned to undo them cannot make.

Two 3-D auto-encoders, of appearance and of optical flow, are trained to make the normal clip, also out of its
pseudo-anomaly; a discriminator tells the features of normal clips from those of spatial pseudo-anomalies. The paper
weighs the three by hand; here each counts in its standard deviations over held-out normal video. The text has lost its
sizes, shares and weights: what is chosen instead stands at each constant. Its ViFi-CLIP features are the appearance
channels of our space.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from itertools import islice, tee
from typing import Any

import cv2
import numpy as np
import torch

from ramvid_vad.detectors.detector import MINUTES, SEED, Detector, Scores, colour, under
from ramvid_vad.detectors.fusion import LogScale, calibrated_sum, log_scale, saved_scales, split
from ramvid_vad.detectors.network_training import restore_step, seconds_at_steps
from ramvid_vad.detectors.normal_videos import keep_to
from ramvid_vad.detectors.pseudo_anomalies.autoencoder import AutoEncoder
from ramvid_vad.detectors.pseudo_anomalies.inpainters import PatchInpainter, PipelineInpainter
from ramvid_vad.detectors.pseudo_anomalies.spatial import Inpainter, infilled
from ramvid_vad.detectors.pseudo_anomalies.temporal import flows, mixed
from ramvid_vad.detectors.pseudo_anomalies.training import (
    CHECKED,
    LENGTH,
    Discriminator,
    drawn_clip,
    semantics,
    train_autoencoder,
    train_discriminator,
)
from ramvid_vad.runtime.progress import counted, progress_bar
from ramvid_vad.runtime.randomness import stream
from ramvid_vad.spaces.clip_features import GRID, windows
from ramvid_vad.spaces.features import FeatureSpace
from ramvid_vad.spaces.frame_size import reduced
from ramvid_vad.video.decoding.frame_rate import frame_rate
from ramvid_vad.video.finding import evenly_spread
from ramvid_vad.video.reader import Clip

SHARES = {"inpainter": 0.2, "appearance": 0.39, "motion": 0.39, "discriminator": 0.02}  # of these minutes
SIZE = (96, 144)  # pixels, of the auto-encoders' frames; 256 x 256 in the nearest public code, 5 times the work
WIDTH = 0.25  # of the auto-encoders; 1 is the public code's, 16 times the work
STRIDE = 4  # frames between two windows; the public code moves by one and scores frame 9 of 16
MIDDLE = (LENGTH + STRIDE) // 2 + 1  # a window's last scored frame, exclusive: the STRIDE about its ninth are scored
MOST_FRAMES = 20_000  # of training video in memory, 1.7 GB, and a tenth of it held out: see _bounded
CLIPS = 96  # for the discriminator, normal ones; as many pseudo-anomalies
PARTS = {"appearance": "appearance", "motion": "motion", "semantics": "discriminator"}  # and the folder of training


class PseudoAnomalies(Detector):
    """space: of the discriminator's features.  networks: of PARTS.  inpainter: what made the spatial anomalies, where
    it is our own; it serves scripts/select_recipe.py as well."""

    name, title = "pseudo_anomalies", "pseudo-anomalies (Rai et al.)"
    needs = ("normal video", "features")

    def __init__(
        self,
        space: FeatureSpace,
        networks: dict[str, torch.nn.Module],
        scales: dict[str, LogScale],
        held_out: Sequence[str],
        inpainter: PatchInpainter | None,
        width: float = WIDTH,
    ) -> None:
        self.space, self.networks, self.scales, self.inpainter = space, networks, scales, inpainter
        self.held_out, self.width, self.card = list(held_out), width, {}
        for network in networks.values():
            network.eval().requires_grad_(False)

    @classmethod
    def fit(
        cls,
        normal: Sequence[str],
        progress: bool = True,
        *,
        work: str,
        minutes: float = MINUTES,
        seed: int = SEED,
        pipeline: str = "",
        width: float = WIDTH,
    ) -> "PseudoAnomalies":
        """Train for ``minutes``, then set the weights of the parts on normal videos that were held out.

        work: folder of the training: of an interrupted call the trainings go on, reading and encoding are done again.
        pipeline: local folder of one of diffusers' inpainting pipelines; "": our own model, trained first.  width: see
        AutoEncoder.  InputError: too little video, packages missing, no such pipeline, a folder begun with
        other videos, another seed or pipeline.
        """
        other = PipelineInpainter(pipeline) if pipeline else None  # what is wrong with it is said before the work
        learning, held_out = split(normal, progress)
        keep_to(work, learning, held_out, seed=seed, pipeline=pipeline)
        learning = _bounded(learning, MOST_FRAMES)

        def budget(part: str) -> dict[str, Any]:
            where = os.path.join(work, part)
            return {"work": where, "minutes": minutes * SHARES[part], "seed": seed, "progress": progress}

        checks = _bounded(held_out, MOST_FRAMES // 10)
        seen = [[_small(clip, progress) for clip in clips] for clips in (learning, checks)]
        (looks, moves), (check_looks, check_moves) = (list(zip(*each, strict=True)) for each in seen)
        own = None
        if other is None:
            pictures = (np.concatenate([_pixels(each[0]) for each in clips]) for clips in (looks, check_looks))
            own = PatchInpainter.fit(*pictures, **budget("inpainter"))
        inpaint: Inpainter = own or other  # type: ignore[assignment]

        def infill(clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            pixels = _pixels(clip).transpose(1, 2, 3, 0)
            made = infilled(pixels, inpaint, rng)
            changed = (made.astype(np.float32) / 127.5 - 1).transpose(3, 0, 1, 2)
            return np.where((made != pixels).transpose(3, 0, 1, 2), changed, clip)

        def mix(clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            return mixed(clip, drawn_clip(moves, rng), rng)

        networks: dict[str, torch.nn.Module] = {
            "appearance": train_autoencoder(looks, check_looks, infill, width, **budget("appearance")),
            "motion": train_autoencoder(moves, check_moves, mix, width, **budget("motion")),
        }
        space = FeatureSpace.fit(learning)
        vectors, checked = (
            _vectors(clips, count, space, inpaint, seed, progress)
            for clips, count in ((learning, CLIPS), (checks, CHECKED))
        )
        networks["semantics"] = train_discriminator(vectors, checked, **budget("discriminator"))
        found = cls(space, networks, {}, [str(clip) for clip in held_out], own, width)
        found._calibrate(held_out, progress)
        return found

    @classmethod
    def stored_steps(cls, work: str) -> list[int]:
        """Of the auto-encoder of appearance."""
        return list(seconds_at_steps(os.path.join(work, PARTS["appearance"])))

    def at_step(self, work: str, step: int, normal: Sequence[str]) -> "PseudoAnomalies":
        """The networks are trained one after another: the others are taken at the checkpoint that is nearest to the
        same share of their training. The inpainter, which no score depends on, is the fitted one."""
        seconds = {part: seconds_at_steps(os.path.join(work, folder)) for part, folder in PARTS.items()}
        shares = {part: {at: s / (max(each.values()) or 1) for at, s in each.items()} for part, each in seconds.items()}
        share, networks = shares["appearance"][step], deepcopy(self.networks)
        nearest = {part: min(each, key=lambda at: (abs(each[at] - share), -at)) for part, each in shares.items()}
        for part, at in (nearest | {"appearance": step}).items():
            restore_step(networks[part], os.path.join(work, PARTS[part]), at)
        found = PseudoAnomalies(self.space, networks, {}, self.held_out, self.inpainter, self.width)
        found._calibrate(split(normal)[1], False)
        return found

    def _calibrate(self, held_out: Sequence[Clip], progress: bool) -> None:
        about = sum(clip.about_how_many() for clip in held_out)
        with progress_bar("calibrating on normal video", "frame", about or None, shown=progress) as bar:
            usual = [self._parts(counted(clip.frames(), bar.update)) for clip in held_out]
        self.scales = {part: log_scale(np.concatenate([each[part] for each in usual])) for part in PARTS}

    def score(
        self,
        video: "str | Iterable[np.ndarray]",
        maps: bool = True,
        tick: Callable[[int], Any] = lambda frames: None,
    ) -> Scores:
        """Scores; ``maps`` hold the sum with each place's own errors, and the clip's semantics everywhere."""
        where: list[np.ndarray] = []
        parts = self._parts(counted(colour(video), tick), where.append if maps else None)
        return Scores(calibrated_sum(parts, self.scales), np.array(where) if maps else None, parts, frame_rate(video))

    @torch.inference_mode()
    def _parts(
        self, frames: Iterable[np.ndarray], see: Callable[[np.ndarray], Any] | None = None
    ) -> dict[str, np.ndarray]:
        """Name of PARTS -> scores (n,): mean squared error of each frame, twice, and the odds of the clip about it."""
        scores: dict[str, list[float]] = {part: [] for part in PARTS}
        for at, looks, moves, maps in _owned(self._items(frames)):
            errors = {}
            for part, clip in (("appearance", looks), ("motion", moves)):
                shown = torch.from_numpy(clip)[None]
                errors[part] = (self.networks[part](shown) - shown)[0, :, at].square().mean(0).numpy()
                scores[part] += errors[part].mean((1, 2), dtype=np.float64).tolist()
            logit = self.networks["semantics"](torch.from_numpy(semantics(maps, self.space))[None]).item()
            odds = float(np.exp(np.clip(logit, -50, 50)))
            scores["semantics"] += [odds] * (at.stop - at.start)
            if see is not None:
                for pair in zip(errors["appearance"], errors["motion"], strict=True):
                    near = [cv2.resize(each, self.space.grid[::-1], interpolation=cv2.INTER_LINEAR) for each in pair]
                    fields = dict(zip(PARTS, [*near, np.full(self.space.grid, odds)], strict=True))
                    see(calibrated_sum(fields, self.scales).astype(np.float32))
        return {part: np.array(values) for part, values in scores.items()}

    def _items(self, frames: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        first, second, third = tee(frames, 3)
        return zip(_looks(first), flows(map(_grey, second), SIZE), self.space.encode(third), strict=True)

    def about(self) -> dict[str, Any]:
        scales = {part: scale._asdict() for part, scale in self.scales.items()}
        return {"held_out": self.held_out, "log_scales": scales, "width": self.width}

    def settings(self) -> dict[str, Any]:
        return self.about() | {"space": self.space.settings()}

    def tensors(self) -> dict[str, torch.Tensor]:
        rooms = {part: network.state_dict() for part, network in self.networks.items()}
        rooms |= {"space": self.space.tensors()}
        rooms |= {"inpainter": self.inpainter.network.state_dict()} if self.inpainter else {}
        return {f"{room}.{name}": value for room, tensors in rooms.items() for name, value in tensors.items()}

    @classmethod
    def restore(cls, settings: dict[str, Any], tensors: dict[str, torch.Tensor]) -> "PseudoAnomalies":
        width, scales = float(settings["width"]), saved_scales(settings["log_scales"])
        if set(scales) != set(PARTS):
            raise ValueError(f"scales of {sorted(scales)}")
        space, mean = FeatureSpace(**settings["space"], **under("space.", tensors)), tensors["semantics.mean"]
        if mean.shape != semantics(np.zeros((1, space.channels, *GRID)), space).shape:
            raise ValueError("semantics of all channels, as earlier versions had them")
        networks = {
            "appearance": AutoEncoder(1, width),
            "motion": AutoEncoder(2, width),
            "semantics": Discriminator(mean, tensors["semantics.sd"]),
        }
        try:
            for part, network in networks.items():
                network.load_state_dict(under(f"{part}.", tensors))
        except RuntimeError as error:
            raise ValueError(str(error)) from None
        own = under("inpainter.", tensors)
        inpainter = PatchInpainter.restore(own) if own else None
        held_out = [str(name) for name in settings["held_out"]]
        scales = {part: scales[part] for part in PARTS}  # a sum depends on its order
        return cls(space, networks, scales, held_out, inpainter, width)


def _owned(
    items: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]],
) -> Iterator[tuple[slice, np.ndarray, np.ndarray, np.ndarray]]:
    """Looks (1, H, W), flow (2, H, W) and map (C, h, w) of each frame -> windows of LENGTH frames, (C, T, H, W) twice
    and (T, C, h, w), with the frames in them that are scored there: each frame once, in order."""
    count, begin = 0, 0

    def seen() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        nonlocal count
        for item in items:
            count += 1
            yield item

    def window(first: int, held: list, end: int) -> tuple[slice, np.ndarray, np.ndarray, np.ndarray]:
        looks, moves, maps = zip(*held, strict=True)
        return slice(begin - first, end - first), np.stack(looks, 1), np.stack(moves, 1), np.stack(maps)

    before: tuple[int, list] | None = None
    for first, held in windows(seen(), LENGTH, STRIDE):
        if before is not None:
            end = before[0] + MIDDLE
            yield window(*before, end)
            begin = end
        before = (first, held)
    if before is not None:
        yield window(*before, count)


def _grey(frame: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) -> (H, W, 1)."""
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)[..., None]


def _looks(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Colour frames -> float32 (1, *SIZE) in [-1, 1]."""
    for frame in frames:
        yield cv2.resize(_grey(frame), SIZE[::-1], interpolation=cv2.INTER_AREA)[None].astype(np.float32) / 127.5 - 1


def _pixels(looks: np.ndarray) -> np.ndarray:
    """[-1, 1] -> uint8, of the same shape."""
    return np.rint((looks.astype(np.float32) + 1) * 127.5).astype(np.uint8)


def _bounded(clips: Sequence[Clip], frames: int) -> list[Clip]:
    """All of the clips if they are known to have at most so many frames; else as many, evenly spread, as have about so
    many, at least one, each cut to its share of them."""
    counts = [clip.about_how_many() for clip in clips]
    if all(counts) and sum(counts) <= frames:
        return list(clips)
    kept = evenly_spread(clips, max(1, min(frames, len(clips) * frames // max(sum(counts), frames))))
    share = frames // len(kept)
    return [Clip(each.path, each.first, min(each.first + share, each.end or sys.maxsize)) for each in kept]


def _small(clip: Clip, progress: bool) -> tuple[np.ndarray, np.ndarray]:
    """Looks (1, n, *SIZE) and flow (2, n, *SIZE) of a clip, float16: 83 kB a frame."""
    with progress_bar(f"frames of {clip}", "frame", clip.about_how_many() or None, shown=progress) as bar:
        first, second = tee(counted(clip.frames(), bar.update))
        pairs = zip(_looks(first), flows(map(_grey, second), SIZE), strict=True)
        looks, moves = zip(*((a.astype(np.float16), b.astype(np.float16)) for a, b in pairs), strict=True)
    return np.stack(looks, 1), np.stack(moves, 1)


def _vectors(
    videos: Sequence[Clip], count: int, space: FeatureSpace, inpaint: Inpainter, seed: int, progress: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Vectors (n, D) of about ``count`` normal clips, evenly spread, and of a pseudo-anomaly of each."""
    each = -(-count // len(videos))
    found: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    with progress_bar("clips for the discriminator", "clip", shown=progress) as bar:
        for number, clip in enumerate(videos):
            stride = max(LENGTH, clip.about_how_many() // each)
            clips = windows((reduced(frame) for frame in clip.frames()), LENGTH, stride)
            for first, held in islice(clips, each):  # of a video of unknown length the first ones
                frames = np.stack(held)
                changed = infilled(frames, inpaint, stream(seed, "discriminator", number, first))
                for vectors, shown in zip(found, (frames, changed), strict=True):
                    middle = shown[LENGTH // 2 : LENGTH // 2 + 1]  # all that semantics looks at
                    vectors.append(semantics(np.stack(list(space.encode(middle))), space))
                bar.update()
    return np.stack(found[0]), np.stack(found[1])
