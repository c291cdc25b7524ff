"""From options to the parts that training and sampling share: anchors, frame cache, model from a checkpoint."""

import os
import re
from collections.abc import Collection
from dataclasses import asdict
from typing import Any

import torch

from ramvid_vad.diffusion.anchors import AnchorPattern
from ramvid_vad.diffusion.gaussian import GaussianDiffusion
from ramvid_vad.errors import InputError
from ramvid_vad.models.unet import UNet
from ramvid_vad.options import (
    GROUPS,
    AnchorOptions,
    ModelOptions,
    RunOptions,
    SpaceOptions,
    VideoOptions,
    int_list,
    parse_image_size,
)
from ramvid_vad.options.aliases import ALIASES, spelled_out
from ramvid_vad.options.option import convert_all
from ramvid_vad.runtime import processes
from ramvid_vad.runtime.remote import names_in
from ramvid_vad.script_util import create_diffusion, create_model
from ramvid_vad.spaces.motion import CHANNELS
from ramvid_vad.training.checkpoints import find_latest
from ramvid_vad.training.weights import load_weights
from ramvid_vad.video.cache import FrameCache

LONGEST_WAIT = 7 * 24 * 60  # minutes that a rank waits for slower ones; a dead one is noticed within seconds
SPACE_FILE = "space.safetensors"  # beside the checkpoints that were trained in it
SECTIONS = ("model", "diffusion", "video", "anchors")  # of options that a checkpoint carries
OWN_TO_A_RANK = ("cache_dir", "num_workers")  # options that may differ from machine to machine
RANDOM_FLAGS = ("max_num_mask_frames", "mask_range", "uncondition_rate")
# options that a checkpoint does not fix: they choose how it is trained or walked, not what it is
FREE_OPTIONS = (
    "timestep_respacing",
    "sigma_small",
    "min_snr_gamma",
    "use_kl",
    "rescale_learned_sigmas",
    "use_checkpoint",
    "dropout",
)


def join_ranks(run: RunOptions) -> None:
    """Join the other processes. InputError: they do not meet, or were started with other options."""
    processes.setup_dist(timeout_minutes=LONGEST_WAIT)
    options = {name: value for part in run.as_sections().values() for name, value in part.items()}
    processes.check_same({name: value for name, value in options.items() if name not in OWN_TO_A_RANK})


def with_anchor_kind(run: RunOptions) -> RunOptions:
    """The pattern asked for, by name; left open, RaMViD's mask flags mean its random pattern."""
    kind = run.anchors.anchors
    if not kind and run.anchors.cond_frames:
        kind = "explicit"
    elif not kind and "num_prediction_anchors" in run.given:
        kind = "prediction"
    elif not kind:
        kind = "random" if run.given & set(RANDOM_FLAGS) else "selective"
    return run.but("anchors", anchors=kind)


def groups_of(options: SpaceOptions) -> dict[str, int]:
    """Channels of each group of the feature space; none for pixels, where all are one."""
    return {"appearance": options.space_channels, "motion": CHANNELS} if options.space == "features" else {}


def anchor_pattern(
    anchors: AnchorOptions,
    seq_len: int,
    seed: int,
    space: SpaceOptions | None = None,
    grid: tuple[int, int] = (1, 1),
) -> AnchorPattern:
    """The anchors of the resolved options (``anchors.anchors`` is not empty), in a space whose maps are ``grid``."""
    space = space or SpaceOptions()
    tube = int_list(space.tube_cells, "tube_cells")
    if len(tube) != 2:
        raise InputError(f"--tube_cells {space.tube_cells!r}: expected LEAST,MOST, e.g. 5,10")
    frame_range = None
    if anchors.mask_range not in ("", "None"):
        ends = int_list(anchors.mask_range, "mask_range")
        if len(ends) != 2:
            raise InputError(f"--mask_range {anchors.mask_range!r}: expected FIRST,END, e.g. 0,{seq_len}")
        frame_range = (ends[0], ends[1])
    return AnchorPattern(
        anchors.anchors,
        seq_len,
        frames=int_list(anchors.cond_frames, "cond_frames"),
        num_prediction=anchors.num_prediction_anchors,
        max_given=anchors.max_num_mask_frames,
        frame_range=frame_range,
        unconditional_rate=anchors.uncondition_rate,
        seed=seed,
        groups=tuple(groups_of(space)) or ("pixels",),
        grid=grid,
        tube=(tube[0], tube[1]),
    )


def cache_folder(chosen: str) -> str:
    """``--cache_dir``, or its default."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return chosen or os.path.join(home, "ramvid_vad", "frames")


def frame_cache(video: VideoOptions, model: ModelOptions) -> FrameCache:
    """The cache of decoded frames at the model's size."""
    folder = cache_folder(video.cache_dir)
    size = parse_image_size(model.image_size)
    return FrameCache(folder, size, rgb=model.rgb, keep_aspect=video.keep_aspect, limit=video.cache_limit * 1e9)


def checkpoint_config(run: RunOptions) -> dict[str, Any]:
    """What a checkpoint says of itself: all that sampling needs to know."""
    config = {name: asdict(getattr(run, name)) for name in SECTIONS}
    config["video"] = {name: config["video"][name] for name in ("seq_len", "keep_aspect")}  # no paths of this machine
    if run.space.space != "pixels":  # as it was before there were other spaces
        config["space"] = {name: value for name, value in asdict(run.space).items() if name != "backbone_weights"}
    return config


def load_model(path: str, run: RunOptions) -> tuple[UNet, GaussianDiffusion, RunOptions]:
    """The network of a checkpoint, its diffusion, and the options with those of the checkpoint adopted.

    A flag that contradicts the checkpoint's configuration is an InputError; a RaMViD ``.pt`` has none and takes the
    flags, but for the mixer, which shows in its keys.
    """
    state, config = load_weights(path)
    if config is not None:
        run = _adopted(run, config, path)
    elif "mixer" not in run.given:
        run = run.but("model", mixer="attention" if any(".qkv." in key for key in state) else "mamba")
    model = create_model(run.model, run.diffusion.learn_sigma)
    load_state(model, state, path)
    return model, create_diffusion(run.diffusion), run


def load_state(model: UNet, state: dict[str, torch.Tensor], path: str) -> None:
    """Load weights strictly. InputError: a checkpoint of another architecture or type, with the first difference."""
    check_state(model, state, path)
    model.load_state_dict(state)


def check_state(model: UNet, state: dict[str, torch.Tensor], path: str) -> None:
    """InputError: names, shapes or types of the weights are not the model's, with the first difference."""
    own = model.state_dict()
    for key in [*own, *state]:
        if key not in state:
            difference = f"it lacks {key}"
        elif key not in own:
            difference = f"it has {key} besides"
        elif own[key].shape != state[key].shape:
            difference = f"its {key} is {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
        elif own[key].dtype != state[key].dtype:
            ours, its = (str(each[key].dtype).removeprefix("torch.") for each in (own, state))
            raise InputError(f"{path}: its {key} is {its} instead of {ours}: save the weights as {ours}")
        else:
            continue
        raise InputError(
            f"{path}: a checkpoint of another architecture ({difference}): give the model flags it was made with"
        )


def weights_in(path: str, use_ema: bool = True) -> str:
    """The file to load: of a training run's folder the newest, and of raw weights the averaged ones beside them, if
    ``use_ema`` and there are any. InputError: no checkpoint in the folder."""
    if os.path.isdir(path):
        latest = find_latest(path)
        if latest is None:
            raise InputError(f"--model_path {path}: no checkpoint in this folder")
        path = os.path.join(path, f"model{latest.step:06d}.safetensors")
    return (averaged_beside(path) if use_ema else "") or path


def averaged_beside(path: str) -> str:
    """The averaged weights of the same step beside a raw model file, or ""."""
    folder, name = os.path.split(path)
    found = re.fullmatch(r"model(\d{6,})(\.safetensors|\.pt)", name)
    if not found:
        return ""
    pattern = re.compile(rf"ema_([0-9.]+)_{found[1]}{re.escape(found[2])}")
    averages = sorted((float(m[1]), m[0]) for m in map(pattern.fullmatch, names_in(folder)) if m)
    return os.path.join(folder, averages[-1][1]) if averages else ""


def known_config(config: Any, path: str) -> dict[str, dict[str, Any]]:
    """The options in a checkpoint's own words, section by section, in type and range; others are left out, as those of
    newer versions. InputError: the file says something that no option can be."""
    if not isinstance(config, dict) or not all(isinstance(config.get(name, {}), dict) for name in SECTIONS):
        raise InputError(f"{path}: its configuration is no sections of options: damaged, take another checkpoint")
    return {
        name: spelled_out(convert_all(GROUPS[name], config.get(name, {}), f"{path}: its configuration says "))
        for name in SECTIONS
    }


def check_config(run: RunOptions, config: dict[str, Any], path: str, names: Collection[str] | None = None) -> None:
    """InputError: one of the options ``names`` (None: any) contradicts what a checkpoint says it was made with."""
    trained = known_config(config, path)
    space = config.get("space", {"space": "pixels"})
    for name in ("space", "backbone", "space_channels") if names is None else ("space",):
        if name in space and space[name] != getattr(run.space, name):
            raise InputError(f"--{name} {getattr(run.space, name)!r}: {path} was made with {space[name]!r}: use that")
    for section in ("model", "diffusion"):
        now = asdict(getattr(run, section))
        for name, value in trained[section].items():
            if name in FREE_OPTIONS or (names is not None and name not in names):
                continue
            if _plain(name, now[name]) != _plain(name, value):
                raise InputError(f"--{name} {now[name]!r}: {path} was made with {value!r}: use that, or leave it out")


def _plain(name: str, value: Any) -> Any:
    """Values that are spelt differently and mean the same become equal."""
    if name == "image_size":
        return parse_image_size(value)
    if name == "channel_mult":
        return int_list(value, name)
    if name == "attention_resolutions":
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _adopted(run: RunOptions, config: dict[str, Any], path: str) -> RunOptions:
    """With the checkpoint's options, except those that a flag may change."""
    said = run.given | {ALIASES[name][0] for name in run.given & ALIASES.keys()}
    check_config(run, config, path, said)
    kept = set(run.given)
    if run.given & {"cond_frames", "num_prediction_anchors"}:
        kept.add("anchors")  # asked for by other words: the pattern it was trained with must not hide them
    for section, trained in known_config(config, path).items():
        run = run.but(section, **{name: value for name, value in trained.items() if name not in kept})
    return run
