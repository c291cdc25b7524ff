"""What the parts of gpu-check share: one row for each question, kept as soon as it is answered."""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
PASSED, FAILED, SKIPPED, CUDA_ONLY, LATE = "passed", "FAILED", "skipped", "CUDA only", "out of time"


class Skip(Exception):
    """A question that cannot be asked here, and why."""


class Rows:
    """The answers of one part, in a JSON file that is whole after each.

    dry: on the CPU, at sizes that take a second; what needs CUDA is named and left out.  deadline: of time.monotonic();
    what would begin after it is left out too.
    """

    def __init__(self, path: Path, dry: bool, deadline: float):
        self.path, self.dry, self.deadline = path, dry, deadline
        self.device = torch.device("cpu" if dry else "cuda")
        self.rows: list[dict] = []

    def ask(self, name: str, question: Callable[[], dict], *, cuda_only: bool = False) -> None:
        """question() -> figures. An AssertionError, or any other error, fails the row and not the part."""
        start, figures, why = time.monotonic(), {}, ""
        if cuda_only and self.dry:
            status = CUDA_ONLY
        elif start > self.deadline:
            status = LATE
        else:
            try:
                figures, status = question(), PASSED
            except Skip as reason:
                status, why = SKIPPED, str(reason)
            except Exception as error:  # of the kernel, the driver, a library or an assertion
                status, why = FAILED, f"{type(error).__name__}: {error}".strip().splitlines()[0][:300]
                if error.args and isinstance(error.args[-1], dict):
                    figures = error.args[-1]
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        row = {"row": name, "status": status, "why": why, "seconds": round(time.monotonic() - start, 2)} | figures
        self.rows.append(row)
        self.path.write_text(json.dumps(self.rows, indent=1) + "\n", encoding="utf-8")
        print(line(row), flush=True)

    def size(self, real: int, tiny: int) -> int:
        return tiny if self.dry else real

    def milliseconds(self, function: Callable[[], object], repeats: int = 10) -> float:
        """Median of a call after two that do not count; on CUDA between two events, so that the host's part shows only
        where the GPU waits for it."""
        for _ in range(self.size(2, 0)):
            function()
        taken = []
        for _ in range(self.size(repeats, 1)):
            if self.device.type == "cuda":
                begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                begin.record()
                function()
                end.record()
                torch.cuda.synchronize()
                taken.append(begin.elapsed_time(end))
            else:
                start = time.perf_counter()
                function()
                taken.append(1e3 * (time.perf_counter() - start))
        return statistics.median(taken)

    def peak_gigabytes(self, function: Callable[[], object]) -> float | None:
        """Largest memory that tensors take on the GPU during a call, 10^9 bytes; None on the CPU."""
        if self.device.type != "cuda":
            return None
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        function()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() / 1e9


def line(row: dict) -> str:
    """A row as one line of text."""
    about = {"row", "status", "why", "seconds", "part"}
    figures = ", ".join(f"{name} {shown(value)}" for name, value in row.items() if name not in about)
    return f"{row['status']:>11}  {row['row']}: {'; '.join(each for each in (row['why'], figures) if each)}"


def shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {shown(each)}" for key, each in value.items()) + "}"
    return ", ".join(map(shown, value)) if isinstance(value, list | tuple) else str(value)


def near(found: torch.Tensor, expected: torch.Tensor, tolerance: float, eps: float = 0.0) -> float:
    """Largest difference in units of the largest expected value. AssertionError: beyond ``tolerance`` and the rounding
    of each value, ``eps``."""
    found, expected = found.detach().double().cpu(), expected.detach().double().cpu()
    assert found.shape == expected.shape, f"shape {tuple(found.shape)} instead of {tuple(expected.shape)}"
    error, largest = (found - expected).abs(), expected.abs().max()
    off = (error.max() / largest.clamp_min(1e-30)).item()
    assert (error <= tolerance * largest + eps * expected.abs()).all(), f"off by {off:.2g} of the largest value"
    return off
