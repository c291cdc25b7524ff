"""Pictures of normal video that are kept with a camera, so that an event can be shown beside the one most like it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F

from ramvid_vad.detectors.detector import CELL, Detector
from ramvid_vad.events.events import Event
from ramvid_vad.page.pictures import decoded, encoded
from ramvid_vad.spaces.frame_size import reduced, resized
from ramvid_vad.video.finding import Thinned, evenly_spread

EXAMPLES = 48  # pictures of normal video, at most, evenly spread
ADDED = 8  # pictures of each video that is added later
POOLED = 2  # side in cells of the squares whose mean look is kept
AROUND = 0.5  # of the box's sides, shown around it
QUALITY = 85  # of the JPEGs


@dataclass
class Examples:
    """jpegs: RGB pictures, at most 240 lines high, all of one size.  looks: float16 (n, h, w, D), of each picture what
    ``Detector.looks`` says, its mean over POOLED x POOLED cells; None: of a detector that knows no looks.

    Of pictures of 240 x 360 pixels about 100 kB each, 5 MB in all.
    """

    jpegs: list[bytes] = field(default_factory=list)
    looks: torch.Tensor | None = None

    def add(self, frames: Sequence[np.ndarray], detector: Detector, most: int) -> None:
        """Take in at most ``most`` of reduced frames uint8 (H, W, 3), evenly spread, at the first one's size."""
        size = self._size() or frames[0].shape[:2]
        for frame in evenly_spread(frames, most):
            frame = resized(frame, size)
            looks = self._pooled(frame, detector)
            self.jpegs.append(encoded(frame, quality=QUALITY))
            if looks is not None:
                looks = looks[None].half()
                self.looks = looks if self.looks is None else torch.cat([self.looks, looks])

    def nearest(self, frame: np.ndarray, box: Sequence[int], detector: Detector) -> int | None:
        """Number of the picture whose look in a box of a frame uint8 (H, W, 3) is nearest to what is seen there: the
        least mean squared distance. box: x0, y0, x1, y1 in the frame's pixels.  None: nothing is known to compare."""
        if self.looks is None:
            return None
        size = self._size()
        here = self._pooled(resized(frame, size), detector)
        rows, columns = (
            slice(int(low), max(int(np.ceil(high)), int(low) + 1))
            for low, high in np.array(_scaled(box, frame.shape, size)).reshape(2, 2).T[::-1] / (CELL * POOLED)
        )
        away = self.looks[:, rows, columns].float() - here[rows, columns]
        return int(away.square().sum(-1).mean((1, 2)).argmin())

    def crop(self, number: int, box: Sequence[int], size: Sequence[int]) -> np.ndarray:
        """Uint8 (h, w, 3) of a picture: a box of a frame of ``size`` (H, W) pixels, and AROUND it."""
        picture = decoded(self.jpegs[number])
        high, wide = picture.shape[:2]
        x0, y0, x1, y1 = _scaled(box, size, (high, wide))
        across, down = AROUND * (x1 - x0), AROUND * (y1 - y0)
        left, top = max(int(x0 - across), 0), max(int(y0 - down), 0)
        return picture[top : min(int(np.ceil(y1 + down)), high), left : min(int(np.ceil(x1 + across)), wide)]

    def tensors(self) -> dict[str, torch.Tensor]:
        pictures = {
            f"example.{i:05d}": torch.frombuffer(bytearray(j), dtype=torch.uint8) for i, j in enumerate(self.jpegs)
        }
        return pictures | ({} if self.looks is None else {"looks": self.looks})

    @classmethod
    def restore(cls, tensors: dict[str, torch.Tensor]) -> "Examples":
        """Of a camera that was fitted before there were any: none."""
        names = sorted(name for name in tensors if name.startswith("example."))
        return cls([tensors[name].numpy().tobytes() for name in names], tensors.get("looks"))

    def _size(self) -> tuple[int, int] | None:
        return decoded(self.jpegs[0]).shape[:2] if self.jpegs else None

    def _pooled(self, frame: np.ndarray, detector: Detector) -> torch.Tensor | None:
        frame = np.repeat(frame, 3, axis=2) if frame.shape[2] == 1 else frame
        looks = detector.looks(frame)
        if looks is None:
            return None
        return F.avg_pool2d(looks.permute(2, 0, 1), POOLED, ceil_mode=True, count_include_pad=False).permute(1, 2, 0)


def keeping(
    frames: Iterable[tuple[np.ndarray, np.ndarray]], least: int, kept: list[np.ndarray]
) -> Iterator[np.ndarray]:
    """The luma of each frame (colour, luma); ``kept`` gets at least ``least`` in colour, reduced, as ``Thinned`` keeps
    them."""
    found = Thinned(least, reduced)
    for colour, luma in frames:
        found.add(colour)
        yield luma
    kept += found.items


class Search:
    """The nearest example of each event of one stream; looked for when the event is told and has another peak."""

    def __init__(self, examples: Examples, detector: Detector) -> None:
        self._examples, self._detector = examples, detector
        self._peak: tuple[int, np.ndarray] | None = None
        self._found: int | None = None

    def peak(self, number: int, frame: np.ndarray) -> None:
        """The highest frame so far of the event that goes on."""
        self._peak, self._found = (number, frame), None

    def show(self, event: Event) -> None:
        """Set its ``normal_example``."""
        if event.box and self._peak and self._peak[0] == event.peak:
            if self._found is None:
                self._found = self._examples.nearest(self._peak[1], event.box, self._detector)
            event.normal_example = self._found


def _scaled(box: Sequence[int], size: Sequence[int], other: Sequence[int]) -> list[float]:
    """A box in pixels of a picture of ``size`` (H, W), in those of one of ``other``."""
    across, down = other[1] / size[1], other[0] / size[0]
    return [box[0] * across, box[1] * down, box[2] * across, box[3] * down]
