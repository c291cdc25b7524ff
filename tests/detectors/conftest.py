"""A run of two steps in the feature space, and the detector made of it."""

import pytest
from clips import write_video
from stand_ins import PooledColours, texture

from ramvid_vad.cli import COMMAND_SECTIONS, parse_command
from ramvid_vad.commands.train import train
from ramvid_vad.detectors.infilling import Infilling
from ramvid_vad.detectors.residual_maps import Part
from ramvid_vad.spaces import features as features_module

PARTS = (
    Part("none", 0.7, "appearance"),
    Part("motion_given_appearance", None, "motion"),
    Part("prediction", None, "motion"),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of two steps and three videos."""
    folder = tmp_path_factory.mktemp("infilling")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features_module, "load_backbone", lambda name, weights="": PooledColours())
        videos = folder / "videos"
        videos.mkdir()
        for i in range(3):
            write_video(videos / f"{i:02d}.mkv", texture(14, 36, 52, speed=i + 1, seed=i))
        flags = ["--data_dir", str(videos), "--log_dir", str(folder / "run"), "--cache_dir", str(folder / "cache")]
        flags += ["--space", "features", "--space_channels", "3", "--seq_len", "6", "--mixer", "none"]
        flags += ["--anchors", "none,motion_given_appearance,prediction", "--num_prediction_anchors", "3"]
        flags += ["--num_channels", "32", "--num_res_blocks", "1", "--channel_mult", "1,2", "--prediction", "v"]
        flags += ["--mask_channel", "True", "--max_steps", "2", "--ema_rate", "0.5", "--lr", "1e-2"]
        train(parse_command("", COMMAND_SECTIONS["video_train"], flags))
        detector = Infilling.from_run(
            str(folder / "run"),
            [str(videos / "02.mkv")],
            parts=PARTS,
            boxes=[(part.name, 3) for part in PARTS],
            progress=False,
        )
        yield folder, detector
