"""Is it the picture that is wrong? Black, frozen, covered, moved, light switched, cut: faults, never anomalies.

All is judged on a grey copy of LINES lines, against statistics of normal video: reference pictures of the scene, how
sharp it was, how bright, how much it changed from frame to frame. A fault's limits lie beyond all that normal video
showed. The scene is known again by its edges, which a slow change of light leaves where they are. "moved" is any
picture that is not the known scene; "cut" is a jump of time.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, NamedTuple

import cv2
import numpy as np

from ramvid_vad.detectors.motion import length
from ramvid_vad.errors import InputError
from ramvid_vad.runtime.beside import in_order
from ramvid_vad.video.finding import Thinned

LINES = 120
REFERENCES = 6  # pictures of the scene, at most
PER_REFERENCE = 25  # frames, spread evenly, whose median is one
BLOCKS = (4, 6)  # parts of the picture whose sharpness is looked at
CONFIRM = 0.8  # seconds that a fault must last; alarms are held back meanwhile
SETTLE = 1.0  # seconds after a fault until scores count again
FROZEN = 1.0  # seconds without any change, at least
OTHER_LIGHT = 1.5  # times darker or brighter than any normal picture
GAPS = 9  # distances of frames, of which a jump of time is far from the median
DARK = 24.0  # grey levels: no black picture is brighter


class Health(NamedTuple):
    """Of one frame. fault: "": none.  suspected: there may be one, alarms wait.  paused: nothing seen counts."""

    fault: str = ""
    suspected: bool = False
    paused: bool = False


class Look(NamedTuple):
    """What one grey copy is like. bright: 99th percentile.  mean: of the copy.  edges: length of the gradient.
    sharp (BLOCKS): its mean in each block."""

    grey: np.ndarray
    bright: float
    mean: float
    edges: np.ndarray
    sharp: np.ndarray


@dataclass
class Normal:
    """What normal video was like. Limits are extremes over its frames.

    bright, mean: least 99th percentile; least and greatest mean.  jump: greatest change of the mean from one frame to
    the next.  alike: least likeness (``likeness``) to the nearest reference.  change: mean |difference| of two frames
    that one in a hundred is below.  still: longest run of frames below a quarter of it.
    """

    bright: float
    mean: tuple[float, float]
    jump: float
    alike: float
    change: float
    still: int
    references: np.ndarray  # (k, h, w) float32: the edges of each
    sharp: np.ndarray  # BLOCKS: least mean of each block

    def settings(self) -> dict[str, Any]:
        arrays = ("references", "sharp")
        return {k: v for k, v in asdict(self).items() if k not in arrays}


def look(frame: np.ndarray) -> Look:
    """frame: uint8 (H, W, 3) or (H, W, 1)."""
    height, width = frame.shape[:2]
    size = (max(round(width * LINES / height), 8), LINES)
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY) if small.ndim == 3 else small
    soft = cv2.GaussianBlur(grey, (3, 3), 0)
    edges = length(cv2.Sobel(soft, cv2.CV_32F, 1, 0), cv2.Sobel(soft, cv2.CV_32F, 0, 1))
    sharp = cv2.resize(edges, BLOCKS[::-1], interpolation=cv2.INTER_AREA)
    bright = float(np.partition(grey.ravel(), -grey.size // 100)[-grey.size // 100])
    return Look(grey, bright, float(grey.mean()), edges, sharp)


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    """Correlation of two pictures of edges, -1 to 1."""
    a, b = one - one.mean(), other - other.mean()
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm > 0 else 0.0


def learn(videos: Iterable[Iterable[np.ndarray]], known: Normal | None = None) -> Normal:
    """From frames of normal videos, each in order, at least one frame; and from what was ``known`` before, whose limits
    only become wider. A picture of the scene joins those known if none of them is like it.

    InputError: frames of another shape than those known.
    """
    scene: Thinned[np.ndarray] = Thinned(REFERENCES * PER_REFERENCE)
    means, brights, jumps, changes = [], [], [], []
    sharp = None
    for video in videos:
        before = None
        for (now,) in in_order([partial(look, frame)] for frame in video):
            scene.add(now.grey)
            sharp = now.sharp if sharp is None else np.minimum(sharp, now.sharp)
            means.append(now.mean)
            brights.append(now.bright)
            if before is not None:
                jumps.append(abs(now.mean - before.mean))
                changes.append(float(cv2.absdiff(now.grey, before.grey).mean()))
            before = now
    kept = scene.items
    groups = np.array_split(np.stack(kept), min(REFERENCES, len(kept)))
    references = np.stack([look(np.median(g, axis=0).astype(np.uint8)[..., None]).edges for g in groups])
    if known:
        if references.shape[1:] != known.references.shape[1:]:
            wide = [round(each.shape[2] * 9 / each.shape[1], 1) for each in (references, known.references)]
            raise InputError(f"pictures of {wide[0]}:9 for a camera of {wide[1]}:9: normal video is of one camera")
        new = [r for r in references if max(likeness(r, other) for other in known.references) < known.alike]
        references = np.concatenate([known.references, *(r[None] for r in new)])
    alike = min(max(likeness(look(g[..., None]).edges, r) for r in references) for g in kept)
    change = float(np.quantile(changes, 0.01)) if changes else 0.0
    run = still = 0
    for value in changes:
        run = run + 1 if value <= change / 4 else 0
        still = max(still, run)
    found = Normal(
        min(brights), (min(means), max(means)), max(jumps, default=0.0), alike, change, still, references, sharp
    )
    return found if known is None else _either(known, found)


def _either(one: Normal, other: Normal) -> Normal:
    """What is healthy by one of both, with the references of the other."""
    return Normal(
        min(one.bright, other.bright),
        (min(one.mean[0], other.mean[0]), max(one.mean[1], other.mean[1])),
        max(one.jump, other.jump),
        min(one.alike, other.alike),
        min(one.change, other.change),
        max(one.still, other.still),
        other.references,
        np.minimum(one.sharp, other.sharp),
    )


class Monitor:
    """Frames in order -> the fault that each shows. All is measured in seconds: frames may have been dropped."""

    def __init__(self, normal: Normal, fps: float) -> None:
        self.normal, self.fps = normal, fps
        self.before: Look | None = None
        self.seconds = 0.0
        self.gaps: deque[float] = deque(maxlen=GAPS)  # between the last frames
        self.still = 0.0  # seconds without change
        self.wrong: tuple[str, float] = ("", 0.0)  # what is suspected, and since when
        self.fault, self.until = "", -1.0  # seconds until which it is held
        self.missing = -1.0  # seconds until which scores pause, for frames were missed

    def step(self, frame: np.ndarray, seconds: float, missed: bool = False) -> Health:
        """missed: frames before this one were not looked at, so that a jump of time is none of the source's; scores
        pause after it all the same, since much has moved at once."""
        now, before = look(frame), self.before
        gap = seconds - self.seconds if before else 1 / self.fps
        jump = gap < 0 or gap > max(1.0, 5 / self.fps, 3 * float(np.median(self.gaps)) if self.gaps else 0.0)
        self.before, self.seconds = now, seconds
        self.gaps.append(max(gap, 0.0))
        if jump and missed:
            self.missing = seconds + SETTLE
        sure = self._abrupt(now, before, jump and not missed)
        found = sure or self._lasting(now, before, gap)
        if found != self.wrong[0]:
            self.wrong = (found, seconds - 1 / self.fps)
        lasts = seconds - self.wrong[1] >= CONFIRM
        if found and (sure or found in ("black", "frozen") or lasts or self.fault):
            self.fault, self.until = found, seconds + SETTLE
        elif self.fault and seconds >= self.until:
            self.fault = ""
        return Health(self.fault, bool(found), seconds < self.missing)

    def _abrupt(self, now: Look, before: Look | None, cut: bool) -> str:
        """What one frame is enough for."""
        if before is None:
            return ""
        if cut:
            return "cut"
        jump = now.mean - before.mean
        blocks = cv2.resize(now.grey.astype(np.float32) - before.grey, BLOCKS[::-1], interpolation=cv2.INTER_AREA)
        whole = (np.sign(jump) * blocks > 0.25 * abs(jump)).mean()  # not one thing in a part of the picture
        if abs(jump) > max(8.0, 4 * self.normal.jump) and whole > 0.7 and not self._black(now):
            return "light switched"
        return ""

    def _black(self, now: Look) -> bool:
        return now.bright < min(DARK, self.normal.bright / 2)

    def _lasting(self, now: Look, before: Look | None, gap: float) -> str:
        """What must last for a while. gap: seconds since the frame before."""
        normal = self.normal
        if self._black(now):
            return "black"
        unchanged = before is not None and float(cv2.absdiff(now.grey, before.grey).mean()) <= normal.change / 4
        self.still = self.still + gap if unchanged else 0.0
        if self.still > max(FROZEN, 3 * normal.still / self.fps):
            return "frozen"
        low, high = normal.mean
        # edges grow and shrink with the light: sharpness is judged at the same brightness
        light = min(max(now.mean / max(low, 1.0), 0.25), 1.0)
        textured = normal.sharp > max(2.0, 0.25 * float(normal.sharp.mean()))
        dull = now.sharp < 0.4 * light * normal.sharp
        if textured.any() and dull[textured].mean() > 0.5:
            return "covered"
        slack = 1.0 if self.fault == "light switched" else OTHER_LIGHT
        if not low / slack - 8 <= now.mean <= slack * high + 8:
            return "light switched"
        if normal.references.shape[1:] != now.edges.shape:
            return "moved"  # another size of picture
        alike = max(likeness(now.edges, reference) for reference in normal.references)
        if alike < 0.6 * normal.alike:
            return "moved"
        return ""
