"""Part "ranks": two ranks on one GPU, and NCCL's path with one rank.

NCCL refuses two ranks on one GPU, so that the package meets by gloo there (runtime/processes.py); gradients are summed by
gloo on CUDA tensors. What is asked: do two ranks end with the weights of one rank that has the global batch?
"""

import os
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import torch
from rows import ROOT, Rows, Skip, near

SCRIPT = str(ROOT / "benchmarks" / "gpu" / "one_rank.py")
TOLERANCE = 1e-3  # of the largest weight: sums in another order


def questions(rows: Rows, _out: Path) -> None:
    for launcher in ("torchrun", "mpirun"):
        rows.ask(f"two ranks, {launcher}: the weights of one rank", partial(two_ranks, rows, launcher))
    rows.ask("NCCL: one rank trains as no rank does", partial(nccl, rows), cuda_only=True)


def command_of(launcher: str, ranks: int) -> list[str]:
    if launcher == "torchrun":
        return [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"]
    if shutil.which("mpirun") is None or find_spec("mpi4py") is None:
        raise Skip("mpirun or mpi4py is not installed")
    return ["mpirun", "-n", str(ranks), sys.executable]


def run(rows: Rows, command: list[str], folder: Path, ranks: int, **variables: str) -> dict:
    """Ranks that share a global batch of 4 train some steps; what rank 0 saved."""
    words = [SCRIPT, str(folder), str(rows.size(10, 2)), str(4 // ranks), "cpu" if rows.dry else "cuda"]
    environment = os.environ | variables | ({"CUDA_VISIBLE_DEVICES": ""} if rows.dry else {})
    done = subprocess.run([*command, *words], env=environment, capture_output=True, text=True, timeout=150)
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode}: {' / '.join(done.stderr.strip().splitlines()[-4:])}")
    return torch.load(folder / "end.pt", map_location="cpu", weights_only=True)


def two_ranks(rows: Rows, launcher: str) -> dict:
    with tempfile.TemporaryDirectory() as name:
        two = run(rows, command_of(launcher, 2), Path(name) / "two", 2)
        one = run(rows, [sys.executable], Path(name) / "one", 1)
    assert two["ranks"] == 2 and one["ranks"] == 1, f"{two['ranks']} and {one['ranks']} ranks"
    off = max(near(two["weights"][key], value, TOLERANCE) for key, value in one["weights"].items())
    return {"largest difference": off, "meets by": two["backend"], "step ms": two["step ms"], "alone ms": one["step ms"]}


def nccl(rows: Rows) -> dict:
    """A group of one: the library is loaded, DDP's hooks run."""
    with tempfile.TemporaryDirectory() as name:
        group = run(rows, [sys.executable], Path(name) / "group", 1, ALONE_BY="nccl")
        alone = run(rows, [sys.executable], Path(name) / "alone", 1)
    off = max(near(group["weights"][key], value, TOLERANCE) for key, value in alone["weights"].items())
    assert group["backend"] == "nccl", group["backend"]
    return {"largest difference": off, "step ms": group["step ms"], "alone ms": alone["step ms"]}
