"""Several processes as one run: mpirun, srun, torchrun, or one process without any of them.

Every function works in a single process too, where no MPI library is needed and none is imported. A rank that fails
prints its traceback once and ends the others: at once under mpirun and torchrun, and within ``lifeline.GRACE`` seconds
under a launcher that does not do it. A rank that hangs ends the run after the timeout of ``setup_dist``.
"""

import faulthandler
import os
import re
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Any, NoReturn

import torch
import torch.distributed as dist

from ramvid_vad.errors import InputError
from ramvid_vad.runtime.ranks import lifeline
from ramvid_vad.runtime.ranks.launchers import Place, launched, master_address, mpi_world, slurm_address

ARRIVAL_MINUTES = 5  # for all ranks to meet
RETRY_SECONDS = 3.0  # after which a rank asks again for the address of rank 0
STAGGER_SECONDS = 3.0  # rank 0, or the rank that is the cause, tells first; less than lifeline.GRACE


# Before the group is destroyed: its end waits for gloo's threads and holds Python's lock, which such a thread may still
# want to let go of the tensors of the last collective; both then wait for ever (PyTorch 2.13, one run in seven). The
# moment makes that rare; a process in which it happens all the same ends by itself after LEAVING_SECONDS.
SETTLE_SECONDS = 0.5
LEAVING_SECONDS = 60.0
_comm: Any = None  # mpi4py's world, when it was used to meet


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else launched().rank


def world_size() -> int:
    """Number of processes that work together; 1 before ``setup_dist``."""
    return dist.get_world_size() if dist.is_initialized() else 1


def dev() -> torch.device:
    """The device of this process (RaMViD's name): its GPU if there is one, else the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", launched().local_rank % torch.cuda.device_count())


def put(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """On ``device``; to a GPU by way of pinned memory, so that the host does not wait until the GPU gets there."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def setup_dist(timeout_minutes: float = 60) -> None:
    """Join the other processes: NCCL on GPUs, gloo on the CPU and where ranks of this node share a GPU, which NCCL
    refuses. A single process needs nothing and does nothing.

    timeout_minutes: a collective that waits longer, e.g. for a rank that hangs, is an error.
    InputError: the ranks cannot meet, or their number is not what the launcher says.
    """
    place = launched()
    if place.world_size == 1 or dist.is_initialized():
        return
    sys.excepthook = _last_words
    if torch.cuda.is_available():
        torch.cuda.set_device(dev())
    timeout = timedelta(minutes=timeout_minutes)
    try:
        store = _torchrun_store(place) if place.launcher == "torchrun" else _meet(place)
        dist.init_process_group(
            backend_for(place), store=store, rank=place.rank, world_size=place.world_size, timeout=timeout
        )
    except (dist.DistNetworkError, dist.DistStoreError) as error:
        why = str(error).splitlines()[0]
        raise InputError(
            f"rank {place.rank} of {place.world_size} ({place.launcher}) does not find the others: {why}"
        ) from error
    _share_cores()
    lifeline.start(*from_rank_0(lambda: lifeline.listen(place.world_size)), place.rank)
    sys.excepthook = _last_words  # torch has put its own there


def backend_for(place: Place) -> str:
    """What a rank at this place meets the others by; every node must have as many ranks for each GPU."""
    own_gpu = torch.cuda.is_available() and place.local_size <= torch.cuda.device_count()
    return "nccl" if own_gpu else "gloo"


def _meeting_device() -> torch.device:
    """Where the few numbers lie that the ranks tell each other."""
    return dev() if dist.get_backend() == "nccl" else torch.device("cpu")


def cleanup() -> None:
    """Leave the run; every rank calls it at the end. A rank that goes without it counts as dead."""
    if dist.is_initialized():
        barrier()
        lifeline.stop()
        time.sleep(SETTLE_SECONDS)
        faulthandler.dump_traceback_later(LEAVING_SECONDS, exit=True)
        dist.destroy_process_group()
        faulthandler.cancel_dump_traceback_later()


def barrier() -> None:
    """Wait until every rank is here."""
    if dist.is_initialized():
        dist.barrier(device_ids=[dev().index] if dist.get_backend() == "nccl" else None)


def any_true(flag: bool) -> bool:
    """Is ``flag`` true on any rank? All ranks get the same answer."""
    if not dist.is_initialized():
        return flag
    value = torch.tensor(int(flag), device=_meeting_device())
    dist.all_reduce(value, op=dist.ReduceOp.MAX)
    return bool(value.item())


def broadcast_object(value: Any) -> Any:
    """Rank 0's ``value`` on every rank."""
    if not dist.is_initialized():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0, device=_meeting_device())
    return box[0]


def from_rank_0(work: Callable[[], Any]) -> Any:
    """What ``work`` returns on rank 0, on every rank: one does it for all. Before ``setup_dist`` each does it alone."""
    if not dist.is_initialized():
        return work()
    return broadcast_object(work() if rank() == 0 else None)


def all_gather_object(value: Any) -> list[Any]:
    """The values of all ranks, in order of rank, on every rank."""
    if not dist.is_initialized():
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def agree(value: Any) -> bool:
    """Have all ranks an equal ``value`` (hashable)? All get the same answer."""
    return len({*all_gather_object(value)}) == 1


def check_same(options: dict[str, Any]) -> None:
    """InputError: the ranks were started with other options (name -> value)."""
    for other, theirs in enumerate(all_gather_object(options)):
        for name, ours in options.items():
            if theirs[name] != ours:
                raise InputError(
                    f"--{name} is {ours!r} on rank {rank()} and {theirs[name]!r} on rank {other}: all need the same"
                )


def fail(message: str, code: int) -> NoReturn:
    """Print one line to stderr and end this process, and with it the run, with an exit code.

    Where every rank fails in the same way, only rank 0 gets to say so.
    """
    try:
        place = launched()
    except InputError:
        place = Place("contradicting launchers")
    if place.world_size > 1:
        _ends_at_sigterm()
        time.sleep(STAGGER_SECONDS if place.rank else 0)
    print(message, file=sys.stderr, flush=True)
    if place.world_size > 1:
        _abort(code)
    sys.exit(code)


def _torchrun_store(place: Place) -> dist.Store:
    """A fresh store on rank 0, whose address is left in torchrun's own one: that keeps the addresses of ranks that died
    before a restart (--max-restarts), and the new ranks would wait for them."""
    host, _port = master_address()
    arrival = timedelta(minutes=ARRIVAL_MINUTES)
    shared, _rank, _world_size = next(dist.rendezvous("env://", timeout=arrival))
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return shared  # rank 0's already: the variables were set by hand
    key = "ramvid_vad/store"
    if place.rank == 0:
        store = dist.TCPStore(host, 0, place.world_size, True, arrival, wait_for_workers=False)
        shared.set(key, str(store.port))
        return store
    deadline = time.monotonic() + arrival.total_seconds()
    while True:
        port = int(shared.get(key))
        try:
            store = dist.TCPStore(host, port, place.world_size, False, timedelta(seconds=RETRY_SECONDS))
        except (dist.DistNetworkError, dist.DistStoreError):
            if time.monotonic() > deadline:
                raise
            continue  # the port of a dead rank 0; the new one is about to tell its own
        store.set_timeout(arrival)
        return store


def _meet(place: Place) -> dist.TCPStore:
    """The store through which the ranks find each other; its address comes from the variables, Slurm or MPI."""
    arrival = timedelta(minutes=ARRIVAL_MINUTES)
    first = place.rank == 0
    if "MASTER_ADDR" in os.environ and "MASTER_PORT" in os.environ:
        return dist.TCPStore(*master_address(), place.world_size, first, arrival)
    if place.launcher == "Slurm":
        return dist.TCPStore(*slurm_address(), place.world_size, first, arrival)
    global _comm
    _comm = mpi_world(place)
    hosts = _comm.allgather(socket.gethostname())
    host = "127.0.0.1" if len(set(hosts)) == 1 else hosts[0]
    store = dist.TCPStore(host, 0, place.world_size, True, arrival, wait_for_workers=False) if first else None
    port = _comm.bcast(store.port if store else None)
    return store or dist.TCPStore(host, port, place.world_size, False, arrival)


def _share_cores() -> None:
    """Threads for this rank: the cores it may use, divided among the ranks of this node that may use them too."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    ranks = all_gather_object((socket.gethostname(), cores))
    sharing = sum(host == socket.gethostname() and bool(theirs & cores) for host, theirs in ranks)
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, len(cores) // sharing))


def _last_words(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Uncaught error on one rank: tell it once, then end the others."""
    _ends_at_sigterm()
    me = f"rank {launched().rank} of {launched().world_size}"
    lost = isinstance(error, RuntimeError) and re.search(r"closed by peer|reset by peer|broken pipe", str(error), re.I)
    time.sleep(STAGGER_SECONDS if lost or launched().rank else 0)
    if lost or isinstance(error, KeyboardInterrupt):
        text = f"{me}: {'another rank has ended' if lost else 'interrupted'}; this one ends too\n"
    else:
        text = f"{me} failed:\n" + "".join(traceback.format_exception(kind, error, trace))
    print(text, end="", file=sys.stderr, flush=True)
    _abort(1)


def _ends_at_sigterm() -> None:
    """From here on the launcher's SIGTERM ends the process, whatever handler the run had."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _abort(code: int) -> NoReturn:
    sys.stdout.flush()
    if _comm is not None:
        time.sleep(0.5)  # mpirun drops what is still in its pipes when a rank aborts
        _comm.Abort(code)
    os._exit(code)
