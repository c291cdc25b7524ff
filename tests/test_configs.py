"""The recipes: every key exists, the settings are the published ones, the shell recipes of configs/ call real flags."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from ramvid_vad.cli import COMMAND_SECTIONS, parse_command, read_config
from ramvid_vad.errors import InputError
from ramvid_vad.recipes import find_recipe, recipe_names
from ramvid_vad.script_util import create_model_and_diffusion

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
TRAIN, SAMPLE, EVAL = (COMMAND_SECTIONS[name] for name in ("video_train", "video_sample", "vad_eval"))
named = pytest.mark.parametrize("name", recipe_names())
shell_recipes = pytest.mark.parametrize(
    "path", sorted(set(CONFIGS.glob("*.sh")) - {CONFIGS / "recipe.sh"}), ids=lambda path: path.stem
)


def parameters(name: str) -> float:
    """Millions of parameters of a recipe's network, built without memory."""
    config = read_config(name)
    with torch.device("meta"):
        model, _ = create_model_and_diffusion(**config["model"], **config["diffusion"])
    return sum(parameter.numel() for parameter in model.parameters()) / 1e6


def test_every_data_set_has_a_recipe():
    assert set(recipe_names()) == {
        "demo", "full", "ped2", "ped2_cpu", "avenue", "shanghaitech", "ubnormal",
        "ramvid_kinetics600", "ramvid_bair", "ramvid_ucf101",
    }  # fmt: skip
    assert {path.stem for path in CONFIGS.glob("*.sh")} == {
        "recipe", "ped2", "ped2_cpu", "avenue", "shanghaitech", "ubnormal"
    }  # fmt: skip


@named
def test_every_command_reads_it_and_its_network_can_be_built(name):
    for sections in (TRAIN, SAMPLE, EVAL):
        parse_command("", sections, ["--config", name])
    assert parameters(name) > 0


def test_a_recipe_goes_by_its_name_and_a_file_by_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("demo").mkdir()  # the user's own things do not get in the way of a name
    assert parse_command("", TRAIN, ["--config", "demo"]).train.lr == 1e-3
    for path in ("demo.yaml", "demo/ped2"):
        Path(path).write_text("train: {lr: 0.5}\n")
        assert parse_command("", TRAIN, ["--config", path]).train.lr == 0.5
    with pytest.raises(
        InputError, match=r"--config pedd2: cannot be read .* or a recipe .*: avenue, demo, full, ped2, "
    ):
        parse_command("", TRAIN, ["--config", "pedd2"])


def test_a_misspelt_key_is_refused(tmp_path):
    text = Path(find_recipe("avenue")).read_text().replace("num_res_blocks", "num_resblocks")
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(InputError, match="num_res_blocks"):
        read_config(str(tmp_path / "bad.yaml"))


@pytest.mark.parametrize(
    ("name", "steps", "measure", "sigma", "normalise"),
    [  # thesis, table 6.1
        ("avenue", 448_000, "wmse", 4, False),
        ("shanghaitech", 978_000, "wmse", 6, False),
        ("ubnormal", 1_028_000, "mse", 6, True),
        ("ped2", 74_000, "wmse", 4, False),  # not in the thesis: Avenue's, by number of training frames
    ],
)
def test_thesis_settings(name, steps, measure, sigma, normalise):
    train = parse_command("", TRAIN, ["--config", name])
    assert (train.model.image_size, train.model.num_channels, train.model.num_res_blocks) == ("128", 128, 3)
    assert (train.model.mixer, train.model.scale_time_dim, train.model.patch_size) == ("mamba", 0, 1)
    assert (train.diffusion.diffusion_steps, train.diffusion.noise_schedule) == (1000, "linear")
    assert (train.video.seq_len, train.anchors.anchors) == (30, "selective")
    assert (train.train.lr, train.train.batch_size, train.train.max_steps) == (2e-5, 1, steps)
    sample = parse_command("", SAMPLE, ["--config", name])
    assert (sample.diffusion.timestep_respacing, sample.sample.stride, sample.sample.sampler) == (
        "200",
        15,
        "ancestral",
    )
    score = parse_command("", EVAL, ["--config", name]).eval
    assert (score.measures.split(",")[0], score.sigma, score.per_video_min_max) == (measure, sigma, normalise)
    assert (score.protocol, score.weight) == ("default", "area")


def test_network_sizes():
    """The counts of the original networks: RaMViD's with attention, and with bidirectional Mamba in its place."""
    for name, millions in (
        ("ramvid_kinetics600", 308.34),
        ("ramvid_bair", 235.07),
        ("ramvid_ucf101", 308.34),
        ("avenue", 310.33),
    ):
        assert parameters(name) == pytest.approx(millions, abs=0.005), name


README_FLAGS = {  # as RaMViD's README gives them
    "kinetics600": "--num_res_blocks 3 --lr 2e-5 --batch_size 8 --microbatch 2 --seq_len 16 --uncondition_rate 0.25",
    "bair": "--num_res_blocks 2 --lr 2e-5 --batch_size 4 --microbatch 2 --seq_len 20 --uncondition_rate 0.25",
    "ucf101": "--num_res_blocks 3 --lr 2e-5 --batch_size 8 --microbatch 2 --seq_len 16 --uncondition_rate 0.75",
}
COMMON_FLAGS = (
    "--image_size 64 --num_channels 128 --scale_time_dim 0 --diffusion_steps 1000 --noise_schedule linear "
    "--max_num_mask_frames 4 --mixer attention --anchors random"
)


@pytest.mark.parametrize("name", README_FLAGS)
def test_ramvid_recipe_equals_its_command_line(name):
    flags = parse_command("", TRAIN, (README_FLAGS[name] + " " + COMMON_FLAGS).split())
    recipe = parse_command("", TRAIN, ["--config", f"ramvid_{name}"])
    for section in TRAIN:
        assert getattr(recipe, section) == getattr(flags, section), section


TRAINED = """case "$*" in *video_train.py*) mkdir -p my/run/train; echo "$ENDED" >> my/run/train/log.txt;; esac"""


def stand_in(folder: Path, body: str, *data: str) -> dict[str, str]:
    """A Python and an mpirun that write their words down and do ``body``, and a data set; returns the environment."""
    for name in ("python", "mpirun"):
        (folder / name).write_text(f'#!/bin/bash\nprintf "%s\\n" "{name} $*" >> "{folder}/calls"\n{body}\n')
        (folder / name).chmod(0o755)
    for part in data or ("training", "testing", "labels", "labels_vollabel"):
        (folder / "my/data" / part).mkdir(parents=True)
    return {"PATH": f"{folder}:{os.environ['PATH']}", "ENDED": "finished at step 8 (--max_steps 8); they are in log"}


def start(path: Path, folder: Path, env: dict[str, str]) -> subprocess.Popen:
    # what runs in the background ignores SIGINT, and no shell can trap what it was born to ignore
    hearing = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execvp('bash', sys.argv[1:])"
    command = [sys.executable, "-c", hearing, "bash", str(path), "my/data", "my/run"]
    return subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.PIPE, text=True)


def called(folder: Path) -> list[list[str]]:
    return [shlex.split(line) for line in (folder / "calls").read_text().splitlines()]


def calls(path: Path, folder: Path, **more: str) -> list[list[str]]:
    """The commands that a shell recipe runs, with stand-ins for Python and mpirun."""
    recipe = start(path, folder, stand_in(folder, TRAINED) | more)
    assert recipe.communicate(timeout=60)[1] == "" and recipe.returncode == 0
    return called(folder)


@shell_recipes
def test_shell_recipe(path, tmp_path):
    train, sample, evaluate = calls(path, tmp_path)
    for call, script, sections in ((train, "video_train.py", TRAIN), (sample, "video_sample.py", SAMPLE)):
        assert call[0] == "python"
        assert Path(call[1]).resolve() == CONFIGS.parent / "scripts" / script
        parsed = parse_command("", sections, call[2:])
        assert parsed.config == path.stem
        if script == "video_train.py":
            assert (parsed.video.data_dir, parsed.train.log_dir) == ("my/data/training", "my/run/train")
        else:
            assert (parsed.video.data_dir, parsed.sample.model_path) == ("my/data/testing", "my/run/train")
            assert parsed.sample.out_dir == "my/run/reconstructions"
    assert Path(evaluate[1]).resolve() == CONFIGS.parent / "scripts" / "vad_eval.py"
    score = parse_command("", EVAL, evaluate[2:]).eval
    labels = "labels_vollabel" if path.stem == "avenue" else "labels"  # of two sets, the one of the release
    assert (score.reconstructions, score.data_dir) == ("my/run/reconstructions", "my/data/testing")
    assert (score.labels, score.out_dir) == (f"my/data/{labels}", "my/run/evaluation")


@shell_recipes
@pytest.mark.parametrize("recipe", ["fast", "full"])
def test_shell_recipe_of_a_detector(path, recipe, tmp_path):
    fit, evaluate = calls(path, tmp_path, RECIPE=recipe)
    assert fit[:4] == ["python", "-m", "ramvid_vad", "fit"] and fit[4] == "my/data/training"
    parsed = parse_command("", COMMAND_SECTIONS["fit"], fit[5:]).fit
    assert (parsed.out, parsed.recipe) == (f"my/run/{recipe}", recipe)
    assert Path(evaluate[1]).resolve() == CONFIGS.parent / "scripts" / "vad_eval.py"
    score = parse_command("", EVAL, evaluate[2:]).eval
    labels = "labels_vollabel" if path.stem == "avenue" else "labels"
    assert (score.detector, score.data_dir, score.labels) == (parsed.out, "my/data/testing", f"my/data/{labels}")
    scenes = path.stem if path.stem in ("shanghaitech", "ubnormal") else ""  # one model for each, as docs/evaluation.md
    assert parsed.scenes == score.benchmark == scenes


def test_shell_recipe_of_another_name_is_refused(tmp_path):
    env = {"PATH": os.environ["PATH"], "RECIPE": "quick", "PYTHON": "false"}
    done = subprocess.run(["bash", str(CONFIGS / "ped2.sh")], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stderr == "RECIPE=quick: thesis, fast or full\n"


@shell_recipes
def test_shell_recipe_under_mpi(path, tmp_path):
    train, sample, evaluate = calls(path, tmp_path, NUM_RANKS="3")
    assert train[:4] == sample[:4] == ["mpirun", "-n", "3", "python"] and evaluate[0] == "python"


@shell_recipes
def test_shell_recipe_stops_at_the_first_failure(path, tmp_path):
    recipe = start(path, tmp_path, stand_in(tmp_path, "exit 7"))
    assert recipe.wait(60) == 7 and len(called(tmp_path)) == 1


@pytest.mark.parametrize("missing", ["training", "testing", "labels_vollabel"])
def test_shell_recipe_looks_for_data_and_labels_before_it_trains(missing, tmp_path):
    env = stand_in(tmp_path, TRAINED, *{"training", "testing", "labels_vollabel"} - {missing})
    recipe = start(CONFIGS / "avenue.sh", tmp_path, env)
    said = recipe.communicate(timeout=60)[1]
    assert recipe.returncode == 2 and not (tmp_path / "calls").exists()
    assert said == f"my/data/{missing}: is not there; scripts/prepare_data.py writes my/data (docs/data.md)\n"


def test_shell_recipe_does_not_infill_with_a_training_that_ended_early(tmp_path):
    """A signal that came to the training alone; that its exit code is 0 is what docs/cluster.md says."""
    env = stand_in(tmp_path, TRAINED)
    early = start(CONFIGS / "ped2.sh", tmp_path, env | {"ENDED": "ended at step 7 by SIGTERM; they are in log"})
    said = early.communicate(timeout=60)[1]
    assert (early.returncode, said) == (1, "my/run/train: the training is not finished; the same command goes on\n")
    assert len(called(tmp_path)) == 1
    assert start(CONFIGS / "ped2.sh", tmp_path, env).wait(60) == 0 and len(called(tmp_path)) == 4


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("recipe", ["thesis", "full"])
def test_shell_recipe_passes_a_signal_on_and_starts_nothing_more(recipe, number, code, tmp_path):
    """The signal comes to the recipe alone; its step hears it once, ends in its own time and in good order."""
    body = 'trap "echo heard >> heard; sleep 0.5; echo saved >> heard; exit 0" TERM INT; echo $$ > step\n'
    env = stand_in(tmp_path, body + "for i in $(seq 600); do sleep 0.1; done")
    running = start(CONFIGS / "ped2.sh", tmp_path, env | {"RECIPE": recipe})
    deadline = time.monotonic() + 60
    while not (tmp_path / "step").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    running.send_signal(number)
    running.communicate(timeout=50)
    assert running.returncode == code and (tmp_path / "heard").read_text() == "heard\nsaved\n"
    assert len(called(tmp_path)) == 1
