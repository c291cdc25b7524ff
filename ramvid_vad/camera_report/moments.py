"""What a report shows of one video: its events, and the worst moments where there is none."""

from dataclasses import dataclass

import numpy as np

from ramvid_vad.page.pictures import jpeg, with_heat, worst_place

SEVERITY = (
    (3.0, "very unusual"),
    (1.5, "unusual"),
    (1.0, "slightly unusual"),
)  # from this multiple of the threshold on
THUMBNAIL = 480  # pixels, longer side


@dataclass(frozen=True)
class Picture:
    """One frame under its heat. jpeg: base64.  size: height and width of the true frame, in pixels.
    box: x0, y0, x1, y1 of the one worst place in these; None: nowhere."""

    jpeg: str
    size: tuple[int, int]
    box: list[int] | None


@dataclass(frozen=True)
class Moment:
    """A stretch of frames [begin, end) and its worst one.

    score: the level at ``peak``, 1 = threshold.  parts: names of the scores that fired there.  picture: None where
    there is none.  clip: address of a video of it relative to the report; "": none.  normal: what is seen at its box in
    normal video, a JPEG in base64; "": not known.
    """

    begin: int
    end: int
    peak: int
    score: float
    parts: tuple[str, ...] = ()
    picture: Picture | None = None
    clip: str = ""
    normal: str = ""


def severity(multiple: float) -> str:
    """In words, of a score in multiples of the threshold."""
    return next((words for least, words in SEVERITY if multiple >= least), "below the threshold")


def picture(frame: np.ndarray, heat: np.ndarray, cold: float, hot: float) -> Picture:
    """A frame uint8 (H, W, C) under its map (h, w): ``cold`` and less is not seen, ``hot`` and more is hottest. The
    mark is around the place where the map is highest."""
    above = np.maximum(heat - cold, 0)
    height, width = frame.shape[:2]
    box = worst_place(above)
    if box:
        across, down = width / heat.shape[1], height / heat.shape[0]
        box = [round(v * s) for v, s in zip(box, (across, down, across, down), strict=True)]
    shown = with_heat(frame, above / max(hot - cold, 1e-6))
    return Picture(jpeg(shown, THUMBNAIL), (height, width), box)
