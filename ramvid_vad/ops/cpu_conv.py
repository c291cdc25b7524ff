"""The causal convolution through the fused C++ kernel, registered as a torch.library custom operator."""

import torch
from torch import Tensor

from ramvid_vad.ops.cpu_library import Conv, call, element_type, parameter, refuse_tangents, rows, strides

CHUNK = 256  # tokens walked by one thread at a time


def causal_conv1d(x: Tensor, weight: Tensor, bias: Tensor | None = None, reverse: bool = False) -> Tensor:
    """`ramvid_vad.ops.causal_conv1d`."""
    refuse_tangents("causal_conv1d", x, weight, bias)
    return _conv(x, weight, bias, reverse)


@torch.library.custom_op("ramvid_vad::causal_conv1d", mutates_args=(), device_types="cpu")
def _conv(x: Tensor, weight: Tensor, bias: Tensor | None, reverse: bool) -> Tensor:
    dtype = element_type(x)
    (x_rows,) = rows(dtype, x)
    y = torch.empty(x_rows.shape, dtype=dtype)
    _call_conv("conv_forward", x_rows, weight, bias, reverse, y=y)
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
    parameters = {"weight": parameter(weight.t()), "bias": parameter(bias)}
    call(
        name,
        Conv,
        {"batch": batch, "dim": dim, "length": length, "width": weight.shape[1], "chunk": CHUNK}
        | {"reverse": reverse, "half": x.dtype == torch.bfloat16, "threads": torch.get_num_threads()}
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
    x_rows, dy = rows(dtype, x, dy)
    batch, length, dim = x_rows.shape
    chunks = batch * -(-length // CHUNK)
    dx = torch.empty(x_rows.shape, dtype=dtype)
    dweight, dbias = torch.empty(chunks, weight.shape[1], dim), torch.empty(chunks, dim)
    _call_conv("conv_backward", x_rows, weight, bias, reverse, dy, dx=dx, dweight=dweight, dbias=dbias)
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
