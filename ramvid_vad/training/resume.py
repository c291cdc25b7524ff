"""What a training run goes on from, and whether that is the same run."""

import json
import os
from dataclasses import asdict
from typing import Any

from ramvid_vad.errors import InputError
from ramvid_vad.loading import check_config, checkpoint_config
from ramvid_vad.options import RunOptions
from ramvid_vad.runtime import processes
from ramvid_vad.runtime.logger import Logger
from ramvid_vad.training.checkpoints import (
    Checkpoint,
    Loaded,
    find_given,
    find_latest,
    is_here,
    load_checkpoint,
    step_of,
    steps_in,
)

MAY_CHANGE = (  # of the options of training, when a run goes on; docs/reliability.md lists them
    *("lr", "weight_decay", "anneal_type", "lr_anneal_steps", "steps_drop", "drop", "decay", "lr_warmup", "clip"),
    *("batch_size", "microbatch", "max_steps", "max_hours", "max_minutes", "ema_rate", "max_skipped_steps"),
    *("max_damaged_share", "held_out_interval"),
    *("precision", "use_fp16", "fp16_scale_growth", "log_interval", "save_interval", "keep_checkpoints"),
    *("resume_checkpoint", "log_dir", "tensorboard"),
)
TRAINING_ALONE = {  # of the options that sampling may choose anew
    "model": ("dropout",),
    "diffusion": ("min_snr_gamma", "use_kl", "rescale_learned_sigmas"),
}


def run_config(run: RunOptions) -> dict[str, Any]:
    """What a checkpoint says of the run: all that sampling needs to know, and all that must stay when it goes on."""
    train = {name: value for name, value in asdict(run.train).items() if name not in MAY_CHANGE}
    return checkpoint_config(run) | {"train": train}


def find_resumed(run: RunOptions, logger: Logger) -> Loaded | None:
    """The checkpoint to go on from: the file that was given, or the newest valid one in the log directory if that is
    further: then the same command was killed and goes on. Rank 0 looks and verifies the checksums for all.

    InputError: it is of another architecture; or of this log directory, and the run was begun with other options; or
    given for another one, which its step would end at once.
    """
    given, rates = run.train.resume_checkpoint, [each.strip() for each in run.train.ema_rate.split(",") if each.strip()]
    source = processes.from_rank_0(lambda: _to_go_on_from(given, logger))
    here = is_here(source) if isinstance(source, Checkpoint) else source is None or _size(source)
    if not processes.agree((max(steps_in(logger.dir), default=-1), here)):
        where = logger.dir if source is None or isinstance(source, Checkpoint) else f"{logger.dir} or {source}"
        raise InputError(f"{where}: the ranks find different checkpoints there: it must be a shared folder")
    if source is None:
        return None
    resumed = load_checkpoint(source, rates, logger.warn)
    folder = source.log_dir if isinstance(source, Checkpoint) else os.path.dirname(source)
    origin = folder if isinstance(source, Checkpoint) else source
    check_config(run, resumed.config or {}, origin)
    same = os.path.realpath(folder) == os.path.realpath(logger.dir)
    if not same:
        resumed.extra.pop("seconds", None)  # of --max_minutes: those were another run's
        for name in ("max_steps", "lr_anneal_steps"):
            limit = getattr(run.train, name)
            if 0 < limit <= resumed.step and not steps_in(logger.dir):  # it would end at once, without a checkpoint
                raise InputError(f"--{name} {limit}: the checkpoint given is of step {resumed.step} already: give more")
    now = run_config(run)
    if "ema_warmup" not in run.given:
        del now["train"]["ema_warmup"]  # the run's own, see ``warms_up``
    if changes := _changes(resumed.config or {}, now):
        said = ", ".join(f"--{name} {now!r} in place of {before!r}" for name, before, now in changes)
        if same:
            raise InputError(
                f"{said}: the run in {logger.dir} was begun otherwise: keep that, or begin another with its weights "
                f"(--resume_checkpoint {os.path.join(folder, f'model{resumed.step:06d}.safetensors')} --log_dir NEW)"
            )
        logger.warn(f"another run than that of {origin} begins with its weights: {said}")
    return resumed


def warms_up(resumed: Loaded | None) -> bool:
    """Whether the averages of a run go on with a warm-up: as it was begun. Version 0.1 and RaMViD had none."""
    known = {} if resumed is None else (resumed.config or {}).get("train", {"ema_warmup": False})
    return known.get("ema_warmup", True)


def _changes(before: dict[str, Any], now: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """(option, as the checkpoint has it, as it is now) for those that both know."""
    now = json.loads(json.dumps(now))
    return [
        (name, before[section][name], value)
        for section, options in now.items()
        for name, value in options.items()
        if name in before.get(section, {}) and before[section][name] != value
        if section not in TRAINING_ALONE or name in TRAINING_ALONE[section]
    ]


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
