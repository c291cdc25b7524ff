"""Anchors: the frames of a window that the model is given clean. The one place that decides which.

True = anchor (given), False = masked (noised, generated and scored). Training, sampling and scoring all ask here.
RaMViD calls the given frames "mask"; its flags keep their names.
"""

from collections.abc import Sequence

import torch

from ramvid_vad.errors import InputError
from ramvid_vad.runtime.randomness import stream


def selective_anchors(num_frames: int) -> torch.Tensor:
    """The thesis's pattern: the first two frames, every t with t % 10 in {0, 1}, and the last two.

    Returns bool (num_frames,). For 30 frames: 0 1 10 11 20 21 28 29.
    """
    frame = torch.arange(num_frames)
    return (frame < 2) | (frame % 10 < 2) | (frame >= num_frames - 2)


def prediction_anchors(num_frames: int, num_given: int) -> torch.Tensor:
    """The first ``num_given`` frames. Returns bool (num_frames,)."""
    return torch.arange(num_frames) < num_given


def explicit_anchors(num_frames: int, frames: Sequence[int]) -> torch.Tensor:
    """The listed frames. Returns bool (num_frames,). InputError: an index outside the window."""
    given = torch.zeros(num_frames, dtype=torch.bool)
    for frame in frames:
        if not 0 <= frame < num_frames:
            raise InputError(f"--cond_frames {frame}: the window has frames 0 to {num_frames - 1}")
        given[frame] = True
    return given


def random_anchors(
    num_frames: int,
    max_given: int,
    frame_range: tuple[int, int] | None,
    unconditional_rate: float,
    seed: int,
    step: int,
    sample: int,
) -> torch.Tensor:
    """RaMViD's random mask (arXiv 2206.07696, section 3.2), a pure function of (seed, step, sample).

    With probability ``unconditional_rate`` no frame is given; else r ~ U{1 .. max_given} distinct frames of
    ``frame_range`` (first, end; None: all). Returns bool (num_frames,).
    """
    first, end = frame_range or (0, num_frames)
    rng = stream(seed, "anchors", step, sample)
    given = torch.zeros(num_frames, dtype=torch.bool)
    if rng.random() >= unconditional_rate:
        count = int(rng.integers(1, max_given + 1))
        given[torch.from_numpy(first + rng.permutation(end - first)[:count])] = True
    return given


class AnchorPattern:
    """The anchors of every window, as chosen by the anchor options.

    ``pattern(step, sample)`` is bool (T,); ``fixed`` is the same for every window, or None for the random pattern.
    """

    def __init__(
        self,
        kind: str,
        num_frames: int,
        *,
        frames: Sequence[int] = (),
        num_prediction: int = 5,
        max_given: int = 4,
        frame_range: tuple[int, int] | None = None,
        unconditional_rate: float = 0.0,
        seed: int = 0,
    ):
        if kind not in ("selective", "random", "prediction", "explicit"):
            raise InputError(f"--anchors {kind!r}: choose selective, random, prediction or explicit")
        if kind == "random":
            first, end = frame_range or (0, num_frames)
            if not 0 <= first < end <= num_frames:
                raise InputError(f"--mask_range {first},{end}: must lie within the window, 0,{num_frames}")
            if not 1 <= max_given <= end - first:
                raise InputError(
                    f"--max_num_mask_frames {max_given}: must be 1 to {end - first}, the frames to draw from"
                )
            if not 0 <= unconditional_rate <= 1:
                raise InputError(f"--uncondition_rate {unconditional_rate}: must be 0 to 1")
            if max_given == num_frames:
                raise InputError(f"--max_num_mask_frames {max_given}: leaves no frame to generate; use fewer")
        if kind == "prediction" and num_prediction < 0:
            raise InputError(f"--num_prediction_anchors {num_prediction}: must be at least 0")
        if kind == "explicit" and not frames:
            raise InputError("--anchors explicit: give --cond_frames, e.g. 0,1,2")
        self.fixed: torch.Tensor | None = None
        if kind == "selective":
            self.fixed = selective_anchors(num_frames)
        elif kind == "prediction":
            self.fixed = prediction_anchors(num_frames, num_prediction)
        elif kind == "explicit":
            self.fixed = explicit_anchors(num_frames, frames)
        if self.fixed is not None and self.fixed.all():
            raise InputError(
                f"--anchors {kind}: every one of the {num_frames} frames is given, none is left to generate"
            )
        self._random = (num_frames, max_given, frame_range, unconditional_rate, seed)

    def __call__(self, step: int, sample: int) -> torch.Tensor:
        """Anchors of one training sample, bool (T,)."""
        if self.fixed is not None:
            return self.fixed
        return random_anchors(*self._random, step, sample)
