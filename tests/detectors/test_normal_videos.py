"""What a training was begun with: the videos in their parts and order, and the settings that no weight tells."""

import os
import shutil

import pytest

from ramvid_vad.detectors.normal_videos import keep_to
from ramvid_vad.errors import InputError
from ramvid_vad.video.reader import Clip


@pytest.fixture
def begun(tmp_path):
    """A folder of a training, and its three videos, of which two have one name."""
    paths = [tmp_path / "videos" / name for name in ("a/1.mp4", "b/1.mp4", "2.mp4")]
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * (number + 1))
    clips = [Clip(str(path)) for path in paths]
    work = str(tmp_path / "work")
    keep_to(work, clips[:2], clips[2:], seed=3, pipeline="")
    return work, clips


def test_the_same_call_goes_on_and_so_does_a_copy_of_the_videos(begun, tmp_path):
    work, clips = begun
    keep_to(work, clips[:2], clips[2:], seed=3, pipeline="")
    shutil.copytree(tmp_path / "videos", tmp_path / "copy")
    copies = [Clip(clip.path.replace("/videos/", "/copy/")) for clip in clips]
    for clip in copies:
        os.utime(clip.path, (1, 1))
    keep_to(work, copies[:2], copies[2:], seed=3, pipeline="")


@pytest.mark.parametrize(
    "other",
    [
        lambda a, b, c: ([a, c], [b]),  # learnt from what was held out
        lambda a, b, c: ([b, a], [c]),  # of one name, in another order
        lambda a, b, c: ([a, a], [c]),
        lambda a, b, c: ([a, b], [Clip(c.path, 0, 5)]),
        lambda a, b, c: ([a, b], []),
    ],
)
def test_other_videos_are_refused(begun, other):
    work, clips = begun
    with pytest.raises(InputError, match="begun with other normal videos: give another --out folder"):
        keep_to(work, *other(*clips), seed=3, pipeline="")


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"seed": 4, "pipeline": ""}, "seed 3, not 4"), ({"seed": 3, "pipeline": "x"}, "pipeline '', not 'x'")],
)
def test_other_settings_are_refused(begun, settings, message):
    work, clips = begun
    with pytest.raises(InputError, match=f"begun with {message}: keep it, or give another --out"):
        keep_to(work, clips[:2], clips[2:], **settings)


def test_a_setting_that_an_earlier_version_did_not_note_is_taken_as_given(begun):
    work, clips = begun
    keep_to(work, clips[:2], clips[2:], seed=3, pipeline="", rung="x")
    with pytest.raises(InputError, match="begun with rung 'x', not 'y'"):
        keep_to(work, clips[:2], clips[2:], seed=3, pipeline="", rung="y")


@pytest.mark.parametrize("text", ["[" * 100_000, "", "3", "[1]"])
def test_a_damaged_note_is_one_line(begun, text):
    work, clips = begun
    with open(f"{work}/normal_videos.json", "w") as file:
        file.write(text)
    with pytest.raises(InputError, match=r"normal_videos\.json: cannot be written and read"):
        keep_to(work, clips[:2], clips[2:], seed=3, pipeline="")
