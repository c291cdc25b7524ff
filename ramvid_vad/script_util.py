"""Options <-> command line and YAML, and options -> model and diffusion."""

import argparse
import difflib
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from types import SimpleNamespace
from typing import Any

import yaml

from ramvid_vad import options
from ramvid_vad.diffusion.gaussian import GaussianDiffusion
from ramvid_vad.diffusion.schedule import named_betas, respaced_timesteps
from ramvid_vad.errors import InputError, RunError
from ramvid_vad.models.unet import UNet, default_channel_mult
from ramvid_vad.recipes import find_recipe, recipe_names
from ramvid_vad.runtime import processes
from ramvid_vad.runtime.allocator import keep_freed_memory
from ramvid_vad.runtime.signals import Terminated, ending

GROUPS = {
    "model": options.ModelOptions,
    "diffusion": options.DiffusionOptions,
    "video": options.VideoOptions,
    "anchors": options.AnchorOptions,
    "train": options.TrainOptions,
    "sample": options.SampleOptions,
    "eval": options.EvalOptions,
    "demo": options.DemoOptions,
    "prepare": options.PrepareOptions,
}
COMMAND_SECTIONS = {
    "video_train": ("model", "diffusion", "video", "anchors", "train"),
    "video_sample": ("model", "diffusion", "video", "anchors", "sample"),
    "vad_eval": ("eval",),
    "demo": ("demo",),
    "prepare_data": ("prepare",),
}
NUM_CLASSES = 1000


def str2bool(value: str) -> bool:
    """RaMViD's spelling of booleans: yes/true/t/y/1 and no/false/f/n/0 in any case."""
    if value.lower() in ("yes", "true", "t", "y", "1"):
        return True
    if value.lower() in ("no", "false", "f", "n", "0"):
        return False
    raise InputError(f"{value!r} is not a boolean: use True or False")


def int_list(text: str, flag: str) -> list[int]:
    """Comma-separated integers; a trailing comma is allowed. InputError names the flag."""
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise InputError(f"--{flag} {text!r}: expected comma-separated integers, e.g. 0,1,2") from None


def parse_image_size(text: str | int) -> tuple[int, int]:
    """``128`` -> (128, 128); ``128x192`` -> (128, 192): height x width in pixels."""
    parts = str(text).lower().split("x")
    if len(parts) > 2 or not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise InputError(f"--image_size {text!r}: expected 128 or HEIGHTxWIDTH, e.g. 128x192")
    return int(parts[0]), int(parts[-1])


def _convert(spec: Any, value: Any, where: str) -> Any:
    """One value from the command line or YAML, checked against its option."""
    try:
        if spec.type is bool:
            converted = value if isinstance(value, bool) else str2bool(str(value))
        elif isinstance(value, bool | list | dict) or (spec.type is int and isinstance(value, float)):
            raise TypeError  # would be bent into shape: True into 1, 1.5 into 1
        elif spec.type is str:
            converted = "" if value is None else str(value)
        else:
            converted = spec.type(value)
    except (ValueError, TypeError):
        raise InputError(f"{where} {value!r}: expected {spec.type.__name__}, e.g. {spec.default!r}") from None
    if isinstance(converted, float) and not math.isfinite(converted):
        raise InputError(f"{where} {value!r}: must be a finite number, e.g. {spec.default!r}")
    choices = spec.metadata["choices"]
    if choices and converted not in choices:
        raise InputError(f"{where} {value!r}: choose one of {', '.join(c for c in choices if c)}")
    return converted


def _nearest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return close[0] if close else ""


def read_config(path: str) -> dict[str, dict[str, Any]]:
    """A YAML file of sections (model, diffusion, video, anchors, train, sample, eval); every key is checked."""
    try:
        with open(find_recipe(path), encoding="utf-8") as file:
            content = yaml.safe_load(file) or {}
    except OSError as error:
        remedy = f"give a YAML file, or a recipe of the package: {', '.join(recipe_names())}"
        raise InputError(f"--config {path}: cannot be read ({error.strerror}): {remedy}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"--config {path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or not all(isinstance(part or {}, dict) for part in content.values()):
        raise InputError(f"--config {path}: expected sections ({', '.join(GROUPS)}) of 'option: value' lines")
    for section, part in content.items():
        if section not in GROUPS:
            raise InputError(
                f"--config {path}: unknown section {section!r}: did you mean {_nearest(str(section), [*GROUPS])!r}?"
            )
        specs = {spec.name: spec for spec in fields(GROUPS[section])}
        for key, value in (part or {}).items():
            if key not in specs:
                near = _nearest(str(key), [*specs])
                raise InputError(f"--config {path}: unknown key {key!r} in section {section!r}: did you mean {near!r}?")
            part[key] = _convert(specs[key], value, f"--config {path}: {key}")
    return {section: part or {} for section, part in content.items()}


def parse_command(description: str, sections: Sequence[str], argv: Sequence[str] | None = None) -> SimpleNamespace:
    """Parse a command line whose flags are the options of ``sections`` (names of GROUPS).

    Precedence: default < ``--config FILE`` < flag. Returns a namespace with one option object per section, ``given``
    (the set of names set by flag or file), ``typed`` (those set by flag), ``dry_run`` and ``config``. InputError: an
    unknown flag or key, a bad value.
    """
    specs = {spec.name: (section, spec) for section in sections for spec in fields(GROUPS[section])}
    parser = argparse.ArgumentParser(
        description=description,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", help="YAML file of options, or a recipe's name; flags win over it")
    parser.add_argument(
        "--dry_run", nargs="?", const=True, type=str2bool, help="print the resolved options and end", metavar="BOOL"
    )
    for section in sections:
        group = parser.add_argument_group(section, (GROUPS[section].__doc__ or "").strip().splitlines()[0])
        for spec in fields(GROUPS[section]):
            group.add_argument(
                f"--{spec.name}", metavar=spec.type.__name__.upper(), help=options.describe(spec).replace("%", "%%")
            )

    def fail(message: str) -> None:
        raise InputError(message)

    parser.error = fail  # type: ignore[method-assign]
    known, unknown = parser.parse_known_args(argv)
    if unknown:
        name = unknown[0].lstrip("-").split("=")[0]
        flag = _nearest(name, [*specs, "config", "dry_run"])
        raise InputError(f"unknown flag {unknown[0]}: did you mean --{flag}? (--help lists all)")

    values: dict[str, Any] = {}
    known = vars(known)
    for section, part in (read_config(known["config"]) if "config" in known else {}).items():
        values |= part if section in sections else {}
    for name, text in known.items():
        if name in specs:
            values[name] = _convert(specs[name][1], text, f"--{name}")
    parsed = SimpleNamespace(
        given=set(values),
        typed={name for name in known if name in specs},
        config=known.get("config", ""),
        dry_run=known.get("dry_run", False),
    )
    for section in sections:
        own = {name: value for name, value in values.items() if specs[name][0] == section}
        setattr(parsed, section, GROUPS[section](**own))
    return parsed


def resolved_options(parsed: SimpleNamespace) -> dict[str, dict[str, Any]]:
    """The options of a parsed command as plain sections, fit for YAML, JSON and ``--config``."""
    return {name: asdict(part) for name, part in vars(parsed).items() if name in GROUPS}


def run_command(name: str, description: str | None, command: Callable[[SimpleNamespace], None]) -> None:
    """Parse the command line of one of COMMAND_SECTIONS and run it.

    An InputError becomes one line on stderr and exit code 2, a RunError exit code 1. SIGINT (Ctrl-C) and SIGTERM where
    the command does not handle them itself become one line and exit code 130 and 143.
    """
    keep_freed_memory()
    try:
        with ending():
            command(parse_command(description or name, COMMAND_SECTIONS[name]))
    except (InputError, RunError) as error:
        processes.fail(f"{name}: error: {error}", 2 if isinstance(error, InputError) else 1)
    except KeyboardInterrupt as signal:
        code = 143 if isinstance(signal, Terminated) else 130
        processes.fail(f"{name}: stopped; the same command goes on from what is finished", code)


def model_and_diffusion_defaults() -> dict[str, Any]:
    """Defaults of every option that ``create_model_and_diffusion`` takes."""
    return asdict(options.ModelOptions()) | asdict(options.DiffusionOptions())


def create_model_and_diffusion(**settings: Any) -> tuple[UNet, GaussianDiffusion]:
    """The network and its diffusion process from the options of ModelOptions and DiffusionOptions.

    Options left out are at their defaults. InputError: a size that does not fit, an option that does not exist.
    """
    defaults = model_and_diffusion_defaults()
    for name in settings:
        if name not in defaults:
            raise InputError(f"unknown option {name!r}: did you mean {_nearest(name, [*defaults])!r}?")
    merged = defaults | settings
    model, diffusion = (
        group(**{spec.name: _convert(spec, merged[spec.name], f"--{spec.name}") for spec in fields(group)})
        for group in (options.ModelOptions, options.DiffusionOptions)
    )
    return create_model(model, learn_sigma=diffusion.learn_sigma), create_diffusion(diffusion)


def create_model(model: options.ModelOptions, learn_sigma: bool = False) -> UNet:
    """The U-Net of the options; sizes that do not fit are refused here."""
    height, width = parse_image_size(model.image_size)
    if model.patch_size < 1 or height % model.patch_size or width % model.patch_size:
        raise InputError(f"--patch_size {model.patch_size} does not divide --image_size {model.image_size}")
    height, width = height // model.patch_size, width // model.patch_size
    side = min(height, width)
    channel_mult = tuple(int_list(model.channel_mult, "channel_mult")) or default_channel_mult(side)
    factor = 2 ** (len(channel_mult) - 1)
    if height % factor or width % factor:
        raise InputError(
            f"--image_size {model.image_size}: with {len(channel_mult)} levels (--channel_mult) both sides must be "
            f"multiples of {factor * model.patch_size}"
        )
    for name in ("num_channels", "num_res_blocks", "num_heads", "d_state"):
        if getattr(model, name) < 1:
            raise InputError(f"--{name} {getattr(model, name)}: must be at least 1")
    if model.num_heads_upsample < 1 and model.num_heads_upsample != -1:
        raise InputError(f"--num_heads_upsample {model.num_heads_upsample}: must be at least 1, or -1 for --num_heads")
    if not 0 <= model.dropout <= 1:
        raise InputError(f"--dropout {model.dropout}: must be 0 to 1")
    if model.scale_time_dim < 0:
        raise InputError(f"--scale_time_dim {model.scale_time_dim}: must be --seq_len, or 0")
    for mult in channel_mult:
        if mult < 1:
            raise InputError(f"--channel_mult {model.channel_mult!r}: every factor must be at least 1")
        if model.num_channels * mult % 32:
            raise InputError(f"--num_channels {model.num_channels} x {mult} is not a multiple of 32 (group norm)")
    frame_channels = (3 if model.rgb else 1) * model.patch_size**2
    return UNet(
        in_channels=frame_channels,
        out_channels=frame_channels * (2 if learn_sigma else 1),
        model_channels=model.num_channels,
        num_res_blocks=model.num_res_blocks,
        mixer_downsamplings=tuple(
            side // res for res in int_list(model.attention_resolutions, "attention_resolutions") if res > 0
        ),
        channel_mult=channel_mult,
        mixer=model.mixer,
        num_heads=model.num_heads,
        num_heads_upsample=model.num_heads if model.num_heads_upsample == -1 else model.num_heads_upsample,
        scan_order=model.scan_order,
        scan_merge=model.scan_merge,
        d_state=model.d_state,
        patch_size=model.patch_size,
        factorized_conv=model.factorized_conv,
        dropout=model.dropout,
        num_classes=NUM_CLASSES if model.class_cond else None,
        use_checkpoint=model.use_checkpoint,
        use_scale_shift_norm=model.use_scale_shift_norm,
        scale_time_dim=model.scale_time_dim,
        mask_channel=model.mask_channel,
    )


def create_diffusion(diffusion: options.DiffusionOptions) -> GaussianDiffusion:
    """The diffusion process of the options; ``--timestep_respacing`` keeps a subset of its steps."""
    if diffusion.predict_xstart and diffusion.prediction == "v":
        raise InputError("--predict_xstart True contradicts --prediction v: give one of them")
    if diffusion.min_snr_gamma < 0:
        raise InputError(f"--min_snr_gamma {diffusion.min_snr_gamma}: must be above 0, or 0 for no weight")
    return GaussianDiffusion(
        betas=named_betas(diffusion.noise_schedule, diffusion.diffusion_steps),
        timesteps=respaced_timesteps(diffusion.diffusion_steps, diffusion.timestep_respacing),
        prediction="xstart" if diffusion.predict_xstart else diffusion.prediction,
        learn_sigma=diffusion.learn_sigma,
        sigma_small=diffusion.sigma_small,
        min_snr_gamma=diffusion.min_snr_gamma,
        use_kl=diffusion.use_kl,
        rescale_timesteps=diffusion.rescale_timesteps,
        rescale_learned_sigmas=diffusion.rescale_learned_sigmas,
    )
