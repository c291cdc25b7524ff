"""``video_train.py``: options -> data, model, loop."""

import torch

from ramvid_vad.commands.dry_run import training_ahead
from ramvid_vad.commands.next_command import after_training
from ramvid_vad.errors import InputError
from ramvid_vad.loading import anchor_pattern, groups_of, join_ranks, with_anchor_kind
from ramvid_vad.options import RunOptions
from ramvid_vad.runtime import processes
from ramvid_vad.runtime.logger import Logger
from ramvid_vad.script_util import create_diffusion, create_model
from ramvid_vad.training.data import training_data
from ramvid_vad.training.quarantine import report
from ramvid_vad.training.resume import find_resumed
from ramvid_vad.training.run import run_training

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
    resumed = find_resumed(parsed, logger)  # before hours of decoding: it refuses what cannot go on
    data = training_data(parsed, logger)
    loop = run_training(parsed, data, logger, resumed, mixer_note(parsed))
    report(data.left_out, logger.log)
    spent = 0 < 60 * options.max_minutes <= loop.seconds
    for line in after_training(parsed, loop.step, loop.stop.name, logger.dir, spent):
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
    if options.held_out:  # its loss is the plain one, of a network that is told no class
        for section, name in ((parsed.diffusion, "use_kl"), (parsed.model, "class_cond")):
            if getattr(section, name):
                raise InputError(f"--held_out {options.held_out}: not with --{name} True: leave out one of them")
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
