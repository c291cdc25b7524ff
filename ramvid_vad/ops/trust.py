"""A kernel that was never run on a device earns trust there: before its first use it is compared with the reference."""

from types import ModuleType

import torch
from torch import Tensor

from ramvid_vad.ops import reference

CASES = (  # batch, channels, tokens, states; with D, z, delta_bias and softplus; reverse
    (2, 3, 70, 16, True, False),
    (1, 5, 133, 16, True, True),
    (2, 2, 65, 5, False, False),
    (1, 1, 1, 1, False, True),
)
TOLERANCE = 1e-4  # of the largest value, beside the rounding of the dtype; single precision gives about 1e-6
_SEQUENCES = ("u", "delta", "B", "C", "z")


def mistrust(module: ModuleType, device: torch.device, dtype: torch.dtype) -> str | None:
    """Why the selective scan of a backend must not be used on such tensors; None where it equals the reference.

    Result, last state and all gradients are compared with the reference's, which runs in float64 on the CPU.
    """
    try:
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
            return next(filter(None, (_difference(module, device, dtype, *case) for case in CASES)), None)
    except Exception as error:  # of the compiler, the driver or the kernel
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        return f"cannot run there ({reason})"


def _difference(
    module: ModuleType,
    device: torch.device,
    dtype: torch.dtype,
    batch: int,
    dim: int,
    length: int,
    states: int,
    full: bool,
    reverse: bool,
) -> str | None:
    """What of one case is not the reference's, and by how much."""
    inputs, weight = _case(batch, dim, length, states, full, dtype)
    exact = _run(reference, {k: v.double() for k, v in inputs.items()}, weight.double(), full, reverse)
    found = _run(module, {k: v.to(device) for k, v in inputs.items()}, weight.to(device), full, reverse)
    for name, value in exact.items():
        other = found[name].cpu()
        error = (other.double() - value).abs()
        largest = value.abs().max()
        if not (error <= TOLERANCE * largest + torch.finfo(other.dtype).eps * value.abs()).all():
            return f"differs from the reference there ({name}: {error.max() / largest:.1g} of the largest value)"
    return None


def _case(
    batch: int, dim: int, length: int, states: int, full: bool, dtype: torch.dtype
) -> tuple[dict[str, Tensor], Tensor]:
    """Inputs of a scan, sequences in ``dtype``, and the weight (batch, dim, length) of y in the loss."""
    draw = torch.Generator().manual_seed(0)
    shapes = {"u": (batch, dim, length), "delta": (batch, dim, length), "A": (dim, states)}
    shapes |= {"B": (batch, states, length), "C": (batch, states, length)}
    shapes |= {"D": (dim,), "z": (batch, dim, length), "delta_bias": (dim,)} if full else {}
    inputs = {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}
    inputs["A"] = -torch.exp(inputs["A"])
    if not full:
        inputs["delta"] = inputs["delta"].abs()  # a step size, without softplus
    inputs = {name: value.to(dtype) if name in _SEQUENCES else value for name, value in inputs.items()}
    return inputs, torch.randn(shapes["u"], generator=draw).to(dtype)


def _run(
    module: ModuleType, inputs: dict[str, Tensor], weight: Tensor, softplus: bool, reverse: bool
) -> dict[str, Tensor]:
    """y, the last state, and the gradient of sum(weight y) by every input."""
    inputs = {name: value.requires_grad_() for name, value in inputs.items()}
    arguments = [inputs.get(name) for name in ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")]
    y, last = module.selective_scan(*arguments, softplus, reverse)
    gradients = torch.autograd.grad((y * weight).sum(), list(inputs.values()))
    results = {"y": y, "last state": last} | {f"gradient of {k}": g for k, g in zip(inputs, gradients, strict=True)}
    return {name: value.detach() for name, value in results.items()}
