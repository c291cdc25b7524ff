"""Video files and folders of frames -> uint8 frames, one by one, all of them or an InputError.

Every frame is decoded in order and the number of frames is what came out, never what a header claims. A file that is
cut off, overwritten in the middle or otherwise damaged raises InputError with the number of the frame where it shows:
a video that silently lost frames would be scored against the wrong labels.

How damage is noticed: FFmpeg decodes with err_detect=explode and one thread, so that an error belongs to its packet;
packets and frames that it marks corrupt are refused; its error messages count as damage while packets are read, and
from the decoders that report in no other way; and three numbers must agree: packets promised by the container's index,
packets read, frames decoded.
"""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from ramvid_vad.errors import InputError
from ramvid_vad.video.containers import structural_damage
from ramvid_vad.video.files import find_videos, is_folder, list_frames, local_copy, open_bytes, video_name
from ramvid_vad.video.mp4_tables import table_damage

__all__ = ["MAX_PIXELS", "find_videos", "read_frames", "read_image", "video_name"]

MAX_PIXELS = 2**26
"""Pixels per frame above which a video is refused before memory is allocated (8192 x 8192, 192 MiB as RGB)."""

# Playlists and image patterns, which make FFmpeg open further files, are not among the formats.
FORMATS = "mov,matroska,avi,gif,mpeg,mpegvideo,m4v,asf,flv,ogg"
REMEDY = "copy it again from its source, re-encode it, or take it out of the data"
LOG_IS_ERROR = frozenset(["ffv1", "gif"])
"""Decoders that conceal damage and only log it (a CRC mismatch, an LZW error)."""
HIDDEN_FRAMES = frozenset(["vp8"])
"""Codecs whose packets may hold only a reference picture that is never shown."""
EMPTY_PICTURES = {"mpeg4": 16, "msmpeg4v3": 16}
"""Codecs with placeholder packets for "same picture again", and their largest size in bytes."""

Message = tuple[int, str, str]
"""What FFmpeg said: level, who (a demuxer's or decoder's name), text."""


def read_frames(path: str, rgb: bool = True) -> Iterator[np.ndarray]:
    """Yield every frame of a video file or a folder of frames as uint8 (H, W, C), C = 3 (RGB) or 1 (luma).

    path: a file or folder as found by find_videos, local or remote (a remote file is first copied to a temporary one).
    Rotation flags of multiples of 90 degrees are applied, as are EXIF orientations; transparent pixels are blended
    onto black; 10-bit and 16-bit samples are scaled to 8 bits; a variable frame rate changes nothing, each decoded
    frame counts once. Raises InputError, naming file and frame, for anything that cannot be read completely, for
    frames above MAX_PIXELS, and where the frame size changes within the video.
    """
    frames = _folder_frames(path, rgb) if is_folder(path) else _file_frames(path, rgb)
    number, first = -1, None
    for number, frame in enumerate(frames):
        first = first or frame.shape
        if frame.shape != first:
            raise InputError(
                f"{path}: frame {number} is {frame.shape[1]}x{frame.shape[0]}, the first one {first[1]}x{first[0]}; "
                "all frames of a video must have one size: split or re-encode it"
            )
        yield frame
    if number < 0:
        raise InputError(f"{path}: no frame in it; {REMEDY}")


class _Damage(Exception):
    """What is wrong, in a few words; the caller adds the file, the frame and the remedy."""


def _file_frames(path: str, rgb: bool) -> Iterator[np.ndarray]:
    import av

    number = 0
    with local_copy(path) as local:
        try:
            for picture in _pictures(local):
                yield _to_array(picture, rgb)
                number += 1
        except _Damage as damage:
            raise InputError(f"{path}: {damage}; {REMEDY}") from damage
        except (av.FFmpegError, OSError, MemoryError, ValueError) as error:
            raise InputError(f"{path}: cannot be decoded at frame {number} ({_reason(error)}); {REMEDY}") from error


def _pictures(local: str) -> Iterator:
    """Decoded pictures (av.VideoFrame) of a local file; _Damage or av.FFmpegError where one is missing or damaged."""
    if not os.path.isfile(local):
        raise _Damage("neither a file nor a folder" if os.path.exists(local) else "does not exist")
    if os.path.getsize(local) == 0:
        raise _Damage("an empty file (0 bytes)")
    if wrong := structural_damage(local):
        raise _Damage(wrong)
    with _errors_said() as said:
        container = _open(local, said)
    with container:
        stream = _video_stream(container, said)
        codec = stream.codec_context
        promised = _promised(container, stream, said)
        tally = _Tally(codec.name)
        packets = container.demux(stream)
        while True:
            with _errors_said() as said:
                packet = next(packets, None)
            if packet is None:
                break
            if said or packet.is_corrupt:
                raise _Damage(f"damaged after frame {tally.frames} ({_first(said) if said else 'corrupt packet'})")
            tally.read(packet)
            with _errors_said() as said:
                pictures = packet.decode()
            if said and codec.name in LOG_IS_ERROR:
                raise _Damage(f"damaged at frame {tally.frames} ({_first(said)})")
            for picture in pictures:
                if picture.is_corrupt:
                    raise _Damage(f"damaged at frame {tally.frames} (corrupt picture)")
                if picture.width * picture.height > MAX_PIXELS:
                    raise _too_large(picture)
                tally.shown(picture)
                yield picture
        if tally.packets < promised:
            raise _Damage(f"truncated: it should hold {promised} pictures, {tally.packets} can be read")
        if _is_mp4(container) and (wrong := table_damage(local, tally.frames)):
            raise _Damage(wrong)
        if tally.undecoded() > 0:
            raise _Damage(f"{tally.undecoded()} of its {tally.packets} pictures do not decode")


def _open(local: str, said: list[Message]):
    """The container of a local file, opened without following anything that it refers to."""
    import av

    try:
        return av.open(
            os.path.abspath(local),  # a bare name with a colon in it would be taken for a protocol
            options={"format_whitelist": FORMATS, "protocol_whitelist": "file"},
            metadata_errors="replace",
        )
    except (av.FFmpegError, OSError, ValueError, MemoryError) as error:
        told = _first(said) if said else _reason(error)
        told = "its content is no known video container" if "whitelist" in told else told
        raise _Damage(f"cannot be opened as a video ({told})") from error


def _video_stream(container, said: list[Message]):
    """The first video stream that is not a cover picture, its decoder set to report damage instead of hiding it."""
    from av.stream import Disposition

    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        kinds = sorted({stream.type for stream in container.streams}) or ["nothing"]
        raise _Damage(f"no video stream in it, only {', '.join(kinds)}")
    codec = streams[0].codec_context
    if codec is None:
        raise _Damage("its video codec is not supported")
    if not codec.width * codec.height:
        raise _Damage(f"no valid picture size in its header ({_first(said) if said else 'none given'})")
    if codec.width * codec.height > MAX_PIXELS:
        raise _too_large(codec)
    codec.options = {"err_detect": "crccheck+explode", "max_pixels": str(MAX_PIXELS)}
    codec.thread_count = 1
    return streams[0]


def _promised(container, stream, said: list[Message]) -> int:
    """How many packets the container's index lists; 0 when it has none. ``said``: errors while it was opened."""
    said_by_container = [message for message in said if message[1] == container.format.name]
    if said_by_container and _is_mp4(container):
        return stream.frames  # odd but harmless tables are reported like damaged ones: hold it to the header's count
    if said_by_container:
        raise _Damage(f"damaged ({_first(said_by_container)})")
    # Not the header's count: an edit list may leave out samples of an mp4, and an avi counts repeats without data.
    return sum(entry.size > 0 for entry in stream.index_entries)


def _is_mp4(container) -> bool:
    return container.format.name.startswith("mov")


def _too_large(picture) -> _Damage:
    return _Damage(f"claims {picture.width}x{picture.height}, above the limit of {MAX_PIXELS} pixels per frame")


class _Tally:
    """Packets read against pictures shown: a decoder may drop a picture without an error."""

    def __init__(self, codec: str):
        self.codec = codec
        self.packets = self.frames = 0
        self.without_picture = 0  # cut away by an edit list, or placeholders for "same picture again"
        self.fields = False  # interlaced: two packets may be one picture
        # HEVC pictures due before the first one need pictures from before the file was cut: no decoder shows them.
        self.leading = 0
        self.first_read = self.first_shown = None

    def read(self, packet) -> None:
        if not packet.size:
            return
        if not self.packets:
            self.first_read = packet.pts
        self.packets += 1
        if packet.is_discard or packet.size <= EMPTY_PICTURES.get(self.codec, 0):
            self.without_picture += 1
        elif self.codec == "hevc" and packet.pts is not None and self.first_read is not None:
            self.leading += packet.pts < self.first_read

    def shown(self, picture) -> None:
        if not self.frames:
            self.first_shown = picture.pts
        self.frames += 1
        self.fields = self.fields or picture.interlaced_frame

    def undecoded(self) -> int:
        if self.fields or self.codec in HIDDEN_FRAMES:
            return 0
        leading = self.leading if self.first_shown == self.first_read else 0
        return self.packets - self.without_picture - leading - self.frames


@contextmanager
def _errors_said() -> Iterator[list[Message]]:
    """Collects FFmpeg's error messages on this thread."""
    from av import logging

    if logging.get_level() != logging.ERROR:
        logging.set_level(logging.ERROR)
        logging.set_skip_repeated(False)
    with logging.Capture(local=True) as said:
        yield said


def _first(said: list[Message]) -> str:
    return " ".join(said[0][2].split())


def _reason(error: Exception) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error or type(error).__name__).split())


def _to_array(picture, rgb: bool) -> np.ndarray:
    """uint8 (H, W, 3 or 1) of a decoded picture, upright."""
    if any(component.is_alpha for component in picture.format.components):
        array = _onto_black(picture.to_ndarray(format="rgba"), rgb)
    else:
        array = picture.to_ndarray(format="rgb24" if rgb else "gray")
        array = array if rgb else array[..., None]
    quarter_turns, rest = divmod(picture.rotation, 90)  # counter-clockwise, as numpy counts them
    return np.ascontiguousarray(np.rot90(array, quarter_turns)) if quarter_turns and not rest else array


def _onto_black(rgba: np.ndarray, rgb: bool) -> np.ndarray:
    from PIL import Image

    alpha = rgba[..., 3:]
    colour = rgba[..., :3]
    if alpha.min() < 255:
        colour = ((colour.astype(np.uint16) * alpha + 127) // 255).astype(np.uint8)
    return np.ascontiguousarray(colour) if rgb else np.asarray(Image.fromarray(colour).convert("L"))[..., None]


def _folder_frames(folder: str, rgb: bool) -> Iterator[np.ndarray]:
    for name in list_frames(folder):
        yield read_image(f"{folder.rstrip('/')}/{name}", rgb)


def read_image(path: str, rgb: bool = True) -> np.ndarray:
    """One picture file as uint8 (H, W, 3 or 1), upright by its EXIF orientation, transparency blended onto black."""
    from PIL import Image, ImageOps

    try:
        with open_bytes(path) as opened:
            file = io.BytesIO(opened.read())  # of a file, as many bytes would be reserved as a part claims to have
        with Image.open(file, formats=["BMP", "JPEG", "PNG", "TIFF"]) as image:
            if image.width * image.height > MAX_PIXELS:
                raise _too_large(image)
            if image.format == "TIFF" and image.n_frames > 1:
                raise _Damage(f"holds {image.n_frames} pictures; one per file is expected")
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I"):
                samples = np.asarray(image).astype(np.int64)
                if samples.min() < 0 or samples.max() > 65535:
                    raise _Damage("samples outside 0..65535")
                image = Image.fromarray((samples // 257).astype(np.uint8))
            if image.mode == "F":
                raise _Damage("floating-point samples have no fixed scale; save it with 8 or 16 bits")
            if image.has_transparency_data:
                return _onto_black(np.asarray(image.convert("RGBA")), rgb)
            array = np.asarray(image.convert("RGB" if rgb else "L"))
            return array if rgb else array[..., None]
    except _Damage as damage:
        raise InputError(f"{path}: {damage}; {REMEDY}") from damage
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: cannot be read as a picture ({_reason(error)}); {REMEDY}") from error
