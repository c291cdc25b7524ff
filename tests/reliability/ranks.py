"""One rank against two: a training step, the exchange of gradients, memory, and what rank 0 does for all.

    python tests/reliability/ranks.py [--networks 1gbit 10gbit] [--config ped2_cpu] [--batch_size 1]
        [--repeats 7] [--out runs/benchmarks/ranks.json]

The training step of `ramvid_vad.training.loop`, with the network and settings of a config file, random frames and
weights of seed 0, one thread per rank. Called in turn:

- `1 rank`: one process; the other core has nothing to do.
- `2 ranks`: the same on each of two ranks under mpirun, which exchange their gradients (gloo, on one machine).
- `2 ranks, no exchange`: the same two processes, each with its own gradients: what the neighbour costs by sharing
  caches and memory alone. The rest of `2 ranks` is the exchange.
- `2 hosts, 1gbit` and so on, with --networks (root and iproute2 needed): two processes in network namespaces of their
  own, joined by a link of that rate; they meet as two machines do, by MASTER_ADDR.

Then on one rank: a checkpoint written, verified (rank 0 alone) and loaded (every rank).
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from hosts import TwoHosts
from victims import launcher

from ramvid_vad.runtime import processes
from ramvid_vad.runtime.allocator import keep_freed_memory
from ramvid_vad.training.loop import TrainLoop

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
from cluster_costs import checkpoint_seconds, loop_of
from measure import Contestant, alternate, machine, print_table, seconds, serve, write_report

ONE, TWO, ALONE = "1 rank", "2 ranks", "2 ranks, no exchange"


def stepper(loop: TrainLoop, frames: torch.Tensor) -> Callable[[str], float]:
    """``stepper(...)("exchange")``: seconds until all ranks have made a step, each on windows of its own."""
    with_exchange = loop.network
    first = processes.rank() * len(frames)

    def step(what: str) -> float:
        loop.network = with_exchange if what == "exchange" else loop.model
        processes.barrier()

        def run() -> None:
            loop._train_step(frames, {}, [*range(first, first + len(frames))], 1e-6)
            processes.barrier()

        return seconds(run)

    return step


def serve_steps(arguments: argparse.Namespace) -> None:
    """A contestant; rank 0 hears what to do and tells the others."""
    torch.set_num_threads(1)
    processes.setup_dist()
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.redirect_stdout(sys.stderr):  # where no answer is expected
            step = stepper(*loop_of(arguments.config, arguments.batch_size, folder))
        if processes.rank() == 0:
            serve(lambda what: step(processes.broadcast_object(what)))
            processes.broadcast_object("end")
        else:
            while (what := processes.broadcast_object(None)) != "end":
                step(what)
    processes.cleanup()


def around_it(config: str, batch_size: int) -> dict[str, float]:
    """A checkpoint on one rank."""
    with tempfile.TemporaryDirectory() as folder:
        loop, frames = loop_of(config, batch_size, folder)
        stepper(loop, frames)("exchange")  # the optimizer has a state
        return checkpoint_seconds(loop, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="ped2_cpu")
    parser.add_argument("--batch_size", type=int, default=1, help="windows per rank")
    parser.add_argument("--networks", nargs="*", default=[], metavar="RATE", help="1gbit and so on, as tc writes it")
    parser.add_argument("--repeats", type=int, default=7, help="timed steps of each contestant")
    parser.add_argument("--out", default="runs/benchmarks/ranks.json", help="JSON file")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    keep_freed_memory()
    if arguments.serve:
        serve_steps(arguments)
        return
    flags = [__file__, "--serve", "--config", arguments.config, "--batch_size", str(arguments.batch_size)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    commands = {ONE: [*launcher("mpirun", 1), *flags], TWO: [*launcher("mpirun", 2), *flags]}
    running = {}
    with contextlib.ExitStack() as ends:

        def start(name: str, command: list[str], environment: dict[str, str]) -> None:
            running[name] = Contestant(command, env=environment)
            ends.callback(running[name].end)

        for rate in arguments.networks:
            hosts = TwoHosts(rate)
            ends.callback(hosts.remove)
            first, second = (hosts.command(rank, sys.executable, *flags) for rank in (0, 1))
            other = subprocess.Popen(second, stdin=subprocess.DEVNULL, env=environment | hosts.variables(1))
            ends.callback(other.wait)
            start(f"2 hosts, {rate}", first, environment | hosts.variables(0))
        for name, command in commands.items():
            start(name, command, environment)
        calls = {name: partial(each.call, "exchange") for name, each in running.items()}
        medians = alternate(calls | {ALONE: partial(running[TWO].call, "alone")}, arguments.repeats)
    rows = []
    for name, taken in medians.items():
        ranks = 1 if name == ONE else 2
        row = {"contestant": name, "seconds per step": taken, "windows/s": ranks * arguments.batch_size / taken}
        row |= {"windows/s against 1 rank": ranks * medians[ONE] / taken}
        rows.append(row | {"exchange, share of a step": 0.0 if ranks == 1 else max(0.0, 1 - medians[ALONE] / taken)})
    peaks = {f"peak GB, {name}": running[name].peak for name in (ONE, TWO)}
    torch.set_num_threads(1)
    around = peaks | around_it(arguments.config, arguments.batch_size)
    print_table(f"a training step of {Path(arguments.config).name}, one thread per rank; medians", rows)
    print_table("around it", [around])
    write_report(arguments.out, machine() | {"batch_size": arguments.batch_size, "rows": rows, "around": around})


if __name__ == "__main__":
    main()
