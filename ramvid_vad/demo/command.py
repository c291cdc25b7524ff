"""``make demo``: the whole way on a synthetic street, by the same three commands that serve real data."""

import os
import shlex
from collections.abc import Callable
from typing import Any

from ramvid_vad.cli import COMMAND_SECTIONS, parse_command
from ramvid_vad.commands.evaluate import evaluate
from ramvid_vad.commands.sample import sample
from ramvid_vad.commands.train import train
from ramvid_vad.demo.street import generate
from ramvid_vad.errors import RunError
from ramvid_vad.options import DemoOptions, RunOptions
from ramvid_vad.training.checkpoints import find_latest


def demo(parsed: RunOptions) -> None:
    """Make the scene, train, infill, evaluate; the figures are in ``OUT_DIR/metrics.json``."""
    options: DemoOptions = parsed.demo
    top = os.path.join(options.out_dir, f"scene{options.scene_seed}") if options.scene_seed else options.out_dir
    scene, model = os.path.join(top, "scene"), os.path.join(top, "model")
    config, testing = ["--config", options.recipe], ["--data_dir", f"{scene}/testing"]
    print(f"making a synthetic street in {scene}", flush=True)
    generate(scene, seed=options.scene_seed)
    finished = _run(train, "video_train", [*config, "--data_dir", f"{scene}/training", "--log_dir", model])
    latest = find_latest(model)
    if not finished or latest is None:
        raise RunError("the demo was stopped while it trained; the same command goes on from there")
    filled = os.path.join(top, f"reconstructions{latest.step:06d}")  # of the model as far as it has been trained
    results = ["--reconstructions", filled, "--labels", f"{scene}/labels", "--out_dir", top]
    finished = _run(sample, "video_sample", [*config, *testing, "--model_path", model, "--out_dir", filled])
    if not finished:
        raise RunError("the demo was stopped while it infilled; the same command goes on from there")
    _run(evaluate, "vad_eval", [*config, *testing, *results, "--normal_dir", f"{scene}/training"])


def _run(command: Callable[[RunOptions], Any], name: str, arguments: list[str]) -> Any:
    """Run one command in this process and show it as one would type it."""
    print(f"\n$ python scripts/{name}.py {shlex.join(arguments)}", flush=True)
    return command(parse_command(name, COMMAND_SECTIONS[name], arguments))
