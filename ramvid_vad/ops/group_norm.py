"""Group norm (Wu and He 2018, arXiv 1803.08494) with the scale and shift of a timestep, and SiLU behind it: the public
function."""

from torch import Tensor

from ramvid_vad.ops.backends import check_kinds, choose_backend


def group_norm(
    x: Tensor,
    groups: int,
    weight: Tensor,
    bias: Tensor,
    scale: Tensor | None = None,
    shift: Tensor | None = None,
    eps: float = 1e-5,
    silu: bool = False,
    backend: str | None = None,
) -> Tensor:
    """x normalised over each group's channels and all positions, x^; then (weight x^ + bias) (1 + scale) + shift per
    channel, and SiLU.

    Args:
        x: (B, C, ...) in float32, bfloat16, float16 or float64; C a multiple of groups. Statistics are float32 (float64
            for float64 input). The fastest layout on CPU is channels-last.
        weight, bias: (C,). scale, shift: (B, C), both or neither.
        silu: multiply by the sigmoid.
        backend: as in `selective_scan`.

    Returns:
        of x's shape and dtype.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit. InputError: an unknown backend, or one that cannot run
            here.
    """
    if x.dim() < 2 or groups < 1:
        raise ValueError(f"group_norm: x {tuple(x.shape)} and {groups} groups, expected (B, C, ...) and at least one")
    batch, channels = x.shape[:2]
    if channels % groups or weight.shape != (channels,) or bias.shape != (channels,):
        raise ValueError(
            f"group_norm: x {tuple(x.shape)}, weight {tuple(weight.shape)} and bias {tuple(bias.shape)} "
            f"do not fit {groups} groups"
        )
    if (scale is None) != (shift is None):
        raise ValueError("group_norm: scale and shift go together")
    check_kinds("group_norm", x=x, weight=weight, bias=bias, scale=scale, shift=shift)
    gain, offset = weight[None], bias[None]  # (1, C), or (B, C) with a modulation
    if scale is not None:
        if scale.shape != (batch, channels) or shift.shape != (batch, channels):
            raise ValueError(f"group_norm: scale and shift must be ({batch}, {channels}), got {tuple(scale.shape)}")
        more = 1 + scale.to(weight.dtype)
        gain, offset = gain * more, offset * more + shift.to(weight.dtype)
    module = choose_backend("group_norm", x, backend)
    return module.group_norm(x, groups, gain, offset, eps, silu)
