"""What `cluster.py` measures on a CPU: a window, a cache file verified, a checkpoint, the bytes that DDP exchanges.

Times are of the processor, in this process: what else runs on the machine hardly counts, nor does waiting for a disk.
"""

import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from measure import machine
from torch.nn.parallel import DistributedDataParallel

from ramvid_vad.cli import COMMAND_SECTIONS, parse_command
from ramvid_vad.loading import anchor_pattern
from ramvid_vad.models.precision import resolve_precision
from ramvid_vad.options import RunOptions, parse_image_size
from ramvid_vad.options.config_file import run_of_recipe
from ramvid_vad.runtime import processes
from ramvid_vad.runtime.logger import Logger
from ramvid_vad.script_util import create_diffusion, create_model
from ramvid_vad.training.checkpoints import find_latest, load_checkpoint
from ramvid_vad.training.loop import TrainLoop
from ramvid_vad.video.cache import FrameCache
from ramvid_vad.video.datasets import VideoWindows, training_batches
from ramvid_vad.video.writer import write_video

NETWORK = "ped2_cpu"  # the recipe whose network makes a step
FRAMES, WINDOWS = 300, 50  # of the video that is written; windows that are timed
ROUNDS = 3  # of which the least counts: caches and pages that others took away cost the processor's time too


def loop_of(config: str, batch_size: int, log_dir: str, *flags: str) -> tuple[TrainLoop, torch.Tensor]:
    """The training loop of a config file with weights of seed 0, and frames for it (B,C,T,H,W)."""
    flags = ("--config", config, "--batch_size", str(batch_size), "--log_dir", log_dir, *flags)
    parsed = parse_command("video_train", COMMAND_SECTIONS["video_train"], list(flags))
    torch.manual_seed(0)
    loop = TrainLoop(
        create_model(parsed.model, parsed.diffusion.learn_sigma),
        create_diffusion(parsed.diffusion),
        lambda step: iter(()),
        anchor_pattern(parsed.anchors, parsed.video.seq_len, 0),
        parsed.train,
        precision=resolve_precision(parsed.train.precision, processes.dev()),
        exclude_conditional=parsed.anchors.exclude_conditional,
        logger=Logger(log_dir),
        config={},
    )
    channels = 3 if parsed.model.rgb else 1
    size = parse_image_size(parsed.model.image_size)
    return loop, torch.rand(batch_size, channels, parsed.video.seq_len, *size) * 2 - 1


def cpu_seconds(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def checkpoint_seconds(loop: TrainLoop, seconds: Callable[[Callable[[], object]], float]) -> dict[str, float]:
    """Of a loop that has made a step. The files are read from memory, where the system has just put them.

    seconds: of a call, by a clock or of the processor.
    """
    loop.step += 1
    loop._keep()
    folder, found = loop.logger.dir, []
    taken = {
        "checkpoint written and read back": seconds(loop._save),
        "checkpoint verified": seconds(lambda: found.append(find_latest(folder))),
        "checkpoint loaded": seconds(lambda: load_checkpoint(found[0], loop.ema)),
    }
    size = sum(path.stat().st_size for path in Path(folder).glob(f"*{loop.step:06d}.safetensors"))
    parameters = sum(parameter.numel() for parameter in loop.model.parameters())
    return taken | {"checkpoint MB": size / 1e6, "million parameters": parameters / 1e6}


def bytes_exchanged(loop: TrainLoop, step: Callable[[], None]) -> int:
    """Of gradients that DDP hands to its all-reduce in a step, counted in a group of one rank."""
    counted = [0]

    def hook(_state: object, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
        counted[0] += bucket.buffer().nbytes
        summed: torch.futures.Future[torch.Tensor] = torch.futures.Future()
        summed.set_result(bucket.buffer())
        return summed

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        loop.network = DistributedDataParallel(loop.model)
        loop.network.register_comm_hook(None, hook)
        step()
    finally:
        dist.destroy_process_group()
    return counted[0]


def loading_seconds(run: RunOptions, folder: str) -> dict[str, float]:
    """Of a window of a recipe, ready for the network, from a cache in memory; and of verifying a cache file."""
    path, size = f"{folder}/video.mp4", parse_image_size(run.model.image_size)
    noise = np.random.default_rng(0).integers(0, 256, (FRAMES, 120, 160, 3), np.uint8)
    write_video(path, noise)
    FrameCache(f"{folder}/cache", size, rgb=run.model.rgb).frames(path)
    caches = [FrameCache(f"{folder}/cache", size, rgb=run.model.rgb) for _ in range(ROUNDS)]
    verifying = min(
        cpu_seconds(lambda each=each: each.frames(path)) for each in caches
    )  # each again, as every rank does
    frames = caches[0].frames(path)
    batches = training_batches(VideoWindows([path], caches[0], run.video.seq_len), batch_size=1, seed=0)
    window = min(cpu_seconds(lambda: [next(batches) for _ in range(WINDOWS)]) for _ in range(ROUNDS)) / WINDOWS
    rates = {"window s": window, "verifying bytes/s": frames.nbytes / verifying}
    return rates | {"window bytes": run.video.seq_len * frames[0].nbytes, "frame bytes": frames[0].nbytes}


def measured(recipe: str) -> dict[str, object]:
    """On one thread, with the small network NETWORK; and the sizes of a recipe's network, windows and frames."""
    run = run_of_recipe(recipe, ("model", "diffusion", "video", "train"))
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        loop, frames = loop_of(NETWORK, 1, f"{folder}/log", "--precision", "fp32")
        exchanged = bytes_exchanged(loop, lambda: loop._train_step(frames, {}, [0], 1e-6))
        rounds = [checkpoint_seconds(loop, cpu_seconds) for _ in range(ROUNDS)]
        around = {name: min(each[name] for each in rounds) for name in rounds[0]}
        loading = loading_seconds(run, folder)
    with torch.device("meta"):  # tensors that have shapes alone
        model = create_model(run.model, run.diffusion.learn_sigma)
    counts = {"parameters": sum(parameter.numel() for parameter in model.parameters())}
    counts |= {"windows": run.train.batch_size, "save_interval": run.train.save_interval}
    parameters, size = 1e6 * around["million parameters"], 1e6 * around["checkpoint MB"]
    rates = {
        "gradient bytes per parameter": exchanged / parameters,
        "checkpoint bytes per parameter": size / parameters,
        "writing bytes/s": size / around["checkpoint written and read back"],
        "verifying a checkpoint, bytes/s": size / around["checkpoint verified"],
    }
    about = machine() | {"date": time.strftime("%F", time.gmtime()), "network": NETWORK, "recipe": recipe}
    return about | around | rates | loading | counts
