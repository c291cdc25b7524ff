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

from ramvid_vad.cli import COMMAND_SECTIONS, parse_command
from ramvid_vad.loading import anchor_pattern
from ramvid_vad.models.precision import resolve_precision
from ramvid_vad.options import parse_image_size
from ramvid_vad.runtime import processes
from ramvid_vad.runtime.allocator import keep_freed_memory
from ramvid_vad.runtime.logger import Logger
from ramvid_vad.script_util import create_diffusion, create_model
from ramvid_vad.training.checkpoints import find_latest, load_checkpoint
from ramvid_vad.training.loop import TrainLoop

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
from measure import Contestant, alternate, machine, print_table, seconds, serve, write_report

ONE, TWO, ALONE = "1 rank", "2 ranks", "2 ranks, no exchange"


def loop_of(config: str, batch_size: int, log_dir: str) -> tuple[TrainLoop, torch.Tensor]:
    """The training loop of a config file, and frames for it (B,C,T,H,W)."""
    flags = ["--config", config, "--batch_size", str(batch_size), "--log_dir", log_dir]
    parsed = parse_command("video_train", COMMAND_SECTIONS["video_train"], flags)
    torch.manual_seed(0)
    model = create_model(parsed.model, parsed.diffusion.learn_sigma)
    loop = TrainLoop(
        model,
        create_diffusion(parsed.diffusion),
        lambda step: iter(()),
        anchor_pattern(parsed.anchors, parsed.video.seq_len, 0),
        parsed.train,
        precision=resolve_precision(parsed.train.precision, processes.dev()),
        exclude_conditional=parsed.anchors.exclude_conditional,
        logger=Logger(log_dir),
        config={},
    )
    channels = 3 if parsed.model.rgb else 1
    size = parse_image_size(parsed.model.image_size)
    return loop, torch.rand(batch_size, channels, parsed.video.seq_len, *size) * 2 - 1


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


def checkpoint_seconds(config: str, batch_size: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        loop, frames = loop_of(config, batch_size, folder)
        stepper(loop, frames)("exchange")  # the optimizer has a state
        loop.step = 1
        found = []
        taken = {
            "checkpoint written and read back": seconds(loop._save),
            "checkpoint verified": seconds(lambda: found.append(find_latest(folder))),
            "checkpoint loaded": seconds(lambda: load_checkpoint(found[0], loop.ema)),
        }
        size = sum(path.stat().st_size for path in Path(folder).glob("*.safetensors"))
        parameters = sum(parameter.numel() for parameter in loop.model.parameters())
    return taken | {"checkpoint MB": size / 1e6, "million parameters": parameters / 1e6}


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
    around = peaks | checkpoint_seconds(arguments.config, arguments.batch_size)
    print_table(f"a training step of {Path(arguments.config).name}, one thread per rank; medians", rows)
    print_table("around it", [around])
    write_report(arguments.out, machine() | {"batch_size": arguments.batch_size, "rows": rows, "around": around})


if __name__ == "__main__":
    main()
