"""The operations through the fused C++ kernel (cpu_kernel.cpp), registered as torch.library custom operators.

The kernel's native layout is channels-last: a (B, D, L) tensor with stride 1 along D, that is, a transposed (B, L, D)
such as a linear layer returns, or a slice of one. Such tensors are read where they lie; others are copied into that
layout first. Results are channels-last. float32 and bfloat16 are read and written as they are, other mixtures are
computed in float32; the state is always float32. Besides its inputs, backward needs one state per TILE tokens: N / TILE
times the size of u.
"""

import torch
from torch import Tensor

from ramvid_vad.ops import cpu_library
from ramvid_vad.ops.cpu_library import TILE, Conv, Scan, call, element_type, strides
from ramvid_vad.ops.cpu_norm import group_norm

__all__ = ["causal_conv1d", "group_norm", "selective_scan", "unavailable"]

CONV_CHUNK = 256  # tokens of the convolution walked by one thread at a time
PARTIAL_SUMS = 8  # over the batch; a larger batch has one per element
LANES = 16  # of the widest instruction set, and STRIPE of cpu_scan.h

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def unavailable(operation: str, device: torch.device, dtype: torch.dtype) -> str | None:
    """Why `operation` cannot run on such a tensor, with the remedy; None if it can."""
    if device.type != "cpu":
        return f"the tensor is on {device.type}: move it to the CPU"
    if dtype not in _DTYPES:
        return f"its kernel does not take {dtype}: use float32, bfloat16 or float16"
    return None if cpu_library.load() else f"the C++ kernel is not there: {cpu_library.REMEDY}"


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    reverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """(y, last_state) of `ramvid_vad.ops.selective_scan`."""
    tensors = (u, delta, A, B, C, D, z, delta_bias)
    keep = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in tensors)
    y, last_state, _ = _scan(*tensors, delta_softplus, reverse, keep)
    return y, last_state.detach()


def causal_conv1d(x: Tensor, weight: Tensor, bias: Tensor | None = None, reverse: bool = False) -> Tensor:
    """`ramvid_vad.ops.causal_conv1d`."""
    return _conv(x, weight, bias, reverse)


# ---- tensors as the kernel wants them ----


def _rows(dtype: torch.dtype, *tensors: Tensor | None) -> list[Tensor | None]:
    """(B, D, L) tensors as (B, L, D) of one dtype with stride 1 along D; a view where the tensor is channels-last."""
    rows = []
    for x in tensors:
        if x is not None:
            x = x.to(dtype).transpose(1, 2)
            if x.stride(2) != 1 and x.shape[2] > 1:
                x = x.contiguous()
        rows.append(x)
    return rows


def _parameter(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.to(torch.float32).contiguous()


def _group(batch: int, dim: int) -> int:
    """Channels that share one partial sum of dB and dC: enough sums to keep the threads busy, few enough to stay small.
    A function of the shape alone, so that no rounding depends on the number of threads."""
    groups = max(1, PARTIAL_SUMS // batch)
    return -(-dim // (groups * LANES)) * LANES


def _threads() -> int:
    return torch.get_num_threads()


# ---- the selective scan ----


@torch.library.custom_op("ramvid_vad::selective_scan", mutates_args=(), device_types="cpu")
def _scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    softplus: bool,
    reverse: bool,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """(y, last state, checkpoints (B, tiles, D / 16, N, 16), empty unless `keep`)."""
    dtype = element_type(u, delta, B, C, z)
    rows = _rows(dtype, u, delta, B, C, z)
    y = torch.empty(rows[0].shape, dtype=dtype)
    last, checkpoints = _scan_state(u, A, keep)
    outputs = dict(y=y, last=last, checkpoints=checkpoints)
    _call_scan("scan_forward", rows, A, D, delta_bias, softplus, reverse, LANES, **outputs)
    return y.to(u.dtype).transpose(1, 2), last, checkpoints


def _scan_state(u: Tensor, A: Tensor, keep: bool) -> tuple[Tensor, Tensor]:
    batch, dim, length = u.shape
    last = u.new_empty((batch, dim, A.shape[1]), dtype=torch.float32)
    tiles = -(-length // TILE) if keep else 0
    # the last stripe may have channels that no vector covers: defined, that equal calls give equal results
    new = u.new_zeros if dim % LANES else u.new_empty
    return last, new((batch, tiles, -(-dim // LANES), A.shape[1], LANES), dtype=torch.float32)


def _call_scan(
    name: str,
    rows: list[Tensor | None],
    A: Tensor,
    D: Tensor | None,
    delta_bias: Tensor | None,
    softplus: bool,
    reverse: bool,
    group: int,
    dy: Tensor | None = None,
    **outputs: Tensor | None,
) -> None:
    u, delta, B, C, z = rows
    batch, length, dim = u.shape
    sequences = {"u": u, "delta": delta, "B": B, "C": C, "z": z, "dy": dy}
    parameters = {"A": _parameter(A), "D": _parameter(D), "bias": _parameter(delta_bias)}
    call(
        name,
        Scan,
        {"batch": batch, "dim": dim, "length": length, "states": A.shape[1], "group": group}
        | {"softplus": softplus, "reverse": reverse, "half": u.dtype == torch.bfloat16, "threads": _threads()}
        | {f"{key}_strides": strides(x) for key, x in sequences.items()},
        sequences | parameters | outputs,
    )


@_scan.register_fake
def _(u, delta, A, B, C, D, z, delta_bias, softplus, reverse, keep):
    batch, dim, length = u.shape
    return (u.new_empty((batch, length, dim)).transpose(1, 2), *_scan_state(u, A, keep))


@torch.library.custom_op("ramvid_vad::selective_scan_backward", mutates_args=(), device_types="cpu")
def _scan_backward(
    dy: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    checkpoints: Tensor,
    softplus: bool,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of u, delta, A, B, C, D, z, delta_bias; empty for those that are None."""
    batch, dim, length = u.shape
    states, group = A.shape[1], _group(batch, dim)
    dtype = element_type(dy, u, delta, B, C, z)
    rows = _rows(dtype, u, delta, B, C, z)
    du, ddelta = (torch.empty(rows[0].shape, dtype=dtype) for _ in range(2))
    dz = torch.empty(rows[0].shape if z is not None else (0,), dtype=dtype)
    dA, dD, dbias = torch.empty(batch, dim, states), torch.empty(batch, dim), torch.empty(batch, dim)
    dB, dC = (torch.empty(-(-dim // group), batch, length, states) for _ in range(2))
    outputs = dict(du=du, ddelta=ddelta, dz=dz, dA=dA, dD=dD, dbias=dbias, dB=dB, dC=dC, checkpoints=checkpoints)
    (dy,) = _rows(dtype, dy)
    _call_scan("scan_backward", rows, A, D, delta_bias, softplus, reverse, group, dy, **outputs)
    return (
        du.to(u.dtype).transpose(1, 2),
        ddelta.to(delta.dtype).transpose(1, 2),
        dA.sum(0).to(A.dtype),
        dB.sum(0).to(B.dtype).transpose(1, 2),
        dC.sum(0).to(C.dtype).transpose(1, 2),
        u.new_empty(0) if D is None else dD.sum(0).to(D.dtype),
        u.new_empty(0) if z is None else dz.to(z.dtype).transpose(1, 2),
        u.new_empty(0) if delta_bias is None else dbias.sum(0).to(delta_bias.dtype),
    )


@_scan_backward.register_fake
def _(dy, u, delta, A, B, C, D, z, delta_bias, checkpoints, softplus, reverse):
    def rows(x):
        return u.new_empty(0) if x is None else x.new_empty((x.shape[0], x.shape[2], x.shape[1])).transpose(1, 2)

    def parameter(x):
        return u.new_empty(0) if x is None else x.new_empty(x.shape)

    return (rows(u), rows(delta), parameter(A), rows(B), rows(C), parameter(D), rows(z), parameter(delta_bias))


def _scan_context(ctx, inputs, output):
    *tensors, ctx.softplus, ctx.reverse, _ = inputs
    ctx.save_for_backward(*tensors, output[2])
    ctx.mark_non_differentiable(output[1], output[2])


def _scan_gradients(ctx, dy, _last, _checkpoints):
    *tensors, checkpoints = ctx.saved_tensors
    gradients = _scan_backward(dy, *tensors, checkpoints, ctx.softplus, ctx.reverse)
    return (*(None if x is None else dx for x, dx in zip(tensors, gradients, strict=True)), None, None, None)


_scan.register_autograd(_scan_gradients, setup_context=_scan_context)


# ---- the causal convolution ----


@torch.library.custom_op("ramvid_vad::causal_conv1d", mutates_args=(), device_types="cpu")
def _conv(x: Tensor, weight: Tensor, bias: Tensor | None, reverse: bool) -> Tensor:
    dtype = element_type(x)
    (rows,) = _rows(dtype, x)
    y = torch.empty(rows.shape, dtype=dtype)
    _call_conv("conv_forward", rows, weight, bias, reverse, y=y)
    return y.to(x.dtype).transpose(1, 2)


def _call_conv(
    name: str,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    reverse: bool,
    dy: Tensor | None = None,
    **outputs: Tensor,
) -> None:
    batch, length, dim = x.shape
    sequences = {"x": x, "dy": dy}
    parameters = {"weight": _parameter(weight.t()), "bias": _parameter(bias)}
    call(
        name,
        Conv,
        {"batch": batch, "dim": dim, "length": length, "width": weight.shape[1], "chunk": CONV_CHUNK}
        | {"reverse": reverse, "half": x.dtype == torch.bfloat16, "threads": _threads()}
        | {f"{key}_strides": strides(tensor) for key, tensor in sequences.items()},
        sequences | parameters | outputs,
    )


@_conv.register_fake
def _(x, weight, bias, reverse):
    return x.new_empty((x.shape[0], x.shape[2], x.shape[1])).transpose(1, 2)


@torch.library.custom_op("ramvid_vad::causal_conv1d_backward", mutates_args=(), device_types="cpu")
def _conv_backward(
    dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, reverse: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and bias, the last empty if bias is None."""
    dtype = element_type(dy, x)
    rows, dy = _rows(dtype, x, dy)
    batch, length, dim = rows.shape
    chunks = batch * -(-length // CONV_CHUNK)
    dx = torch.empty(rows.shape, dtype=dtype)
    dweight, dbias = torch.empty(chunks, weight.shape[1], dim), torch.empty(chunks, dim)
    _call_conv("conv_backward", rows, weight, bias, reverse, dy, dx=dx, dweight=dweight, dbias=dbias)
    return (
        dx.to(x.dtype).transpose(1, 2),
        dweight.sum(0).t().to(weight.dtype).contiguous(),
        x.new_empty(0) if bias is None else dbias.sum(0).to(bias.dtype),
    )


@_conv_backward.register_fake
def _(dy, x, weight, bias, reverse):
    dx = x.new_empty((x.shape[0], x.shape[2], x.shape[1])).transpose(1, 2)
    return dx, weight.new_empty(weight.shape), x.new_empty(0) if bias is None else bias.new_empty(bias.shape)


def _conv_context(ctx, inputs, output):
    *tensors, ctx.reverse = inputs
    ctx.save_for_backward(*tensors)


def _conv_gradients(ctx, dy):
    x, weight, bias = ctx.saved_tensors
    dx, dweight, dbias = _conv_backward(dy, x, weight, bias, ctx.reverse)
    return dx, dweight, None if bias is None else dbias, None


_conv.register_autograd(_conv_gradients, setup_context=_conv_context)
