"""How many frames a video has, and how many make a second, as its container says: no picture is decoded."""

import os
from typing import Any

from ramvid_vad.errors import InputError
from ramvid_vad.video.decoding.damage import Damage
from ramvid_vad.video.decoding.videos import choose_stream, open_video
from ramvid_vad.video.files import is_folder, list_frames


def frame_rate(video: Any) -> float:
    """Frames per second of a local video file; 0: not known, as of folders of frames and of frames in memory."""
    return _header(video)[0] if isinstance(video, str) and os.path.isfile(video) else 0.0


def about_how_many(video: str) -> int:
    """Frames of a local video file or folder of frames, for estimates: decoding may give others; 0: not known."""
    try:
        return len(list_frames(video)) if is_folder(video) else _header(video)[1]
    except (OSError, InputError):
        return 0


def _header(path: str) -> tuple[float, int]:
    """Frames per second, and in all, of the stream that the reader takes; 0: not known."""
    import av

    try:
        container, said = open_video(path)
        with container:
            stream = container.streams[choose_stream(container, path, said)]
            rate = stream.average_rate or 0
            return float(rate), stream.frames or round((container.duration or 0) / av.time_base * rate)
    except (Damage, av.FFmpegError, OSError, ValueError):
        return 0.0, 0
