"""The commands from end to end on a tiny scene, and the one clear line that each user's mistake gets."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from ramvid_vad.cli import COMMAND_SECTIONS, parse_command, run_command
from ramvid_vad.commands.evaluate import evaluate
from ramvid_vad.commands.next_command import after_training
from ramvid_vad.commands.sample import sample
from ramvid_vad.commands.select_recipe import select_recipe
from ramvid_vad.commands.train import train
from ramvid_vad.demo.street import generate
from ramvid_vad.errors import InputError
from ramvid_vad.loading import with_anchor_kind
from ramvid_vad.runtime import processes
from ramvid_vad.training.weights import load_weights
from ramvid_vad.video.cache import FrameCache

ROOT = Path(__file__).resolve().parent.parent
MODEL = "--image_size 16x24 --num_channels 32 --channel_mult 1,1 --num_res_blocks 1 --attention_resolutions 8"
TRAIN = [*MODEL.split(), "--seq_len", 12, "--max_steps", 4, "--lr", 1e-3, "--log_interval", 2, "--ema_rate", "0.5,0.9"]
COMMANDS = {"video_train": train, "video_sample": sample, "vad_eval": evaluate}
MPIRUN = shutil.which("mpirun", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")

RAMVID_README = {
    "Kinetics-600": "--image_size 64 --num_channels 128 --num_res_blocks 3 --scale_time_dim 0 --diffusion_steps 1000 "
    "--noise_schedule linear --lr 2e-5 --batch_size 8 --microbatch 2 --seq_len 16 --max_num_mask_frames 4 "
    "--uncondition_rate 0.25",
    "BAIR": "--image_size 64 --num_channels 128 --num_res_blocks 2 --scale_time_dim 0 --diffusion_steps 1000 "
    "--noise_schedule linear --lr 2e-5 --batch_size 4 --microbatch 2 --seq_len 20 --max_num_mask_frames 4 "
    "--uncondition_rate 0.25",
    "UCF-101": "--image_size 64 --num_channels 128 --num_res_blocks 3 --scale_time_dim 0 --diffusion_steps 1000 "
    "--noise_schedule linear --lr 2e-5 --batch_size 8 --microbatch 2 --seq_len 16 --max_num_mask_frames 4 "
    "--uncondition_rate 0.75",
}


def run(name, *arguments):
    """One command, in this process."""
    COMMANDS[name](parse_command(name, COMMAND_SECTIONS[name], [str(argument) for argument in arguments]))


def launch(arguments, ranks=1, **environment):
    """One command as a user types it; several ranks under mpirun."""
    command = [sys.executable, *map(str, arguments)]
    if ranks > 1:
        command = [MPIRUN, "-n", str(ranks), *command]
    return subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=250,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A tiny scene, a model trained on it for four steps, its reconstructions and its evaluation."""
    top = tmp_path_factory.mktemp("made")
    generate(str(top / "scene"), size=(32, 48), num_train=2, num_test=2, frames=20, test_frames=20)
    cache = ["--cache_dir", top / "cache"]
    run("video_train", *TRAIN, *cache, "--data_dir", top / "scene/training", "--log_dir", top / "model")
    testing = ["--data_dir", top / "scene/testing", *cache]
    run(
        "video_sample", *testing, "--model_path", top / "model", "--timestep_respacing", "2", "--stride", "6",
        "--out_dir", top / "filled",
    )  # fmt: skip
    run(
        "vad_eval", *testing, "--reconstructions", top / "filled", "--labels", top / "scene/labels", "--measures",
        "wmse,mse", "--out_dir", top / "result",
    )  # fmt: skip
    return top


def test_the_three_commands_on_a_tiny_scene(made):
    names = sorted(path.name for path in (made / "model").iterdir())
    assert {"model000004.safetensors", "ema_0.5_000004.safetensors", "ema_0.9_000004.safetensors"} <= {*names}
    assert "opt000004.safetensors" in names
    steps = [json.loads(line)["step"] for line in (made / "model/progress.jsonl").read_text().splitlines()]
    assert steps == [2, 4]
    _, config = load_weights(str(made / "model/model000004.safetensors"))
    assert config["model"]["image_size"] == "16x24"
    assert config["video"] == {"seq_len": 12, "keep_aspect": False}
    with np.load(made / "filled/01.npz", allow_pickle=False) as filled:
        settings = json.loads(str(filled["settings"]))
        assert filled["reconstructions"].shape[1:] == (16, 24, 3)
    assert settings["model"] == "ema_0.9_000004.safetensors", "the averaged weights are the default"
    metrics = json.loads((made / "result/metrics.json").read_text())
    assert {row["null"] for row in metrics["rows"]} >= {None, "constant", "noise", "linear_blend", "previous_frame"}


def test_the_same_training_command_goes_on(made, tmp_path):
    """Four steps and then two more are six in one go, bit for bit."""
    arguments = [*TRAIN, "--cache_dir", made / "cache", "--data_dir", made / "scene/training", "--log_dir"]
    run("video_train", *arguments, tmp_path / "whole", "--max_steps", 6)
    shutil.copytree(made / "model", tmp_path / "parts")
    run("video_train", *arguments, tmp_path / "parts", "--max_steps", 6)
    for name in ("model000006.safetensors", "ema_0.9_000006.safetensors", "opt000006.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


def words_of_next(said):
    """The command that the last line says comes next: its name and its options, as a shell would read them."""
    last = said.splitlines()[-1]
    assert last.startswith("next: ramvid-vad ")
    return shlex.split(last)[2], shlex.split(last)[3:]


def test_what_is_finished_says_so_and_what_comes_next(made, tmp_path, capsys):
    model = tmp_path / "a model"
    shutil.copytree(made / "model", model)
    train_it = ["--cache_dir", made / "cache", "--data_dir", made / "scene/training", "--log_dir", model]
    run("video_train", *TRAIN, *train_it)
    said = capsys.readouterr().out
    assert f"finished at step 4 (--max_steps 4); checkpoints are in {model}" in said and "goes on" not in said
    name, words = words_of_next(said)
    assert name == "sample"
    assert parse_command("", COMMAND_SECTIONS["video_sample"], words).sample.model_path == str(model)
    run("video_train", *TRAIN, *train_it, "--max_steps", 0, "--max_hours", 1e-9)
    said = capsys.readouterr().out
    assert "by --max_hours 1e-09; the same command goes on from there" in said and "next:" not in said
    filled, testing = tmp_path / "filled", made / "scene/testing"
    shutil.copytree(made / "filled", filled)
    sampling = ["--timestep_respacing", "2", "--stride", "6", "--cache_dir", made / "cache", "--data_dir", testing]
    run("video_sample", *sampling, "--model_path", made / "model", "--out_dir", filled)
    name, words = words_of_next(capsys.readouterr().out)
    options = parse_command("", COMMAND_SECTIONS["vad_eval"], words).eval
    assert (name, options.reconstructions, options.data_dir) == ("evaluate", str(filled), str(testing))


def test_how_training_ended():
    def lines(words, step, stopped_by="", spent=False):
        run = with_anchor_kind(parse_command("", COMMAND_SECTIONS["video_train"], words.split()))
        return after_training(run, step, stopped_by, "log", spent)

    assert "(--max_steps 4, --lr_anneal_steps 4)" in lines("--max_steps 4 --lr_anneal_steps 4", 4)[0]
    assert "(--max_minutes 5)" in lines("--max_minutes 5 --max_steps 9", 4, spent=True)[0]
    assert lines("--max_steps 4", 3, "SIGTERM") == [
        "ended at step 3 by SIGTERM; the same command goes on from there; checkpoints are in log"
    ]
    # RaMViD's random anchors cannot infill whole videos
    assert lines("--max_steps 4 --uncondition_rate 0.5", 4)[1].endswith("--anchors selective")
    assert not lines("--max_steps 4", 4)[1].endswith("selective")
    assert len(lines("--max_steps 4 --space features", 4)) == 1


def test_the_checkpoint_says_how_frames_are_cut(made, tmp_path, capsys):
    """Trained on the middle of each frame, a model infills the middle of each frame, unasked."""
    places = ["--cache_dir", made / "cache", "--data_dir", made / "scene/training", "--log_dir", tmp_path / "cut"]
    run("video_train", *TRAIN, *places, "--max_steps", 1, "--image_size", "24x24", "--keep_aspect", "True")
    testing = ["--data_dir", made / "scene/testing", "--cache_dir", made / "cache", "--timestep_respacing", "1"]
    run("video_sample", *testing, "--model_path", tmp_path / "cut", "--stride", 12, "--out_dir", tmp_path / "filled")
    assert json.loads((tmp_path / "filled/settings.json").read_text())["keep_aspect"] is True
    middle = FrameCache(str(tmp_path / "own"), (24, 24), keep_aspect=True).frames(str(made / "scene/testing/01.mp4"))
    real = json.loads((tmp_path / "filled/settings.json").read_text())["videos"]["01"]
    np.testing.assert_array_equal(np.load(made / "cache" / real), middle)


def test_raw_weights_on_request(made, tmp_path, capsys):
    raw = made / "model/model000004.safetensors"
    arguments = ["--model_path", raw, "--data_dir", made / "scene/testing", "--cache_dir", made / "cache"]
    arguments += ["--timestep_respacing", "1", "--stride", "12", "--out_dir", tmp_path, "--use_ema", "False"]
    run("video_sample", *arguments)
    assert json.loads((tmp_path / "settings.json").read_text())["model"] == raw.name


@pytest.mark.parametrize("flags", ["--num_samples 2 --cond_frames 0,1", "--num_samples 1 --cond_generation False"])
def test_ramvid_samples(made, tmp_path, flags):
    arguments = ["--model_path", made / "model", "--data_dir", made / "scene/testing", "--cache_dir", made / "cache"]
    run(
        "video_sample",
        *arguments,
        *flags.split(),
        "--timestep_respacing",
        "1",
        "--save_gt",
        "True",
        "--out_dir",
        tmp_path,
    )
    count = int(flags.split()[1])
    with np.load(tmp_path / f"samples_{count}x12x16x24x3.npz") as file:
        samples = file["arr_0"]
    if "cond_frames" in flags:
        with np.load(tmp_path / f"gt_{count}x12x16x24x3.npz") as file:
            real = file["arr_0"]
        np.testing.assert_array_equal(samples[:, :2], real[:, :2])
        assert (samples[:, 2:] != real[:, 2:]).any()


@pytest.mark.parametrize("spacing", ["200", "ddim50", "10,15,20"])
def test_respacings_of_the_readme(made, spacing, capsys):
    arguments = ["--model_path", made / "model", "--data_dir", made / "scene/testing"]
    run("video_sample", *arguments, "--timestep_respacing", spacing, "--stride", 6, "--dry_run")
    assert spacing in capsys.readouterr().out


@pytest.mark.parametrize("name", RAMVID_README)
def test_ramvid_readme_lines_run_verbatim(name, capsys):
    """With RaMViD's mask flags the anchors are RaMViD's random ones."""
    run("video_train", "--data_dir", "path/to/videos", *RAMVID_README[name].split(), "--dry_run")
    shown = capsys.readouterr().out
    assert "anchors: random" in shown
    assert "max_num_mask_frames: 4" in shown


def test_a_dry_run_of_the_demo_draws_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run_command("demo", None, lambda parsed: pytest.fail("it ran"), ["--dry_run", "--scene_seed", "3"])
    assert yaml.safe_load(capsys.readouterr().out)["demo"]["scene_seed"] == 3 and not list(tmp_path.iterdir())


def test_what_dry_run_prints_is_a_config(tmp_path, capsys):
    run("video_train", *TRAIN, "--dry_run")
    (tmp_path / "again.yaml").write_text(capsys.readouterr().out)
    run("video_train", "--config", tmp_path / "again.yaml", "--dry_run")
    assert capsys.readouterr().out == (tmp_path / "again.yaml").read_text()


def test_dry_run_says_what_is_ahead(made, tmp_path, capsys):
    """Two videos of 20 frames in windows of 12: (20 - 12 + 1) each; cached at 16 x 24 x 3 bytes a frame."""
    cache = ["--cache_dir", tmp_path / "cache"]
    run("video_train", *TRAIN, *cache, "--data_dir", made / "scene/training", "--dry_run")
    said = capsys.readouterr().out
    assert "# 2 videos of about 40 frames" in said and "# about 18 windows of 12 frames, 1 a step" in said
    assert f"about {40 * 16 * 24 * 3 / 1e9:.2f} GB" in said
    weights, _ = load_weights(str(made / "model/model000004.safetensors"))
    number = sum(value.numel() for value in weights.values())
    assert f"# {number / 1e6:.2f} M parameters" in said
    (tmp_path / "again.yaml").write_text(said)
    run("video_train", "--config", tmp_path / "again.yaml", "--dry_run")
    assert capsys.readouterr().out == said
    sampling = ["--model_path", made / "model", "--timestep_respacing", "2", "--stride", "6", "--batch_size", "3"]
    run("video_sample", *cache, *sampling, "--data_dir", made / "scene/testing", "--dry_run")
    windows = 0
    for name in ("01", "02"):
        with np.load(made / f"filled/{name}.npz") as file:
            windows += len(file["starts"])
    assert f"about {windows} windows of 12 frames: {-(-windows // 3) * 2} network calls" in capsys.readouterr().out
    assert not (tmp_path / "cache").exists(), "a look changes nothing"


def one_line(capsys, name, *arguments):
    """What a command prints about a mistake; it must be one line, with exit code 2."""
    capsys.readouterr()
    argv, sys.argv = sys.argv, [name, *map(str, arguments)]
    try:
        with pytest.raises(SystemExit) as stopped:
            run_command(name, "", COMMANDS[name])
    finally:
        sys.argv = argv
    assert stopped.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(lines) == 1 and lines[0].startswith(f"{name}: error: ")
    return lines[0]


def test_mistakes_in_training_get_one_line(made, tmp_path, capsys):
    common = [*TRAIN, "--cache_dir", made / "cache", "--log_dir", tmp_path / "log"]
    (tmp_path / "empty").mkdir()
    assert "empty" in one_line(capsys, "video_train", *common, "--data_dir", tmp_path / "empty")
    (tmp_path / "text").mkdir()
    (tmp_path / "text/notes.txt").write_text("no video")
    assert "text" in one_line(capsys, "video_train", *common, "--data_dir", tmp_path / "text")
    assert "missing" in one_line(capsys, "video_train", *common, "--data_dir", tmp_path / "missing")
    (tmp_path / "cut").mkdir()
    whole = (made / "scene/training/01.mp4").read_bytes()
    (tmp_path / "cut/01.mp4").write_bytes(whole[: len(whole) // 2])
    assert "01.mp4" in one_line(capsys, "video_train", *common, "--data_dir", tmp_path / "cut")
    data = ["--data_dir", made / "scene/training"]
    (tmp_path / "file").write_text("in the way")
    line = one_line(capsys, "video_train", *common[:-2], *data, "--log_dir", tmp_path / "file/log")
    assert "log_dir" in line
    assert "--batch_size" in one_line(capsys, "video_train", *common, *data, "--batch_size", "0")
    assert "windows" in one_line(capsys, "video_train", *common, *data, "--batch_size", "99")
    assert "--num_channels" in one_line(capsys, "video_train", *common, *data, "--num_chanels", "32")
    assert "--scale_time_dim" in one_line(capsys, "video_train", *common, *data, "--scale_time_dim", "20")
    line = one_line(
        capsys, "video_train", *common, *data, "--num_channels", "64",
        "--resume_checkpoint", made / "model/model000004.safetensors",
    )  # fmt: skip
    assert "--num_channels 64" in line


def test_mistakes_in_sampling_get_one_line(made, tmp_path, capsys):
    common = ["--data_dir", made / "scene/testing", "--cache_dir", made / "cache", "--out_dir", tmp_path / "out"]
    assert "--model_path" in one_line(capsys, "video_sample", *common)
    assert "nothing.pt" in one_line(capsys, "video_sample", *common, "--model_path", tmp_path / "nothing.pt")
    line = one_line(capsys, "video_sample", *common, "--model_path", made / "model", "--num_channels", "64")
    assert "--num_channels 64" in line
    state, _ = load_weights(str(made / "model/model000004.safetensors"))
    torch.save(state, tmp_path / "ramvid.pt")
    line = one_line(capsys, "video_sample", *common, "--model_path", tmp_path / "ramvid.pt", "--image_size", "64")
    assert "another architecture" in line
    one_line(capsys, "video_sample", *common, "--model_path", made / "model", "--timestep_respacing", "2000")


def test_mistakes_in_evaluation_get_one_line(made, tmp_path, capsys):
    common = ["--reconstructions", made / "filled", "--data_dir", made / "scene/testing", "--cache_dir", made / "cache"]
    common += ["--measures", "mse", "--out_dir", tmp_path / "out", "--labels", tmp_path / "labels"]
    shutil.copytree(made / "scene/labels", tmp_path / "labels")
    np.save(tmp_path / "labels/02.npy", np.load(tmp_path / "labels/02.npy")[:-1])
    line = one_line(capsys, "vad_eval", *common)
    assert "02.npy" in line and "19" in line and "20" in line
    (tmp_path / "labels/02.npy").unlink()
    assert "02" in one_line(capsys, "vad_eval", *common)


@pytest.mark.skipif(MPIRUN is None, reason="no mpirun")
def test_two_ranks_are_one_process_with_both_batches(made, tmp_path):
    """Bit for bit, when the one process takes its batch of two in microbatches of one."""
    common = [*TRAIN, "--cache_dir", made / "cache", "--data_dir", made / "scene/training", "--max_steps", "3"]
    run("video_train", *common, "--log_dir", tmp_path / "one", "--batch_size", "2", "--microbatch", "1")
    two = launch(["scripts/video_train.py", *common, "--log_dir", tmp_path / "two", "--batch_size", "1"], ranks=2)
    assert two.returncode == 0, two.stderr
    a, b = (load_weights(str(tmp_path / part / "model000003.safetensors"))[0] for part in ("one", "two"))
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


@pytest.mark.skipif(MPIRUN is None, reason="no mpirun")
def test_two_ranks_sample_what_one_does(made, tmp_path):
    arguments = ["scripts/video_sample.py", "--model_path", made / "model", "--data_dir", made / "scene/testing"]
    arguments += ["--cache_dir", made / "cache", "--timestep_respacing", "2", "--stride", "6", "--out_dir", tmp_path]
    result = launch(arguments, ranks=2)
    assert result.returncode == 0, result.stderr
    for name in ("01.npz", "02.npz"):
        assert (tmp_path / name).read_bytes() == (made / "filled" / name).read_bytes()


def test_cond_frames_are_the_anchors_of_infilled_videos_too(made, tmp_path):
    arguments = ["--model_path", made / "model", "--data_dir", made / "scene/testing", "--cache_dir", made / "cache"]
    arguments += ["--timestep_respacing", "2", "--stride", "6", "--sampling_type", "windows", "--out_dir", tmp_path]
    run("video_sample", *arguments, "--cond_frames", "0,6,11")
    with np.load(tmp_path / "01.npz", allow_pickle=False) as file:
        assert np.flatnonzero(file["anchors"]).tolist() == [0, 6, 11]
    with pytest.raises(InputError, match="another anchors"):
        run("video_sample", *arguments, "--cond_frames", "0,5,11")


def test_an_option_in_a_file_does_not_ask_for_ramvid_samples(made, tmp_path):
    (tmp_path / "all.yaml").write_text("anchors: {cond_frames: ''}\nsample: {num_samples: 10}\n")
    arguments = ["--model_path", made / "model", "--data_dir", made / "scene/testing", "--cache_dir", made / "cache"]
    arguments += ["--config", tmp_path / "all.yaml", "--timestep_respacing", "1", "--stride", "12"]
    run("video_sample", *arguments, "--out_dir", tmp_path / "out")
    assert (tmp_path / "out/01.npz").exists()


def test_a_resumed_run_must_be_of_the_same_kind(made, tmp_path, capsys):
    shutil.copytree(made / "model", tmp_path / "model")
    data = ["--cache_dir", made / "cache", "--data_dir", made / "scene/training", "--log_dir", tmp_path / "model"]
    assert "--prediction" in one_line(capsys, "video_train", *TRAIN, *data, "--prediction", "v")
    assert "--clip" in one_line(capsys, "video_train", *TRAIN, *data, "--clip", "-1")
    assert "--lr" in one_line(capsys, "video_train", *TRAIN, *data, "--lr", "nan")
    assert "--num_workers" in one_line(capsys, "video_train", *TRAIN, *data, "--num_workers", "-1")


def test_a_given_checkpoint_does_not_undo_what_came_after_it(made, tmp_path):
    """The same command, with --resume_checkpoint, run again after it was killed."""
    data = ["--cache_dir", made / "cache", "--data_dir", made / "scene/training", "--log_dir", tmp_path]
    data += ["--resume_checkpoint", made / "model/model000004.safetensors", "--save_interval", "1"]
    run("video_train", *TRAIN, *data, "--max_steps", "6")
    before = (tmp_path / "model000005.safetensors").stat().st_mtime_ns
    run("video_train", *TRAIN, *data, "--max_steps", "7")
    assert (tmp_path / "model000005.safetensors").stat().st_mtime_ns == before
    assert (tmp_path / "model000007.safetensors").exists()


def test_evaluating_twice_in_the_folder_of_the_reconstructions(made, tmp_path):
    shutil.copytree(made / "filled", tmp_path / "all")
    arguments = ["--reconstructions", tmp_path / "all", "--data_dir", made / "scene/testing", "--measures", "mse"]
    arguments += ["--cache_dir", made / "cache", "--labels", made / "scene/labels", "--out_dir", tmp_path / "all"]
    arguments += ["--nulls", "constant", "--plots", "False"]
    run("vad_eval", *arguments)
    first = (tmp_path / "all/metrics.json").read_bytes()
    run("vad_eval", *arguments)
    assert (tmp_path / "all/metrics.json").read_bytes() == first


@pytest.mark.parametrize("name", sorted({*COMMAND_SECTIONS} - {"video_train", "video_sample"}))
def test_a_command_of_one_process_refuses_a_launcher(name, monkeypatch, capsys):
    for variable, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr(os, "_exit", sys.exit)  # which ends a rank
    monkeypatch.setattr(processes, "_ends_at_sigterm", lambda: None)
    with pytest.raises(SystemExit) as end:
        run_command(name, None, lambda parsed: pytest.fail("it ran"), [])
    assert end.value.code == 2
    message = "torchrun started 2 ranks, and this command runs as one process: start it without a launcher"
    assert capsys.readouterr().err == f"{name}: error: {message}\n"
    monkeypatch.setenv("WORLD_SIZE", "1")
    ran = []
    run_command(name, None, ran.append, [])
    assert ran


@pytest.mark.parametrize(
    ("name", "usual"), [("prepare_data", "begins again"), ("video_train", "goes on from what is finished")]
)
def test_what_the_same_command_does_after_a_signal_is_said(name, usual, capsys):
    def stopped(parsed):
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as end:
        run_command(name, None, stopped, [])
    assert end.value.code == 130 and capsys.readouterr().err == f"{name}: stopped; the same command {usual}\n"


def test_a_mistake_in_select_recipe_names_its_own_flag_and_leaves_no_folder(tmp_path, capsys):
    run, normal = tmp_path / "run", tmp_path / "normal"
    for file in (run / "checkpoint000004.json", normal / "01.mp4", normal / "02.mp4"):
        file.parent.mkdir(exist_ok=True)
        file.touch()
    for folder, message in (
        (normal, f"--run {normal}: no checkpoint there: give the log directory of a training run"),
        (run, f"--normal {normal}: 2 videos: give at least 3"),
    ):
        with pytest.raises(SystemExit) as end:
            words = ["--run", str(folder), "--normal", str(normal), "--out_dir", str(tmp_path / "out")]
            run_command("select_recipe", None, select_recipe, words)
        assert end.value.code == 2 and capsys.readouterr().err == f"select_recipe: error: {message}\n"
    assert not (tmp_path / "out").exists()
