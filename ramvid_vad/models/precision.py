"""Arithmetic of the network: float32, or automatic mixed precision in bfloat16 or float16."""

import contextlib
import platform

import torch

SHORT_WINDOW = 6  # frames up to which PyTorch's bfloat16 convolution was seen to hang, see ``backward_may_hang``
AUTOCAST_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_precision(precision: str, device: torch.device) -> str:
    """ "fp32", "bf16" or "fp16" from ``--precision``: left open, fp32; auto, bf16 where the device computes in it."""
    if precision == "auto":
        return "bf16" if computes_in_bf16(device) else "fp32"
    return precision or "fp32"


def computes_in_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is this device's own arithmetic. PyTorch imitates it on a CPU without AVX-512: products there
    take 70 times as long as in float32 (docs/performance.md)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return (
        device.type == "cpu" and torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def slow_precision(precision: str, device: torch.device) -> str:
    """One line where the precision asked for is imitated, else ""."""
    if precision == "bf16" and not computes_in_bf16(device):
        return (
            "--precision bf16: this processor only imitates bfloat16, tens of times slower: auto or fp32 will be faster"
        )
    return ""


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
