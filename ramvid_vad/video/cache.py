"""Decoded, resized frames on disk, memory-mapped: a second epoch decodes nothing.

One .npy file per video, uint8 (n, H, W, C), with the SHA-256 of the frames behind them. Its name holds a digest of
everything that decides its content: address, size and modification time of the video (of each picture for a folder of
frames), H, W, colour, aspect and the version of this format. It is written to a temporary file in the same folder and
renamed when complete, so several processes may build the same entry, and a killed one leaves no half entry behind.
What is not whole, or not what was written, is decoded again.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from ramvid_vad.errors import InputError
from ramvid_vad.runtime.files import temporary_beside
from ramvid_vad.video.files import fingerprint
from ramvid_vad.video.reader import read_frames
from ramvid_vad.video.row_files import RowFiles, file_name

CACHE_VERSION = 2
"""Raise this when the same video would give other pixels: old entries are then no longer found."""


def crop_box(height: int, width: int, size: tuple[int, int], keep_aspect: bool) -> tuple[float, float, float, float]:
    """The part (left, top, right, bottom) of a height x width frame that fills ``size`` = (H, W), in source pixels.

    keep_aspect: the largest centred rectangle of the aspect H:W, which is what scaling until the target is covered
    and cropping its centre shows (RaMViD's way); otherwise the whole frame, squeezed.
    """
    if not keep_aspect:
        return 0, 0, width, height
    scale = min(height / size[0], width / size[1])
    left, top = (width - size[1] * scale) / 2, (height - size[0] * scale) / 2
    return left, top, width - left, height - top


def resize_frame(frame: np.ndarray, size: tuple[int, int], keep_aspect: bool = False) -> np.ndarray:
    """Bilinear resize of a uint8 frame (h, w, C) to (H, W, C), as Pillow does it.

    Pillow's BILINEAR (torchvision's for PIL images, and the thesis's) widens its triangle filter with the reduction,
    so that each source pixel counts. OpenCV's INTER_LINEAR reads four pixels however far apart: from 360x240 to
    128x128 thin objects flicker as they move, which a residual would take for anomalies. When enlarging, both agree.
    """
    from PIL import Image

    image = Image.fromarray(frame if frame.shape[-1] == 3 else frame[..., 0])
    box = crop_box(*frame.shape[:2], size, keep_aspect)
    # A reduction above 8 is begun with whole-pixel means: twice as fast from 1080p, and equal to within rounding.
    image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR, box=box, reducing_gap=4.0)
    return np.asarray(image).reshape(*size, frame.shape[-1])


class CacheUnwritable(InputError):
    """The cache folder, and no video, is at fault."""


class FrameCache:
    """Frames of videos at one size, decoded once.

    cache_dir: folder for the entries, created if missing.  size: (H, W) in pixels.  rgb: 3 channels, or 1 (luma).
    keep_aspect: scale until the frame covers the target and crop its centre, instead of squeezing it.
    limit: bytes in the folder above which a run that decodes makes room afterwards; 0: none.
    An object sees each video in the state it had when first asked for; it can be pickled and used after a fork.
    """

    def __init__(
        self, cache_dir: str, size: tuple[int, int], rgb: bool = True, keep_aspect: bool = False, limit: float = 0
    ):
        if len(size) != 2 or min(size) < 1:
            raise InputError(f"frame size {size!r}: two positive numbers, height and width, are needed")
        self.cache_dir = os.path.abspath(cache_dir)
        self.size = (int(size[0]), int(size[1]))
        self.rgb = bool(rgb)
        self.keep_aspect = bool(keep_aspect)
        self.limit = float(limit)
        self._entries: dict[str, str] = {}
        self._files = RowFiles("|u1", (*self.size, 3 if self.rgb else 1))
        try:
            os.makedirs(self.cache_dir, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error

    def settings(self) -> dict:
        """The arguments that build an equal cache, fit for JSON."""
        return {"cache_dir": self.cache_dir, "size": self.size, "rgb": self.rgb, "keep_aspect": self.keep_aspect}

    def frames(self, path: str) -> np.ndarray:
        """All frames of a video, uint8 (n, H, W, C), memory-mapped and read-only; decoded here if not yet cached.

        Raises InputError for a damaged video, CacheUnwritable for a cache folder that cannot be written.
        """
        if self._is_missing(path):
            self.build(path)
            if self._is_missing(path):
                raise CacheUnwritable(
                    f"cache directory {self.cache_dir}: gives back other bytes than were written; choose another disk"
                )
        return self._files.read(self.entry(path))

    def missing(self, paths: Iterable[str]) -> list[str]:
        """Those of ``paths`` that frames() would have to decode."""
        return [path for path in paths if self._is_missing(path)]

    def _is_missing(self, path: str) -> bool:
        try:
            return not self._files.is_whole(self.entry(path))
        except InputError:  # decoding it says what is wrong with it
            return True

    def entry(self, path: str) -> str:
        """The cache file of a video, whether or not it exists."""
        if path not in self._entries:
            key = [CACHE_VERSION, fingerprint(path), self.size, self.rgb, self.keep_aspect]
            self._entries[path] = os.path.join(self.cache_dir, file_name(path, json.dumps(key)))
        return self._entries[path]

    def temporary(self) -> str:
        """A name for the file that ``build`` writes, for a caller who will have to remove what a lost process left."""
        return temporary_beside(os.path.join(self.cache_dir, ""))

    def build(self, path: str, tick: Callable[[int], object] = lambda count: None, temporary: str = "") -> int:
        """Decode a video into its entry and return the number of frames; one frame is held at a time.

        tick(k) is called after each frame with the number of frames so far, 0 while it is looked through before the
        first.  temporary: the file that is written.
        """

        def rows() -> Iterator[np.ndarray]:
            for count, frame in enumerate(read_frames(path, self.rgb, tick=lambda: tick(0)), 1):
                yield resize_frame(frame, self.size, self.keep_aspect)
                tick(count)

        try:
            return self._files.write(self.entry(path), rows(), temporary)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> CacheUnwritable:
        reason = error.strerror or error
        return CacheUnwritable(
            f"cache directory {self.cache_dir}: cannot be written ({reason}); free or grant space there, "
            "or choose another --cache_dir"
        )
