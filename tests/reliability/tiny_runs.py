"""Training and sampling in this process, on a scene so small that a run takes a second."""

from victims import MODEL, generation

from ramvid_vad.commands.sample import sample
from ramvid_vad.commands.train import train
from ramvid_vad.script_util import COMMAND_SECTIONS, parse_command

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


def assert_same_end(folder, other, step):
    """Model, averages, optimizer and manifest of a step, byte for byte."""
    ours, theirs = generation(folder, step), generation(other, step)
    assert len(ours) == 4 and ours == theirs
