"""``video_train.py``: options -> data, model, loop."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch

from ramvid_vad.commands.dry_run import training_ahead
from ramvid_vad.commands.feature_data import encoded_videos, read_all
from ramvid_vad.commands.next_command import after_training
from ramvid_vad.commands.quarantine import decode_or_leave_out, report
from ramvid_vad.commands.resume import begun_without_warm_up, find_resumed, run_config
from ramvid_vad.errors import InputError
from ramvid_vad.loading import (
    anchor_pattern,
    check_state,
    frame_cache,
    groups_of,
    join_ranks,
    load_state,
    with_anchor_kind,
)
from ramvid_vad.models.precision import backward_may_hang, resolve_precision, slow_precision
from ramvid_vad.options import RunOptions
from ramvid_vad.runtime import processes
from ramvid_vad.runtime.logger import Logger
from ramvid_vad.script_util import NUM_CLASSES, create_diffusion, create_model
from ramvid_vad.training.held_out import HeldOut, evenly_spread
from ramvid_vad.training.loop import Batches, TrainLoop
from ramvid_vad.video.datasets import VideoWindows, to_float, training_batches
from ramvid_vad.video.prefetch import prefetch
from ramvid_vad.video.reader import find_videos, video_name

# options of network, diffusion and anchors that RaMViD does not have
OWN_FLAGS = frozenset(
    [
        "mixer",
        "scan_order",
        "scan_merge",
        "d_state",
        "patch_size",
        "factorized_conv",
        "mask_channel",
        "channel_mult",
        "prediction",
        "min_snr_gamma",
        "anchors",
        "num_prediction_anchors",
        "cond_frames",
    ]
)


def train(parsed: RunOptions) -> bool:
    """Train as the parsed options say; False if a signal ended it early."""
    parsed = checked(parsed)
    if parsed.dry_run:
        with torch.device("meta"):
            model = create_model(parsed.model, parsed.diffusion.learn_sigma, tuple(groups_of(parsed.space).values()))
        print("\n".join([parsed.as_yaml(), *training_ahead(parsed, model)]))
        return True
    options = parsed.train
    join_ranks(parsed)
    logger = Logger(options.log_dir, tensorboard=options.tensorboard)
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
    data = training_data(parsed, logger)
    pattern = anchor_pattern(parsed.anchors, parsed.video.seq_len, options.seed, parsed.space, data.grid)
    held_out = None
    if data.held_out is not None:
        held_out = HeldOut(data.held_out.to(processes.dev()), pattern, groups, options.seed)

    resumed = find_resumed(parsed, logger)
    if begun_without_warm_up(resumed) and "ema_warmup" not in parsed.given:
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
    if note := mixer_note(parsed):
        logger.log(note)
    step = loop.run()
    report(data.left_out, logger.log)
    for line in after_training(parsed, step, loop.stop.name, logger.dir, 0 < 60 * options.max_minutes <= loop.seconds):
        logger.log(line)
    logger.close()
    processes.cleanup()
    return not loop.stop


def mixer_note(parsed: RunOptions) -> str:
    """What RaMViD's own command line trains here, in one line; "" if anything of this project's was asked for."""
    if parsed.config or parsed.given & OWN_FLAGS or parsed.space.space != "pixels":
        return ""
    return "note: the network's mixer is Mamba, this project's; --mixer attention trains RaMViD's own network"


def checked(parsed: RunOptions) -> RunOptions:
    """What options leave open resolved, and what cannot work refused, before anything is written."""
    options, video = parsed.train, parsed.video
    parsed = with_anchor_kind(parsed)
    anchor_pattern(parsed.anchors, video.seq_len, options.seed, parsed.space, (64, 64))
    create_diffusion(parsed.diffusion)
    with torch.device("meta"):
        create_model(parsed.model, parsed.diffusion.learn_sigma, tuple(groups_of(parsed.space).values()))
    if parsed.space.space != "pixels":
        for name in ("learn_sigma", "use_kl"):  # the likelihood of 8-bit values
            if getattr(parsed.diffusion, name):
                raise InputError(f"--{name} True: needs --space pixels")
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


@dataclass(frozen=True)
class TrainingData:
    """batches: from the first step on, this rank's.  names: of the videos.  left_out: damaged videos, path -> fault.
    grid: (h, w) of what the model sees.  held_out: windows (N, C, T, h, w) of videos that are kept back, or None."""

    batches: Batches
    names: list[str]
    left_out: dict[str, str]
    grid: tuple[int, int]
    held_out: torch.Tensor | None


def training_data(parsed: RunOptions, logger: Logger) -> TrainingData:
    """Windows of all videos, decoded or encoded into the cache once. Rank 0 looks for damaged ones, so that all ranks
    have the same windows."""
    video, options = parsed.video, parsed.train
    found = find_videos(video.data_dir, video.only)
    cache = frame_cache(video, parsed.model)
    workers, timeout = video.num_workers or None, video.decode_timeout

    def decode(paths: list[str], failures: dict[str, str] | None) -> None:
        prefetch(cache, paths, workers=workers, timeout=timeout, failures=failures)

    read = read_all if parsed.space.space == "features" else decode
    left_out = processes.from_rank_0(
        lambda: decode_or_leave_out(read, video.data_dir, found, logger.dir, options.max_damaged_share, logger.warn)
    )
    paths = [path for path in found if path not in left_out]
    if options.held_out >= len(paths):
        raise InputError(f"--held_out {options.held_out}: leaves none of the {len(paths)} videos to train on")
    last = len(paths) - options.held_out
    paths, kept_back = paths[:last], paths[last:]
    to_input, mirrored = to_float, partial(torch.flip, dims=[-1])
    if parsed.space.space == "features":
        cache = encoded_videos(parsed, paths, kept_back, logger)
        to_input, mirrored = cache.model_input, cache.space.mirrored
    dataset = VideoWindows(paths, cache, video.seq_len, to_input)
    names = [video_name(path, video.data_dir) for path in paths]
    if not processes.agree((len(dataset), *names)):
        raise InputError(f"--data_dir {video.data_dir}: the ranks find different videos there")
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
            mirrored=mirrored if options.mirror_windows else None,
        ):
            yield frames, cond if classes is None else cond | {"y": classes[cond["video"]]}, samples

    held_out = evenly_spread(VideoWindows(kept_back, cache, video.seq_len, to_input)) if kept_back else None
    return TrainingData(batches, names, left_out, tuple(dataset[0][0].shape[-2:]), held_out)
