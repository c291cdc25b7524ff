"""Written videos: every frame once and in order, even sides, playable anywhere, whole or absent."""

import os
import subprocess
import sys
import time

import av
import numpy as np
import pytest
from clips import pictures

from ramvid_vad.errors import InputError
from ramvid_vad.video.reader import read_frames
from ramvid_vad.video.writer import video_comment, write_video


def test_one_frame_at_a_time_gives_every_frame_once_in_order(tmp_path):
    """The level of each picture tells its number; odd sides come out even, the last row and column repeated."""
    frames = pictures(37, 49, 65)
    path = str(tmp_path / "a.mp4")
    write_video(path, iter(frames), fps=12.5)
    decoded = np.stack(list(read_frames(path)))
    assert decoded.shape == (37, 50, 66, 3)
    error = np.abs(decoded[:, None, :49, :65].astype(int) - frames[None].astype(int)).mean(axis=(2, 3, 4))
    assert (error.argmin(axis=1) == np.arange(37)).all() and error.diagonal().max() < 3
    assert np.abs(decoded[:, 49].astype(int) - decoded[:, 48]).mean() < 3
    with av.open(path) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == 12.5
    content = (tmp_path / "a.mp4").read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")  # the index in front


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_frames_and_gif(tmp_path, channels):
    frames = pictures(5)[..., :channels]
    for name in ("a.mp4", "a.gif"):
        write_video(str(tmp_path / name), frames)
        decoded = np.stack(list(read_frames(str(tmp_path / name))))
        assert decoded.shape == (5, 48, 64, 3)
        assert np.abs(decoded.astype(int) - frames).mean() < 30  # a gif has 8 levels of red


def test_the_comment_is_kept(tmp_path):
    path = str(tmp_path / "a.mp4")
    write_video(path, pictures(2), comment="made from 12ab")
    assert video_comment(path) == "made from 12ab"
    (tmp_path / "b.mp4").write_bytes(b"no video")
    assert video_comment(str(tmp_path / "b.mp4")) == video_comment(str(tmp_path / "none.mp4")) == ""


def test_a_failure_half_way_leaves_nothing_and_keeps_what_was_there(tmp_path):
    path = tmp_path / "a.mp4"

    def broken():
        yield from pictures(3)
        raise RuntimeError("half way")

    for before in (None, b"as it was"):
        if before:
            path.write_bytes(before)
        with pytest.raises(RuntimeError, match="half way"):
            write_video(str(path), broken())
        assert [p.read_bytes() for p in tmp_path.iterdir()] == ([before] if before else [])


def test_a_killed_run_leaves_no_half_file_and_the_next_one_cleans_up(tmp_path):
    path = tmp_path / "a.mp4"
    program = (
        "import itertools, sys, numpy as np\n"
        "from ramvid_vad.video.writer import write_video\n"
        "write_video(sys.argv[1], itertools.repeat(np.zeros((48, 64, 3), np.uint8)))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(path)])
    deadline = time.monotonic() + 60
    while not any(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.poll() is None
    process.kill()
    process.wait()
    (left,) = tmp_path.iterdir()
    assert left != path
    os.utime(left, (1, 1))
    write_video(str(path), pictures(4))
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]
    assert len(list(read_frames(str(path)))) == 4


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none/a.mp4: cannot be written"):
        write_video(str(tmp_path / "none" / "a.mp4"), pictures(2))
