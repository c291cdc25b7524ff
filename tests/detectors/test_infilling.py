"""The infilling detector: from a training run to scores, stored and loaded, block by block."""

import json

import numpy as np
import pytest
import torch
from clips import write_video
from stand_ins import PooledColours, texture

from ramvid_vad.api import load
from ramvid_vad.cli import COMMAND_SECTIONS, parse_command
from ramvid_vad.commands.train import train
from ramvid_vad.detectors import infilling as infilling_module
from ramvid_vad.detectors.infilling import Infilling, blocks
from ramvid_vad.detectors.residual_maps import Part, box_scores
from ramvid_vad.errors import InputError
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
        detector = Infilling.from_run(str(folder / "run"), [str(videos / "02.mkv")], parts=PARTS, box=3, progress=False)
        yield folder, detector


def test_scores_are_the_calibrated_sum_of_the_parts(made):
    folder, detector = made
    normal = detector.score(str(folder / "videos" / "02.mkv"))
    assert set(normal.parts) == {part.name for part in PARTS}
    logs = [np.log(scores) for scores in normal.parts.values()]
    by_hand = sum((log - log.mean()) / log.std() for log in logs)  # the video that it was calibrated on
    np.testing.assert_allclose(normal.frames, by_hand, atol=1e-4)
    other = detector.score(str(folder / "videos" / "00.mkv"))
    by_hand = sum((np.log(other.parts[n]) - np.log(s).mean()) / np.log(s).std() for n, s in normal.parts.items())
    np.testing.assert_allclose(other.frames, by_hand, atol=1e-3)
    assert other.maps.shape == (14, 5, 7) and other.maps.dtype == np.float32
    assert detector.score(str(folder / "videos" / "00.mkv"), maps=False).maps is None


def test_frames_in_memory_score_as_a_file_does(made, monkeypatch):
    folder, detector = made
    monkeypatch.setattr(infilling_module.zlib, "crc32", lambda _: 0)  # noise depends on the file's name
    clip = texture(14, 36, 52, speed=1, seed=0)
    np.testing.assert_allclose(
        detector.score(clip).frames, detector.score(str(folder / "videos" / "00.mkv")).frames, atol=1e-6
    )


def test_stored_and_loaded_it_scores_the_same(made, tmp_path):
    folder, detector = made
    detector.save(str(tmp_path / "detector"))
    loaded = load(str(tmp_path / "detector"))
    video = str(folder / "videos" / "01.mkv")
    np.testing.assert_array_equal(loaded.score(video).frames, detector.score(video).frames)
    assert loaded.about() == detector.about() and detector.about()["held_out"] == ["02.mkv"]
    path = tmp_path / "detector" / "detector.json"
    about = json.loads(path.read_text())
    about["settings"]["log_scales"]["none@0.7 appearance"]["sd"] = 0
    path.write_text(json.dumps(about))
    with pytest.raises(InputError, match="not a whole detector"):
        load(str(tmp_path / "detector"))


def test_the_averaged_weights_are_taken(made):
    from ramvid_vad.training.weights import load_weights

    folder, detector = made
    averaged, _ = load_weights(str(folder / "run" / "ema_0.5_000002.safetensors"))
    assert all(torch.equal(value, averaged[name]) for name, value in detector.model.state_dict().items())


def test_a_run_in_pixels_is_refused(made, tmp_path):
    folder, _ = made
    flags = ["--data_dir", str(folder / "videos"), "--log_dir", str(tmp_path / "run"), "--image_size", "16"]
    flags += ["--cache_dir", str(tmp_path / "cache"), "--num_channels", "32", "--num_res_blocks", "1"]
    flags += ["--channel_mult", "1,2", "--seq_len", "6", "--anchors", "infill", "--max_steps", "1"]
    train(parse_command("", COMMAND_SECTIONS["video_train"], flags))
    with pytest.raises(InputError, match="was not made with --space features"):
        Infilling.from_run(str(tmp_path / "run"), [str(folder / "videos" / "02.mkv")], progress=False)


def test_blocks_hold_few_frames_and_end_with_enough_of_them():
    maps = [np.full((1, 2, 2), i, np.float32) for i in range(23)]
    made = list(blocks(maps, 6, 4))
    assert [len(block) for block in made] == [6, 6, 6, 5]
    np.testing.assert_array_equal(np.concatenate(made)[:, 0, 0, 0], np.arange(23))
    assert [len(block) for block in blocks(maps[:21], 6, 4)] == [6, 6, 9]
    assert [len(block) for block in blocks(maps[:2], 6, 4)] == [2] and not list(blocks([], 6, 4))
    assert made[0].dtype == np.float16


def test_a_video_in_blocks_scores_as_in_one(made, monkeypatch):
    """Where a block ends at the end of a window, nothing changes."""
    folder, detector = made
    video = str(folder / "videos" / "01.mkv")
    whole = detector.score(video).parts["none@0.7 appearance"]
    monkeypatch.setattr(infilling_module, "BLOCK", 6)
    in_blocks = detector.score(video).parts["none@0.7 appearance"]
    np.testing.assert_allclose(in_blocks[:6], whole[:6], rtol=1e-4)
    assert len(in_blocks) == 14
    assert box_scores(np.ones((2, 3, 3), np.float32), 3).tolist() == [1, 1]
