"""``make demo``: the whole way on a synthetic street, by the same three commands that serve real data."""

import os
import shlex
from collections.abc import Callable
from types import SimpleNamespace

from ..options import DemoOptions
from ..script_util import COMMAND_SECTIONS, parse_command
from ..video.synthetic import generate
from .evaluate import evaluate
from .sample import sample
from .train import train


def demo(parsed: SimpleNamespace) -> None:
    """Make the scene, train, infill, evaluate; the figures are in ``OUT_DIR/metrics.json``."""
    options: DemoOptions = parsed.demo
    scene, model, filled = (os.path.join(options.out_dir, part) for part in ("scene", "model", "reconstructions"))
    print(f"making a synthetic street in {scene}", flush=True)
    generate(scene, seed=options.scene_seed)
    config = ["--config", options.recipe]
    testing = ["--data_dir", f"{scene}/testing"]
    results = ["--reconstructions", filled, "--labels", f"{scene}/labels", "--out_dir", options.out_dir]
    _run(train, "video_train", [*config, "--data_dir", f"{scene}/training", "--log_dir", model])
    _run(sample, "video_sample", [*config, *testing, "--model_path", model, "--out_dir", filled])
    _run(evaluate, "vad_eval", [*config, *testing, *results])


def _run(command: Callable[[SimpleNamespace], None], name: str, arguments: list[str]) -> None:
    """Run one command in this process and show it as one would type it."""
    print(f"\n$ python scripts/{name}.py {shlex.join(arguments)}", flush=True)
    command(parse_command(name, COMMAND_SECTIONS[name], arguments))
