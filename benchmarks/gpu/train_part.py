"""Parts "train_pixels" and "train_features": what most of the part's minutes on a GPU make of the two recipes.

The first trains the published design (selective anchors, bidirectional Mamba, T = 30) on UCSD Ped2 in pixels, with
the network of the recipe `ped2_cpu`, because its weights must travel back and be evaluated on a CPU; the second the
recipe `full`. Both take larger batches than on a CPU, and bfloat16. What comes back: the averaged weights in
float16, in pieces of at most PIECE bytes, the log, and the loss on held-out normal video. `returned.py` makes a
detector of them.
"""

import json
import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from arrays import Arrays, write_arrays
from rows import Rows, Skip

from ramvid_vad.loading import anchor_pattern, groups_of, with_anchor_kind
from ramvid_vad.options import RunOptions
from ramvid_vad.options.config_file import run_of_recipe
from ramvid_vad.runtime.logger import Logger
from ramvid_vad.script_util import create_diffusion
from ramvid_vad.spaces.cache import EncodedVideos
from ramvid_vad.spaces.features import FeatureSpace
from ramvid_vad.spaces.stored import load_space
from ramvid_vad.training.data import TrainingData
from ramvid_vad.training.held_out import HeldOut, some_windows
from ramvid_vad.training.loop import TrainLoop
from ramvid_vad.training.resume import find_resumed
from ramvid_vad.training.run import run_training
from ramvid_vad.video.datasets import VideoWindows, to_float, training_batches

SECTIONS = ("model", "diffusion", "video", "anchors", "space", "train")
FILES = {"pixels": "pixels.npz", "features": "maps.npz"}
RECIPES = {"pixels": "ped2_cpu", "features": "full"}
BATCH = {"pixels": 16, "features": 32}  # windows a step; the recipes have 1 and 2
RATE = {"pixels": 1e-3, "features": 4e-3}  # twice the recipes': larger batches bear it
AROUND = 1.0  # minutes kept for starting, saving and the last losses
PIECE = 15_000_000  # bytes


def questions(rows: Rows, out: Path) -> None:
    kind = rows.path.stem.removeprefix("train_")
    rows.ask(f"training in {kind}: the recipe {RECIPES[kind]}", partial(trained, rows, kind, out))


def trained(rows: Rows, kind: str, out: Path) -> dict:
    path = out / FILES[kind]
    if rows.dry:
        path = out / f"dry_{FILES[kind]}"
        made_up(path, kind)
    elif not path.exists() or (kind == "features" and not (out / "space.safetensors").exists()):
        raise Skip(f"{path} is not there: benchmarks/gpu/prepare.py writes it, where the videos are")
    arrays = Arrays(path)
    minutes = max((rows.deadline - time.monotonic()) / 60 - AROUND, 0.5)
    run = options_of(rows, kind, minutes)
    log_dir = out / f"training_{kind}"
    shutil.rmtree(log_dir, ignore_errors=True)
    run = run.but("train", log_dir=str(log_dir))
    to_input, mirrored = to_float, None
    if kind == "features":
        space = load_space(str(out / "space.safetensors")) if not rows.dry else dry_space()
        to_input, mirrored = EncodedVideos.model_input, space.mirrored

    def windows(names: list[str]) -> VideoWindows:
        return VideoWindows(names, arrays, run.video.seq_len, to_input)

    dataset = windows(arrays.learning)

    def batches(start: int) -> Iterator:
        return training_batches(
            dataset,
            batch_size=run.train.batch_size,
            seed=run.train.seed,
            start_step=start,
            num_workers=rows.size(4, 0),
            mirrored=mirrored if run.train.mirror_windows else None,
        )

    held_out = some_windows(windows(arrays.held_out))
    data = TrainingData(batches, arrays.learning, {}, tuple(held_out.shape[-2:]), held_out)
    logger = Logger(str(log_dir))
    loop = run_training(run, data, logger, find_resumed(run, logger))
    losses = held_out_losses(rows, run, loop, held_out)
    figures = {"steps": loop.step, "windows": loop.step * run.train.batch_size, "minutes": loop.seconds / 60}
    figures |= {"windows/s": figures["windows"] / max(loop.seconds, 1e-9), "of as many": len(dataset)}
    figures |= losses
    figures["pieces"] = write_pieces(out, kind, loop, figures)
    shutil.copy(log_dir / "progress.jsonl", out / f"progress_{kind}.jsonl")
    assert all(np.isfinite(list(losses.values()))), figures
    return figures


def options_of(rows: Rows, kind: str, minutes: float) -> RunOptions:
    """The recipe's, with a batch and a rate for a GPU, and the time there is."""
    run = with_anchor_kind(run_of_recipe(RECIPES[kind], SECTIONS))
    changes = {"batch_size": BATCH[kind], "lr": RATE[kind], "max_minutes": minutes, "lr_anneal_steps": 0}
    changes |= {"ema_rate": "0.999", "held_out_interval": 500, "save_interval": 2000, "keep_checkpoints": 2}
    if not rows.dry:
        return run.but("train", **changes, precision="bf16")
    tiny = (
        {"image_size": "16x32", "channel_mult": "1,1", "attention_resolutions": "4"}
        if kind == "pixels"
        else {"channel_mult": "1,1"}
    )
    changes |= {"batch_size": 2, "max_steps": 2, "log_interval": 1, "held_out_interval": 2}
    return run.but("train", **changes, precision="fp32").but("model", **tiny).but("video", num_workers=0)


def held_out_losses(rows: Rows, run: RunOptions, loop: TrainLoop, windows: torch.Tensor) -> dict[str, float]:
    """Of the averaged weights, by pattern: mean squared error of what is predicted at hidden entries."""
    groups = tuple(groups_of(run.space).values())
    pattern = anchor_pattern(run.anchors, run.video.seq_len, run.train.seed, run.space, tuple(windows.shape[-2:]))
    look = HeldOut(windows.to(rows.device), pattern, groups, run.train.seed)
    (average,) = loop.ema.values()
    loop.model.load_state_dict(average.state_dict())
    losses = look.losses(loop.model.eval(), create_diffusion(run.diffusion))
    return {f"held-out loss, {name}": loss for name, loss in losses.items()}


def write_pieces(out: Path, kind: str, loop: TrainLoop, about: dict) -> int:
    """The averaged weights as float16; how many files."""
    for old in out.glob(f"weights_{kind}_*.npz"):
        old.unlink()
    (average,) = loop.ema.values()
    pieces: list[dict[str, np.ndarray]] = [{}]
    for name, value in average.state_dict().items():
        array = value.cpu().numpy().astype(np.float16)
        if sum(each.nbytes for each in pieces[-1].values()) + array.nbytes > PIECE and pieces[-1]:
            pieces.append({})
        pieces[-1][name] = array
    for number, piece in enumerate(pieces):
        np.savez(out / f"weights_{kind}_{number}.npz", **piece)
    content = {"config": loop.config, "step": loop.step, "about": about | {"pieces": len(pieces)}}
    (out / f"weights_{kind}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return len(pieces)


def made_up(path: Path, kind: str) -> None:
    """Arrays of noise for a dry run."""
    rng = np.random.default_rng(0)
    if kind == "pixels":
        videos = {f"{i:02d}": rng.integers(0, 256, (32, 16, 32, 1), dtype=np.uint8) for i in range(3)}
    else:
        videos = {f"{i:02d}": rng.standard_normal((8, 29, 4, 5)).astype(np.float16) for i in range(3)}
    write_arrays(path, "pixels" if kind == "pixels" else "maps", videos, ["02"])


def dry_space() -> FeatureSpace:
    """One whose maps are 4 x 5 cells."""
    axes = torch.linalg.qr(torch.randn(120, 24, generator=torch.Generator().manual_seed(0)))[0]
    moments = (torch.ones(24), torch.zeros(24, 4, 5), torch.ones(5), torch.zeros(5, 4, 5))
    return FeatureSpace((32, 40), "none", "", torch.ones(120), axes, *moments)
