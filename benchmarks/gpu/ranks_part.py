"""Part "ranks": two ranks on one GPU, and NCCL's path with one rank.

NCCL refuses two ranks on one GPU, so that the package meets by gloo there (runtime/processes.py); gradients are
summed by gloo on CUDA tensors. What is asked: has a step of two ranks the gradients of a step of one rank that has
the global batch? (Not: the same weights. AdamW's first steps are as long for a gradient that is rounding alone.)
"""

import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path

import torch
from rows import ROOT, Rows, Skip, near
from small_training import gradients, train

SCRIPT = str(ROOT / "benchmarks" / "gpu" / "one_rank.py")
TOLERANCE = 1e-4  # of the largest gradient: sums in another order


def questions(rows: Rows, _out: Path) -> None:
    for launcher in ("torchrun", "mpirun"):
        rows.ask(f"two ranks, {launcher}: the gradients of one rank", partial(two_ranks, rows, launcher))
    rows.ask("NCCL: one rank trains as no rank does", partial(nccl, rows), cuda_only=True)


@cache
def alone() -> torch.Tensor:
    """Gradients of a step of the global batch in this process."""
    with tempfile.TemporaryDirectory() as folder:
        return gradients(train(folder, 1))


def command_of(launcher: str, ranks: int) -> list[str]:
    if launcher == "torchrun":
        return [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"]
    if shutil.which("mpirun") is None or find_spec("mpi4py") is None:
        raise Skip("mpirun or mpi4py is not installed")
    return ["mpirun", "-n", str(ranks), sys.executable]


def run(rows: Rows, command: list[str], folder: Path, ranks: int, **variables: str) -> dict:
    """Ranks that share a global batch of 4 make a step; what rank 0 saved."""
    words = [SCRIPT, str(folder), str(4 // ranks), "cpu" if rows.dry else "cuda"]
    environment = os.environ | variables
    done = subprocess.run([*command, *words], env=environment, capture_output=True, text=True, timeout=400)
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode}: {' / '.join(done.stderr.strip().splitlines()[-4:])}")
    return torch.load(folder / "end.pt", map_location="cpu", weights_only=True)


def two_ranks(rows: Rows, launcher: str) -> dict:
    with tempfile.TemporaryDirectory() as name:
        two = run(rows, command_of(launcher, 2), Path(name) / "two", 2)
    assert two["ranks"] == 2, f"{two['ranks']} ranks"
    return {"largest difference": near(two["gradients"], alone(), TOLERANCE), "meets by": two["backend"]}


def nccl(rows: Rows) -> dict:
    """A group of one: the library is loaded, DDP's hooks run."""
    with tempfile.TemporaryDirectory() as name:
        group = run(rows, [sys.executable], Path(name) / "group", 1, ALONE_BY="nccl")
    assert group["backend"] == "nccl", group["backend"]
    return {"largest difference": near(group["gradients"], alone(), TOLERANCE)}
