"""Infilling as a detector: parts, each a residual of the diffusion model, joined by the calibrated sum."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from scipy.ndimage import uniform_filter

from ramvid_vad.detectors.detector import (
    MINUTES,
    SEED,
    Detector,
    Frame,
    FrameScore,
    Scores,
    colour,
    gathered,
    key_of,
    under,
)
from ramvid_vad.detectors.free_parts import BOXES, FREE, Usual, compared, relative_residual, usual_residuals
from ramvid_vad.detectors.fusion import LogScale, calibrated_sum, log_scale, saved_scales, split
from ramvid_vad.detectors.normal_videos import keep_to
from ramvid_vad.detectors.residual_maps import BOX, Draws, Part, blocks, box_scores, part_residuals
from ramvid_vad.diffusion.anchors import AnchorPattern
from ramvid_vad.errors import InputError
from ramvid_vad.loading import SPACE_FILE, anchor_pattern, cache_folder, check_state, weights_in, with_anchor_kind
from ramvid_vad.models.precision import network_autocast, resolve_precision
from ramvid_vad.options import AnchorOptions, DiffusionOptions, ModelOptions, SpaceOptions
from ramvid_vad.options.config_file import run_of_recipe
from ramvid_vad.options.option import convert_all
from ramvid_vad.runtime.logger import Logger
from ramvid_vad.runtime.progress import progress_bar
from ramvid_vad.runtime.signals import Terminated
from ramvid_vad.script_util import create_diffusion, create_model
from ramvid_vad.spaces.cache import EncodedVideos
from ramvid_vad.spaces.features import FeatureSpace
from ramvid_vad.spaces.stored import load_space
from ramvid_vad.training.checkpoints import steps_in
from ramvid_vad.training.data import clips_data
from ramvid_vad.training.resume import find_resumed
from ramvid_vad.training.run import run_training
from ramvid_vad.training.weights import load_weights
from ramvid_vad.video.cache_folder import MAPS
from ramvid_vad.video.decoding.frame_rate import frame_rate
from ramvid_vad.video.reader import Clip, read_frames

BLOCK = 600  # frames whose maps are held at a time
MODES = {"exact": ("ancestral", "200"), "fast": ("dpmpp_2m", "logsnr5"), "flash": ("once", "")}
"""Sampler and ``--timestep_respacing`` of each: at most 200 network calls, 5, or one per part."""
RELATIVE = "relative "  # before a part's name: its residual in units of the usual one of what stands there
RECIPE_PARTS = (Part("motion_given_appearance", None, "motion"),)
RECIPE_BOXES = (*BOXES.items(), (RELATIVE + "motion_given_appearance motion", 7))
"""What scripts/select_recipe.py chose on normal video (docs/results/study/ped2_full_relative_select.json)."""
GROUPS = {"model": ModelOptions, "diffusion": DiffusionOptions, "anchors": AnchorOptions, "space": SpaceOptions}


class Infilling(Detector):
    """Of a model that was trained in the feature space, and what can be read off the same maps without a model.

    config: its options by section, and ``seq_len``.  state: its weights, rounded to half precision, in which they are
    kept.  parts: of the model.  boxes: (residual map, side of the box in cells) of each score that is summed; a map is
    a part's, RELATIVE before its name or not, or one of ``free_parts.FREE``; () takes every part with a box of BOX.
    usual: what they compare with, None before ``compare_with``.  scales: of all scores, by name, ``{}`` before it is
    calibrated.  held_out: names of the normal videos that set them.  mode: of MODES.
    """

    name, title, needs = "infilling", "infilling of features", ("normal video", "features")

    def __init__(
        self,
        space: FeatureSpace,
        config: dict[str, Any],
        state: dict[str, torch.Tensor],
        *,
        parts: Sequence[Part] = RECIPE_PARTS,
        boxes: Sequence[tuple[str, int]] = (),
        mode: str = "flash",
        draws: int = 1,
        join: str = "mean",
        scales: dict[str, LogScale] | None = None,
        held_out: Sequence[str] = (),
    ) -> None:
        if mode not in MODES:
            raise InputError(f"mode {mode!r}: choose one of {', '.join(MODES)}")
        self.space, self.config, self.parts = space, config, list(parts)
        self.mode, self.scales, self.held_out, self.card = mode, scales or {}, list(held_out), {}
        self.usual: Usual | None = None
        chosen = boxes or [(part.name, BOX) for part in self.parts]
        self.boxes = {f"{name} box {side}": (str(name), int(side)) for name, side in chosen}
        summed = {name for name, _ in self.boxes.values()}
        self.free = sorted(summed & set(FREE))
        self.relative = [part.name for part in self.parts if RELATIVE + part.name in summed]
        sections = {name: kind(**convert_all(kind, config[name], "")) for name, kind in GROUPS.items()}
        groups = tuple(space.groups.values())
        self.model = create_model(sections["model"], groups=groups).eval().requires_grad_(False)
        check_state(self.model, state, "infilling")
        self.model.load_state_dict({name: value.half() for name, value in state.items()})
        sampler, spacing = MODES[mode]
        self.draws = Draws(sampler, draws, join)
        process = replace(sections["diffusion"], timestep_respacing=spacing)
        self.diffusions = {part.level: create_diffusion(process, part.level) for part in self.parts}
        self._anchors, self._options = sections["anchors"], sections["space"]

    @classmethod
    def fit(
        cls,
        normal: Sequence[str],
        progress: bool = True,
        *,
        work: str,
        minutes: float = MINUTES,
        seed: int = SEED,
    ) -> "Infilling":
        """Train on normal videos for ``minutes`` with the recipe ``full``, then calibrate on those held out (the last
        two, or of fewer videos the last fifth of each).

        work: folder of the training run, from which an interrupted call goes on.  seed: of everything drawn.
        InputError: too little video, a damaged one, a folder with another run.  KeyboardInterrupt: a signal ended the
        training, after a checkpoint.
        """
        learning, held_out = split(normal, progress)
        run = with_anchor_kind(run_of_recipe("full", ("model", "diffusion", "video", "anchors", "space", "train")))
        run = run.but("train", log_dir=work, max_minutes=minutes, seed=seed)
        logger = Logger(work)
        keep_to(work, learning, held_out, seed=seed)
        loop = run_training(run, clips_data(run, learning, held_out, logger), logger, find_resumed(run, logger))
        logger.close()
        if loop.stop:
            kind = Terminated if loop.stop.name == "SIGTERM" else KeyboardInterrupt
            raise kind(f"goes on from step {loop.step}")
        found = cls.from_run(work, [], parts=RECIPE_PARTS, boxes=RECIPE_BOXES)
        maps = found._maps()
        found.compare_with([maps.frames(clip) for clip in learning], progress=progress)
        found.calibrate({clip: maps.frames(clip) for clip in held_out}, progress)
        return found

    @classmethod
    def stored_steps(cls, work: str) -> list[int]:
        return steps_in(work) if os.path.isdir(work) else []

    def at_step(self, work: str, step: int, normal: Sequence[str]) -> "Infilling":
        as_here = {"mode": self.mode, "draws": self.draws.count, "join": self.draws.join, "parts": self.parts}
        as_here |= {"boxes": tuple(self.boxes.values()), "backbone_weights": self.space.weights}
        found = self.from_run(os.path.join(work, f"model{step:06d}.safetensors"), [], **as_here)
        maps, (learning, held_out) = found._maps(), split(normal)
        if self.usual:
            found.compare_with([maps.frames(clip) for clip in learning], self.usual, progress=True)
        found.calibrate({clip: maps.frames(clip) for clip in held_out})
        return found

    @classmethod
    def from_run(
        cls,
        folder: str,
        normal: Sequence[str],
        *,
        parts: Sequence[Part] = RECIPE_PARTS,
        boxes: Sequence[tuple[str, int]] = (),
        mode: str = "flash",
        draws: int = 1,
        join: str = "mean",
        backbone_weights: str = "",
        progress: bool = True,
    ) -> "Infilling":
        """The newest averaged weights of a training run's folder, calibrated on normal videos it was not trained on
        (none: not yet). draws: of noise for each part, joined by their "mean" or "minimum".
        InputError: no such run, or one in another space. ValueError: boxes that need ``compare_with`` before it.
        """
        path = weights_in(folder)
        state, config = load_weights(path)
        if not config or config.get("space", {}).get("space") != "features":
            raise InputError(f"{path}: was not made with --space features: its model knows pixels, not features")
        space = load_space(os.path.join(os.path.dirname(path), SPACE_FILE), weights=backbone_weights)
        known = {name: config[name] for name in GROUPS} | {"seq_len": config["video"]["seq_len"]}
        found = cls(space, known, state, parts=parts, boxes=boxes, mode=mode, draws=draws, join=join)
        if normal:
            found.calibrate({Clip(each): space.encode(read_frames(each)) for each in normal}, progress)
        return found

    def compare_with(self, learned: Sequence[np.ndarray], usual: Usual | None = None, progress: bool = False) -> None:
        """Take what parts compare with from maps (n, C, h, w) of normal videos; all but residuals of ``usual``."""
        residuals = usual_residuals(self.relative, self._of_parts, learned, self.space, progress)
        self.usual = (usual or Usual.of(learned, self.space))._replace(residuals=residuals)

    def calibrate(self, normal: Mapping[Clip, Iterable[np.ndarray]], progress: bool = True) -> None:
        """Set the scale of each part from the maps of normal clips that the model was not trained on."""
        with progress_bar("calibrating on normal video", "frame", shown=progress) as bar:
            seen = [self.parts_of(maps, key_of(clip.path), clip.first, bar.update) for clip, maps in normal.items()]
        self.scales = {name: log_scale(np.concatenate([each[name] for each in seen])) for name in self.boxes}
        self.held_out = [str(clip) for clip in normal]

    def stream(self, frames: Iterable[Frame], key: int = 0, maps: bool = True, block: int = 0) -> Iterator[FrameScore]:
        """``map`` holds the calibrated sum of the residuals, each the mean of the box around its cell.
        block: frames that are scored at once; 0: as many as a window has, T: a score comes at most 2 T frames late.
        ``score`` takes BLOCK. Windows lie by it: scores of "prediction" and "infill" hang on it much, others a little.
        """
        length = self.config["seq_len"]
        coming = blocks(self.space.encode(colour(frames)), block or length, length)
        for parts, where in self.block_scores(coming, key, maps=maps):
            sums = calibrated_sum(parts, self.scales)
            for i, score in enumerate(sums):
                named = {name: float(values[i]) for name, values in parts.items()}
                yield FrameScore(float(score), named, where[i] if maps else None)

    def looks(self, frame: np.ndarray) -> torch.Tensor:
        return self.space.looks(frame)

    def score(
        self,
        video: str | Iterable[Frame],
        maps: bool = True,
        tick: Callable[[int], Any] = lambda frames: None,
    ) -> Scores:
        scored = self.stream(video if isinstance(video, str) else iter(video), key_of(video), maps, BLOCK)
        return gathered(scored, maps, frame_rate(video), tick)

    def parts_of(
        self,
        maps: Iterable[np.ndarray],
        key: int = 0,
        first: int = 0,
        tick: Callable[[int], Any] = lambda frames: None,
    ) -> dict[str, np.ndarray]:
        """Name of each part -> scores (n,), from maps (C, h, w) of one video in the space.

        key: of the video; first: the frame of it that the first map is: noise depends on both.
        """
        scores: dict[str, list[np.ndarray]] = {name: [] for name in self.boxes}
        for parts, _ in self.block_scores(blocks(maps, BLOCK, self.config["seq_len"]), key, first):
            for name, values in parts.items():
                scores[name].append(values)
            tick(len(values))
        return {name: np.concatenate(each) for name, each in scores.items()}

    def block_scores(
        self, coming: Iterable[np.ndarray], key: int = 0, first: int = 0, maps: bool = False
    ) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray | None]]:
        """Of each block of maps (n, C, h, w) the scores (n,) of each part and, if wanted, the map of their sum."""
        for block in coming:
            residuals = self.residuals(block, key, first)
            scores = {score: box_scores(residuals[name], side) for score, (name, side) in self.boxes.items()}
            where = None
            if maps:
                means = {}
                for score, (name, side) in self.boxes.items():
                    sides = (min(side, whole) for whole in block.shape[2:])
                    means[score] = uniform_filter(residuals[name], (1, *sides), mode="nearest")
                where = calibrated_sum(means, self.scales).astype(np.float32)
            yield scores, where
            first += len(block)

    def residuals(self, maps: np.ndarray, key: int = 0, first: int = 0) -> dict[str, np.ndarray]:
        """Residual map (n, h, w) of each part, of maps (n, C, h, w). key, first: as in ``parts_of``."""
        if self.usual is None and (parts := compared(self.free, self.relative)):
            raise ValueError(f"{sorted(parts)} compare with normal video: call compare_with before")
        found = self._of_parts(maps, key, first)
        for name in self.relative:
            found[RELATIVE + name] = relative_residual(self.space, self.usual.residuals[name], found[name], maps)
        for name in self.free:
            found[name] = FREE[name](self.space, self.usual, maps)
        return found

    def _of_parts(self, maps: np.ndarray, key: int, first: int) -> dict[str, np.ndarray]:
        by = (self.space.groups, self._pattern, self.model, self.diffusions.__getitem__)
        cpu = torch.device("cpu")
        with network_autocast(resolve_precision("auto", cpu), cpu):
            return part_residuals(maps, self.parts, *by, draws=self.draws, key=key, first=first)

    def _maps(self) -> EncodedVideos:
        """Where training keeps the maps of normal video."""
        return EncodedVideos(os.path.join(cache_folder(""), MAPS), self.space)

    def about(self) -> dict[str, Any]:
        scales = {name: scale._asdict() for name, scale in self.scales.items()}
        return {"parts": list(self.boxes), "mode": self.mode, "held_out": self.held_out, "log_scales": scales}

    def settings(self) -> dict[str, Any]:
        return self.about() | {
            "config": self.config,
            "parts": [asdict(part) for part in self.parts],
            "boxes": list(self.boxes.values()),
            "draws": self.draws.count,
            "join": self.draws.join,
            "space": self.space.settings(),
            "backbone_weights": self.space.weights and os.path.abspath(self.space.weights),
        }

    def tensors(self) -> dict[str, torch.Tensor]:
        found = {f"model.{name}": value.half() for name, value in self.model.state_dict().items()}
        found |= {f"space.{name}": value for name, value in self.space.tensors().items()}
        return found | (self.usual.tensors() if self.usual else {})

    @classmethod
    def restore(cls, settings: dict[str, Any], tensors: dict[str, torch.Tensor]) -> "Infilling":
        model = under("model.", tensors)
        found = cls(
            FeatureSpace(**settings["space"], **under("space.", tensors), weights=settings.get("backbone_weights", "")),
            settings["config"],
            {name: value.float() if value.dtype == torch.float16 else value for name, value in model.items()},
            parts=[Part(**part) for part in settings["parts"]],
            boxes=[(name, side) for name, side in settings["boxes"]],
            mode=settings["mode"],
            draws=int(settings["draws"]),
            join=settings["join"],
            scales=saved_scales(settings["log_scales"]),
            held_out=[str(name) for name in settings["held_out"]],
        )
        if set(found.scales) != set(found.boxes):
            raise ValueError(f"scales of {sorted(found.scales)}")
        found.usual = Usual.restore(tensors, found.free, found.relative)
        found.scales = {name: found.scales[name] for name in found.boxes}  # a sum depends on its order
        return found

    def _pattern(self, kind: str) -> AnchorPattern:
        anchors = AnchorOptions(**asdict(self._anchors) | {"anchors": kind})
        return anchor_pattern(anchors, self.config["seq_len"], 0, self._options, self.space.grid)
