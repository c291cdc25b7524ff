"""Frames -> a video file."""

import os
from collections.abc import Iterable
from fractions import Fraction
from itertools import chain

import numpy as np

from ramvid_vad.errors import InputError
from ramvid_vad.runtime.files import clear_abandoned, replacing

QUICK = "veryfast"  # a preset of x264: a third of the work, for clips that are written while others are scored


def write_video(
    path: str,
    frames: Iterable[np.ndarray],
    fps: float = 10,
    crf: int = 12,
    comment: str = "",
    preset: str = "medium",
) -> None:
    """Write frames uint8 (H,W,C), C = 1 or 3, all of one size, as .gif (8-bit palette) or .mp4 (H.264, 4:2:0).

    frames: an array (T,H,W,C), or anything that yields one frame at a time; at least one.  fps: frames per second.
    crf: H.264 quality, 0 (lossless) to 51.  comment: kept in the mp4's metadata.  preset: how hard x264 tries.
    The file is whole or absent, whoever kills the run. InputError: it cannot be written.
    """
    import av

    rest = iter(frames)
    first = next(rest)
    height, width = first.shape[:2]
    # 4:2:0 wants even sides: the last row or column is repeated
    gif = os.path.splitext(path)[1] == ".gif"
    padding = ((0, 0), (0, 0)) if gif else ((0, height % 2), (0, width % 2))
    kind, codec, pix_fmt = ("gif", "gif", "rgb8") if gif else ("mp4", "libx264", "yuv420p")
    quality = {} if gif else {"crf": str(crf), "preset": preset}
    try:
        # the index in front: a player can start before it has all of the file
        clear_abandoned(os.path.dirname(path))
        options = {} if gif else {"movflags": "+faststart"}
        with (
            # absolute: FFmpeg takes a relative path with a colon in it for a protocol
            replacing(os.path.abspath(path)) as temporary,
            av.open(temporary, "w", format=kind, options=options) as container,
        ):
            if comment:
                container.metadata["comment"] = comment
            stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001), options=quality)
            stream.pix_fmt = pix_fmt
            stream.height, stream.width = height + padding[0][1], width + padding[1][1]
            for frame in chain([first], rest):
                whole = np.pad(np.broadcast_to(frame, (height, width, 3)), (*padding, (0, 0)), mode="edge")
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(whole), format="rgb24")))
            container.mux(stream.encode())
    except (OSError, av.FFmpegError) as error:
        raise InputError(f"{path}: cannot be written ({error})") from None


def video_comment(path: str) -> str:
    """The comment that ``write_video`` kept in an mp4; "" where there is none, or no readable file."""
    import av

    try:
        with av.open(os.path.abspath(path)) as container:
            return container.metadata.get("comment", "")
    except (OSError, av.FFmpegError):
        return ""
