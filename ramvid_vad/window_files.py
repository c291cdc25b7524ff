"""Windows of a video whose reconstruction is not finished yet: one file each, in the folder ``.parts/NAME``."""

import os
import re
from collections.abc import Iterable
from contextlib import suppress

import numpy as np

from ramvid_vad.errors import InputError
from ramvid_vad.reconstructions import PARTS, reason, write_whole
from ramvid_vad.runtime.files import clear_abandoned


def part_file(folder: str, name: str, window: int) -> str:
    """Where one window of the video ``name`` lies until the video is finished."""
    return os.path.join(folder, PARTS, name, f"window{window:06d}.npz")


def write_part(path: str, frames: np.ndarray) -> None:
    """The scored frames of one window, uint8 (k, H, W, C). InputError: it cannot be written."""

    def write(temporary: str) -> None:
        with open(temporary, "wb") as file:
            np.savez_compressed(file, frames=frames)

    write_whole(path, write)


def read_part(path: str, rows: int) -> np.ndarray:
    """What :func:`write_part` wrote. InputError: a damaged file or one of other than ``rows`` frames, which is removed
    so that the same command makes it again."""
    try:
        with np.load(path, allow_pickle=False) as part:
            frames = part["frames"]
        if frames.dtype != np.uint8 or frames.ndim != 4 or len(frames) != rows:
            raise ValueError(f"{frames.dtype} {frames.shape} in place of {rows} frames")
    except Exception as error:  # a damaged file surfaces as any of a dozen types
        with suppress(OSError):
            os.remove(path)
        raise InputError(f"{path}: damaged ({reason(error)}), and removed: run the same command again") from None
    return frames


def remove_leftovers(folder: str, names: Iterable[str]) -> None:
    """Remove the windows of finished videos and what killed runs left of files they were writing; nothing else."""
    for place in {folder, *(os.path.dirname(os.path.join(folder, name)) for name in names)}:
        clear_abandoned(place, grace=0)
    top = os.path.join(folder, PARTS)
    for root, _, files in os.walk(top, topdown=False):
        clear_abandoned(root, grace=0)
        for file in files:
            if re.fullmatch(r"window\d{6,}\.npz", file):
                with suppress(OSError):
                    os.remove(os.path.join(root, file))
        with suppress(OSError):  # somebody put a file of his own there
            os.rmdir(root)
