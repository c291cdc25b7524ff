"""Training and sampling on a scene so small that a run takes a second: in this process, or as commands."""

import os
import time

import numpy as np
from victims import MODEL, generation

from ramvid_vad.cli import COMMAND_SECTIONS, parse_command
from ramvid_vad.commands.sample import sample
from ramvid_vad.commands.train import train
from ramvid_vad.video.writer import write_video

COMMANDS = {"video_train": train, "video_sample": sample}
FLAGS = f"{MODEL} --seq_len 8 --lr 1e-3 --log_interval 1 --ema_rate 0.5 --save_interval 2".split()


def run(name, *arguments):
    """One command as its script runs it; the answer is whether it came to its end."""
    return COMMANDS[name](parse_command(name, COMMAND_SECTIONS[name], [str(argument) for argument in arguments]))


def run_train(top, log_dir, *more):
    """Train on ``top``/scene."""
    paths = ["--data_dir", top / "scene/training", "--cache_dir", top / "cache", "--log_dir", log_dir]
    return run("video_train", *FLAGS, *paths, *more)


def run_sample(top, out_dir, *more):
    """Infill the test videos of ``top``/scene with the model in ``top``/model."""
    flags = "--timestep_respacing 2 --sampler ddim --stride 6 --batch_size 1"
    paths = ["--data_dir", top / "scene/testing", "--cache_dir", top / "cache", "--model_path", top / "model"]
    return run("video_sample", *flags.split(), *paths, "--out_dir", out_dir, *more)


def command(videos, log_dir, steps, *more):
    """The words of a training command on a folder of videos; the cache is beside it."""
    paths = ["--data_dir", videos, "--cache_dir", videos.parent / "cache", "--log_dir", log_dir]
    return [str(each) for each in ("scripts/video_train.py", *FLAGS, *paths, "--max_steps", steps, *more)]


def one_video(folder):
    """A folder with a video of five windows."""
    write_video(str(folder / "a.mp4"), np.random.default_rng(0).integers(0, 255, (12, 16, 24, 3), np.uint8))
    return folder


def wait_for_step(log_dir, step, processes, printed):
    """Until a step is in a run's log; the processes must live as long."""
    log, deadline = log_dir / "progress.jsonl", time.monotonic() + 120
    while not (log.exists() and log.read_text().count("\n") >= step):
        assert all(process.poll() is None for process in processes), printed()
        assert time.monotonic() < deadline, printed()
        time.sleep(0.02)


def pid_of_rank(variable, rank, log_dir):
    """The one process of a rank of the run in ``log_dir``, by its environment."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as environ, open(f"/proc/{pid}/cmdline", "rb") as line:
                words = line.read().decode(errors="replace").split("\0")
                ours = f"{variable}={rank}".encode() in environ.read().split(b"\0")
        except OSError:
            continue
        if ours and str(log_dir) in words and "python" in words[0] and "-m" not in words:
            found.append(int(pid))
    assert len(found) == 1, found
    return found[0]


def assert_same_end(folder, other, step):
    """Model, averages, optimizer and manifest of a step, byte for byte."""
    ours, theirs = generation(folder, step), generation(other, step)
    assert len(ours) == 4 and ours == theirs
