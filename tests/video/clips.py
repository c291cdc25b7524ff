"""Small videos made on the spot: whole ones of every kind, for the tests to read and to damage."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

X264 = {"qp": "20"}  # without rate control the same file comes out every time
WHOLE = {  # name: codec, pixel format, options of the container, options of the codec
    "h264.mp4": ("libx264", "yuv420p", {}, X264),
    "faststart.mp4": ("libx264", "yuv420p", {"movflags": "faststart"}, X264),
    "fragmented.mp4": ("libx264", "yuv420p", {"movflags": "frag_keyframe+empty_moov"}, X264 | {"g": "6"}),
    "hevc.mp4": ("libx265", "yuv420p", {}, {"x265-params": "log-level=none"}),
    "UPPER.MP4": ("libx264", "yuv420p", {}, X264),
    "xvid.avi": ("mpeg4", "yuv420p", {}, {"b": "4000000"}),
    "mjpeg.avi": ("mjpeg", "yuvj420p", {}, {}),
    "ffv1.avi": ("ffv1", "bgr0", {}, {}),
    "ffv1.mkv": ("ffv1", "bgr0", {}, {}),
    "h264.mkv": ("libx264", "yuv420p", {}, X264),
    "live.mkv": ("libx264", "yuv420p", {"live": "1"}, X264),
    "vp8.webm": ("libvpx", "yuv420p", {}, {"auto-alt-ref": "1", "lag-in-frames": "12", "arnr-maxframes": "5"}),
    "vp9.webm": ("libvpx-vp9", "yuv420p", {}, {}),
    "prores.mov": ("prores_ks", "yuv422p10le", {}, {}),
    "h264.m4v": ("libx264", "yuv420p", {}, X264),
    "mpeg1.mpg": ("mpeg1video", "yuv420p", {}, {"b": "4000000"}),
    "mpeg2.mpg": ("mpeg2video", "yuv420p", {}, {"b": "4000000"}),
    "animation.GIF": ("gif", "rgb8", {}, {}),
}
LENGTH, HEIGHT, WIDTH = 31, 48, 64


def pictures(length: int = LENGTH, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """uint8 (n, h, w, 3): a smooth colour field that moves, and a level that rises with the frame number."""
    t, y, x = np.ogrid[:length, :height, :width]
    red = 40 + 60 * np.sin((x + 3 * t) / 9) + 2 * t
    green = 120 + 50 * np.cos((y - t) / 7) + 0 * x
    blue = 60 + 3 * t + x + 0 * y
    return np.clip(np.stack(np.broadcast_arrays(red, green, blue), -1), 0, 255).astype(np.uint8)


def write_video(
    path: Path,
    frames: np.ndarray,
    codec: str = "ffv1",
    pix_fmt: str = "bgr0",
    container_options: dict | None = None,
    codec_options: dict | None = None,
    times: list[int] | None = None,
    rotation: int = 0,
    source: str = "rgb24",
    muxer: str = "",
) -> Path:
    """Encode frames at 25 per second. times: presentation times in frames.  rotation: display matrix in degrees."""
    kind = muxer or {".gif": "gif", ".m4v": "mp4"}.get(path.suffix.lower())
    with av.open(str(path), "w", format=kind, options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=25, options=codec_options or {})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pix_fmt
        stream.time_base = Fraction(1, 25)
        if rotation:
            stream.set_display_rotation(rotation)
        for i, array in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format=source)
            frame.pts, frame.time_base = (times[i] if times else i), Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_packets(source: Path, path: Path, wanted: Callable[[int, av.Packet], bool]) -> Path:
    """Those packets of a video that are ``wanted``, given number and packet, as they are."""
    with av.open(str(source)) as whole, av.open(str(path), "w") as part:
        stream = part.add_stream_from_template(whole.streams.video[0], opaque=True)
        for number, packet in enumerate(list(whole.demux(video=0))):
            if packet.size and wanted(number, packet):
                packet.stream = stream
                part.mux(packet)
    return path


def write_tail(source: Path, path: Path, first: int) -> Path:
    """The packets of a video from number ``first`` on, as they are."""
    return write_packets(source, path, lambda number, packet: number >= first)


def write_whole(folder: Path, name: str, length: int = LENGTH) -> Path:
    """One of WHOLE."""
    codec, pix_fmt, container_options, codec_options = WHOLE[name]
    return write_video(folder / name, pictures(length), codec, pix_fmt, container_options, codec_options)


def write_frames(folder: Path, frames: np.ndarray, names: list[str]) -> Path:
    """A folder of pictures."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in zip(names, frames, strict=True):
        Image.fromarray(frame).save(folder / name)
    return folder
