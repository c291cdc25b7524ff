"""Residual maps: what a model that knows normal video alone cannot restore.

Each *part* is a pattern of given entries, a starting level and a group of channels. Its residual map is the mean over
the group's channels of the squared difference between the true entries and the infilled ones; a frame's score is the
highest mean over a box of cells.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ramvid_vad.diffusion.anchors import AnchorPattern, batch_of, over_entries
from ramvid_vad.diffusion.gaussian import GaussianDiffusion, Model
from ramvid_vad.diffusion.samplers import SAMPLERS
from ramvid_vad.errors import InputError
from ramvid_vad.runtime.randomness import standard_normal
from ramvid_vad.spaces.cache import EncodedVideos
from ramvid_vad.video.windows import copies, covering_starts, in_video, mirrored

BOX = 5  # cells
_BATCH = 4  # windows per network call


@dataclass(frozen=True)
class Part:
    """One score: anchors as ``--anchors`` has them, starting level sigma (None: pure noise), channels by name."""

    anchors: str
    level: float | None
    group: str

    @property
    def name(self) -> str:
        """ "none@0.7 appearance"; "prediction motion" from pure noise."""
        return self.anchors + (f"@{self.level:g}" if self.level else "") + " " + self.group


@dataclass(frozen=True)
class Draws:
    """How one residual is made: K draws of noise, joined by their mean or their minimum; a sampler by name."""

    sampler: str = "once"
    count: int = 1
    join: str = "mean"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            raise InputError(f"sampler {self.sampler!r}: choose one of {', '.join(SAMPLERS)}")
        if self.count < 1 or self.join not in ("mean", "minimum"):
            raise InputError(f"{self.count} draws joined by {self.join!r}: give at least 1, and mean or minimum")


def residual_maps(
    maps: np.ndarray,
    groups: dict[str, int],
    pattern: AnchorPattern,
    model: Model,
    diffusion: GaussianDiffusion,
    *,
    level: float | None = None,
    draws: Draws | None = None,
    key: int = 0,
    first: int = 0,
) -> dict[str, np.ndarray]:
    """Residual of each group of channels that the pattern hides, name -> float32 (n, h, w), of one video's maps
    (n, C, h, w).

    Windows lie so that each frame is hidden at least once; a frame that several windows hide takes their mean, padding
    beyond the video counts for nothing. key: of the video; first: the frame of it that maps[0] is; noise is a function
    of (seed, key, frame, draw).
    InputError: a pattern that is drawn anew for each window, or that hides some places only.
    """
    if pattern.fixed is None:
        raise InputError(f"--anchors {','.join(pattern.kinds)}: scoring needs the same anchors in every window")
    draws = draws or Draws()
    given = over_entries(batch_of([pattern.fixed], tuple(groups.values())))  # (1, C or 1, T or 1, 1, 1)
    length, channels = pattern.num_frames, maps.shape[1]
    given = given.expand(1, channels, length, 1, 1)
    first_of = np.cumsum([0, *groups.values()])
    ranges = {name: slice(first_of[i], first_of[i + 1]) for i, name in enumerate(groups)}
    # frames that are given in each group, (T,); all of its channels share them
    shown = {name: given[0, part, :, 0, 0].all(0).numpy() for name, part in ranges.items()}
    hidden = {name: frames for name, frames in shown.items() if not frames.all()}
    everywhere = np.logical_and.reduce(list(hidden.values()))
    starts = covering_starts(len(maps), length, max(1, int((~everywhere).sum())), everywhere)

    total = {name: np.zeros((len(maps), *maps.shape[2:]), np.float32) for name in hidden}
    times = {name: np.zeros(len(maps), np.int64) for name in hidden}
    for done in range(0, len(starts), _BATCH):
        batch = starts[done : done + _BATCH]
        windows = [maps[mirrored(np.arange(start, start + length), len(maps))] for start in batch]
        seen = torch.cat([_but_mirrored(given, everywhere, start, len(maps)) for start in batch])
        places = [(key, first + start) for start in batch]
        clean = EncodedVideos.model_input(np.stack(windows))
        channels_of = {name: ranges[name] for name in hidden}
        errors = _squared_errors(clean, seen, model, diffusion, level, draws, places, channels_of)
        for name, frames in hidden.items():
            for start, error in zip(batch, errors[name], strict=True):  # (T, h, w)
                positions = np.flatnonzero(~frames & in_video(start, length, len(maps)))
                total[name][start + positions] += error[positions].numpy()
                times[name][start + positions] += 1
    return {name: total[name] / times[name][:, None, None].astype(np.float32) for name in hidden}


def _but_mirrored(given: torch.Tensor, everywhere: np.ndarray, start: int, frames: int) -> torch.Tensor:
    """``given`` (1, C, T, 1, 1) of one window, without the frames beyond the video's ends that show one which is to be
    generated, even if none is left. everywhere (T,): frames that are given in all groups that the pattern hides."""
    return given & torch.from_numpy(~copies(start, everywhere, frames))[:, None, None]


@torch.inference_mode()
def _squared_errors(
    clean: torch.Tensor,
    given: torch.Tensor,
    model: Model,
    diffusion: GaussianDiffusion,
    level: float | None,
    draws: Draws,
    places: Sequence[tuple[int, int]],
    channels_of: dict[str, slice],
) -> dict[str, torch.Tensor]:
    """(B, C, T, h, w) -> of each group (B, T, h, w): the mean over its channels of the squared difference to what is
    infilled, joined over the draws."""
    shape = (clean.shape[1], *clean.shape[3:])
    errors: dict[str, list[torch.Tensor]] = {name: [] for name in channels_of}
    for draw in range(draws.count):

        def noise(step: int, draw: int = draw) -> torch.Tensor:
            def of(key: int, frame: int) -> torch.Tensor:
                return standard_normal(shape, draws.seed, "sample", key, frame, step, *([draw] if draw else []))

            windows = [torch.stack([of(key, start + t) for t in range(clean.shape[2])], dim=1) for key, start in places]
            return torch.stack(windows)

        infilled = SAMPLERS[draws.sampler](
            diffusion,
            model,
            clean,
            given,
            noise,
            clip_denoised=False,
            start_level=level,
        )
        error = (clean - infilled) ** 2
        for name, channels in channels_of.items():
            errors[name].append(error[:, channels].mean(1))
    stacked = {name: torch.stack(each) for name, each in errors.items()}
    return {name: each.mean(0) if draws.join == "mean" else each.amin(0) for name, each in stacked.items()}


def box_scores(residual: np.ndarray, box: int = BOX) -> np.ndarray:
    """Highest mean over the boxes of ``box`` x ``box`` cells that lie wholly in each map, (n, h, w) -> float64 (n,)."""
    sides = [min(box, side) for side in residual.shape[1:]]
    means = torch.nn.functional.avg_pool2d(torch.from_numpy(residual)[:, None], sides, stride=1)
    return means.amax((1, 2, 3)).double().numpy()


def part_residuals(
    maps: np.ndarray,
    parts: Sequence[Part],
    groups: dict[str, int],
    pattern_of: Callable[[str], AnchorPattern],
    model: Model,
    diffusion_of: Callable[[float | None], GaussianDiffusion],
    *,
    draws: Draws | None = None,
    key: int = 0,
    first: int = 0,
) -> dict[str, np.ndarray]:
    """Residual maps of each part, name -> (n, h, w). Parts that share pattern and level share the network calls.

    pattern_of: the anchors of a name.  diffusion_of: the process that begins at a level.  The rest as in
    :func:`residual_maps`.  InputError: a part of a group that its pattern gives.
    """
    made: dict[tuple[str, float | None], dict[str, np.ndarray]] = {}
    residuals = {}
    for part in parts:
        shared = (part.anchors, part.level)
        if shared not in made:
            pattern, level = pattern_of(part.anchors), part.level
            made[shared] = residual_maps(
                maps, groups, pattern, model, diffusion_of(level), level=level, draws=draws, key=key, first=first
            )
        if part.group not in made[shared]:
            raise InputError(f"part {part.name!r}: {part.anchors} hides no {part.group}")
        residuals[part.name] = made[shared][part.group]
    return residuals


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
