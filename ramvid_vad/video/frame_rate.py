"""How many frames of a video make a second, as its container says."""

import os
from typing import Any

import av


def frame_rate(video: Any) -> float:
    """Frames per second of a local video file; 0: not known, as of folders of frames and of frames in memory."""
    if not isinstance(video, str) or not os.path.isfile(video):
        return 0.0
    try:
        with av.open(video) as container:
            rate = container.streams.video[0].average_rate
    except (av.FFmpegError, IndexError, OSError, ValueError):
        return 0.0
    return float(rate) if rate else 0.0
