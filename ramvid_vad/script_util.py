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
    plain = spelled_out(convert_all(ModelOptions, settings) | convert_all(DiffusionOptions, settings))
    model, diffusion = (
        group(**{spec.name: plain[spec.name] for spec in fields(group) if spec.name in plain})
        for group in (ModelOptions, DiffusionOptions)
    )
    return create_model(model, learn_sigma=diffusion.learn_sigma), create_diffusion(diffusion)


def create_model(model: ModelOptions, learn_sigma: bool = False) -> UNet:
    """The U-Net of the options; sizes that do not fit are refused here."""
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


def create_diffusion(diffusion: DiffusionOptions) -> GaussianDiffusion:
    """The diffusion process of the options; ``--timestep_respacing`` keeps a subset of its steps."""
    return GaussianDiffusion(
        betas=named_betas(diffusion.noise_schedule, diffusion.diffusion_steps),
        timesteps=respaced_timesteps(diffusion.diffusion_steps, diffusion.timestep_respacing),
        prediction=diffusion.prediction,
        learn_sigma=diffusion.learn_sigma,
        sigma_small=diffusion.sigma_small,
        min_snr_gamma=diffusion.min_snr_gamma,
        use_kl=diffusion.use_kl,
        rescale_timesteps=diffusion.rescale_timesteps,
        rescale_learned_sigmas=diffusion.rescale_learned_sigmas,
    )
