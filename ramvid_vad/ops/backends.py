"""The one place where a backend is chosen for an operation."""

import os
from functools import cache
from typing import Protocol

import torch
from torch import Tensor

from ramvid_vad.errors import InputError
from ramvid_vad.ops import cpu, cuda, reference, triton
from ramvid_vad.ops.trust import mistrust
from ramvid_vad.runtime.progress import warn

BACKEND_VARIABLE = "RAMVID_VAD_BACKEND"


class Backend(Protocol):
    """What a backend module offers; shapes as in the public functions, arguments already checked.

    Operations named in its UNPROVEN, if it has that, are compared with the reference on the device before they are used
    there unasked.
    """

    def unavailable(self, operation: str, device: torch.device, dtype: torch.dtype) -> str | None:
        """Why `operation` cannot run on such a tensor, with the remedy; None if it can."""

    def selective_scan(
        self,
        u: Tensor,
        delta: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        D: Tensor | None,
        z: Tensor | None,
        delta_bias: Tensor | None,
        delta_softplus: bool,
        reverse: bool,
    ) -> tuple[Tensor, Tensor]: ...

    def causal_conv1d(self, x: Tensor, weight: Tensor, bias: Tensor | None, reverse: bool) -> Tensor: ...

    def group_norm(self, x: Tensor, groups: int, gain: Tensor, offset: Tensor, eps: float, silu: bool) -> Tensor:
        """A backend may be without it; another one runs it then, unless it was asked for by argument."""


# Best first: with no wish of the user's, a tensor gets the first backend of this table that can take it.
BACKENDS: dict[str, Backend] = {"cuda": cuda, "cpu": cpu, "triton": triton, "reference": reference}
OPERATIONS = ("selective_scan", "causal_conv1d", "group_norm")


def available_backends(
    device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32, operation: str = "selective_scan"
) -> list[str]:
    """Names of the backends that can run `operation` ("selective_scan", "causal_conv1d" or "group_norm") on tensors of
    this device and dtype, best first. "reference" is always among them. Says nothing of trust: see `choose_backend`.
    ValueError: another operation."""
    if operation not in OPERATIONS:
        raise ValueError(f"unknown operation {operation!r}: choose one of {', '.join(OPERATIONS)}")
    device = torch.device(device)
    return [name for name in BACKENDS if _reason(name, operation, device, dtype) is None]


def check_kinds(operation: str, **tensors: Tensor | None) -> None:
    """ValueError where a tensor is not of real floating-point numbers, or not on the device of the first."""
    device = next(iter(tensors.values())).device
    for name, tensor in tensors.items():
        if tensor is not None and not tensor.is_floating_point():
            raise ValueError(f"{operation}: {name} is {tensor.dtype}, expected real floating-point numbers")
        if tensor is not None and tensor.device != device:
            raise ValueError(f"{operation}: {name} is on {tensor.device}, {next(iter(tensors))} on {device}")


def choose_backend(operation: str, tensor: Tensor, backend: str | None = None) -> Backend:
    """The module for `tensor`: the argument's, else the environment variable RAMVID_VAD_BACKEND's, else the best.

    Of the backends that nobody asked for, one that is unproven must first equal the reference on this device.
    """
    return BACKENDS[_choose(operation, tensor.device, tensor.dtype, backend)]


def _choose(operation: str, device: torch.device, dtype: torch.dtype, backend: str | None) -> str:
    wish = backend or os.environ.get(BACKEND_VARIABLE) or None
    if wish is not None and wish not in BACKENDS:
        names = ", ".join(BACKENDS)
        raise InputError(f"unknown backend {wish!r} (argument or {BACKEND_VARIABLE}): choose one of {names}")
    # the variable is meant for the scan and must not stop the norms; an argument is meant for the operation
    if wish is None or (not backend and not hasattr(BACKENDS[wish], operation)):
        able = available_backends(device, dtype, operation)
        return next(name for name in able if _trusted(name, BACKENDS[name], operation, device, dtype))
    reason = _reason(wish, operation, device, dtype)
    if reason is not None:
        raise InputError(f"backend {wish!r} cannot run {operation}: {reason}; or choose another backend")
    return wish


# torch.compile must not trace into the loading of libraries. This is what torch.compiler.assume_constant_result does,
# without its import of the compiler, seconds of every command.
_choose._dynamo_marked_constant = True  # type: ignore[attr-defined]


@cache  # compared, and spoken of, once
def _trusted(name: str, module: Backend, operation: str, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a backend may be chosen without being asked for."""
    reason = mistrust(module, device, dtype) if operation in getattr(module, "UNPROVEN", ()) else None
    if reason is not None:
        warn(
            f"on {device} in {dtype} the {name} kernel {reason}; the network runs in plain PyTorch, far slower; "
            f"{BACKEND_VARIABLE}={name} takes the kernel all the same"
        )
    return reason is None


def _reason(name: str, operation: str, device: torch.device, dtype: torch.dtype) -> str | None:
    """Why a backend cannot run `operation` on such a tensor; None if it can."""
    module = BACKENDS[name]
    return module.unavailable(operation, device, dtype) if hasattr(module, operation) else f"it has no {operation}"
