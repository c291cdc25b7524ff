"""The pictures of the report: input, infilled frame and heat of the residual as JPEG, within a budget of bytes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from ramvid_vad.options import EvalOptions
from ramvid_vad.page.pictures import jpeg, with_heat, worst_place
from ramvid_vad.reconstructions import (
    Reconstruction,
    common_settings,
    find_reconstructions,
    load_reconstruction,
)
from ramvid_vad.scoring.blobs import wmse
from ramvid_vad.video.cache import FrameCache
from ramvid_vad.video.reader import find_videos, read_frames, video_name
from ramvid_vad.video.rows import on_disk

BUDGET = 6_500_000  # characters of base64 in one report, all pictures together
KINDS = ("input", "infilled", "heat")
NEAR = 3  # pixels, side of the square that the heat is the mean of: one loud pixel is no place


@dataclass(frozen=True)
class FrameSource:
    """Where the pictures come from. paths, files: the video and the reconstructions of each video, by name.
    blobs: threshold, min_area and weight of the boxes, as in ``scoring.blobs.wmse``."""

    paths: dict[str, str]
    files: dict[str, str]
    cache: FrameCache
    blobs: dict[str, Any]


def frame_source(options: EvalOptions, cache_dir: str) -> FrameSource:
    """Of the folders that ``evaluate_reconstructions`` was given. InputError: as there."""
    paths = {video_name(path, options.data_dir): path for path in find_videos(options.data_dir, options.only)}
    files = find_reconstructions(options.reconstructions, list(paths), partial=bool(options.only))
    settings, _ = common_settings(files)
    size = tuple(settings["image_size"])
    cache = FrameCache(cache_dir, size, rgb=settings["rgb"], keep_aspect=settings["keep_aspect"])
    blobs = {"threshold": options.tau, "min_area": options.min_area, "weight": options.weight}
    return FrameSource(paths, files, cache, blobs)


def pictures(
    source: FrameSource,
    names: list[str],
    shown: Iterable[tuple[int, int]],
    wanted: Iterable[tuple[int, int]],
    budget: int,
) -> list[list[dict[str, Any]]]:
    """Per video the stored frames in order, each with ``frame`` (true number) and the entries of :func:`_picture`.

    shown: per video the true frames [first, end) that have a score.  wanted: (video, true frame) that must be there:
    the reconstructed frame nearest to each. What these leave of the budget (characters) is shared by the lengths of
    the videos; each stores every k-th of its reconstructed frames with the smallest k that fits its share.
    """
    shown = list(shown)
    stored: list[dict[int, dict[str, Any]]] = [{} for _ in names]
    for video in sorted({video for video, _ in wanted}):
        frames = VideoFrames(source, names[video], shown[video])
        for at in (at for v, at in wanted if v == video):
            if len(frames.numbers):
                nearest = int(frames.numbers[np.argmin(np.abs(frames.numbers - at))])
                stored[video][nearest] = frames.picture(nearest)
    left = budget - sum(map(_characters, stored))
    total = sum(end - first for first, end in shown)
    for video, (first, end) in enumerate(shown):
        frames, share = VideoFrames(source, names[video], (first, end)), left * (end - first) / total
        stored[video] = _every_kth(frames, stored[video], share)
    return [[{"frame": frame, **kept[frame]} for frame in sorted(kept)] for kept in stored]


class VideoFrames:
    """The reconstructed frames of one video, of [first, end) if ``shown`` says so: ``numbers``, in order; made into
    pictures when asked for. real: all frames of the video, uint8 (N, H, W, C)."""

    def __init__(self, source: FrameSource, name: str, shown: tuple[int, int] | None = None) -> None:
        self.real = on_disk(source.cache.frames(source.paths[name]))
        self.made: Reconstruction = load_reconstruction(source.files[name])
        self.blobs = source.blobs
        self._order = np.argsort(self.made.frame, kind="stable")
        self._sorted = self.made.frame[self._order]
        every = np.unique(self._sorted)
        self.numbers = every if shown is None else every[(every >= shown[0]) & (every < shown[1])]

    def pair(self, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """The frame and what the model made of it, both uint8 (H, W, C)."""
        rows = self._order[slice(*np.searchsorted(self._sorted, [frame, frame + 1]))]
        real = np.asarray(self.real[frame])
        # a frame infilled in several windows: the one furthest from the input, as its score is the largest
        errors = [np.square(real.astype(np.float32) - self.made.frames[row]).mean() for row in rows]
        return real, self.made.frames[rows[int(np.argmax(errors))]]

    def picture(self, frame: int) -> dict[str, Any]:
        return _picture(*self.pair(frame), self.blobs)


def _every_kth(frames: VideoFrames, kept: dict[int, dict[str, Any]], share: float) -> dict[int, dict[str, Any]]:
    """``kept`` and every k-th frame, k the smallest found whose new pictures have at most ``share`` characters."""
    made = dict(kept)
    for chosen in _thinner(frames, made, share):
        for frame in chosen:
            if frame not in made:
                made[frame] = frames.picture(frame)
        if _characters({frame: made[frame] for frame in chosen if frame not in kept}) <= share:
            return kept | {frame: made[frame] for frame in chosen}
    return kept


def _thinner(frames: VideoFrames, made: dict[int, dict[str, Any]], share: float) -> Iterator[list[int]]:
    """Every k-th frame for growing k. The first k is guessed from a few pictures: to make them all costs minutes."""
    numbers = [int(n) for n in frames.numbers]
    if not numbers or share <= 0:
        return
    sample = numbers[:: max(1, len(numbers) // 4)]
    made |= {frame: frames.picture(frame) for frame in sample if frame not in made}
    mean = _characters({frame: made[frame] for frame in sample}) / len(sample)
    for k in range(max(1, int(0.9 * mean * len(numbers) / share)), len(numbers) + 1):
        yield numbers[::k]


def _characters(kept: dict[int, dict[str, Any]]) -> int:
    return sum(len(p[key]) for p in kept.values() for key in KINDS)


def _picture(real: np.ndarray, made: np.ndarray, blobs: dict[str, Any]) -> dict[str, Any]:
    """Of two uint8 frames (H, W, C): ``input``, ``infilled`` and ``heat`` as JPEG in base64, and ``box``, the one worst
    place (x0, y0, x1, y1) in pixels of the frame; None where nothing is hot.

    heat: the input under its residual, which begins to glow at the blobs' threshold (a still background has none) and
    is hottest at ``hottest`` (0..1 of full range), the largest residual of the frame.
    """
    near = cv2.blur(_residual(real, made), (NEAR, NEAR)) / 255
    hottest, cold = float(near.max()), blobs["threshold"]
    heat = np.maximum(near - cold, 0) / max(hottest - cold, 1e-6)
    return {
        "input": jpeg(real),
        "infilled": jpeg(made),
        "heat": jpeg(with_heat(real, heat)),
        "hottest": round(hottest, 3),
        "box": worst_place(heat),
    }


def true_aspect(source: FrameSource, name: str) -> float:
    """Width by height of what the model's frames of a video show: they are squeezed, or cropped to the model's size."""
    height, width = source.cache.size
    if not source.cache.keep_aspect:
        height, width = next(read_frames(source.paths[name])).shape[:2]
    return round(width / height, 4)


def brightest(real: np.ndarray, made: np.ndarray) -> float:
    """Largest residual of two uint8 frames (H, W, C), in grey levels."""
    return float(_residual(real, made).max())


def residual_image(real: np.ndarray, made: np.ndarray, white: float) -> np.ndarray:
    """Residual of two uint8 frames (H, W, C) as a grey picture, uint8 (H, W, 1): ``white`` grey levels are white."""
    scaled = _residual(real, made) * (255 / white if white else 0)
    return np.round(np.minimum(scaled, 255)).astype(np.uint8)[..., None]


def boxes(real: np.ndarray, made: np.ndarray, blobs: dict[str, Any]) -> list[list[int]]:
    """Of the blobs of two frames: x0, y0, x1, y1 in pixels, the largest blob first."""
    return [list(blob.box) for blob in wmse(real, made, **blobs).blobs]


def _residual(real: np.ndarray, made: np.ndarray) -> np.ndarray:
    return np.abs((real.astype(np.float32) - made).mean(-1))
