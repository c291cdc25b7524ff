"""Anchors: the entries of a window that the model is given clean. The one place that decides which.

True = anchor (given), False = masked (noised, generated and scored). Training, sampling and scoring all ask here. A
pattern over frames is bool (T,); one over frames, groups of channels and cells is bool (T, groups, h, w) with 1 for
what it does not tell apart. RaMViD calls the given frames "mask"; its flags keep their names.
"""

from collections.abc import Callable, Sequence

import torch

from ramvid_vad.errors import InputError
from ramvid_vad.runtime.randomness import stream

PATTERNS = (
    "selective",
    "random",
    "prediction",
    "explicit",
    "infill",
    "none",
    "tube",
    "motion_given_appearance",
    "appearance_given_motion",
)


def selective_anchors(num_frames: int) -> torch.Tensor:
    """The thesis's pattern: the first two frames, every t with t % 10 in {0, 1}, and the last two.

    Returns bool (num_frames,). For 30 frames: 0 1 10 11 20 21 28 29.
    """
    frame = torch.arange(num_frames)
    return (frame < 2) | (frame % 10 < 2) | (frame >= num_frames - 2)


def prediction_anchors(num_frames: int, num_given: int) -> torch.Tensor:
    """The first ``num_given`` frames. Returns bool (num_frames,)."""
    return torch.arange(num_frames) < num_given


def infill_anchors(num_frames: int) -> torch.Tensor:
    """The first frame and the last. Returns bool (num_frames,)."""
    frame = torch.arange(num_frames)
    return (frame == 0) | (frame == num_frames - 1)


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


def group_anchors(groups: Sequence[str], given: str) -> torch.Tensor:
    """All of one group of channels. Returns bool (1, groups, 1, 1)."""
    return torch.tensor([group == given for group in groups]).reshape(1, -1, 1, 1)


def tube_anchors(grid: tuple[int, int], top: int, left: int, height: int, width: int) -> torch.Tensor:
    """All but a box of cells, hidden in every frame and group. Returns bool (1, 1, *grid)."""
    given = torch.ones(1, 1, *grid, dtype=torch.bool)
    given[..., top : top + height, left : left + width] = False
    return given


def random_tube(grid: tuple[int, int], sides: tuple[int, int], seed: int, step: int, sample: int) -> torch.Tensor:
    """A tube whose sides and place are drawn: sides (least, most) in cells, at most the grid's. Bool (1, 1, *grid)."""
    rng = stream(seed, "tube", step, sample)
    height, width = (min(int(rng.integers(sides[0], sides[1] + 1)), most) for most in grid)
    top, left = (int(rng.integers(0, most - side + 1)) for most, side in zip(grid, (height, width), strict=True))
    return tube_anchors(grid, top, left, height, width)


class AnchorPattern:
    """The anchors of every window, as chosen by the anchor options.

    kind: one of PATTERNS, or several with their shares, "none:2,tube:1"; a name without a share has the share 1.
    groups, grid: of the space, the names of its groups of channels and (h, w).  tube: least and most side in cells.
    ``pattern(step, sample)`` is bool (T,) or (T, groups, h, w); ``fixed`` is the same for every window, or None where
    it is drawn. ``kinds`` are the names, ``kind(step, sample)`` the one drawn, ``num_frames`` is T.
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
        groups: Sequence[str] = ("pixels",),
        grid: tuple[int, int] = (1, 1),
        tube: tuple[int, int] = (5, 10),
    ):
        shares = _shares(kind)
        self.num_frames, self.kinds, self._seed = num_frames, tuple(shares), seed
        total = sum(shares.values())
        self._ends = torch.tensor([*shares.values()]).cumsum(0) / total
        if "random" in shares:
            _check_random(num_frames, max_given, frame_range, unconditional_rate)
        if "prediction" in shares and num_prediction < 0:
            raise InputError(f"--num_prediction_anchors {num_prediction}: must be at least 0")
        if "explicit" in shares and not frames:
            raise InputError("--anchors explicit: give --cond_frames, e.g. 0,1,2")
        if "tube" in shares and not 1 <= tube[0] <= tube[1]:
            raise InputError(f"--tube_cells {tube[0]},{tube[1]}: must be LEAST,MOST, at least 1, e.g. 5,10")
        fixed: dict[str, Callable[[], torch.Tensor]] = {
            "selective": lambda: selective_anchors(num_frames),
            "prediction": lambda: prediction_anchors(num_frames, num_prediction),
            "explicit": lambda: explicit_anchors(num_frames, frames),
            "infill": lambda: infill_anchors(num_frames),
            "none": lambda: torch.zeros(num_frames, dtype=torch.bool),
        }
        drawn: dict[str, Callable[[int, int], torch.Tensor]] = {
            "random": lambda *place: random_anchors(
                num_frames, max_given, frame_range, unconditional_rate, seed, *place
            ),
            "tube": lambda *place: random_tube(grid, tube, seed, *place),
        }
        self._of: dict[str, torch.Tensor | Callable[[int, int], torch.Tensor]] = {}
        for name in shares:
            if "_given_" in name:
                for group in name.split("_given_"):
                    if group not in groups:
                        known = ", ".join(groups)
                        raise InputError(f"--anchors {name}: the space has no group {group!r}, but {known}")
                self._of[name] = group_anchors(groups, name.split("_given_")[1])
            else:
                self._of[name] = drawn[name] if name in drawn else fixed[name]()
            always = self._of[name]
            if isinstance(always, torch.Tensor) and always.all():
                raise InputError(
                    f"--anchors {name}: every one of the {num_frames} frames is given, none is left to generate"
                )
        only = self._of[self.kinds[0]] if len(shares) == 1 else None
        self.fixed: torch.Tensor | None = only if isinstance(only, torch.Tensor) else None

    def kind(self, step: int, sample: int) -> str:
        """Name of the pattern of one training sample."""
        if len(self.kinds) == 1:
            return self.kinds[0]
        drawn = stream(self._seed, "pattern", step, sample).random()
        return self.kinds[int(torch.searchsorted(self._ends, drawn, right=True).clamp(max=len(self.kinds) - 1))]

    def __call__(self, step: int, sample: int) -> torch.Tensor:
        """Anchors of one training sample, bool (T,) or (T, groups, h, w) with 1 for what it does not tell apart."""
        return self.of(self.kind(step, sample), step, sample)

    def of(self, kind: str, step: int, sample: int) -> torch.Tensor:
        """The same of one of its ``kinds``, whichever is drawn for the sample."""
        chosen = self._of[kind]
        return chosen if isinstance(chosen, torch.Tensor) else chosen(step, sample)


def batch_of(patterns: Sequence[torch.Tensor], channels: Sequence[int]) -> torch.Tensor:
    """Anchors of several windows, as the diffusion takes them: bool (B, T) or what broadcasts over (B, C, T, h, w).

    channels: of each group, in order.
    """
    if all(given.dim() == 1 for given in patterns):
        return torch.stack(list(patterns))
    whole = [given.reshape(-1, 1, 1, 1) if given.dim() == 1 else given for given in patterns]
    shape = [max(sides) for sides in zip(*(given.shape for given in whole), strict=True)]
    batch = torch.stack([given.expand(shape) for given in whole]).movedim(2, 1)  # (B, groups or 1, T, h, w)
    return batch if batch.shape[1] == 1 else batch.repeat_interleave(torch.tensor(channels), dim=1)


def over_entries(anchors: torch.Tensor) -> torch.Tensor:
    """Anchors as ``batch_of`` gives them -> bool that broadcasts over (B, C, T, H, W)."""
    return anchors[:, None, :, None, None] if anchors.dim() == 2 else anchors


def _shares(kind: str) -> dict[str, float]:
    """ "a:2,b" -> {"a": 2, "b": 1}."""
    shares = {}
    for part in kind.split(","):
        name, _, share = part.strip().partition(":")
        if name not in PATTERNS:
            raise InputError(f"--anchors {name!r}: choose {', '.join(PATTERNS[:-1])} or {PATTERNS[-1]}")
        try:
            shares[name] = float(share or 1)
        except ValueError:
            shares[name] = 0.0
        if not 0 < shares[name] < float("inf"):
            raise InputError(f"--anchors {part.strip()}: a share is a number above 0, e.g. none:2,tube:1")
    return shares


def _check_random(
    num_frames: int, max_given: int, frame_range: tuple[int, int] | None, unconditional_rate: float
) -> None:
    first, end = frame_range or (0, num_frames)
    if not 0 <= first < end <= num_frames:
        raise InputError(f"--mask_range {first},{end}: must lie within the window, 0,{num_frames}")
    if not 1 <= max_given <= end - first:
        raise InputError(f"--max_num_mask_frames {max_given}: must be 1 to {end - first}, the frames to draw from")
    if not 0 <= unconditional_rate <= 1:
        raise InputError(f"--uncondition_rate {unconditional_rate}: must be 0 to 1")
    if max_given == num_frames:
        raise InputError(f"--max_num_mask_frames {max_given}: leaves no frame to generate; use fewer")
