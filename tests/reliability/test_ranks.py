"""Whole runs of two ranks: unequal numbers of windows, a rank that dies, a gradient that is infinite on one."""

import json
import os
import re
import shutil
import time
from contextlib import nullcontext

import numpy as np
import pytest
from tiny_runs import assert_same_end, command
from victims import Run, mpi_launcher

from ramvid_vad.cli import COMMAND_SECTIONS, parse_command
from ramvid_vad.errors import InputError
from ramvid_vad.loading import join_ranks
from ramvid_vad.runtime import processes
from ramvid_vad.video.writer import write_video

STEPS = 12
SECONDS = 30  # within which a dead rank must have ended the others
needs_mpi = pytest.mark.skipif(mpi_launcher() is None, reason="no mpirun here")

INFINITE = """
import math, os, sys
import torch
import ramvid_vad.commands.train as train_module
from ramvid_vad.cli import run_command
from ramvid_vad.training import loop

rank, step, hooks = int(os.environ["PMI_RANK"]), 0, []
before, after = (eval("lambda step: " + os.environ[name]) for name in ("BEFORE", "AFTER"))
real_step, real_norm = loop.TrainLoop._train_step, loop.global_norm


def train_step(self, *arguments):
    global step
    step = self.step
    if rank == 1 and step == 0:  # in the backward pass of this rank; the average spreads it
        hooks.append(next(self.model.parameters()).register_hook(lambda g: g * math.inf if before(step) else g))
    return real_step(self, *arguments)


def norm(gradients):  # after the average, as a broken memory would: only this rank sees it
    real = real_norm(gradients)
    return real * math.inf if rank == 1 and after(step) else real


loop.TrainLoop._train_step, loop.global_norm = train_step, norm
real_run = loop.TrainLoop.run


def run(self):
    end = real_run(self)
    for hook in hooks:  # one that outlives the interpreter waits for it for ever
        hook.remove()
    sums = loop.processes.all_gather_object([p.detach().sum().item() for p in self.model.parameters()])
    print("weights are the same on both ranks" if sums[0] == sums[1] else "weights differ")
    return end


loop.TrainLoop.run = run
run_command("video_train", "", train_module.train)
"""

CHECKED = """
import os
import ramvid_vad.commands.train as train_module
from ramvid_vad.cli import run_command
from ramvid_vad.training import checkpoints

rank = int(os.environ["PMI_RANK"])
os.chdir(os.environ[f"FOLDER_{rank}"])
real = checkpoints.sha256_of


def sha256_of(paths):
    print(f"rank {rank} reads all of {os.path.basename(paths[0])}")
    return real(paths)


checkpoints.sha256_of = sha256_of
run_command("video_train", "", train_module.train)
"""


@pytest.fixture(scope="module")
def seven(tmp_path_factory):
    """Videos of three and of four windows, and the end of an undisturbed run of two ranks on them."""
    top = tmp_path_factory.mktemp("seven")
    (top / "data").mkdir()
    rng = np.random.default_rng(0)
    for name, length in (("a", 10), ("b", 11)):
        write_video(str(top / "data" / f"{name}.mp4"), rng.integers(0, 255, (length, 16, 24, 3), np.uint8))
    return top


@pytest.fixture(scope="module")
def whole(seven):
    if mpi_launcher() is None:
        pytest.skip("no mpirun here")
    run = Run(command(seven / "data", seven / "whole", STEPS), seven / "whole.txt", ranks=2)
    assert run.end() == 0, run.printed()
    return seven / "whole"


def test_two_ranks_with_three_and_four_windows_train_and_end(whole):
    """Twelve steps of two windows each are more than three epochs of seven."""
    assert "2 videos, 7 windows of 8 frames" in (whole / "log.txt").read_text()
    assert (whole / f"model{STEPS:06d}.safetensors").exists()


def test_two_ranks_make_the_step_of_one_with_both_windows(seven, whole, tmp_path):
    """The gradient is the mean over the windows of all ranks."""
    run = Run(command(seven / "data", tmp_path / "log", 2, "--batch_size", 2), tmp_path / "out.txt")
    assert run.end() == 0, run.printed()
    norms = []
    for folder in (whole, tmp_path / "log"):
        lines = [json.loads(line) for line in (folder / "progress.jsonl").read_text().splitlines()]
        norms.append([lines[step][name] for step in (0, 1) for name in ("loss", "grad_norm")])
    assert norms[0] == pytest.approx(norms[1], rel=1e-3)


OTHER_OPTIONS = """
import os, sys
import ramvid_vad.commands.train as train_module
from ramvid_vad.cli import run_command
sys.argv += os.environ["FLAGS"].split(";")[int(os.environ["PMI_RANK"])].split()
run_command("video_train", "", train_module.train)
"""


@needs_mpi
def test_ranks_with_other_options_do_not_start(seven, tmp_path):
    (tmp_path / "script.py").write_text(OTHER_OPTIONS)
    arguments = [str(tmp_path / "script.py"), *command(seven / "data", tmp_path / "log", 12)[1:]]
    run = Run(arguments, tmp_path / "out.txt", ranks=2, FLAGS="--lr 1e-3;--lr 1e-4")
    code, printed = run.end(), run.printed()
    assert code == 2 and "Traceback" not in printed, printed
    assert printed.count("error: ") == 1 and "--lr " in printed, printed
    assert "decoding" not in printed


@pytest.mark.parametrize("flags", ["--max_steps 13", "--seed 5", "--cache_dir elsewhere", "--num_workers 1"])
def test_which_options_the_ranks_need_in_common(seven, tmp_path, monkeypatch, flags):
    """What reaches the comparison, which the run above makes with two processes: all but what is a rank's own."""
    words = command(seven / "data", tmp_path / "log", 12)[1:]
    mine, theirs = (parse_command("", COMMAND_SECTIONS["video_train"], [*words, *more.split()]) for more in ("", flags))
    sent = []
    monkeypatch.setattr(processes, "setup_dist", lambda **_: None)
    monkeypatch.setattr(processes, "all_gather_object", lambda options: sent.append(options) or sent)
    join_ranks(mine)
    name = flags.split()[0]
    with pytest.raises(InputError, match=f"^{name} is ") if name in ("--max_steps", "--seed") else nullcontext():
        join_ranks(theirs)
    assert len(sent) == 2


@needs_mpi
@pytest.mark.parametrize("second", ["shared", "empty", "other settings", "cut off", "alone"])
def test_rank_0_verifies_the_checkpoint_for_all(seven, whole, tmp_path, second):
    """A second rank's own log directory is noticed, whatever lies there; "alone": rank 0's is the empty one."""
    (tmp_path / "script.py").write_text(CHECKED)
    folders = [tmp_path / "first", tmp_path / ("first" if second == "shared" else "second")]
    for folder in {*folders}:
        folder.mkdir()
    if second != "alone":
        shutil.copytree(whole, folders[0] / "log")
    if second not in ("shared", "empty"):
        shutil.copytree(whole, folders[1] / "log")
    if second == "other settings":  # a valid generation of the same step, with files of the same sizes
        path = folders[1] / f"log/checkpoint{STEPS:06d}.json"
        manifest = json.loads(path.read_text())
        manifest["versions"]["python"] = "3.9"
        path.write_text(json.dumps(manifest))
    if second == "cut off":
        os.truncate(folders[1] / f"log/model{STEPS:06d}.safetensors", 1000)
    arguments = [str(tmp_path / "script.py"), *command(seven / "data", "log", STEPS + 1)[1:]]
    environment = {f"FOLDER_{rank}": str(folder) for rank, folder in enumerate(folders)}
    run = Run(arguments, tmp_path / "out.txt", ranks=2, **environment)
    code, printed = run.end(), run.printed()
    assert ("rank 0 reads all of model" in printed) == (second != "alone"), printed
    assert "rank 1 reads" not in printed, printed
    if second == "shared":
        assert code == 0 and f"going on from step {STEPS}" in printed, printed
    else:
        assert code == 2 and printed.count("must be a shared folder") == 1 and "Traceback" not in printed, printed


def kill_rank(run, rank, log_dir, step):
    """SIGKILL once a step is in the log; the time of the kill."""
    log = log_dir / "progress.jsonl"
    assert run.wait_until(lambda: log.exists() and log.read_text().count("\n") >= step), run.printed()
    killed = run.ranks()[rank]
    run.kill(rank)
    return killed, time.monotonic()


@needs_mpi
@pytest.mark.parametrize(("under", "rank"), [("mpirun", 1), ("torchrun", 0)])
def test_a_killed_rank_ends_the_run_in_time(seven, tmp_path, under, rank):
    run = Run(command(seven / "data", tmp_path / "log", 100000), tmp_path / "out.txt", ranks=2, under=under)
    others = run.ranks
    _, killed_at = kill_rank(run, rank, tmp_path / "log", 3)
    left = others()
    assert run.end(timeout=SECONDS) != 0, run.printed()
    assert time.monotonic() - killed_at < SECONDS
    assert not [pid for pid in left.values() if _lives(pid)]


def test_torchrun_recovers_by_itself(seven, whole, tmp_path):
    run = Run(
        command(seven / "data", tmp_path / "log", STEPS),
        tmp_path / "out.txt",
        ranks=2,
        under="torchrun --max-restarts=1",
    )
    kill_rank(run, 1, tmp_path / "log", 5)
    assert run.end() == 0, run.printed()
    assert re.search(r"going on from step [2-9]\b", run.printed()), run.printed()
    assert_same_end(tmp_path / "log", whole, STEPS)


def infinite(seven, tmp_path, steps, before, after, *more):
    """Convolutions in parts, for whole ones take a second each in half precision on a processor."""
    (tmp_path / "infinite.py").write_text(INFINITE)
    more = ("--precision", "fp16", "--factorized_conv", "True", *more)
    arguments = [str(tmp_path / "infinite.py"), *command(seven / "data", tmp_path / "log", steps, *more)[1:]]
    run = Run(arguments, tmp_path / "out.txt", ranks=2, BEFORE=before, AFTER=after)
    return run.end(), run.printed()


@needs_mpi
def test_an_infinite_gradient_on_one_rank_is_skipped_by_both_and_the_scale_recovers(seven, tmp_path):
    """Step 2's is infinite before the average, which spreads it; step 3's after it, so that one rank alone sees it."""
    code, printed = infinite(seven, tmp_path, 6, "step == 2", "step == 3", "--fp16_scale_growth", "1")
    assert code == 0, printed
    # 2^20, where the scale starts, is too much for this network: steps 0 and 1 are skipped for that
    assert re.findall(r"step (\d+): non-finite", printed) == ["0", "1", "2", "3"]
    lines = map(json.loads, (tmp_path / "log/progress.jsonl").read_text().splitlines())
    scale = {line["step"]: line["log2_loss_scale"] for line in lines}
    assert [scale[step] for step in (2, 3, 4, 5, 6)] == [18, 17, 16, 17, 18]
    assert "weights are the same on both ranks" in printed


@needs_mpi
def test_too_many_infinite_steps_stop_both_with_what_they_saw(seven, tmp_path):
    code, printed = infinite(seven, tmp_path, STEPS, "step >= 4", "False", "--max_skipped_steps", "3")
    assert code == 1 and printed.count("3 steps in a row had a loss or gradient that is not finite") == 1, printed
    assert "Traceback" not in printed
    dump = json.loads((tmp_path / "log/nonfinite000006_rank0.json").read_text())
    assert dump["step"] == 6 and dump["loss_scale"] == pytest.approx(2.0 ** (20 - 2 + 2 * 1e-3 - 2))
    assert dump["gradient_norm"] in ("inf", "nan") and len(dump["timesteps"]) == 1
    (sample,) = dump["samples"]
    assert sample["id"] == 12 and sample["video"] in ("a", "b") and 0 <= sample["start"] < 4


def _lives(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
