"""Frames -> a video file."""

import os

import numpy as np

from ..errors import InputError


def write_video(path: str, frames: np.ndarray, fps: int = 10, crf: int = 12) -> None:
    """Write frames uint8 (T,H,W,C), C = 1 or 3, as .gif (8-bit palette) or .mp4 (H.264, 4:2:0).

    fps: frames per second.  crf: H.264 quality, 0 (lossless) to 51.  InputError: the file cannot be written.
    """
    import av

    frames = np.broadcast_to(frames, (*frames.shape[:3], 3))
    height, width = frames.shape[1:3]
    try:
        with av.open(path, "w") as container:
            if os.path.splitext(path)[1] == ".gif":
                stream = container.add_stream("gif", rate=fps)
                stream.pix_fmt = "rgb8"
            else:
                stream = container.add_stream("libx264", rate=fps, options={"crf": str(crf)})
                stream.pix_fmt = "yuv420p"
                # 4:2:0 wants even sides: the last row or column is repeated
                frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            stream.height, stream.width = frames.shape[1:3]
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
            container.mux(stream.encode())
    except (OSError, av.FFmpegError) as error:
        raise InputError(f"{path}: cannot be written ({error})") from None
