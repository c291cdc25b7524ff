"""The calibrated sum: what moves and what looks strange, on one scale, without any training.

Each score's logarithm is standardised by its mean and standard deviation on held-out *normal* training video, and the
standardised logarithms are added. No test frame and no label takes part in the calibration.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from ramvid_vad.detectors.appearance import PatchMemory, feature_scores, patch_memory
from ramvid_vad.detectors.motion import motion
from ramvid_vad.errors import InputError
from ramvid_vad.runtime.progress import progress_bar
from ramvid_vad.spaces.backbones import FrozenFeatures
from ramvid_vad.video.reader import read_frames

PARTS = ("frame_difference", "optical_flow", "features")
HELD_OUT = 2  # normal videos, the last by name, that calibrate and give no patch


class LogScale(NamedTuple):
    """Standardises the logarithm of a score. floor: smaller scores, such as 0 for a repeated frame, count as this."""

    mean: float
    sd: float
    floor: float

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        return (np.log(np.maximum(scores, self.floor)) - self.mean) / self.sd


def log_scale(normal: np.ndarray) -> LogScale:
    """From scores (n,) >= 0 of normal frames. Scores that never vary have sd 1: nothing is known of their spread."""
    positive = normal[normal > 0]
    floor = float(positive.min()) if len(positive) else 1.0
    logs = np.log(np.maximum(normal, floor))
    return LogScale(float(logs.mean()), float(logs.std()) or 1.0, floor)


def calibrated_sum(scores: Mapping[str, np.ndarray], scales: Mapping[str, LogScale]) -> np.ndarray:
    """Sum over ``scales`` of the standardised logs of the scores (n,) of one video."""
    return np.sum([scale(scores[part]) for part, scale in scales.items()], axis=0)


@dataclass(frozen=True)
class NormalReference:
    """What is known of normal video: its patches, and the scales of three scores. held_out: videos that set these."""

    network: Callable[[np.ndarray], torch.Tensor]
    memory: PatchMemory
    scales: dict[str, LogScale]
    held_out: list[str]

    def features(self, path: str, tick: Callable[[int], Any]) -> np.ndarray:
        """Feature score of each frame of a video, float64 (n,)."""
        return feature_scores(read_frames(path), self.network, self.memory, tick)

    def about(self) -> dict[str, Any]:
        """For the provenance."""
        scales = {part: scale._asdict() for part, scale in self.scales.items()}
        return {"patches": len(self.memory), "held_out": self.held_out, "log_scales": scales}


def learn_normal(paths: Sequence[str], progress: bool = True) -> NormalReference:
    """Patches of all normal videos but the last HELD_OUT, which set the scales. About 0.1 s per frame on one core.

    InputError: too few videos, or the packages of the frozen network are not installed.
    """
    if len(paths) <= HELD_OUT:
        raise InputError(
            f"--normal_dir: {len(paths)} videos; the nulls 'features' and 'calibrated' need at least {HELD_OUT + 1} "
            f"({HELD_OUT} are held out to calibrate): cut one into several, or leave the two out of --nulls"
        )
    network = FrozenFeatures()
    with progress_bar("features of normal video", "frame", shown=progress) as bar:
        memory = patch_memory(paths[:-HELD_OUT], network, bar.update)
        seen: dict[str, list[np.ndarray]] = {part: [] for part in PARTS}
        for path in paths[-HELD_OUT:]:
            scores = motion(read_frames(path, rgb=False))
            scores["features"] = feature_scores(read_frames(path), network, memory, bar.update)
            for part in PARTS:
                seen[part].append(scores[part])
    scales = {part: log_scale(np.concatenate(values)) for part, values in seen.items()}
    held_out = [os.path.basename(path.rstrip("/")) for path in paths[-HELD_OUT:]]
    return NormalReference(network, memory, scales, held_out)
