"""Video files and folders of frames -> uint8 frames, one by one, all of them or an InputError.

Every frame is decoded in order and the number of frames is what came out, never what a header claims. A file that is
cut off, overwritten in the middle or otherwise damaged raises InputError with the number of the frame where it shows:
a video that silently lost frames would be scored against the wrong labels. How damage is noticed stands in
decoding/videos.py for videos and in decoding/pictures.py for pictures.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, tee
from typing import Any

import numpy as np

from ramvid_vad.errors import InputError
from ramvid_vad.runtime.progress import counted, say
from ramvid_vad.runtime.remote import local_copy
from ramvid_vad.video.decoding.damage import MAX_PIXELS, REMEDY, Damage, reason
from ramvid_vad.video.decoding.frame_rate import about_how_many
from ramvid_vad.video.decoding.pictures import luma, onto_black, read_samples, reoriented
from ramvid_vad.video.decoding.videos import pictures
from ramvid_vad.video.files import is_folder, list_frames
from ramvid_vad.video.finding import find_videos
from ramvid_vad.video.names import video_name

__all__ = ["MAX_PIXELS", "Clip", "find_videos", "read_colour_and_grey", "read_frames", "read_image", "video_name"]

_noted: set[str] = set()


def every(number: int) -> bool:
    return True


def read_colour_and_grey(path: str, only: Callable[[int], bool] = every) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each frame as RGB and as luma, the same bytes as two calls of :func:`read_frames` give; a video file is decoded
    once."""
    if is_folder(path):
        yield from zip(read_frames(path, True, only), read_frames(path, False, only), strict=True)
        return
    colour, grey = tee(_file_samples(path, rgb_and_luma, _note, only))
    yield from zip(
        _alike(path, True, (both and both[0] for both in colour)),
        _alike(path, False, (both and both[1] for both in grey)),
        strict=True,
    )


def read_numbers(path: str) -> Iterator[int]:
    """The number of each frame: a video file is decoded to its end, and no picture made of it."""
    for number, _ in enumerate(_samples(path, True, _note, lambda number: False)):
        yield number


def read_frames(
    path: str, rgb: bool = True, only: Callable[[int], bool] = every, tick: Callable[[], object] = lambda: None
) -> Iterator[np.ndarray]:
    """Yield every frame of a video file or a folder of frames as uint8 (H, W, C), C = 3 (RGB) or 1 (luma).

    path: a file or folder as found by find_videos, local or remote (a remote file is first copied to a temporary one).
    Display matrices and EXIF orientations are applied, mirrored ones too (not angles between quarter turns);
    transparent pixels are blended onto black (not those of VP8 and VP9, whose decoders pass over them); a variable
    frame rate changes nothing, each decoded frame counts once. Samples that fill their format are scaled to 8 bits by
    it; 16-bit grey and RGB, of which cameras use 12 or 14 bits or a narrow range, by the smallest and the largest
    sample of the whole video, which is read twice for it. Of several video streams the largest is read among those
    with at least half of the most pictures. What is chosen or left out is said once, on one line of standard error.
    only: frames to yield, by number; the others are decoded and no picture made of them.
    tick: called now and then before the first frame comes: while the file is fetched, and read once for its streams or
    its deep samples.
    Raises InputError, naming file and frame, for anything that cannot be read completely, for frames above MAX_PIXELS,
    and where frame size or depth change within the video.
    """
    yield from _alike(path, rgb, _samples(path, rgb, _note, only, tick), tick)


def _alike(
    path: str, rgb: bool, samples: Iterable[np.ndarray | None], tick: Callable[[], object] = lambda: None
) -> Iterator[np.ndarray]:
    """Samples of a video as uint8, without those that are None. InputError: no frame at all, or frames of several sizes
    or depths."""
    number, first, ends = -1, None, (0, 0)
    for number, frame in enumerate(samples):
        if frame is None:
            continue
        if first is None:
            first = frame
            if frame.dtype != np.uint8:
                ends = _ends(counted(_samples(path, rgb, tick=tick), lambda _: tick()))
                span = f"{ends[0]} to {ends[1]} of {8 * frame.itemsize} bits"
                _note(f"{path}: samples {span} become 0 to 255, one scale for all its frames")
        if frame.shape != first.shape:
            which = f"frame {number}" + (f" ({list_frames(path)[number]})" if is_folder(path) else "")
            raise InputError(
                f"{path}: {which} is {frame.shape[1]}x{frame.shape[0]}, the first one "
                f"{first.shape[1]}x{first.shape[0]}; all frames of a video must have one size: split or re-encode it"
            )
        if frame.itemsize != first.itemsize:
            bits = [8 * array.itemsize for array in (frame, first)]
            raise InputError(
                f"{path}: frame {number} has {bits[0]} bits per sample, the first one {bits[1]}; save all alike"
            )
        yield frame if frame.dtype == np.uint8 else _eight_bits(frame, *ends)
    if number < 0:
        raise InputError(f"{path}: no frame in it; {REMEDY}")


def read_image(path: str, rgb: bool = True) -> np.ndarray:
    """One picture file as uint8 (H, W, 3 or 1), upright by its EXIF orientation, transparency blended onto black.

    Deep samples are scaled by the picture's own smallest and largest one. InputError: it cannot be read completely.
    """
    samples = read_samples(path, rgb, _note)
    return samples if samples.dtype == np.uint8 else _eight_bits(samples, *_ends([samples]))


def _note(line: str) -> None:
    if line not in _noted:
        _noted.add(line)
        say(f"note: {line}", sys.stderr)


def _samples(
    path: str,
    rgb: bool,
    note: Callable[[str], None] = lambda line: None,
    only: Callable[[int], bool] = every,
    tick: Callable[[], object] = lambda: None,
) -> Iterator[np.ndarray | None]:
    """Frames as they are stored, upright: uint8, or integers of 16 or 32 bits; None for those not asked for."""
    if not is_folder(path):
        yield from _file_samples(path, lambda picture: _to_array(picture, rgb), note, only, tick)
        return
    for number, name in enumerate(list_frames(path)):
        yield read_samples(f"{path.rstrip('/')}/{name}", rgb, note) if only(number) else None


def _file_samples(
    path: str,
    convert: Callable[[Any], Any],
    note: Callable[[str], None],
    only: Callable[[int], bool],
    tick: Callable[[], object] = lambda: None,
) -> Iterator[Any]:
    """What ``convert`` makes of each decoded picture of a file; None for those not asked for."""
    import av

    number = 0
    with local_copy(path, tick) as local:
        try:
            for picture in pictures(local, lambda line: note(f"{path}: {line}"), tick):
                yield convert(picture) if only(number) else None
                number += 1
        except Damage as damage:
            raise InputError(f"{path}: {damage}; {REMEDY}") from damage
        except (av.FFmpegError, OSError, MemoryError, ValueError) as error:
            raise InputError(f"{path}: cannot be decoded at frame {number} ({reason(error)}); {REMEDY}") from error


def _to_array(picture, rgb: bool) -> np.ndarray:
    """(H, W, 3 or 1) of a decoded picture, upright: uint8, or uint16 where the format does not say what is white."""

    def converted(format: str) -> np.ndarray:
        return picture.to_ndarray(format=format, threads=1)  # else FFmpeg starts a pool of threads for each picture

    parts = picture.format.components
    if any(part.is_alpha for part in parts):
        array = onto_black(converted("rgba"))
        array = array if rgb else luma(array)
    elif parts[0].bits == 16 and (picture.format.is_rgb or len(parts) == 1):
        array = converted("rgb48le" if picture.format.is_rgb else "gray16le")
        array = array if array.ndim == 3 else array[..., None]
        if array.shape[2] != (3 if rgb else 1):
            array = np.repeat(array, 3, axis=-1) if rgb else luma(array)
    else:
        array = converted("rgb24" if rgb else "gray")
        array = array if rgb else array[..., None]
    matrix = picture.side_data.get("DISPLAYMATRIX")
    return reoriented(array, *_orientation(np.frombuffer(matrix, np.int32))) if matrix else array


def rgb_and_luma(picture) -> tuple[np.ndarray, np.ndarray]:
    """A decoded picture (av.VideoFrame), upright, as (H, W, 3) and as its own luma, (H, W, 1): uint8 or uint16."""
    return _to_array(picture, rgb=True), _to_array(picture, rgb=False)


def _orientation(matrix: np.ndarray) -> tuple[bool, bool, bool]:
    """A display matrix (ISO/IEC 14496-12, 8.2.2) as (exchange rows and columns, then mirror, then upside down).

    Its entries a, b, u, c, d, v, x, y, w map a pixel (p, q) to (a p + c q + x, b p + d q + y); of an angle between
    two quarter turns nothing is applied.
    """
    a, b, _, c, d = (int(entry) for entry in matrix[:5])
    if 50 * max(abs(b), abs(c)) < min(abs(a), abs(d)):
        return False, a < 0, d < 0
    if 50 * max(abs(a), abs(d)) < min(abs(b), abs(c)):
        return True, c < 0, b < 0
    return False, False, False


def _ends(frames) -> tuple[int, int]:
    """The smallest and the largest sample of all frames."""
    low, high = zip(*((int(frame.min()), int(frame.max())) for frame in frames), strict=True)
    return min(low), max(high)


def _eight_bits(samples: np.ndarray, low: int, high: int) -> np.ndarray:
    """``low`` to ``high`` -> 0 to 255, rounded."""
    span = max(high - low, 1)
    return (((samples.astype(np.int64) - low) * 510 + span) // (2 * span)).astype(np.uint8)


@dataclass(frozen=True)
class Clip:
    """Frames ``first`` to ``end`` (exclusive; None: the last) of a video."""

    path: str
    first: int = 0
    end: int | None = None

    def frames(self, rgb: bool = True) -> Iterator[np.ndarray]:
        """As ``read_frames``."""
        return islice(read_frames(self.path, rgb, self.__contains__), self.length)

    def colour_and_grey(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """As ``read_colour_and_grey``."""
        return islice(read_colour_and_grey(self.path, self.__contains__), self.length)

    def __contains__(self, number: int) -> bool:
        return self.first <= number and (self.end is None or number < self.end)

    @property
    def length(self) -> int | None:
        """None: not known before it is read."""
        return None if self.end is None else self.end - self.first

    def about_how_many(self) -> int:
        """Frames in it, as the container says; 0: not known."""
        there = about_how_many(self.path)
        return max((there if self.end is None else min(self.end, there)) - self.first, 0)

    def __str__(self) -> str:
        name = os.path.basename(self.path.rstrip("/"))
        return name if not self.first and self.end is None else f"{name} from frame {self.first}"
