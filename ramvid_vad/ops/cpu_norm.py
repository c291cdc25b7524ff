"""Group norm and SiLU through the fused C++ kernel (cpu_norm.h), registered as a torch.library custom operator.

torch's own group norm is slow on channels-last tensors, backward above all, and SiLU and the modulation by the timestep
would each walk the tensor again and keep a copy of it for backward. Here forward reads x twice and keeps x alone;
backward reads x and dy twice.

With x^ = (x - mean) rstd of a group, y = act(gain x^ + offset), g the gradient before act, and means over the group's
n elements:
    d offset = sum g,  d gain = sum g x^,  dx = rstd (gain g - mean(gain g) - x^ mean(gain g x^)).
"""

import torch
from torch import Tensor

from ramvid_vad.ops import reference
from ramvid_vad.ops.cpu_library import Norm, call, element_type, refuse_tangents

CHUNK = 256  # rows whose sums are taken in float32


def group_norm(x: Tensor, groups: int, gain: Tensor, offset: Tensor, eps: float, silu: bool) -> Tensor:
    """y = act(gain x^ + offset): x (B, C, ...); gain, offset (B or 1, C). The result is channels-last."""
    refuse_tangents("group_norm", x, gain, offset)
    if not x.numel():
        return reference.group_norm(x, groups, gain, offset, eps, silu)
    batch = x.shape[0]
    gain, offset = (values.float().expand(batch, -1).contiguous() for values in (gain, offset))
    return _norm(x, gain, offset, groups, eps, silu)[0]


def _rows(x: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, C, ...) -> (B, ..., C) contiguous: a view where x is channels-last."""
    return x.to(dtype).movedim(1, -1).contiguous()


def _call(name: str, x: Tensor, silu: bool, kinds: int = 2, **tensors: Tensor) -> Tensor:
    """A walk of the kernel over x (B, ..., C); returns the sums over chunks that it makes, (B, chunks, kinds, C)."""
    batch, dim = x.shape[0], x.shape[-1]
    length = x.numel() // (batch * dim)
    sums = torch.empty(batch, -(-length // CHUNK), kinds, dim)
    sizes = {"batch": batch, "dim": dim, "length": length, "chunk": CHUNK, "silu": silu}
    fields = sizes | {"half": x.dtype == torch.bfloat16, "threads": torch.get_num_threads()}
    call(name, Norm, fields, {"x": x, "sums": sums} | tensors)
    return sums


def _of_groups(values: Tensor, groups: int) -> Tensor:
    """Mean over each group's channels, given to each of them: (B, C) -> (B, C)."""
    grouped = values.unflatten(1, (groups, -1))
    return grouped.mean(2, keepdim=True).expand_as(grouped).flatten(1)


def _statistics(rows: Tensor, groups: int, eps: float) -> tuple[Tensor, Tensor]:
    """Mean and 1 / sqrt(variance + eps) of every channel's group, double (B, C) each."""
    positions = rows.numel() // (rows.shape[0] * rows.shape[-1])
    center, first, second = _call("norm_moments", rows, False, kinds=3).double().unbind(2)  # (B, chunks, C) each
    counts = torch.full((center.shape[1], 1), CHUNK, dtype=torch.float64)
    counts[-1] -= -positions % CHUNK  # the last chunk may be short
    mean = _of_groups((counts * center + first).sum(1) / positions, groups)
    shift = center - mean[:, None]  # moves the squares around each chunk's own center to the common mean
    squares = second + shift * (2 * first + counts * shift)
    variance = _of_groups(squares.sum(1) / positions, groups).clamp_min(0)  # rounding may leave less than nothing
    return mean, (variance + eps).rsqrt()


@torch.library.custom_op("ramvid_vad::group_norm", mutates_args=(), device_types="cpu")
def _norm(
    x: Tensor, gain: Tensor, offset: Tensor, groups: int, eps: float, silu: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """(y, mean, rstd): gain and offset float32 (B, C); mean and rstd of every channel's group, double (B, C)."""
    rows = _rows(x, element_type(x))
    mean, rstd = _statistics(rows, groups, eps)
    y = torch.empty(rows.shape, dtype=rows.dtype)
    _call("norm_apply", rows, silu, y=y, **_line(gain, offset, mean, rstd))
    return y.to(x.dtype).movedim(-1, 1), mean, rstd


def _line(gain: Tensor, offset: Tensor, mean: Tensor, rstd: Tensor) -> dict[str, Tensor]:
    """gain x^ + offset as one gain and one offset of x."""
    slope = gain * rstd
    return {"gain": slope.float(), "offset": (offset - mean * slope).float()}


@_norm.register_fake
def _(x, gain, offset, groups, eps, silu):
    y = x.new_empty((x.shape[0], *x.shape[2:], x.shape[1])).movedim(-1, 1)
    return y, *(gain.new_empty(gain.shape, dtype=torch.float64) for _ in range(2))


@torch.library.custom_op("ramvid_vad::group_norm_backward", mutates_args=(), device_types="cpu")
def _norm_backward(
    dy: Tensor, x: Tensor, gain: Tensor, offset: Tensor, mean: Tensor, rstd: Tensor, groups: int, silu: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, gain and offset."""
    dtype = element_type(dy, x)
    rows, dy = _rows(x, dtype), _rows(dy, dtype)
    line = _line(gain, offset, mean, rstd)
    sums = _call("norm_sums", rows, silu, dy=dy, center=mean.float(), **line)
    doffset, dgain = sums.sum(1, dtype=torch.float64).unbind(1)
    dgain = dgain * rstd
    positions = rows.numel() // gain.numel()
    slope = -(rstd**2) * _of_groups(gain * dgain, groups) / positions
    constant = -rstd * _of_groups(gain * doffset, groups) / positions - slope * mean
    dx = torch.empty(rows.shape, dtype=rows.dtype)
    _call("norm_gradient", rows, silu, dy=dy, dx=dx, constant=constant.float(), slope=slope.float(), **line)
    return dx.to(x.dtype).movedim(-1, 1), dgain.float(), doffset.float()


@_norm_backward.register_fake
def _(dy, x, gain, offset, mean, rstd, groups, silu):
    dx = x.new_empty((x.shape[0], *x.shape[2:], x.shape[1])).movedim(-1, 1)
    return dx, gain.new_empty(gain.shape), offset.new_empty(offset.shape)


def _norm_context(ctx, inputs, output):
    x, gain, offset, ctx.groups, _, ctx.silu = inputs
    ctx.save_for_backward(x, gain, offset, output[1], output[2])
    ctx.mark_non_differentiable(output[1], output[2])


def _norm_gradients(ctx, dy, _mean, _rstd):
    return (*_norm_backward(dy, *ctx.saved_tensors, ctx.groups, ctx.silu), None, None, None)


_norm.register_autograd(_norm_gradients, setup_context=_norm_context)
