"""Arithmetic of the network: float32, or automatic mixed precision in bfloat16 or float16."""

import contextlib
import platform

import torch

SHORT_WINDOW = 6  # frames up to which PyTorch's bfloat16 convolution was seen to hang, see ``backward_may_hang``
AUTOCAST_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_precision(precision: str) -> str:
    """ "fp32", "bf16" or "fp16"; left open, fp32."""
    return precision or "fp32"


def network_autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager:
    """Context in which the network is called. Norms, the scan's state and the loss stay in float32 inside it."""
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=AUTOCAST_TYPES[precision])


def backward_may_hang(precision: str, device: torch.device, frames: int) -> bool:
    """Whether a training step in this set-up could wait for ever with more than one thread (docs/performance.md):
    PyTorch 2.13, bfloat16 on a CPU with AMX, weight gradient of a convolution over few frames."""
    if precision != "bf16" or device.type != "cpu" or frames > SHORT_WINDOW or torch.get_num_threads() == 1:
        return False
    if hasattr(torch.cpu, "get_capabilities"):  # not in older versions
        return bool(torch.cpu.get_capabilities().get("amx_tile"))
    return platform.machine().lower() in ("x86_64", "amd64")  # not known: on the safe side
