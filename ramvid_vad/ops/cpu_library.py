"""Loads the compiled kernel, chooses the instruction set and passes tensors to it through ctypes."""

import ctypes
import os
from functools import cache
from pathlib import Path

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ramvid_vad.errors import InputError
from ramvid_vad.runtime.progress import warn

VERSION = 5  # ramvid_vad_kernel_version() in cpu_kernel.cpp
TILE = 32  # as in cpu_scan.h
ISA_VARIABLE = "RAMVID_VAD_ISA"
ISAS = ("baseline", "avx2", "avx512")  # as ramvid_vad_best_isa() counts them
REMEDY = "install g++, then ramvid_vad again: pip install --force-reinstall --no-deps"


class Strides(ctypes.Structure):
    """Strides of a (B, L, D) tensor, in elements; that of the channels is 1, or in a scan that of the tokens."""

    _fields_ = (("batch", ctypes.c_int64), ("time", ctypes.c_int64), ("channel", ctypes.c_int64))


def _structure(name: str, *fields: tuple[type, str]) -> type[ctypes.Structure]:
    return type(name, (ctypes.Structure,), {"_fields_": [(key, kind) for kind, keys in fields for key in keys.split()]})


# Field by field the structs of cpu_scan.h, cpu_conv.h and cpu_norm.h.
Scan = _structure(
    "Scan",
    (ctypes.c_int64, "batch dim length states group sets B_set C_set softplus reverse half threads"),
    (ctypes.c_void_p, "u delta B C z dy"),
    (Strides, "u_strides delta_strides B_strides C_strides z_strides dy_strides"),
    (ctypes.c_void_p, "A D bias y last checkpoints du ddelta dz dA dD dbias dB dC"),
)
Conv = _structure(
    "Conv",
    (ctypes.c_int64, "batch dim length width chunk reverse half threads"),
    (ctypes.c_void_p, "x dy"),
    (Strides, "x_strides dy_strides"),
    (ctypes.c_void_p, "weight bias y dx dweight dbias"),
)
Norm = _structure(
    "Norm",
    (ctypes.c_int64, "batch dim length chunk silu half threads"),
    (ctypes.c_void_p, "x dy gain offset center constant slope y dx sums"),
)


@cache
def load() -> ctypes.CDLL | None:
    """The compiled kernel; None, and one line on stderr, where it was not built or belongs to another version."""
    path = Path(__file__).with_name("_cpu_kernel.so")
    try:
        library = ctypes.CDLL(str(path)) if path.exists() else None
        reason = "was not built: no C++ compiler was there when ramvid_vad was installed"
    except OSError as error:
        library, reason = None, f"cannot be loaded ({error})"
    if library is not None and library.ramvid_vad_kernel_version() != VERSION:
        library, reason = None, "belongs to another version of the package"
    if library is None:
        warn(f"the C++ kernel {reason}; the network runs in plain PyTorch, far slower; {REMEDY}")
    return library


def instruction_set() -> str:
    """The instruction set that the kernel runs: the machine's best, or RAMVID_VAD_ISA."""
    best = load().ramvid_vad_best_isa()
    wish = os.environ.get(ISA_VARIABLE)
    if not wish:
        return ISAS[best]
    if wish not in ISAS[: best + 1]:
        raise InputError(
            f"{ISA_VARIABLE}={wish}: this machine runs {', '.join(ISAS[: best + 1])}; unset it or choose one"
        )
    return wish


def element_type(*tensors: Tensor | None) -> torch.dtype:
    """In which the kernel reads and writes these tensors together."""
    return torch.bfloat16 if all(x is None or x.dtype == torch.bfloat16 for x in tensors) else torch.float32


def strides(x: Tensor | None) -> Strides:
    """Of a (B, L, D) tensor, or a (B, G, L, D) one within its sets."""
    return Strides() if x is None else Strides(x.stride(0), x.stride(-2), x.stride(-1) if x.shape[-1] > 1 else 1)


def rows(dtype: torch.dtype, *tensors: Tensor | None) -> list[Tensor | None]:
    """(B, D, L) tensors as (B, L, D) of one dtype with stride 1 along D; a view where the tensor is channels-last."""
    found = sequences(dtype, *tensors)
    return [x if x is None or x.stride(-1) == 1 or x.shape[-1] == 1 else x.contiguous() for x in found]


def sequences(dtype: torch.dtype, *tensors: Tensor | None) -> list[Tensor | None]:
    """(..., D, L) tensors as (..., L, D) of one dtype with stride 1 along D or L; a view where they have that."""
    found = []
    for x in tensors:
        if x is not None:
            x = x.to(dtype).transpose(-1, -2)
            if 1 not in x.stride()[-2:] and x.shape[-1] > 1:
                x = x.contiguous()
        found.append(x)
    return found


def parameter(x: Tensor | None) -> Tensor | None:
    """Contiguous, in float32."""
    return None if x is None else x.to(torch.float32).contiguous()


def refuse_tangents(operation: str, *tensors: Tensor | None) -> None:
    """RuntimeError in forward-mode differentiation: a custom operator would silently make a derivative of 0 of it."""
    if any(x is not None and forward_ad.unpack_dual(x).tangent is not None for x in tensors):
        raise RuntimeError(
            f"{operation}: the C++ kernel has no forward-mode derivative: choose the backend 'reference'"
        )


def call(name: str, structure: type, fields: dict[str, object], tensors: dict[str, Tensor | None]) -> None:
    """Calls `name` of the kernel; `tensors` must stay alive until it returns, absent and empty ones become null."""
    pointers = {key: x.data_ptr() for key, x in tensors.items() if x is not None and x.numel()}
    getattr(load(), f"{name}_{instruction_set()}")(ctypes.byref(structure(**fields, **pointers)))
