"""Anomalies made from normal video, to choose a recipe by: no label of a test set is read.

Each kind takes frames uint8 (n, H, W, 3) and a generator, and gives the changed frames and which of them are changed,
bool (n,): the middle third of the clip; of a clip that goes faster, which is shorter, all that follows its first third.
What is chosen by them is as good as they are like what will come.
"""

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np

from ramvid_vad.detectors.pseudo_anomalies.spatial import Inpainter
from ramvid_vad.detectors.pseudo_anomalies.temporal import mixture
from ramvid_vad.spaces.motion import flow_between

FAINT = 0.35  # how much of a faint anomaly is seen, the frame behind it being the rest

Made = tuple[np.ndarray, np.ndarray]
Kind = Callable[[np.ndarray, np.random.Generator], Made]


def skipped(frames: np.ndarray, rng: np.random.Generator) -> Made:
    """All goes three times as fast, to the end."""
    first, _ = _middle(len(frames))
    order = [*range(first), *range(first, len(frames), 3)]
    return frames[order], _changed(len(order), first, len(order))


def reversed_motion(frames: np.ndarray, rng: np.random.Generator) -> Made:
    """All goes backwards."""
    first, end = _middle(len(frames))
    made = frames.copy()
    made[first:end] = frames[first:end][::-1]
    return made, _changed(len(frames), first, end)


def frozen(frames: np.ndarray, rng: np.random.Generator) -> Made:
    """The busiest place stands still while the rest goes on."""
    first, end = _middle(len(frames))
    y, x, side = _busiest(frames[first:end])
    made = frames.copy()
    made[first:end, y : y + side, x : x + side] = frames[first, y : y + side, x : x + side]
    return made, _changed(len(frames), first, end)


def texture(frames: np.ndarray, rng: np.random.Generator, opacity: float = 1.0) -> Made:
    """A patch of smooth noise moves along at two pixels a frame."""
    side = _side(frames)
    coarse = rng.integers(0, 256, (side // 4, side // 4, 3), dtype=np.uint8)
    patch = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    return _moved_in(frames, patch, 2, rng, opacity)


def foreign(frames: np.ndarray, rng: np.random.Generator, opacity: float = 1.0) -> Made:
    """The busiest place of the first frames, turned upside down and half as large again, moves along at three pixels a
    frame: an object that is not seen so."""
    y, x, side = _busiest(frames[: max(2, len(frames) // 3)])
    patch = cv2.resize(frames[0, y : y + side, x : x + side][::-1], (side * 3 // 2, side * 3 // 2))
    return _moved_in(frames, patch, 3, rng, opacity)


def teleported(frames: np.ndarray, rng: np.random.Generator) -> Made:
    """Every few frames the busiest place is seen elsewhere."""
    first, end = _middle(len(frames))
    height, width = frames.shape[1:3]
    made, (y, x, side) = frames.copy(), _busiest(frames[first:end])
    for start in range(first, end, 5):
        to_y, to_x = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        made[start : start + 5, to_y : to_y + side, to_x : to_x + side] = frames[
            start : start + 5, y : y + side, x : x + side
        ]
    made[end:] = frames[end:]
    return made, _changed(len(frames), first, end)


def motion_mixed(frames: np.ndarray, rng: np.random.Generator) -> Made:
    """The busiest place moves by its own flow mixed with that of other moments: each frame there is the one before it,
    moved so (the temporal pseudo-anomaly of detectors/pseudo_anomalies, made visible)."""
    first, end = _middle(len(frames))
    y, x, side = _busiest(frames[first:end])
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames[first - 1 : end]]
    pairs = zip(grey[1:], grey, strict=False)
    flow = np.stack([flow_between(now, before)[y : y + side, x : x + side] for now, before in pairs]).transpose(
        3, 0, 1, 2
    )
    at = np.mgrid[y : y + side, x : x + side][::-1, None] + mixture(flow, flow, rng)  # where each pixel comes from
    made = frames.copy()
    for t in range(first, end):
        made[t, y : y + side, x : x + side] = cv2.remap(
            frames[t - 1], *at[:, t - first].astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
    return made, _changed(len(frames), first, end)


def infilled_by(inpaint: Inpainter) -> Kind:
    """The kind in which the busiest place, infilled once by a model, stands still while the rest goes on."""

    def infilled(frames: np.ndarray, rng: np.random.Generator) -> Made:
        first, end = _middle(len(frames))
        y, x, side = place = _busiest(frames[first:end])
        made = frames.copy()
        made[first:end, y : y + side, x : x + side] = inpaint(frames[first], place, rng)
        return made, _changed(len(frames), first, end)

    return infilled


KINDS: dict[str, Kind] = {
    "frames skipped": skipped,
    "motion reversed": reversed_motion,
    "object frozen": frozen,
    "foreign texture": texture,
    "foreign object": foreign,
    "teleport": teleported,
    "faint-texture": partial(texture, opacity=FAINT),
    "faint-object": partial(foreign, opacity=FAINT),
    "motion mixed": motion_mixed,
}


def _middle(count: int) -> tuple[int, int]:
    return count // 3, 2 * count // 3


def _changed(count: int, first: int, end: int) -> np.ndarray:
    marks = np.zeros(count, bool)
    marks[first:end] = True
    return marks


def _side(frames: np.ndarray) -> int:
    """Of an object, in pixels: a sixth of the shorter side of the frame."""
    return max(8, min(frames.shape[1:3]) // 6)


def _busiest(frames: np.ndarray) -> tuple[int, int, int]:
    """(y, x, side) of the square in which the frames change most."""
    side = _side(frames)
    change = np.abs(np.diff(frames.mean(axis=3, dtype=np.float32), axis=0)).mean(0)
    means = cv2.boxFilter(change, -1, (side, side), anchor=(0, 0), borderType=cv2.BORDER_CONSTANT)
    inside = means[: means.shape[0] - side + 1, : means.shape[1] - side + 1]
    y, x = np.unravel_index(inside.argmax(), inside.shape)
    return int(y), int(x), side


def _moved_in(frames: np.ndarray, patch: np.ndarray, speed: int, rng: np.random.Generator, opacity: float) -> Made:
    """A patch, round, that moves to the right from a drawn place, and comes in again on the left."""
    first, end = _middle(len(frames))
    side, (height, width) = len(patch), frames.shape[1:3]
    y, x = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    yy, xx = np.mgrid[:side, :side] - (side - 1) / 2
    inside = yy**2 + xx**2 <= (side / 2) ** 2
    made = frames.copy()
    for t in range(first, end):
        left = (x + speed * (t - first)) % (width - side + 1)
        behind = made[t, y : y + side, left : left + side]
        behind[inside] = cv2.addWeighted(patch, opacity, behind, 1 - opacity, 0)[inside]
    return made, _changed(len(frames), first, end)
