"""How many frames a video has, and how many make a second, as its container says: nothing is decoded."""

import os
from typing import Any

from ramvid_vad.errors import InputError
from ramvid_vad.video.files import is_folder, list_frames


def frame_rate(video: Any) -> float:
    """Frames per second of a local video file; 0: not known, as of folders of frames and of frames in memory."""
    if not isinstance(video, str) or not os.path.isfile(video):
        return 0.0
    import av

    try:
        with av.open(os.path.abspath(video)) as container:  # a relative one with a colon: FFmpeg sees a protocol
            rate = container.streams.video[0].average_rate
    except (av.FFmpegError, IndexError, OSError, ValueError):
        return 0.0
    return float(rate) if rate else 0.0


def about_how_many(video: str) -> int:
    """Frames of a local video file or folder of frames, for estimates: decoding may give others; 0: not known."""
    import av

    try:
        if is_folder(video):
            return len(list_frames(video))
        with av.open(os.path.abspath(video)) as container:
            stream = container.streams.video[0]
            seconds = (container.duration or 0) / av.time_base
            return stream.frames or round(seconds * (stream.average_rate or 0))
    except (av.FFmpegError, IndexError, OSError, ValueError, InputError):
        return 0
