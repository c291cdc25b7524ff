"""The frames themselves, in [-1, 1]: the space of the thesis. Nothing is fitted."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch

from ramvid_vad.spaces.space import Space
from ramvid_vad.video.cache import resize_frame


class PixelSpace(Space):
    """image_size: (height, width).  rgb: three channels, or one.  keep_aspect: crop the centre instead of squeezing."""

    name, cell = "pixels", 1

    def __init__(self, image_size: tuple[int, int], rgb: bool = True, keep_aspect: bool = False):
        self.image_size, self.rgb, self.keep_aspect = (int(image_size[0]), int(image_size[1])), rgb, keep_aspect

    @property
    def groups(self) -> dict[str, int]:
        return {"pixels": 3 if self.rgb else 1}

    @property
    def grid(self) -> tuple[int, int]:
        return self.image_size

    def encode(self, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """As ``video.datasets.to_float`` gives them: x / 127.5 - 1. Frames have the channels that ``rgb`` says."""
        for frame in frames:
            small = resize_frame(frame, self.image_size, self.keep_aspect)
            yield np.moveaxis(small, -1, 0) / np.float32(127.5) - np.float32(1)

    def mirrored(self, maps: torch.Tensor) -> torch.Tensor:
        return maps.flip(-1)

    def settings(self) -> dict[str, Any]:
        return {"image_size": list(self.image_size), "rgb": self.rgb, "keep_aspect": self.keep_aspect}
