"""Part "scan": how far each backend of the selective scan is from what the memory alone would take."""

from functools import partial
from pathlib import Path

import torch
from rows import Rows, Skip
from scan import ours, scan_case

from ramvid_vad.ops import available_backends

LENGTHS = (1920, 7680, 30720, 61440, 122880, 245760)  # tokens; a window of the thesis has 7,680
CHANNELS, STATES = 256, 16
REFERENCE_UP_TO = 7680  # tokens: plain PyTorch takes a kernel for each
WITHIN = 2.0  # times what memory alone would take: the aim for the Triton kernel


def questions(rows: Rows, _out: Path) -> None:
    copy = {}
    rows.ask("memory: a copy on the device", partial(copy_speed, rows, copy))
    for length in LENGTHS if not rows.dry else (96,):
        for dtype in (torch.float32, torch.bfloat16):
            for backend in ("triton", "cuda", "reference"):
                name = f"scan, {backend}, {str(dtype).removeprefix('torch.')}, L = {length}"
                rows.ask(name, partial(scan_speed, rows, backend, dtype, length, copy.get("GB/s")))


def copy_speed(rows: Rows, found: dict) -> dict:
    """10^9 bytes read and written per second: the peak that shares are of."""
    source = torch.empty(rows.size(2**30, 2**20), dtype=torch.uint8, device=rows.device)
    target = torch.empty_like(source)
    found["GB/s"] = 2e-6 * source.numel() / rows.milliseconds(lambda: target.copy_(source))
    return dict(found)


def least_bytes(length: int, size: int, backward: bool) -> int:
    """What a scan with D, gate and bias must move if each tensor is touched once: u, delta, z, y in ``size`` bytes and
    B, C. Backward reads these and dy again and writes du, ddelta, dz, dB and dC, these two in float32."""
    wide, narrow = CHANNELS * length * size, STATES * length * size
    forward = 4 * wide + 2 * narrow
    return forward + (4 * wide + 2 * narrow + 3 * wide + 2 * STATES * length * 4 if backward else 0)


def scan_speed(rows: Rows, backend: str, dtype: torch.dtype, length: int, peak: float | None) -> dict:
    """Forward, and forward with all gradients; bandwidth of the least bytes, and its share of the copy's."""
    if backend not in available_backends(rows.device, dtype):
        raise Skip("mamba-ssm is not installed" if backend == "cuda" else f"{backend} cannot run here")
    if backend == "reference" and length > REFERENCE_UP_TO:
        raise Skip(f"plain PyTorch is timed up to {REFERENCE_UP_TO} tokens")
    case = scan_case(rows.size(CHANNELS, 8), length, STATES)
    sequences = ("u", "delta", "B", "C", "z")
    case = {name: x.to(rows.device, dtype if name in sequences else torch.float32) for name, x in case.items()}
    function = ours(backend)
    with torch.no_grad():
        forward = rows.milliseconds(lambda: function(**case))
    learning = {name: x.detach().requires_grad_() for name, x in case.items()}

    def both() -> None:
        y = function(**learning)
        torch.autograd.grad(y, list(learning.values()), torch.ones_like(y))

    figures = {"forward ms": forward, "forward + backward ms": rows.milliseconds(both)}
    if peak and not rows.dry:
        for name, backward in (("forward", False), ("forward + backward", True)):
            speed = 1e-6 * least_bytes(length, dtype.itemsize, backward) / figures[f"{name} ms"]
            figures |= {f"{name} GB/s": speed, f"{name} share of peak": speed / peak}
        if backend == "triton":
            figures["within 2x of memory"] = figures["forward share of peak"] >= 1 / WITHIN
    if (gigabytes := rows.peak_gigabytes(both)) is not None:
        figures["peak GB"] = gigabytes
    return figures
