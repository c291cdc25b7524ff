"""The operations through the kernels of mamba-ssm and causal-conv1d, for tensors on CUDA where those are installed.

Neither package walks backwards, so `reverse` flips; neither is imported before it is used.
"""

import importlib
from functools import cache
from types import ModuleType

import torch
from torch import Tensor

from ramvid_vad.errors import InputError

PACKAGES = {
    "selective_scan": ("mamba_ssm.ops.selective_scan_interface", "selective_scan_cuda", "mamba-ssm"),
    "causal_conv1d": ("causal_conv1d", None, "causal-conv1d"),
}


def unavailable(operation: str, device: torch.device, dtype: torch.dtype) -> str | None:
    """Why `operation` cannot run on such a tensor, with the remedy; None if it can."""
    if device.type != "cuda":
        return f"the tensor is on {device.type}: move it to a CUDA device"
    if dtype not in (torch.float32, torch.float16, torch.bfloat16):
        return f"its kernels do not take {dtype}: use float32, float16 or bfloat16"
    return _import(operation)[1]


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
    """(y, last_state) of `ramvid_vad.ops.selective_scan`; the kernel wants one dtype for the sequences and float32 for
    the parameters."""
    scan = _import("selective_scan")[0].selective_scan_fn
    sequences = [None if x is None else x.to(u.dtype) for x in (u, delta, B, C, z)]
    if reverse:
        sequences = [None if x is None else x.flip(2) for x in sequences]
    u, delta, B, C, z = sequences
    A, D, delta_bias = (None if x is None else x.float() for x in (A, D, delta_bias))
    y, last_state = scan(
        u, delta, A, B, C, D=D, z=z, delta_bias=delta_bias, delta_softplus=delta_softplus, return_last_state=True
    )
    return (y.flip(2) if reverse else y), last_state.detach()


def causal_conv1d(x: Tensor, weight: Tensor, bias: Tensor | None = None, reverse: bool = False) -> Tensor:
    """`ramvid_vad.ops.causal_conv1d` for widths 2, 3 and 4, all that the kernel has."""
    if not 2 <= weight.shape[1] <= 4:
        raise InputError(
            f"causal-conv1d takes a width of 2, 3 or 4, not {weight.shape[1]}: choose the backend 'reference'"
        )
    convolve = _import("causal_conv1d")[0].causal_conv1d_fn
    bias = None if bias is None else bias.to(weight.dtype)
    # activation was the fourth positional argument in 1.0 and is a keyword since
    y = convolve(x.flip(2) if reverse else x, weight, bias, activation="silu")
    return y.flip(2) if reverse else y


@cache
def _import(operation: str) -> tuple[ModuleType | None, str | None]:
    """(module, None) or (None, why not)."""
    name, extension, package = PACKAGES[operation]
    try:
        module = importlib.import_module(name)
    except Exception as error:  # a wheel built for another torch fails in many ways
        return None, f"{package} cannot be imported ({error}): pip install {package}"
    # Since July 2026 mamba-ssm installs without its Mamba-1 kernel unless asked, and leaves None in its place.
    if extension is not None and getattr(module, extension, module) is None:
        return None, (
            f"{package} was installed without {extension}: "
            f"reinstall it with MAMBA_KEEP_CUDA_BUILD=TRUE and --no-build-isolation"
        )
    return module, None
