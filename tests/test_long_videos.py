"""Memory does not grow with the length of a video: what numpy and Python allocate at most, for n and for 5 n frames.

A frame of these videos has 12 kB, or 16 kB where the baselines look at it; scores and tables may grow by some hundred
bytes per frame.
"""

import os
import shutil
import subprocess
import sys
import tracemalloc
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ramvid_vad import infill_videos
from ramvid_vad.diffusion.anchors import selective_anchors
from ramvid_vad.evaluation.from_reconstructions import evaluate_reconstructions
from ramvid_vad.evaluation.from_videos import evaluate_nulls
from ramvid_vad.evaluation.report.pictures import frame_source, pictures
from ramvid_vad.evaluation.statistics import pixels, spatial
from ramvid_vad.infill_videos import FolderInfilling
from ramvid_vad.options import DiffusionOptions, EvalOptions, SampleOptions
from ramvid_vad.script_util import create_diffusion
from ramvid_vad.video.cache import FrameCache
from ramvid_vad.video.rows import Rows, on_disk
from ramvid_vad.video.truth.masks import save_masks
from ramvid_vad.video.writer import write_video

ROOT = Path(__file__).resolve().parent.parent
SIDE = 64
SETTINGS = {"image_size": [SIDE, SIDE], "rgb": True, "keep_aspect": False}
LENGTHS = (250, 550)
PER_FRAME = 2_000  # bytes


class LongVideo:
    """One video of ``frames`` frames, its labels and masks, and its reconstructions by a model that returns noise."""

    def __init__(self, root, frames, monkeypatch):
        rng = np.random.default_rng(0)
        (root / "videos").mkdir(parents=True)
        (root / "labels").mkdir()
        (root / "masks").mkdir()
        self.root, self.frames = root, frames
        picture = rng.integers(0, 200, (SIDE, SIDE, 3), dtype=np.uint8)
        write_video(str(root / "videos/01.mp4"), (np.roll(picture, t, axis=1) for t in range(frames)))
        labels = np.arange(frames) % 50 < 20
        np.save(root / "labels/01.npy", labels.astype(np.uint8))
        save_masks(root / "masks/01.npz", (np.full((SIDE, SIDE), label) for label in labels))
        self.cache = FrameCache(str(root / "cache"), (SIDE, SIDE))
        assert isinstance(on_disk(self.cache.frames(str(root / "videos/01.mp4"))), Rows)
        monkeypatch.setattr(infill_videos, "infill", lambda model, diffusion, clean, *_, **__: clean * 0.9)
        anchors, video = selective_anchors(30), [str(root / "videos/01.mp4")]
        self.infilling = FolderInfilling(
            str(root / "made"), ["01"], video, self.cache, anchors, SampleOptions(), SETTINGS
        )

    def infill(self):
        shutil.rmtree(self.root / "made", ignore_errors=True)
        model = torch.nn.Identity()
        self.infilling.run(model, create_diffusion(DiffusionOptions()), torch.device("cpu"), "fp32", progress=False)
        assert self.infilling.missing() == []

    def options(self, **changes):
        places = {"data_dir": str(self.root / "videos"), "labels": str(self.root / "labels")}
        return EvalOptions(**places, measures="mse", bootstrap=0, **changes)

    def evaluate(self):
        options = self.options(reconstructions=str(self.root / "made"), nulls="")
        evaluation = evaluate_reconstructions(options, str(self.root / "cache"), progress=False)
        assert len(evaluation.row("mse").raw[0]) == self.frames and evaluation.spatial[""]["pixel_auc"] is not None

    def nulls_only(self):
        evaluation = evaluate_nulls(self.options(nulls_only=True, nulls="linear_blend,previous_frame"), progress=False)
        assert len(evaluation.row("mse", "previous_frame").raw[0]) == self.frames

    def pictures(self):
        source = frame_source(self.options(reconstructions=str(self.root / "made")), str(self.root / "cache"))
        (shown,) = pictures(source, ["01"], [(0, self.frames)], [(0, 7)], budget=100_000)
        assert len(shown) > 3


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        made = [LongVideo(tmp_path_factory.mktemp(str(frames)) / "data", frames, patch) for frames in LENGTHS]
        # the pixel curve keeps up to 2 million scores apart before it joins neighbours: here it soon does
        patch.setattr(pixels, "_BUFFER", 1 << 14)
        patch.setattr(spatial, "PixelCurve", partial(pixels.PixelCurve, exact_cells=1 << 8))
        yield made


def peak(work):
    """Bytes allocated at most during ``work``, beyond those that were there."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("step", ["infill", "evaluate", "nulls_only", "pictures"])
def test_memory_does_not_grow_with_the_length(videos, step):
    if step != "infill" and not os.path.exists(videos[0].root / "made/01.npz"):
        for video in videos:
            video.infill()
    getattr(videos[0], step)()  # what is allocated once, by imports for example
    short, long = (peak(getattr(video, step)) for video in videos)
    assert (long - short) / (LENGTHS[1] - LENGTHS[0]) < PER_FRAME


def test_frames_that_are_verified_are_not_kept_in_memory(tmp_path):
    """The largest resident size of a process of its own: it counts the pages of a map, which the tests above miss."""
    video = tmp_path / "01"
    video.mkdir()
    for t in range(60):
        Image.fromarray(np.full((1000, 1000), t, np.uint8)).save(video / f"{t:02d}.png")
    FrameCache(str(tmp_path / "cache"), (1000, 1000), rgb=False).build(str(video))  # 60 MB
    script = (
        "import resource, sys; from ramvid_vad.video.cache import FrameCache\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "frames = FrameCache(sys.argv[1], (1000, 1000), rgb=False).frames(sys.argv[2])\n"
        "print(len(frames), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "cache"), str(video)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    frames, kilobytes = map(int, done.stdout.split())
    assert frames == 60 and kilobytes < 20_000
