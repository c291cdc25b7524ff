"""What mpirun, srun and torchrun say of this process, and where the ranks they started can meet."""

import ctypes
import os
import re
from dataclasses import dataclass
from typing import Any

from ramvid_vad.errors import InputError

OPEN_MPI = "libmpi.so.40"  # of its versions 4 and 5


@dataclass(frozen=True)
class Place:
    """Where this process stands among those of the run."""

    launcher: str
    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_size: int = 1  # ranks on this node; 1 where the launcher does not tell


# launcher, and its variables for rank, number of ranks, and both on this node; the innermost launcher comes first
LAUNCHERS = (
    ("torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    (
        "Open MPI",
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_LOCAL_RANK",
        "OMPI_COMM_WORLD_LOCAL_SIZE",
    ),
    ("MPICH", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
    ("Slurm", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", ""),
)


def launched() -> Place:
    """What the launcher's environment variables say. InputError: they contradict each other."""
    env = os.environ
    if ("RANK" in env) != ("WORLD_SIZE" in env):
        raise InputError("only one of RANK and WORLD_SIZE is set: set both, as torchrun does, or neither")
    places = [
        Place(name, _number(rank), _number(size), _number(local, missing=_number(rank)), _number(here, missing=1))
        for name, rank, size, local, here in LAUNCHERS
        if rank in env and size in env
    ]
    if not places:
        return Place("no launcher")
    place, last = places[0], places[-1]
    same = (last.rank, last.world_size) == (place.rank, place.world_size)
    if place.launcher == "MPICH" and same and "MPI_LOCALRANKID" not in env:
        place = last  # srun by itself: its plugin pmi2 sets PMI_RANK and PMI_SIZE, too
    if not 0 <= place.rank < place.world_size:
        raise InputError(
            f"{place.launcher}: rank {place.rank} of {place.world_size} ranks; check the variables it sets"
        )
    other = next((p for p in places[1:] if p.launcher != "Slurm"), place)
    if place.world_size != other.world_size and "TORCHELASTIC_RUN_ID" not in env:
        raise InputError(
            f"WORLD_SIZE says {place.world_size} ranks, {other.launcher} says {other.world_size}: "
            "unset RANK and WORLD_SIZE, or start with torchrun alone"
        )
    return place


def master_address() -> tuple[str, int]:
    if "MASTER_ADDR" not in os.environ or "MASTER_PORT" not in os.environ:
        raise InputError("RANK and WORLD_SIZE are set, MASTER_ADDR and MASTER_PORT are not: set them or use torchrun")
    return os.environ["MASTER_ADDR"], _number("MASTER_PORT")


def mpi_world(place: Place) -> Any:
    if place.launcher == "Open MPI" and _loads(OPEN_MPI):
        # a wheel of mpi4py can do with several libraries and would take an MPICH first, which aborts here
        os.environ.setdefault("MPI4PY_MPIABI", "openmpi")
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise InputError(
            f"{place.launcher} started {place.world_size} ranks, but mpi4py cannot be imported ({error}): "
            "pip install '.[mpi]', or start with torchrun, or set MASTER_ADDR and MASTER_PORT"
        ) from error
    world = MPI.COMM_WORLD
    if world.size != place.world_size:
        raise InputError(
            f"{place.launcher} started {place.world_size} ranks, but mpi4py sees {world.size}: it was built "
            "for another MPI; pip install --force-reinstall --no-binary=mpi4py mpi4py, or start with torchrun"
        )
    return world


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def slurm_address() -> tuple[str, int]:
    """First node of the step, and a port that follows from the job and step numbers."""
    nodes = os.environ.get("SLURM_STEP_NODELIST", "")
    found = re.match(r"(?:[^,\[]|\[\d[^\]]*\])+", nodes)  # up to a comma outside brackets
    if not found:
        raise InputError(f"SLURM_STEP_NODELIST={nodes!r}: no node in it; set MASTER_ADDR and MASTER_PORT")
    job, step = _number("SLURM_JOB_ID", missing=0), _number("SLURM_STEP_ID", missing=0)
    first = re.sub(r"\[(\d+)[^\]]*\]", r"\1", found[0])  # "gpu[007-009,012],big1" -> gpu007
    return first, 20000 + (131 * job + step) % 10000


def _number(name: str, missing: int | None = None) -> int:
    text = os.environ.get(name)
    if text is None and missing is not None:
        return missing
    try:
        return int(text or "")
    except ValueError:
        raise InputError(f"{name}={text!r}: expected a whole number; unset it or set it as the launcher does") from None
