"""Arithmetic of the network: float32, or automatic mixed precision in bfloat16 or float16."""

import contextlib

import torch

from ..errors import InputError

AUTOCAST_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_precision(precision: str, use_fp16: bool = False) -> str:
    """ "fp32", "bf16" or "fp16" from the options. InputError where they contradict each other."""
    if use_fp16 and precision not in ("", "fp16"):
        raise InputError(f"--use_fp16 True contradicts --precision {precision}: give one of them")
    return "fp16" if use_fp16 else precision or "fp32"


def network_autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager:
    """Context in which the network is called. Norms, the scan's state and the loss stay in float32 inside it."""
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=AUTOCAST_TYPES[precision])
