"""The selective scan as a Triton kernel, for GPUs where mamba-ssm is not installed.

Tested in Triton's interpreter at small sizes only; never timed on a GPU. So it is compared there with the reference
before it is used (trust.py). The convolution is the reference's.
"""

import importlib.util
import os
from functools import cache

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ramvid_vad.ops.reference import causal_conv1d

__all__ = ["causal_conv1d", "selective_scan", "unavailable"]

UNPROVEN = ("selective_scan",)


def unavailable(operation: str, device: torch.device, dtype: torch.dtype) -> str | None:
    """Why `operation` cannot run on such a tensor, with the remedy; None if it can."""
    if device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        return f"the tensor is on {device.type}: move it to a CUDA device, or set TRITON_INTERPRET=1 to test tiny sizes"
    if dtype not in (torch.float32, torch.float16, torch.bfloat16):
        return f"its kernel does not take {dtype}: use float32, float16 or bfloat16"
    return None if _installed() else "triton is not installed: pip install triton"


@cache
def _installed() -> bool:
    return importlib.util.find_spec("triton") is not None


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
    y, last_state = _SelectiveScan.apply(u, delta, A, B, C, D, z, delta_bias, delta_softplus, reverse)
    return y, last_state.detach()


class _SelectiveScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, u, delta, A, B, C, D, z, delta_bias, softplus, reverse):
        from ramvid_vad.ops import triton_kernels

        tensors = (u, delta, A, B, C, D, z, delta_bias)
        with torch.cuda.device_of(u):  # a launch goes to the current device, wherever the tensors are
            y, last_state, checkpoints = triton_kernels.forward(*_dense(tensors), softplus, reverse)
        ctx.save_for_backward(*tensors, checkpoints)
        ctx.softplus, ctx.reverse = softplus, reverse
        ctx.mark_non_differentiable(last_state)
        return y, last_state

    @staticmethod
    @once_differentiable
    def backward(ctx, dy, _):
        from ramvid_vad.ops import triton_kernels

        *tensors, checkpoints = ctx.saved_tensors
        with torch.cuda.device_of(dy):
            gradients = triton_kernels.backward(
                dy.contiguous(), *_dense(tensors), checkpoints, ctx.softplus, ctx.reverse
            )
        return (
            *(None if x is None else gradient.to(x.dtype) for x, gradient in zip(tensors, gradients, strict=True)),
            None,
            None,
        )


def _dense(tensors: tuple[Tensor | None, ...]) -> list[Tensor | None]:
    """Sequences with L innermost, so that neighbouring threads read neighbouring tokens; parameters in float32."""
    u, delta, A, B, C, D, z, delta_bias = (None if x is None else x.contiguous() for x in tensors)
    A, D, delta_bias = (None if x is None else x.float() for x in (A, D, delta_bias))
    return [u, delta, A, B, C, D, z, delta_bias]
