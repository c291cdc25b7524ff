"""Feature diffusion (Tur et al., ICIP 2023, arXiv 2304.05841): clips whose features cannot be reconstructed.

A clip's features are noised part of the way and reconstructed by a diffusion model of features; the squared error is
the score of its frames.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch

from ramvid_vad.detectors.detector import MINUTES, SEED, Detector, Scores, colour, under
from ramvid_vad.detectors.feature_diffusion.model import VectorDiffusion
from ramvid_vad.detectors.fusion import LogScale, calibrated_sum, log_scale, saved_scales, split
from ramvid_vad.detectors.network_training import seconds_at_steps
from ramvid_vad.detectors.normal_videos import keep_to
from ramvid_vad.errors import InputError
from ramvid_vad.runtime.progress import counted, progress_bar
from ramvid_vad.spaces.clip_features import LENGTH, ClipFeatures, PooledSpace, spread
from ramvid_vad.spaces.features import FeatureSpace
from ramvid_vad.video.decoding.frame_rate import frame_rate
from ramvid_vad.video.reader import Clip

TRAINING_STRIDE = 4  # frames between two clips of training; those that are scored do not overlap, as in the paper
FEWEST_CLIPS = 4
PART = "reconstruction"


class FeatureDiffusion(Detector):
    """One-class: trained on normal video. The features are the maps of our feature space, pooled over 16 frames.

    The video of others' networks comes in through the study (commands/study_features.py).
    """

    name, title, needs = "feature_diffusion", "feature diffusion (Tur et al.)", ("normal video", "features")

    def __init__(
        self, space: FeatureSpace, model: VectorDiffusion, scales: dict[str, LogScale], held_out: Sequence[str]
    ) -> None:
        self.features, self.model, self.scales = PooledSpace(space), model, scales
        self.held_out, self.card = list(held_out), {}

    @classmethod
    def fit(
        cls,
        normal: Sequence[str],
        progress: bool = True,
        *,
        work: str,
        minutes: float = MINUTES,
        seed: int = SEED,
    ) -> "FeatureDiffusion":
        """Train for ``minutes`` and set the scale on videos that were held out.

        work: folder of the training: of an interrupted call the training goes on, reading and encoding are done again.
        InputError: too little video, packages of the frozen network missing, a folder begun with other videos or
        another seed.
        """
        learning, held_out = cls._shares(normal, progress)
        keep_to(work, learning, held_out, seed=seed)
        space = FeatureSpace.fit(learning)
        source = PooledSpace(space)
        known = [_vectors(source, clip, TRAINING_STRIDE, progress)[1] for clip in learning]
        checks = [_vectors(source, clip, LENGTH, progress)[1] for clip in held_out]
        vectors = np.concatenate(known)
        if len(vectors) < FEWEST_CLIPS:
            raise InputError(f"{len(vectors)} clips of {LENGTH} frames: give at least {FEWEST_CLIPS}, better minutes")
        model = VectorDiffusion.fit(
            vectors,
            np.concatenate(checks) if checks else vectors[:0],
            work=os.path.join(work, "network"),
            minutes=minutes,
            seed=seed,
            progress=progress,
        )
        usual = np.concatenate([model.errors(each) for each in checks or known])
        return cls(space, model, {PART: log_scale(usual)}, [str(clip) for clip in held_out])

    @classmethod
    def stored_steps(cls, work: str) -> list[int]:
        return list(seconds_at_steps(os.path.join(work, "network")))

    def at_step(self, work: str, step: int, normal: Sequence[str]) -> "FeatureDiffusion":
        model = self.model.at_step(os.path.join(work, "network"), step)
        learning, held_out = self._shares(normal, False)
        stride = LENGTH if held_out else TRAINING_STRIDE
        clips = [_vectors(self.features, clip, stride, False)[1] for clip in held_out or learning]
        usual = np.concatenate([model.errors(each) for each in clips])
        return type(self)(self.features.space, model, {PART: log_scale(usual)}, self.held_out)

    @staticmethod
    def _shares(normal: Sequence[str], progress: bool) -> tuple[list[Clip], list[Clip]]:
        """Videos to learn from, and those that set the scale."""
        return split(normal, progress)

    def score(
        self,
        video: "str | Iterable[np.ndarray]",
        maps: bool = True,
        tick: Callable[[int], Any] = lambda frames: None,
    ) -> Scores:
        """Scores, constant over each clip; a clip says nothing of where, so there are no maps."""
        count = 0

        def seen(frames: int) -> None:
            nonlocal count
            count += frames
            tick(frames)

        firsts, vectors = collected(self.features, counted(colour(video), seen))
        parts = {PART: spread(list(self.model.errors(vectors)), firsts, LENGTH, count)}
        return Scores(calibrated_sum(parts, self.scales), None, parts, frame_rate(video))

    def about(self) -> dict[str, Any]:
        scales = {part: scale._asdict() for part, scale in self.scales.items()}
        return {"held_out": self.held_out, "log_scales": scales} | self.model.settings()

    def settings(self) -> dict[str, Any]:
        return self.about() | {"space": self.features.space.settings()}

    def tensors(self) -> dict[str, torch.Tensor]:
        space = {f"space.{name}": value for name, value in self.features.space.tensors().items()}
        return space | {f"model.{name}": value for name, value in self.model.tensors().items()}

    @classmethod
    def restore(cls, settings: dict[str, Any], tensors: dict[str, torch.Tensor]) -> "FeatureDiffusion":
        scales = saved_scales(settings["log_scales"])
        if set(scales) != {PART}:
            raise ValueError(f"scales of {sorted(scales)}")
        space = FeatureSpace(**settings["space"], **under("space.", tensors))
        model = VectorDiffusion.restore(settings, under("model.", tensors))
        return cls(space, model, scales, [str(name) for name in settings["held_out"]])


class UnlabelledFeatureDiffusion(FeatureDiffusion):
    """Unsupervised: trained on video that may hold anomalies, nobody has said where.

    All of it is learnt from and all of it sets the scale: that anomalies are rare is all that is assumed.
    """

    name, title = "feature_diffusion_unlabelled", "feature diffusion, unsupervised (Tur et al.)"
    needs = ("unlabelled video", "features")

    @staticmethod
    def _shares(normal: Sequence[str], progress: bool) -> tuple[list[Clip], list[Clip]]:
        return [Clip(path) for path in normal], []


def _vectors(source: PooledSpace, clip: Clip, stride: int, progress: bool) -> tuple[list[int], np.ndarray]:
    with progress_bar(f"features of {clip}", "frame", clip.about_how_many() or None, shown=progress) as bar:
        return collected(source, counted(clip.frames(), bar.update), stride)


def collected(source: ClipFeatures, frames: Iterable[np.ndarray], stride: int = LENGTH) -> tuple[list[int], np.ndarray]:
    """First frame and vector of each clip of a video. InputError: there is no frame."""
    if not (clips := list(source.clips(frames, stride))):
        raise InputError("the video has no frame: give at least one")
    return [first for first, _ in clips], np.stack([vector for _, vector in clips])
