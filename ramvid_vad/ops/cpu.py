"""The operations through the fused C++ kernel (cpu_kernel.cpp), registered as torch.library custom operators.

The kernel's native layout is channels-last: a (B, D, L) tensor with stride 1 along D, that is, a transposed (B, L, D)
such as a linear layer returns, or a slice of one. Such tensors are read where they lie, and so does the scan read those
with stride 1 along L, a tile at a time; others are copied first. Results are channels-last. float32 and bfloat16 are
read and written as they are, other mixtures are computed in float32; the state is always float32. Besides its inputs,
backward needs one state per TILE tokens: N / TILE times the size of u.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ramvid_vad.ops import cpu_library
from ramvid_vad.ops.cpu_conv import causal_conv1d
from ramvid_vad.ops.cpu_library import TILE, Scan, call, element_type, parameter, refuse_tangents, sequences, strides
from ramvid_vad.ops.cpu_norm import group_norm

__all__ = ["causal_conv1d", "group_norm", "selective_scan", "takes_sets", "unavailable"]

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
    reverse: bool | Sequence[bool] = False,
) -> tuple[Tensor, Tensor]:
    """(y, last_state) of `ramvid_vad.ops.selective_scan`, also with sets as `takes_sets` says."""
    tensors = (u, delta, A, B, C, D, z, delta_bias)
    refuse_tangents("selective_scan", *tensors)
    keep = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in tensors)
    bits = [reverse] if isinstance(reverse, bool) else reverse
    y, last_state, _ = _scan(*tensors, delta_softplus, sum(bool(bit) << i for i, bit in enumerate(bits)), keep)
    return y, last_state.detach()


def takes_sets(count: int, width: int) -> bool:
    """Whether one call takes so many sets of ``width`` channels: checkpoints lie in stripes of LANES, directions in an
    integer's bits."""
    return width % LANES == 0 and count < 64


def _sets(B: Tensor) -> int:
    """Of B (B, N, L) or (B, G, N, L), transposed or not."""
    return B.shape[1] if B.dim() == 4 else 1


def _group(batch: int, dim: int) -> int:
    """Channels that share one partial sum of dB and dC: enough sums to keep the threads busy, few enough to stay small.
    A function of the shape alone, so that no rounding depends on the number of threads."""
    groups = max(1, PARTIAL_SUMS // batch)
    return -(-dim // (groups * LANES)) * LANES


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
    reverse: int,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """(y, last state, checkpoints (B, tiles, D / 16, N, 16), empty unless `keep`). reverse: a bit for each set."""
    dtype = element_type(u, delta, B, C, z)
    rows = sequences(dtype, u, delta, B, C, z)
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
    reverse: int,
    group: int,
    dy: Tensor | None = None,
    **outputs: Tensor | None,
) -> None:
    u, delta, B, C, z = rows
    batch, length, dim = u.shape
    inputs = {"u": u, "delta": delta, "B": B, "C": C, "z": z, "dy": dy}
    parameters = {"A": parameter(A), "D": parameter(D), "bias": parameter(delta_bias)}
    call(
        name,
        Scan,
        {"batch": batch, "dim": dim, "length": length, "states": A.shape[1], "group": group, "sets": _sets(B)}
        | {"B_set": B.stride(1) if B.dim() == 4 else 0, "C_set": C.stride(1) if C.dim() == 4 else 0}
        | {"softplus": softplus, "reverse": reverse, "half": u.dtype == torch.bfloat16}
        | {"threads": torch.get_num_threads()}
        | {f"{key}_strides": strides(x) for key, x in inputs.items()},
        inputs | parameters | outputs,
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
    reverse: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of u, delta, A, B, C, D, z, delta_bias; empty for those that are None."""
    if not checkpoints.numel():
        raise RuntimeError("selective_scan: no gradient after a scan with keep=False, which stored no states")
    batch, dim, length = u.shape
    states, sets = A.shape[1], _sets(B)
    group = _group(batch * sets, dim // sets)
    dtype = element_type(dy, u, delta, B, C, z)
    rows = sequences(dtype, u, delta, B, C, z)
    du, ddelta = (torch.empty(rows[0].shape, dtype=dtype) for _ in range(2))
    dz = torch.empty(rows[0].shape if z is not None else (0,), dtype=dtype)
    dA, dD, dbias = torch.empty(batch, dim, states), torch.empty(batch, dim), torch.empty(batch, dim)
    dB, dC = (torch.empty(sets, -(-dim // sets // group), batch, length, states) for _ in range(2))
    outputs = dict(du=du, ddelta=ddelta, dz=dz, dA=dA, dD=dD, dbias=dbias, dB=dB, dC=dC, checkpoints=checkpoints)
    (dy,) = sequences(dtype, dy)
    _call_scan("scan_backward", rows, A, D, delta_bias, softplus, reverse, group, dy, **outputs)
    return (
        du.to(u.dtype).transpose(1, 2),
        ddelta.to(delta.dtype).transpose(1, 2),
        dA.sum(0).to(A.dtype),
        _summed(dB, B),
        _summed(dC, C),
        u.new_empty(0) if D is None else dD.sum(0).to(D.dtype),
        u.new_empty(0) if z is None else dz.to(z.dtype).transpose(1, 2),
        u.new_empty(0) if delta_bias is None else dbias.sum(0).to(delta_bias.dtype),
    )


def _summed(partial: Tensor, like: Tensor) -> Tensor:
    """(sets, groups, B, L, N) -> (B, N, L) or (B, sets, N, L), as B or C is."""
    total = partial.sum(1).to(like.dtype)
    return total.permute(1, 0, 3, 2) if like.dim() == 4 else total[0].transpose(1, 2)


@_scan_backward.register_fake
def _(dy, u, delta, A, B, C, D, z, delta_bias, checkpoints, softplus, reverse):
    def rows(x):
        return u.new_empty(0) if x is None else x.new_empty((x.shape[0], x.shape[2], x.shape[1])).transpose(1, 2)

    def parameter(x):
        return u.new_empty(0) if x is None else x.new_empty(x.shape)

    def sets(x):
        batch, count, states, length = x.shape
        return x.new_empty((count, batch, length, states)).permute(1, 0, 3, 2)

    dB, dC = (rows(x) if x.dim() == 3 else sets(x) for x in (B, C))
    return (rows(u), rows(delta), parameter(A), dB, dC, parameter(D), rows(z), parameter(delta_bias))


def _scan_context(ctx, inputs, output):
    *tensors, ctx.softplus, ctx.reverse, _ = inputs
    ctx.save_for_backward(*tensors, output[2])
    ctx.mark_non_differentiable(output[1], output[2])


def _scan_gradients(ctx, dy, _last, _checkpoints):
    *tensors, checkpoints = ctx.saved_tensors
    gradients = _scan_backward(dy, *tensors, checkpoints, ctx.softplus, ctx.reverse)
    return (*(None if x is None else dx for x, dx in zip(tensors, gradients, strict=True)), None, None, None)


_scan.register_autograd(_scan_gradients, setup_context=_scan_context)
