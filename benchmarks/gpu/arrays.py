"""Videos as the training sees them, in small files: what travels to a machine without the videos or a decoder.

Frames lie as uint8. Maps of the feature space are divided by STEP and rounded to int8: an error of 0.06 in numbers
whose standard deviation is 1. Both are stored as differences to the frame before, modulo 256, compressed: all but
the rounding of the maps is exact.
"""

from pathlib import Path

import numpy as np

STEP = 0.2  # of the standard deviation of a channel
KINDS = {"pixels": "uint8", "maps": "int8"}


def write_arrays(path: Path, kind: str, videos: dict[str, np.ndarray], held_out: list[str]) -> None:
    """videos: name -> uint8 (n, H, W, C) of kind "pixels", or float (n, C, h, w) of kind "maps".  held_out: names of
    those that training must not see."""
    content = {"kind": np.array(kind), "held_out": np.array(held_out)}
    for name, frames in videos.items():
        if kind == "maps":
            frames = np.clip(np.round(np.asarray(frames, np.float32) / STEP), -127, 127).astype(np.int8).view(np.uint8)
        content[f"video {name}"] = np.diff(frames, axis=0, prepend=np.zeros_like(frames[:1]))  # modulo 256
    np.savez_compressed(path, **content)


class Arrays:
    """The videos of a file, where the package expects a cache of decoded or encoded ones: ``frames(name)``."""

    def __init__(self, path: Path):
        with np.load(path) as file:
            self.kind, self.held_out = str(file["kind"]), [str(name) for name in file["held_out"]]
            stored = {name.removeprefix("video "): file[name] for name in file if name.startswith("video ")}
        self._videos = {name: np.cumsum(each, axis=0, dtype=np.uint8) for name, each in stored.items()}

    @property
    def learning(self) -> list[str]:
        return [name for name in self._videos if name not in self.held_out]

    def frames(self, name: str) -> np.ndarray:
        """uint8 (n, H, W, C) or float16 (n, C, h, w)."""
        whole = self._videos[name]
        return whole if self.kind == "pixels" else (whole.view(np.int8) * np.float32(STEP)).astype(np.float16)
