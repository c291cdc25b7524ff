"""One training run from its options and data: network, diffusion, what it goes on from, and the loop."""

from dataclasses import replace

import torch

from ramvid_vad.loading import anchor_pattern, check_state, groups_of, load_state
from ramvid_vad.models.precision import backward_may_hang, resolve_precision, slow_precision
from ramvid_vad.options import RunOptions
from ramvid_vad.runtime import processes
from ramvid_vad.runtime.logger import Logger
from ramvid_vad.script_util import create_diffusion, create_model
from ramvid_vad.training.checkpoints import Loaded
from ramvid_vad.training.data import TrainingData
from ramvid_vad.training.held_out import HeldOut
from ramvid_vad.training.loop import TrainLoop
from ramvid_vad.training.resume import run_config, warms_up


def run_training(
    parsed: RunOptions, data: TrainingData, logger: Logger, resumed: Loaded | None, note: str = ""
) -> TrainLoop:
    """Train until the options or a signal say stop.

    resumed: what ``find_resumed`` has found to go on from.  note: a line for the log.
    RunError: it has diverged, or its last checkpoint cannot be saved.
    """
    options = parsed.train
    # one for all ranks, whatever processors they have
    precision = processes.from_rank_0(lambda: resolve_precision(options.precision, processes.dev()))
    if slow := slow_precision(precision, processes.dev()):
        logger.warn(slow)
    torch.manual_seed(options.seed)  # the initial weights
    groups = tuple(groups_of(parsed.space).values())
    model = create_model(parsed.model, parsed.diffusion.learn_sigma, groups)
    fewest = model.fewest_frames or parsed.video.seq_len
    if backward_may_hang(precision, processes.dev(), fewest):
        torch.set_num_threads(1)
        logger.warn(
            f"--precision bf16 with {fewest} frames in a layer can hang in PyTorch's convolution on this processor: "
            "training on one thread; --precision fp32 uses all"
        )
    diffusion = create_diffusion(replace(parsed.diffusion, timestep_respacing=""))
    pattern = anchor_pattern(parsed.anchors, parsed.video.seq_len, options.seed, parsed.space, data.grid)
    held_out = None
    if data.held_out is not None:
        held_out = HeldOut(data.held_out.to(processes.dev()), pattern, groups, options.seed)

    if "ema_warmup" not in parsed.given and not warms_up(resumed):
        parsed = parsed.but("train", ema_warmup=False)
        options = parsed.train
    if resumed is not None:
        origin = options.resume_checkpoint or logger.dir
        load_state(model, resumed.model, origin)
        for rate, average in resumed.ema.items():
            check_state(model, average, f"{origin}: average of rate {rate}")
        logger.log(f"going on from step {resumed.step}")
    loop = TrainLoop(
        model,
        diffusion,
        data.batches,
        pattern,
        options,
        precision=precision,
        exclude_conditional=parsed.anchors.exclude_conditional,
        logger=logger,
        config=run_config(parsed),
        resumed=resumed,
        names=data.names,
        channels=groups,
        held_out=held_out,
    )
    logger.start(parsed.as_sections(), resumed_step=loop.step)
    count = sum(parameter.numel() for parameter in model.parameters())
    logger.log(f"{count / 1e6:.2f} M parameters, mixer {parsed.model.mixer}, anchors {parsed.anchors.anchors}")
    if note:
        logger.log(note)
    loop.run()
    return loop
