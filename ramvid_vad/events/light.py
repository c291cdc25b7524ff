"""Day and night: which of two normals a picture belongs to, by how bright or how colourful it is.

Normal videos have two lights where, sorted by their median, there is a place between two of them at which the picture
jumps: the least of the brighter videos lies 1.5 times (or, of the colour that infra-red takes away, twice: MEASURES)
above the greatest of the darker ones, least and greatest being quantiles over the frames of a video. A video counts as
a whole.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ramvid_vad.detectors.fusion import FEWEST
from ramvid_vad.runtime.progress import counted, progress_bar
from ramvid_vad.video.decoding.frame_rate import about_how_many
from ramvid_vad.video.reader import read_frames

DAY, NIGHT = "day", "night"
STEP = 4  # pixels: every fourth of every fourth line is looked at
FLOOR = 4.0  # grey levels, added to both sides of a ratio: below it all is noise
ENDS = (0.05, 0.95)  # quantiles over the frames of a video


def _brightness(pixels: np.ndarray) -> float:
    return float(pixels.mean())


def _colour(pixels: np.ndarray) -> float:
    return float(np.ptp(pixels, axis=2).mean())


MEASURES: dict[str, tuple[Callable[[np.ndarray], float], float]] = {
    "brightness": (_brightness, 1.5),
    "colour": (_colour, 2.0),
}
"""Name -> of pixels (h, w, 3) in grey levels, mean or mean difference of the largest and the smallest channel; and the
ratio that parts two lights."""


@dataclass(frozen=True)
class Light:
    """measure: of MEASURES.  night, day: grey levels from which on, downwards and upwards, it is so; between them it
    stays what it was."""

    measure: str
    night: float
    day: float

    def of(self, frame: np.ndarray, before: str = "") -> str:
        """DAY or NIGHT, of a frame uint8 (H, W, 1 or 3). before: of the frame before it; "": the first one."""
        value = measured(frame)[self.measure]
        if not before:
            return DAY if value >= (self.night + self.day) / 2 else NIGHT
        return DAY if value >= self.day else NIGHT if value <= self.night else before

    def of_each(self, frames: Iterable[Sequence[Any]]) -> Iterator[tuple[str, Sequence[Any]]]:
        """The light of each (seconds, frame or pair of colour and luma, ...) before it, in order."""
        now = ""
        for each in frames:
            now = self.of(each[1][0] if isinstance(each[1], tuple) else each[1], now)
            yield now, each

    def of_video(self, path: str) -> str:
        """That of most frames."""
        lights = [self.of(frame) for frame in read_frames(path)]
        return max((DAY, NIGHT), key=lights.count)


def measured(frame: np.ndarray) -> dict[str, float]:
    pixels = frame[::STEP, ::STEP].astype(np.float32)
    return {name: of(pixels) for name, (of, _) in MEASURES.items()}


def two_lights(paths: Sequence[str], progress: bool = True) -> tuple[Light, list[str]] | None:
    """The light, and the videos of the night; None: the normal videos have one light, or the frames of one are too few
    (FEWEST) to know what is usual in it."""
    if len(paths) < 2:
        return None
    values: dict[str, dict[str, np.ndarray]] = {}
    with progress_bar("day or night", "frame", sum(map(about_how_many, paths)) or None, shown=progress) as bar:
        for path in paths:
            seen = [measured(frame) for frame in counted(read_frames(path), bar.update)]
            values[path] = {name: np.array([each[name] for each in seen]) for name in MEASURES}
    best: tuple[float, Light, list[str]] | None = None
    for name, (_, needed) in MEASURES.items():
        ordered = sorted(paths, key=lambda path: float(np.median(values[path][name])))
        ends = [np.quantile(values[path][name], ENDS) + FLOOR for path in ordered]
        for cut in range(1, len(ordered)):
            dark, bright = max(high for _, high in ends[:cut]), min(low for low, _ in ends[cut:])
            fewest = min(sum(len(values[path][name]) for path in part) for part in (ordered[:cut], ordered[cut:]))
            ratio = bright / dark
            if ratio >= needed and fewest >= FEWEST and (best is None or ratio / needed > best[0]):
                third = ratio ** (1 / 3)
                light = Light(name, float(dark * third - FLOOR), float(bright / third - FLOOR))
                best = (ratio / needed, light, [path for path in paths if path in ordered[:cut]])
    return best[1:] if best else None
