"""Picture files -> arrays, upright; and the eight orientations that EXIF and a video's display matrix know."""

import io
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from ramvid_vad.errors import InputError
from ramvid_vad.video.decoding.damage import HARMLESS, MAX_PIXELS, REMEDY, Damage, errors_said, reason, too_large
from ramvid_vad.video.files import open_bytes

if TYPE_CHECKING:
    from PIL import Image

_FORMATS = ["BMP", "DIB", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP"]
_EXIF_ORIENTATION = 0x0112
# TIFF 6.0, section 8, and Adobe's technical note on deflate
_COMPRESSION, _DEFLATE, _PHOTOMETRIC, _STRIPS, _TILES = 259, (8, 32946), 262, (273, 279), (324, 325)
# ISO/IEC 15444-1: an enumerated colour space, sRGB (I.5.3.3); the first two markers (A.4.1, A.5.1)
_SRGB, _SIZE = b"colr\x01\0\0\0\0\0\x10", b"\xff\x4f\xff\x51"
# EXIF 2.32, 4.6.4 A: (exchange rows and columns, then mirror left-right, then upside down)
_EXIF = {
    1: (False, False, False),
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}


def reoriented(array: np.ndarray, exchange: bool, mirror: bool, upside_down: bool) -> np.ndarray:
    """(H, W, C) with rows and columns exchanged, then mirrored left-right, then turned upside down."""
    array = array.swapaxes(0, 1) if exchange else array
    array = array[:, ::-1] if mirror else array
    return np.ascontiguousarray(array[::-1] if upside_down else array)


def onto_black(rgba: np.ndarray) -> np.ndarray:
    """RGB of (H, W, 4) with transparent pixels blended onto black."""
    alpha, colour, full = rgba[..., 3:], rgba[..., :3], np.iinfo(rgba.dtype).max
    return ((colour.astype(np.uint32) * alpha + full // 2) // full).astype(rgba.dtype)


def luma(rgb: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 or uint16 -> (H, W, 1), ITU-R BT.601."""
    import cv2

    return cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY)[..., None]


def read_samples(path: str, rgb: bool = True, note: Callable[[str], None] = lambda line: None) -> np.ndarray:
    """One picture file as it is stored, upright, (H, W, 3 or 1): uint8, or integers of 16 or 32 bits.

    note: is told, on one line, what is passed over. Raises InputError for anything that cannot be read completely.
    """
    from PIL import Image

    try:
        with open_bytes(path) as opened:
            data = opened.read()
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise too_large(image)
            if (parts := getattr(image, "n_frames", 1)) > 1:
                _refuse_equal_parts(image, parts)
                note(f"{path}: holds {parts} pictures; the first is read, the others are smaller (previews, gain maps)")
            _check_integrity(image, data)
            return _upright_samples(image, data, rgb)
    except Damage as damage:
        raise InputError(f"{path}: {damage}; {REMEDY}") from damage
    except (OSError, SyntaxError, ValueError, zlib.error, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: cannot be read as a picture ({reason(error)}); {REMEDY}") from error


def _refuse_equal_parts(image: "Image.Image", parts: int) -> None:
    """An animation, a stack of pages or a stereo pair: more than one frame. Previews and gain maps are smaller."""
    size = image.size
    for part in range(1, parts):
        image.seek(part)
        if image.size == size:
            raise Damage(f"holds {parts} pictures; one per file is expected: split it, or make it a video")
    image.seek(0)


def _check_integrity(image: "Image.Image", data: bytes) -> None:
    """Finds damage that Pillow fills up: by the checksums of PNG and deflated TIFF, and by FFmpeg's stricter JPEG."""
    if image.format == "PNG":
        from PIL import Image

        with Image.open(io.BytesIO(data), formats=["PNG"]) as other:
            other.verify()
    if image.format == "TIFF" and image.tag_v2.get(_COMPRESSION) in _DEFLATE:
        for parts, sizes in (_STRIPS, _TILES):
            for start, size in zip(image.tag_v2.get(parts, ()), image.tag_v2.get(sizes, ()), strict=False):
                zlib.decompress(data[start : start + size])
    if image.format in ("JPEG", "MPO"):
        _decode_jpeg(data)


def _decode_jpeg(data: bytes) -> None:
    import av

    decoder = av.CodecContext.create("mjpeg", "r")
    decoder.thread_count = 1
    failure: Exception | None = None
    with errors_said() as said:
        try:
            decoder.decode(av.Packet(data))
        except av.error.PatchWelcomeError:  # a kind of JPEG that it does not know, such as arithmetic coding
            return
        except (av.FFmpegError, ValueError) as error:
            failure = error
    texts = [text for _, text in said if not text.startswith(HARMLESS)]
    if failure or texts:
        raise Damage(f"damaged ({texts[0] if texts else reason(failure)})")


def _orientation(image: "Image.Image") -> int | None:
    """That of its EXIF, a note beside the picture; None: there is none, or it is damaged."""
    with suppress(SyntaxError, struct.error):
        return image.getexif().get(_EXIF_ORIENTATION)
    return None


def _upright_samples(image: "Image.Image", data: bytes, rgb: bool) -> np.ndarray:
    deep = _is_deep_colour(image, data)  # known until the samples are loaded
    # TIFF pictures, and these alone, are turned by Pillow and OpenCV
    turned = 1 if image.format == "TIFF" else _orientation(image)
    if image.mode == "F":
        raise Damage("floating-point samples have no fixed scale; save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        samples = np.asarray(image)[..., None]
        if image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == 0:  # MinIsWhite
            samples = np.iinfo(samples.dtype).max - samples
        samples = np.repeat(samples, 3, axis=-1) if rgb else samples
    elif deep:  # Pillow would keep the upper 8 bits, where 12 bits in use leave 16 levels
        image.load()  # its checks for damage
        samples = _with_16_bits(data)
    elif image.has_transparency_data:
        samples = np.asarray(image.convert("RGBA"))
    else:
        samples = np.asarray(image.convert("RGB" if rgb else "L"))
    if samples.ndim == 2:
        samples = samples[..., None]
    if samples.shape[2] == 4:
        samples = onto_black(samples)
    if samples.shape[2] == 3 and not rgb:
        samples = luma(samples)
    return reoriented(samples, *_EXIF.get(turned, _EXIF[1]))


def _with_16_bits(data: bytes) -> np.ndarray:
    """RGB or RGBA, uint16 (H, W, 3 or 4)."""
    import cv2

    samples = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if samples is None or samples.ndim != 3:
        raise Damage("cannot be read with 16 bits per sample")
    return cv2.cvtColor(samples, cv2.COLOR_BGR2RGB if samples.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)


def _is_deep_colour(image: "Image.Image", data: bytes) -> bool:
    """Whether a picture that is to be loaded has 9 to 16 bits per colour, and OpenCV reads them."""
    if image.format == "JPEG2000":  # what is no sRGB comes out of OpenCV in other colours
        return _SRGB in data and 8 <= data[data.index(_SIZE) + 42] & 0x7F < 16  # bits of the first component, less 1
    arguments = image.tile[0].args if image.tile else ""
    raw_mode, *more = arguments if isinstance(arguments, tuple) else (arguments,)
    return "16" in str(raw_mode) or (image.format == "PPM" and more > [255])  # "RGB;16B"; "RGB" and the largest value
