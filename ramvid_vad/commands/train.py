"""``video_train.py``: options -> data, model, loop."""

import os
from collections.abc import Iterator
from dataclasses import replace

import torch

from ramvid_vad.commands.quarantine import decode_or_leave_out, report
from ramvid_vad.errors import InputError
from ramvid_vad.loading import (
    LONGEST_WAIT,
    anchor_pattern,
    check_config,
    checkpoint_config,
    frame_cache,
    load_state,
    with_anchor_kind,
)
from ramvid_vad.models.precision import backward_may_hang, resolve_precision, slow_precision
from ramvid_vad.options import RunOptions
from ramvid_vad.runtime import processes
from ramvid_vad.runtime.logger import Logger
from ramvid_vad.script_util import NUM_CLASSES, create_diffusion, create_model
from ramvid_vad.training.checkpoints import (
    Checkpoint,
    Loaded,
    find_given,
    find_latest,
    is_here,
    load_checkpoint,
    newest_step,
    step_of,
)
from ramvid_vad.training.loop import Batches, TrainLoop
from ramvid_vad.video.datasets import VideoWindows, training_batches
from ramvid_vad.video.reader import find_videos, video_name


def train(parsed: RunOptions) -> bool:
    """Train as the parsed options say; False if a signal ended it early."""
    parsed = checked(parsed)
    if parsed.dry_run:
        print(parsed.as_yaml())
        return True
    options = parsed.train
    processes.setup_dist(timeout_minutes=LONGEST_WAIT)
    logger = Logger(options.log_dir, tensorboard=options.tensorboard)
    # one for all ranks, whatever processors they have
    precision = processes.from_rank_0(lambda: resolve_precision(options.precision, processes.dev()))
    if slow := slow_precision(precision, processes.dev()):
        logger.warn(slow)
    torch.manual_seed(options.seed)  # the initial weights
    model = create_model(parsed.model, parsed.diffusion.learn_sigma)
    fewest = model.fewest_frames or parsed.video.seq_len
    if backward_may_hang(precision, processes.dev(), fewest):
        torch.set_num_threads(1)
        logger.warn(
            f"--precision bf16 with {fewest} frames in a layer can hang in PyTorch's convolution on this processor: "
            "training on one thread; --precision fp32 uses all"
        )
    diffusion = create_diffusion(replace(parsed.diffusion, timestep_respacing=""))
    pattern = anchor_pattern(parsed.anchors, parsed.video.seq_len, options.seed)
    batches, names, left_out = training_data(parsed, logger)

    resumed = find_resumed(options.resume_checkpoint, logger, options.ema_rate)
    if resumed is not None:
        origin = options.resume_checkpoint or logger.dir
        check_config(parsed, resumed.config or {}, origin)
        load_state(model, resumed.model, origin)
        logger.log(f"going on from step {resumed.step}")
    loop = TrainLoop(
        model,
        diffusion,
        batches,
        pattern,
        options,
        precision=precision,
        exclude_conditional=parsed.anchors.exclude_conditional,
        logger=logger,
        config=checkpoint_config(parsed),
        resumed=resumed,
        names=names,
    )
    logger.start(parsed.as_sections(), resumed_step=loop.step)
    count = sum(parameter.numel() for parameter in model.parameters())
    logger.log(f"{count / 1e6:.2f} M parameters, mixer {parsed.model.mixer}, anchors {parsed.anchors.anchors}")
    step = loop.run()
    report(left_out, logger.log)
    logger.log(f"ended at step {step}; the same command goes on from there; checkpoints are in {logger.dir}")
    logger.close()
    processes.cleanup()
    return not loop.stop


def checked(parsed: RunOptions) -> RunOptions:
    """What options leave open resolved, and what cannot work refused, before anything is written."""
    options, video = parsed.train, parsed.video
    parsed = with_anchor_kind(parsed)
    anchor_pattern(parsed.anchors, video.seq_len, options.seed)
    create_diffusion(parsed.diffusion)
    with torch.device("meta"):
        create_model(parsed.model, parsed.diffusion.learn_sigma)
    scale = parsed.model.scale_time_dim
    if scale and scale != video.seq_len:
        raise InputError(f"--scale_time_dim {scale} must equal --seq_len {video.seq_len}, or be 0")
    if options.anneal_type == "linear" and options.lr_anneal_steps < 1:
        raise InputError("--anneal_type linear: give --lr_anneal_steps, the step where the rate reaches 0")
    if options.anneal_type == "step" and not (options.steps_drop > 0 and options.drop > 0):
        raise InputError("--anneal_type step: give --steps_drop and --drop, e.g. --steps_drop 10000 --drop 0.5")
    for rate in options.ema_rate.split(","):
        try:
            valid = not rate.strip() or 0 <= float(rate) < 1
        except ValueError:
            valid = False
        if not valid:
            raise InputError(f"--ema_rate {options.ema_rate!r}: expected rates in [0, 1), e.g. 0.999,0.9999")
    return parsed


def training_data(parsed: RunOptions, logger: Logger) -> tuple[Batches, list[str], dict[str, str]]:
    """Windows of all videos, decoded into the cache once: a function from the first step to this rank's batches.

    And the videos' names; and the damaged ones that are left out, path -> fault: rank 0 looks, so that all ranks have
    the same windows.
    """
    video, options = parsed.video, parsed.train
    found = find_videos(video.data_dir, video.only)
    cache = frame_cache(video, parsed.model)
    left_out = processes.from_rank_0(
        lambda: decode_or_leave_out(
            cache,
            video.data_dir,
            found,
            logger.dir,
            options.max_damaged_share,
            logger.warn,
            workers=video.num_workers or None,
            timeout=video.decode_timeout,
        )
    )
    paths = [path for path in found if path not in left_out]
    dataset = VideoWindows(paths, cache, video.seq_len)
    logger.log(f"{len(paths)} videos, {len(dataset)} windows of {video.seq_len} frames in {video.data_dir}")
    classes = None
    if parsed.model.class_cond:
        prefixes = {path: video_name(path, video.data_dir).split("/")[-1].split("_")[0] for path in found}
        known = sorted(set(prefixes.values()))  # a class keeps its number when a video of another one is left out
        if len(known) > NUM_CLASSES:
            raise InputError(
                f"--class_cond True: {len(known)} file-name prefixes in {video.data_dir}, at most {NUM_CLASSES}"
            )
        classes = torch.tensor([known.index(prefixes[path]) for path in paths])

    def batches(start_step: int) -> Iterator[tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]]:
        for frames, cond, samples in training_batches(
            dataset,
            batch_size=options.batch_size,
            seed=options.seed,
            start_step=start_step,
            rank=processes.rank(),
            world_size=processes.world_size(),
            num_workers=video.num_workers,
        ):
            yield frames, cond if classes is None else cond | {"y": classes[cond["video"]]}, samples

    return batches, [video_name(path, video.data_dir) for path in paths], left_out


def find_resumed(resume_checkpoint: str, logger: Logger, ema_rate: str) -> Loaded | None:
    """The checkpoint to go on from: the file that was given, or the newest valid one in the log directory if that is
    further: then the same command was killed and goes on. Rank 0 looks and verifies the checksums for all.
    """
    source = processes.from_rank_0(lambda: _to_go_on_from(resume_checkpoint, logger))
    here = is_here(source) if isinstance(source, Checkpoint) else source is None or _size(source)
    if not processes.agree((newest_step(logger.dir), here)):
        where = logger.dir if source is None or isinstance(source, Checkpoint) else f"{logger.dir} or {source}"
        raise InputError(f"{where}: the ranks find different checkpoints there: it must be a shared folder")
    if source is None:
        return None
    return load_checkpoint(source, [rate.strip() for rate in ema_rate.split(",") if rate.strip()], logger.warn)


def _size(path: str) -> int:
    """Of a local file in bytes; -1 where there is none."""
    return os.path.getsize(path) if os.path.exists(path) else -1


def _to_go_on_from(resume_checkpoint: str, logger: Logger) -> Checkpoint | str | None:
    latest = find_latest(logger.dir, logger.warn)
    if resume_checkpoint in ("", "auto"):
        return latest
    given = find_given(resume_checkpoint)
    if latest is None or latest.step <= step_of(given):
        return given
    logger.log(f"step {latest.step} in {logger.dir} is further than {resume_checkpoint}")
    return latest
