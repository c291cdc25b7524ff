"""Training in the feature space by its command: space beside the checkpoints, resumed exactly, refused elsewhere."""

import json
import os

import numpy as np
import pytest
import torch
from clips import write_video
from stand_ins import PooledColours, texture

from ramvid_vad.cli import COMMAND_SECTIONS, parse_command
from ramvid_vad.commands.train import train
from ramvid_vad.diffusion.anchors import AnchorPattern
from ramvid_vad.diffusion.gaussian import GaussianDiffusion
from ramvid_vad.diffusion.schedule import named_betas
from ramvid_vad.errors import InputError
from ramvid_vad.options import TrainOptions
from ramvid_vad.runtime.randomness import standard_normal
from ramvid_vad.spaces import features as features_module
from ramvid_vad.spaces.stored import load_space
from ramvid_vad.training import data as train_data
from ramvid_vad.training import loop as train_loop
from ramvid_vad.training.held_out import HeldOut
from ramvid_vad.training.schedules import learning_rate
from ramvid_vad.training.weights import load_weights

PIXELS = ["--space", "pixels", "--image_size", "32", "--anchors", "none"]
MIXTURE = "none:1,motion_given_appearance:1,appearance_given_motion:1,prediction:1,infill:1,tube:1"


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    monkeypatch.setattr(features_module, "load_backbone", lambda name, weights="": PooledColours())


@pytest.fixture
def videos(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    for i in range(3):
        write_video(folder / f"{i:02d}.mkv", texture(10, 36, 52, speed=i + 1, seed=i))
    return folder


def run(videos, log_dir, *flags):
    arguments = ["--data_dir", str(videos), "--log_dir", str(log_dir), "--cache_dir", str(videos.parent / "cache")]
    arguments += ["--space", "features", "--space_channels", "3", "--seq_len", "6", "--anchors", MIXTURE]
    arguments += ["--num_prediction_anchors", "3", "--tube_cells", "2,3", "--mask_channel", "True", "--mixer", "none"]
    arguments += ["--num_channels", "32", "--num_res_blocks", "1", "--channel_mult", "1,2", "--prediction", "v"]
    arguments += ["--batch_size", "2", "--lr", "1e-3", "--log_interval", "2", "--ema_rate", "0.9", "--seed", "1"]
    return train(parse_command("", COMMAND_SECTIONS["video_train"], [*arguments, *flags]))


def weights(log_dir, step):
    return load_weights(str(log_dir / f"model{step:06d}.safetensors"))


def test_it_trains_resumes_exactly_and_keeps_its_space(videos, tmp_path):
    run(videos, tmp_path / "whole", "--max_steps", "6", "--mirror_windows", "True")
    run(videos, tmp_path / "parts", "--max_steps", "2", "--mirror_windows", "True")
    run(videos, tmp_path / "parts", "--max_steps", "6", "--mirror_windows", "True")
    whole, config = weights(tmp_path / "whole", 6)
    parts, _ = weights(tmp_path / "parts", 6)
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert whole["input_blocks.0.0.weight"].shape[1] == 3 + 5 + 2  # two groups, a mask for each
    assert config["space"] == {
        "space": "features",
        "backbone": "efficientnet_lite0",
        "space_channels": 3,
        "space_centre": "all",
        "lines": 240,
        "tube_cells": "2,3",
    }
    spaces = [load_space(str(tmp_path / name / "space.safetensors")) for name in ("whole", "parts")]
    assert spaces[0].fingerprint == spaces[1].fingerprint
    run(videos, tmp_path / "plain", "--max_steps", "6")
    assert not torch.equal(weights(tmp_path / "plain", 6)[0]["out.2.bias"], whole["out.2.bias"])


def test_the_log_tells_each_patterns_loss_and_that_of_held_out_video(videos, tmp_path):
    run(videos, tmp_path / "run", "--max_steps", "6", "--held_out", "1", "--held_out_interval", "4")
    lines = [json.loads(line) for line in (tmp_path / "run" / "progress.jsonl").read_text().splitlines()]
    kinds = [part.split(":")[0] for part in MIXTURE.split(",")]
    shown = [{kind for kind in kinds if f"held_out_{kind}" in line} for line in lines]
    assert shown == [set(), set(kinds), set()]
    assert all(np.isfinite(lines[1][f"held_out_{kind}"]) for kind in kinds)
    assert any(f"loss_{kind}" in line for line in lines for kind in kinds)


def test_a_checkpoint_of_another_space_is_refused_in_one_line(videos, tmp_path):
    run(videos, tmp_path / "run", "--max_steps", "1")
    with pytest.raises(InputError, match=r"--space 'pixels': .*run was made with 'features'"):
        run(videos, tmp_path / "run", "--max_steps", "2", *PIXELS)
    with pytest.raises(InputError, match=r"--space_channels 4: .*run was made with 3"):
        run(videos, tmp_path / "run", "--max_steps", "2", "--space_channels", "4")
    with pytest.raises(InputError, match=r"--backbone 'other': .*run was made with 'efficientnet_lite0'"):
        run(videos, tmp_path / "run", "--max_steps", "2", "--backbone", "other")
    for path in tmp_path.glob("run/*000001*"):  # all that a checkpoint is
        path.unlink()
    with pytest.raises(InputError, match=r"--space_channels 4: .*space.safetensors has 3"):
        run(videos, tmp_path / "run", "--max_steps", "2", "--space_channels", "4")
    with pytest.raises(InputError, match=r"--backbone other: .*space.safetensors was fitted with efficientnet_lite0"):
        run(videos, tmp_path / "run", "--max_steps", "2", "--backbone", "other")


def test_what_cannot_go_on_is_refused_before_anything_is_read_or_written(videos, tmp_path, monkeypatch):
    run(videos, tmp_path / "run", "--max_steps", "1")
    record = (tmp_path / "run" / "quarantine.json").read_bytes()
    write_video(videos / "03.mkv", texture(10, 36, 52, speed=1, seed=9))
    monkeypatch.setattr(train_data, "read_frames", lambda path: pytest.fail("a video is read"))
    with pytest.raises(InputError, match=r"--seed 5 in place of 1: the run in .*run was begun otherwise"):
        run(videos, tmp_path / "run", "--max_steps", "2", "--seed", "5")
    assert (tmp_path / "run" / "quarantine.json").read_bytes() == record


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--learn_sigma", "True"], "--learn_sigma True: needs --space pixels"),
        (["--use_kl", "True"], "--use_kl True: needs --space pixels"),
        (["--patch_size", "2"], "--patch_size 2: must be 1 with --space features"),
        (["--class_cond", "True"], "--class_cond True: needs --space pixels"),
        (["--tube_cells", "3"], "--tube_cells '3': expected LEAST,MOST"),
        (["--held_out", "3"], "--held_out 3: leaves none of the 3 videos"),
        (["--space", "pixels"], "--anchors motion_given_appearance: the space has no group 'motion'"),
        ([*PIXELS, "--held_out", "1", "--use_kl", "True"], "--held_out 1: not with --use_kl True"),
        ([*PIXELS, "--held_out", "1", "--class_cond", "True"], "--held_out 1: not with --class_cond True"),
    ],
)
def test_what_does_not_fit_the_space_is_refused(videos, tmp_path, flags, message):
    with pytest.raises(InputError, match=message):
        run(videos, tmp_path / "run", "--max_steps", "1", *flags)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--space_centre", "place"], "other space_centre"),
        (["--lines", "16"], "other lines"),
        (["--held_out", "1"], "other videos"),
        (["--only", "00,01"], "other videos"),
    ],
)
def test_a_space_that_was_left_behind_is_not_taken_for_another(videos, tmp_path, flags, says):
    """Stopped before its first checkpoint, a run has a space and nothing else."""
    run(videos, tmp_path / "run", "--max_steps", "1")
    for path in tmp_path.glob("run/*000001*"):  # all that a checkpoint is
        path.unlink()
    with pytest.raises(InputError, match=f"space.json: the run was begun with {says}: keep these") as error:
        run(videos, tmp_path / "run", "--max_steps", "1", *flags)
    assert "\n" not in str(error.value)
    run(videos, tmp_path / "run", "--max_steps", "1")


def test_what_is_held_out_stays_held_out(videos, tmp_path):
    run(videos, tmp_path / "run", "--max_steps", "1", "--held_out", "1")
    write_video(videos / "03.mkv", texture(10, 36, 52, speed=1, seed=9))
    with pytest.raises(InputError, match=r"held_out\.json: the run was begun with other held_out"):
        run(videos, tmp_path / "run", "--max_steps", "2", "--held_out", "1")


def test_a_run_from_the_weights_of_another_has_all_its_minutes(videos, tmp_path, monkeypatch):
    run(videos, tmp_path / "first", "--max_steps", "2", "--max_minutes", "1")
    (path,) = tmp_path.glob("first/checkpoint*2.json")
    monkeypatch.setattr(train_loop.TrainLoop, "_share_of_time", lambda loop: loop.seconds / 1e-9)
    flags = ["--seed", "7", "--resume_checkpoint", str(tmp_path / "first" / "model000002.safetensors")]
    for limit in ("--max_steps", "--lr_anneal_steps"):
        with pytest.raises(InputError, match=f"{limit} 2: the checkpoint given is of step 2 already: give more"):
            run(videos, tmp_path / "second", limit, "2", *flags)
    run(videos, tmp_path / "second", "--max_steps", "4", "--max_minutes", "1", *flags)
    assert weights(tmp_path / "second", 3)
    assert path.exists()


def test_a_damaged_video_is_left_out(videos, tmp_path):
    content = (videos / "01.mkv").read_bytes()
    (videos / "01.mkv").write_bytes(content[: len(content) // 2])
    run(videos, tmp_path / "run", "--max_steps", "1", "--max_damaged_share", "0.5")
    assert set(json.loads((tmp_path / "run" / "quarantine.json").read_text())["left_out"]) == {"01"}


def test_a_run_that_goes_on_reads_and_encodes_what_changed_alone(videos, tmp_path, monkeypatch):
    """And then makes room in the cache, if there is more than its limit; its own maps stay."""
    seen, real = [], train_data.read_frames
    monkeypatch.setattr(train_data, "read_frames", lambda path: seen.append(path[-6:]) or real(path))
    monkeypatch.setattr(train_data, "IN_USE", 0)
    run(videos, tmp_path / "run", "--max_steps", "1")
    assert seen == ["00.mkv", "01.mkv", "02.mkv"]
    maps = tmp_path / "cache" / "maps"
    before = set(maps.iterdir())
    (maps / f"another-{'0' * 40}.npy").write_bytes(bytes(100))
    flags = ["--cache_limit", "1e-9"]
    run(videos, tmp_path / "run", "--max_steps", "2", *flags)
    assert len(seen) == 3 and len(set(maps.iterdir()) - before) == 1
    os.utime(videos / "01.mkv", (1, 1))
    run(videos, tmp_path / "run", "--max_steps", "3", *flags)
    assert seen[3:] == ["01.mkv"]
    after = set(maps.iterdir())
    assert len(after) == 3 and len(after & before) == 2
    (videos / "01.mkv").write_bytes(b"")
    with pytest.raises(InputError, match=r"01\.mkv: an empty file"):
        run(videos, tmp_path / "run", "--max_steps", "4", "--max_damaged_share", "0")


def test_the_rate_falls_with_the_time_that_is_over():
    options = TrainOptions(lr=0.4, max_minutes=10)
    by_hand = [0.4, 0.4 * (1 + np.cos(np.pi / 4)) / 2, 0.2, 0.0, 0.0]
    assert [learning_rate(0, options, share) for share in (0, 0.25, 0.5, 1, 1.5)] == pytest.approx(by_hand)
    assert learning_rate(0, TrainOptions(lr=0.4)) == 0.4


def test_max_minutes_ends_the_run_and_counts_earlier_runs(videos, tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("ramvid_vad.training.loop.time.monotonic", lambda: now.__setitem__(0, now[0] + 10) or now[0])
    run(videos, tmp_path / "run", "--max_minutes", "2", "--max_steps", "1")
    run(videos, tmp_path / "run", "--max_minutes", "2")
    lines = [json.loads(line) for line in (tmp_path / "run" / "progress.jsonl").read_text().splitlines()]
    rates = [line["lr"] for line in lines]
    assert rates == sorted(rates, reverse=True) and rates[-1] < 0.5e-3


def test_held_out_loss_by_hand():
    """A network that says 0 of v: the loss at a timestep is the mean of v squared over what is hidden."""
    windows = torch.from_numpy(np.random.default_rng(0).standard_normal((4, 5, 6, 3, 3)).astype(np.float32))
    pattern = AnchorPattern("none,motion_given_appearance", 6, groups=("appearance", "motion"), grid=(3, 3))
    diffusion = GaussianDiffusion(named_betas("linear", 1000), prediction="v")
    found = HeldOut(windows, pattern, (3, 2), 9).losses(lambda x, *_, **__: torch.zeros_like(x), diffusion)
    total = {"none": [], "motion_given_appearance": []}
    for i, t in enumerate((125, 375, 625, 875)):
        bar = diffusion.alpha_bar[t]
        v = (
            np.sqrt(bar) * standard_normal((5, 6, 3, 3), 9, "held out", i).numpy()
            - np.sqrt(1 - bar) * windows[i].numpy()
        )
        total["none"].append((v**2).mean())
        total["motion_given_appearance"].append((v[3:] ** 2).mean())
    assert found == {kind: pytest.approx(np.mean(each), rel=1e-4) for kind, each in total.items()}
