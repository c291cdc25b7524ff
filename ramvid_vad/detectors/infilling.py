"""Infilling as a detector: parts, each a residual of the diffusion model, joined by the calibrated sum."""

import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from scipy.ndimage import uniform_filter

from ramvid_vad.detectors.detector import Detector, Scores, colour
from ramvid_vad.detectors.fusion import LogScale, calibrated_sum, log_scale, saved_scales
from ramvid_vad.detectors.residual_maps import BOX, Draws, Part, box_scores, part_residuals
from ramvid_vad.diffusion.anchors import AnchorPattern
from ramvid_vad.errors import InputError
from ramvid_vad.loading import SPACE_FILE, anchor_pattern, check_state, weights_in
from ramvid_vad.options import AnchorOptions, DiffusionOptions, ModelOptions, SpaceOptions
from ramvid_vad.options.option import convert_all
from ramvid_vad.runtime.progress import progress_bar
from ramvid_vad.script_util import create_diffusion, create_model
from ramvid_vad.spaces.features import FeatureSpace
from ramvid_vad.spaces.stored import load_space
from ramvid_vad.training.weights import load_weights
from ramvid_vad.video.decoding.frame_rate import frame_rate

BLOCK = 600  # frames whose maps are held at a time
PARTS = (
    Part("none", 0.7, "appearance"),
    Part("none", 1.5, "motion"),
    Part("appearance_given_motion", None, "appearance"),
    Part("motion_given_appearance", None, "motion"),
    Part("prediction", None, "appearance"),
    Part("prediction", None, "motion"),
)
GROUPS = {"model": ModelOptions, "diffusion": DiffusionOptions, "anchors": AnchorOptions, "space": SpaceOptions}


class Infilling(Detector):
    """Of a model that was trained in the feature space.

    config: its options by section, and ``seq_len``.  state: its weights.  scales: of the parts, by name, ``{}`` before
    it is calibrated.  held_out: names of the normal videos that set them.
    """

    name, title, needs = "infilling", "infilling of features", ("normal video", "features")

    def __init__(
        self,
        space: FeatureSpace,
        config: dict[str, Any],
        state: dict[str, torch.Tensor],
        *,
        parts: Sequence[Part] = PARTS,
        box: int = BOX,
        draws: Draws | None = None,
        scales: dict[str, LogScale] | None = None,
        held_out: Sequence[str] = (),
    ) -> None:
        self.space, self.config, self.parts, self.box, self.draws = space, config, list(parts), box, draws or Draws()
        self.scales, self.held_out, self.card = scales or {}, list(held_out), {}
        sections = {name: kind(**convert_all(kind, config[name], "")) for name, kind in GROUPS.items()}
        groups = tuple(space.groups.values())
        self.model = create_model(sections["model"], groups=groups).eval().requires_grad_(False)
        check_state(self.model, state, "infilling")
        self.model.load_state_dict(state)
        self.diffusion = create_diffusion(sections["diffusion"])
        self._anchors, self._options = sections["anchors"], sections["space"]

    @classmethod
    def fit(cls, normal: Sequence[str], progress: bool = True) -> "Infilling":
        raise InputError("infilling: train with scripts/video_train.py --space features, then Infilling.from_run")

    @classmethod
    def from_run(
        cls,
        folder: str,
        normal: Sequence[str],
        *,
        parts: Sequence[Part] = PARTS,
        box: int = BOX,
        draws: Draws | None = None,
        backbone_weights: str = "",
        progress: bool = True,
    ) -> "Infilling":
        """The newest averaged weights of a training run's folder, calibrated on normal videos it was not trained on.

        InputError: no such run, or one in another space.
        """
        path = weights_in(folder)
        state, config = load_weights(path)
        if not config or config.get("space", {}).get("space") != "features":
            raise InputError(f"{path}: was not made with --space features: its model knows pixels, not features")
        space = load_space(os.path.join(os.path.dirname(path), SPACE_FILE), weights=backbone_weights)
        known = {name: config[name] for name in GROUPS} | {"seq_len": config["video"]["seq_len"]}
        found = cls(space, known, state, parts=parts, box=box, draws=draws)
        with progress_bar("calibrating on normal video", "frame", shown=progress) as bar:
            seen = [found.parts_of(each, tick=bar.update) for each in normal]
        found.scales = {part.name: log_scale(np.concatenate([each[part.name] for each in seen])) for part in parts}
        found.held_out = [os.path.basename(each.rstrip("/")) for each in normal]
        return found

    def score(
        self,
        video: "str | Iterable[np.ndarray]",
        maps: bool = True,
        tick: Callable[[int], Any] = lambda frames: None,
    ) -> Scores:
        """Scores; ``maps`` hold the calibrated sum of the residuals, each the mean of the box around its cell."""
        where: list[np.ndarray] = []
        parts = self.parts_of(video, where.append if maps else None, tick)
        return Scores(
            calibrated_sum(parts, self.scales), np.concatenate(where) if maps else None, parts, frame_rate(video)
        )

    def parts_of(
        self,
        video: "str | Iterable[np.ndarray]",
        see: Callable[[np.ndarray], Any] | None = None,
        tick: Callable[[int], Any] = lambda frames: None,
    ) -> dict[str, np.ndarray]:
        """Name of each part -> scores (n,). see: gets the map of the sum (k, h, w) of each block of frames."""
        key = zlib.crc32(os.path.basename(video.rstrip("/")).encode()) if isinstance(video, str) else 0
        scores: dict[str, list[np.ndarray]] = {part.name: [] for part in self.parts}
        first = 0
        for block in blocks(self.space.encode(colour(video)), BLOCK, self.config["seq_len"]):
            residuals = part_residuals(
                block,
                self.parts,
                self.space.groups,
                self._pattern,
                self.model,
                self.diffusion,
                draws=self.draws,
                key=key,
                first=first,
            )
            for name, residual in residuals.items():
                scores[name].append(box_scores(residual, self.box))
            if see is not None:
                box = (1, *(min(self.box, side) for side in block.shape[2:]))
                means = {name: uniform_filter(residual, box, mode="nearest") for name, residual in residuals.items()}
                see(calibrated_sum(means, self.scales).astype(np.float32))
            first += len(block)
            tick(len(block))
        return {name: np.concatenate(each) for name, each in scores.items()}

    def about(self) -> dict[str, Any]:
        scales = {name: scale._asdict() for name, scale in self.scales.items()}
        return {"parts": [part.name for part in self.parts], "held_out": self.held_out, "log_scales": scales}

    def settings(self) -> dict[str, Any]:
        return self.about() | {
            "config": self.config,
            "parts": [asdict(part) for part in self.parts],
            "box": self.box,
            "draws": asdict(self.draws),
            "space": self.space.settings(),
        }

    def tensors(self) -> dict[str, torch.Tensor]:
        model = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        return model | {f"space.{name}": value for name, value in self.space.tensors().items()}

    @classmethod
    def restore(cls, settings: dict[str, Any], tensors: dict[str, torch.Tensor]) -> "Infilling":
        def of(prefix: str) -> dict[str, torch.Tensor]:
            return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}

        return cls(
            FeatureSpace(**settings["space"], **of("space.")),
            settings["config"],
            of("model."),
            parts=[Part(**part) for part in settings["parts"]],
            box=int(settings["box"]),
            draws=Draws(**settings["draws"]),
            scales=saved_scales(settings["log_scales"]),
            held_out=[str(name) for name in settings["held_out"]],
        )

    def _pattern(self, kind: str) -> AnchorPattern:
        anchors = AnchorOptions(**asdict(self._anchors) | {"anchors": kind})
        return anchor_pattern(anchors, self.config["seq_len"], 0, self._options, self.space.grid)


def blocks(maps: Iterable[np.ndarray], size: int, least: int) -> Iterator[np.ndarray]:
    """Maps one by one -> blocks of ``size``, float16 (k, C, h, w) as the training saw them; the last one has at least
    ``least``, if the video has."""
    held: list[np.ndarray] = []
    for each in maps:
        held.append(each.astype(np.float16))
        if len(held) == size + least:
            yield np.stack(held[:size])
            held = held[size:]
    if held:
        yield np.stack(held)
