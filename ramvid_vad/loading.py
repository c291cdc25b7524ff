"""From options to the parts that training and sampling share: anchors, frame cache, model from a checkpoint."""

import os
import re
from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import Any

import torch
import yaml

from ramvid_vad.diffusion.anchors import AnchorPattern
from ramvid_vad.diffusion.gaussian import GaussianDiffusion
from ramvid_vad.errors import InputError
from ramvid_vad.models.unet import UNet
from ramvid_vad.options import AnchorOptions, ModelOptions, VideoOptions
from ramvid_vad.runtime.files import names_in
from ramvid_vad.script_util import create_diffusion, create_model, int_list, parse_image_size, resolved_options
from ramvid_vad.training.weights import load_weights
from ramvid_vad.video.cache import FrameCache

LONGEST_WAIT = 7 * 24 * 60  # minutes that a rank waits for slower ones; a dead one is noticed within seconds
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


def print_resolved(parsed: SimpleNamespace) -> None:
    """``--dry_run``: every option as it was resolved, as YAML that ``--config`` reads."""
    print(yaml.safe_dump(resolved_options(parsed), sort_keys=False).rstrip())


def anchor_kind(anchors: AnchorOptions, given: set[str]) -> str:
    """The pattern asked for; left open, RaMViD's mask flags mean its random pattern."""
    if anchors.anchors:
        return anchors.anchors
    if anchors.cond_frames:
        return "explicit"
    if "num_prediction_anchors" in given:
        return "prediction"
    return "random" if given & set(RANDOM_FLAGS) else "selective"


def anchor_pattern(anchors: AnchorOptions, seq_len: int, seed: int) -> AnchorPattern:
    """The anchors of the resolved options (``anchors.anchors`` is not empty)."""
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
    )


def cache_folder(chosen: str) -> str:
    """``--cache_dir``, or its default."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return chosen or os.path.join(home, "ramvid_vad", "frames")


def frame_cache(video: VideoOptions, model: ModelOptions) -> FrameCache:
    """The cache of decoded frames at the model's size."""
    folder = cache_folder(video.cache_dir)
    return FrameCache(folder, parse_image_size(model.image_size), rgb=model.rgb, keep_aspect=video.keep_aspect)


def checkpoint_config(parsed: SimpleNamespace) -> dict[str, Any]:
    """What a checkpoint says of itself: all that sampling needs to know."""
    config = {name: asdict(getattr(parsed, name)) for name in ("model", "diffusion", "video", "anchors")}
    config["video"] = {name: config["video"][name] for name in ("seq_len", "keep_aspect")}  # no paths of this machine
    return config


def load_model(path: str, parsed: SimpleNamespace) -> tuple[UNet, GaussianDiffusion]:
    """The network of a checkpoint and its diffusion; ``parsed`` then holds the checkpoint's options.

    A flag that contradicts the checkpoint's configuration is an InputError; a RaMViD ``.pt`` has none and takes the
    flags, but for the mixer, which shows in its keys.
    """
    state, config = load_weights(path)
    if config is not None:
        _adopt(parsed, config, path)
    elif "mixer" not in parsed.given:
        mixer = "attention" if any(".qkv." in key for key in state) else "mamba"
        parsed.model = replace(parsed.model, mixer=mixer)
    model = create_model(parsed.model, parsed.diffusion.learn_sigma)
    load_state(model, state, path)
    return model, create_diffusion(parsed.diffusion)


def load_state(model: UNet, state: dict[str, torch.Tensor], path: str) -> None:
    """Load weights strictly. InputError: a checkpoint of another architecture or type, with the first difference."""
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
    model.load_state_dict(state)


def averaged_beside(path: str) -> str:
    """The averaged weights of the same step beside a raw model file, or ""."""
    folder, name = os.path.split(path)
    found = re.fullmatch(r"model(\d{6,})(\.safetensors|\.pt)", name)
    if not found:
        return ""
    pattern = re.compile(rf"ema_([0-9.]+)_{found[1]}{re.escape(found[2])}")
    averages = sorted((float(m[1]), m[0]) for m in map(pattern.fullmatch, names_in(folder)) if m)
    return os.path.join(folder, averages[-1][1]) if averages else ""


def check_config(parsed: SimpleNamespace, config: dict[str, Any], path: str, names: set[str] | None = None) -> None:
    """InputError: one of the options ``names`` (None: any) contradicts what a checkpoint says it was made with."""
    for section in ("model", "diffusion"):
        now = asdict(getattr(parsed, section))
        for name, trained in config.get(section, {}).items():
            if name not in now or name in FREE_OPTIONS or (names is not None and name not in names):
                continue
            if _plain(name, now[name]) != _plain(name, trained):
                raise InputError(f"--{name} {now[name]!r}: {path} was made with {trained!r}: use that, or leave it out")


def _plain(name: str, value: Any) -> Any:
    """Values that are spelt differently and mean the same become equal."""
    if name == "image_size":
        return parse_image_size(value)
    if name in ("channel_mult", "attention_resolutions"):
        return int_list(value, name)
    return value


def _adopt(parsed: SimpleNamespace, config: dict[str, Any], path: str) -> None:
    """Take over the checkpoint's options, except those that a flag may change."""
    check_config(parsed, config, path, parsed.given)
    kept = set(parsed.given)
    if parsed.given & {"cond_frames", "num_prediction_anchors"}:
        kept.add("anchors")  # asked for by other words: the pattern it was trained with must not hide them
    for section in ("model", "diffusion", "video", "anchors"):
        current = getattr(parsed, section)
        trained = {name: value for name, value in config.get(section, {}).items() if name in asdict(current)}
        setattr(parsed, section, replace(current, **{k: v for k, v in trained.items() if k not in kept}))
