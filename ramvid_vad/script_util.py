"""improved-diffusion's four functions: options -> network and diffusion process."""

from dataclasses import asdict, fields
from typing import Any

from ramvid_vad.diffusion.gaussian import GaussianDiffusion
from ramvid_vad.diffusion.schedule import named_betas, respaced_timesteps
from ramvid_vad.errors import InputError
from ramvid_vad.models.unet import UNet, default_channel_mult
from ramvid_vad.options import DiffusionOptions, ModelOptions, int_list, parse_image_size
from ramvid_vad.options.aliases import spelled_out
from ramvid_vad.options.option import convert_all, nearest

NUM_CLASSES = 1000


def model_and_diffusion_defaults() -> dict[str, Any]:
    """Defaults of every option that ``create_model_and_diffusion`` takes."""
    return asdict(ModelOptions()) | asdict(DiffusionOptions())


def create_model_and_diffusion(**settings: Any) -> tuple[UNet, GaussianDiffusion]:
    """The network and its diffusion process from the options of ModelOptions and DiffusionOptions.

    Options left out are at their defaults. InputError: a size that does not fit, an option that does not exist.
    """
    defaults = model_and_diffusion_defaults()
    for name in settings:
        if name not in defaults:
            raise InputError(f"unknown option {name!r}: did you mean {nearest(name, [*defaults])!r}?")
    model, diffusion = (
        group(**{spec.name: settings[spec.name] for spec in fields(group) if spec.name in settings})
        for group in (ModelOptions, DiffusionOptions)
    )
    diffusion = _checked(diffusion)
    return create_model(model, learn_sigma=diffusion.learn_sigma), create_diffusion(diffusion)


def _checked(options: Any) -> Any:
    """The same options in type and range, aliases spelled out: they may come from a caller, not from a command line."""
    return type(options)(**spelled_out(convert_all(type(options), asdict(options))))


def create_model(model: ModelOptions, learn_sigma: bool = False, groups: tuple[int, ...] = ()) -> UNet:
    """The U-Net of the options; sizes that do not fit are refused here.

    groups: channels of each group of another space than pixels; its maps may have any size.
    """
    model = _checked(model)
    if groups:
        return _create_for_groups(model, groups)
    height, width = parse_image_size(model.image_size)
    if height % model.patch_size or width % model.patch_size:
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
    frame_channels = (3 if model.rgb else 1) * model.patch_size**2
    return _unet(
        model,
        channel_mult,
        in_channels=frame_channels,
        out_channels=frame_channels * (2 if learn_sigma else 1),
        mixer_downsamplings=_mixer_downsamplings(model.attention_resolutions, side),
        patch_size=model.patch_size,
    )


def _create_for_groups(model: ModelOptions, groups: tuple[int, ...]) -> UNet:
    """The U-Net over maps of a space with groups of channels."""
    if model.patch_size != 1:
        raise InputError(f"--patch_size {model.patch_size}: must be 1 with --space features")
    if model.class_cond:
        raise InputError("--class_cond True: needs --space pixels")
    channel_mult = tuple(int_list(model.channel_mult, "channel_mult")) or (1, 2)
    return _unet(
        model,
        channel_mult,
        in_channels=sum(groups),
        out_channels=sum(groups),
        mixer_downsamplings=_mixer_downsamplings(model.attention_resolutions),
        groups=groups,
    )


def _mixer_downsamplings(text: str, side: int = 0) -> tuple[int, ...]:
    """Factors of downsampling at which a mixer stands: "/2" is 2; "16" is side // 16, where a side is known."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    shares = int_list(",".join(part[1:] for part in parts if part.startswith("/")), "attention_resolutions")
    resolutions = int_list(",".join(part for part in parts if not part.startswith("/")), "attention_resolutions")
    return (*(side // res for res in resolutions if res > 0 and side), *shares)


def _unet(model: ModelOptions, channel_mult: tuple[int, ...], **sizes: Any) -> UNet:
    """The part that all spaces share."""
    for mult in channel_mult:
        if mult < 1:
            raise InputError(f"--channel_mult {model.channel_mult!r}: every factor must be at least 1")
        if model.num_channels * mult % 32:
            raise InputError(f"--num_channels {model.num_channels} x {mult} is not a multiple of 32 (group norm)")
    return UNet(
        model_channels=model.num_channels,
        num_res_blocks=model.num_res_blocks,
        channel_mult=channel_mult,
        mixer=model.mixer,
        num_heads=model.num_heads,
        num_heads_upsample=model.num_heads if model.num_heads_upsample == -1 else model.num_heads_upsample,
        scan_order=model.scan_order,
        scan_merge=model.scan_merge,
        d_state=model.d_state,
        factorized_conv=model.factorized_conv,
        dropout=model.dropout,
        num_classes=NUM_CLASSES if model.class_cond else None,
        use_checkpoint=model.use_checkpoint,
        use_scale_shift_norm=model.use_scale_shift_norm,
        scale_time_dim=model.scale_time_dim,
        mask_channel=model.mask_channel,
        **sizes,
    )


def create_diffusion(diffusion: DiffusionOptions, level: float | None = None) -> GaussianDiffusion:
    """The diffusion process of the options; ``--timestep_respacing`` keeps a subset of its steps. level: the noise
    (sigma) at which sampling begins, at the step nearest to it; None: pure noise."""
    diffusion = _checked(diffusion)
    betas = named_betas(diffusion.noise_schedule, diffusion.diffusion_steps)
    first = GaussianDiffusion(betas).nearest_timestep(level) if level is not None else None
    kept = respaced_timesteps(diffusion.diffusion_steps, diffusion.timestep_respacing, betas, first)
    return GaussianDiffusion(
        betas=betas,
        timesteps=kept,
        prediction=diffusion.prediction,
        learn_sigma=diffusion.learn_sigma,
        sigma_small=diffusion.sigma_small,
        min_snr_gamma=diffusion.min_snr_gamma,
        use_kl=diffusion.use_kl,
        rescale_timesteps=diffusion.rescale_timesteps,
        rescale_learned_sigmas=diffusion.rescale_learned_sigmas,
    )
