"""The selective scan on the CPU: the fused kernel against what a Mamba block would run there otherwise.

    python benchmarks/scan.py [--lengths 480 1920 7680 30720 61440] [--out runs/benchmarks/scan.json]

Peers, alternated in one process, on the same numbers (checked to agree before anything is timed), each in the layout
that its own package hands it:

- `mamba-ssm`: the definition of its reference, restated: exp(delta A) and delta B u as whole (B, D, L, N) tensors, then
  a loop over tokens, one einsum each. It takes its tokens by `unbind`; indexing, as in the original, has a backward
  whose cost grows with the square of L. Tokens are neighbours in memory (B, D, L); `channels-last`: channels are.
- `mambapy`: the parallel scan of mamba.py (`pip install mambapy`), around it the same softplus, D and gate; (B, L, D).
- `reference` and `cpu`: the two backends of ramvid_vad.ops; (B, L, D).
- `cpu, tokens side by side`: the latter on the layout of mamba-ssm, the gradient of y too.

In its turn each is called twice forward and the second call is timed, so that it finds its own inputs in the cache, as
after the layer before it; `first call` is the first one, which finds what the peers left there. Reported are medians
and the ratios to `cpu`, with memory as the C library hands it out, which is how the peers run by themselves; their (B,
D, L, N) tensors are fresh pages at every call, and they run up to --peer_length only. After these, with freed memory
kept (ramvid_vad/runtime/allocator.py, as our commands have it): the cost per token and channel of `cpu`, which should
not grow with L, and the causal convolution.
"""

import argparse
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from measure import alternate, machine, positive, print_table, run, seconds, write_report
from torch import Tensor

from ramvid_vad.errors import InputError
from ramvid_vad.ops import available_backends, causal_conv1d, selective_scan
from ramvid_vad.runtime.allocator import keep_freed_memory

Case = dict[str, Tensor]


def mamba_ssm_definition(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor) -> Tensor:
    """mamba-ssm's reference scan, restated; shapes as `ramvid_vad.ops.selective_scan`."""
    delta = F.softplus(delta)
    decay = torch.exp(torch.einsum("bdl,dn->bdln", delta, A))
    drive = torch.einsum("bdl,bnl,bdl->bdln", delta, B, u)
    state = torch.zeros_like(drive[:, :, 0])
    outputs = []
    for a_t, b_t, c_t in zip(decay.unbind(2), drive.unbind(2), C.unbind(2), strict=True):
        state = a_t * state + b_t
        outputs.append(torch.einsum("bdn,bn->bd", state, c_t))
    return (torch.stack(outputs, 2) + u * D[:, None]) * F.silu(z)


def mambapy_scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor) -> Tensor:
    """mamba.py's parallel scan in its own layout (B, L, D, N)."""
    from mambapy.pscan import pscan

    u, delta, B, C, z = (x.transpose(1, 2) for x in (u, delta, B, C, z))
    delta = F.softplus(delta)
    states = pscan(torch.exp(delta[..., None] * A), delta[..., None] * B[:, :, None] * u[..., None])
    y = (states @ C[..., None]).squeeze(3) + D * u
    return (y * F.silu(z)).transpose(1, 2)


def ours(backend: str) -> Callable[..., Tensor]:
    return lambda **case: selective_scan(**case, delta_softplus=True, backend=backend)


def scan_case(dim: int, length: int, states: int) -> Case:
    """One batch element, channels-last as the network's linear layers return it."""
    torch.manual_seed(0)

    def rows(width: int) -> Tensor:
        return torch.randn(1, length, width).transpose(1, 2)

    case = {"u": rows(dim), "delta": rows(dim) - 1, "A": -torch.rand(dim, states) * states}
    return case | {"B": rows(states), "C": rows(states), "D": torch.ones(dim), "z": rows(dim)}


def tokens_last(case: Case) -> Case:
    """The sequences in mamba-ssm's layout: contiguous (B, D, L)."""
    return {name: x.contiguous() for name, x in case.items()}


@torch.no_grad()
def first_seconds(function: Callable[..., Tensor], case: Case) -> float:
    """Of a forward pass."""
    return seconds(lambda: function(**case))


def forward_seconds(function: Callable[..., Tensor], case: Case) -> float:
    """Of a forward pass after another one."""
    first_seconds(function, case)
    return first_seconds(function, case)


def training_seconds(function: Callable[..., Tensor], case: Case) -> float:
    """Of forward and the gradients of all inputs."""
    case = {name: x.detach().requires_grad_() for name, x in case.items()}
    dy = torch.ones_like(next(iter(case.values())))  # u's, or the convolution's x, in its layout

    def run() -> None:
        y = function(**case)
        torch.autograd.grad(y, list(case.values()), dy)

    return seconds(run)


PASSES = {"forward": forward_seconds, "forward, first call": first_seconds, "forward + backward": training_seconds}
Contestants = dict[str, tuple[Callable[..., Tensor], Case]]


def medians(contestants: Contestants, measure: Callable, repeats: int) -> dict[str, float]:
    """Median seconds of each."""
    return alternate({name: partial(measure, *each) for name, each in contestants.items()}, repeats)


def check(contestants: Contestants) -> None:
    """All give one result."""
    with torch.no_grad():
        results = {name: function(**case) for name, (function, case) in contestants.items()}
    for name, y in results.items():
        error = ((y - results["cpu"]).abs().max() / y.abs().max()).item()
        if not error < 1e-4:
            raise SystemExit(f"{name} differs from cpu by {error:.1e}: nothing was timed")


def scan_rows(arguments: argparse.Namespace) -> list[dict]:
    rows = []
    for length in arguments.lengths:
        if length > arguments.peer_length:
            continue
        case = scan_case(arguments.dim, length, arguments.states)
        contestants = {
            "cpu": (ours("cpu"), case),
            "cpu, tokens side by side": (ours("cpu"), tokens_last(case)),
            "mamba-ssm": (mamba_ssm_definition, tokens_last(case)),
            "mamba-ssm, channels-last": (mamba_ssm_definition, case),
            "reference": (ours("reference"), case),
        }
        if find_spec("mambapy"):
            contestants["mambapy"] = (mambapy_scan, case)
        check(contestants)
        for what, measure in PASSES.items():
            taken = medians(contestants, measure, arguments.repeats)
            rows.append(
                {"what": what, "length": length, "milliseconds": {name: 1e3 * s for name, s in taken.items()}}
                | {"ratio_to_cpu": {name: s / taken["cpu"] for name, s in taken.items() if name != "cpu"}}
            )
    return rows


def length_rows(arguments: argparse.Namespace) -> list[dict]:
    """Cost of `cpu` per token and channel. In turn: one call of each length after the other, so that no load of the
    machine falls on one of them, with inputs out of the cache and threads asleep; in a row: the same call again."""
    cases = {length: scan_case(arguments.dim, length, arguments.states) for length in arguments.lengths}
    rows = []
    for what in ("forward", "forward + backward"):
        measure = first_seconds if what == "forward" else training_seconds
        timed = {length: partial(measure, ours("cpu"), case) for length, case in cases.items()}
        in_turn = alternate(timed, 3 * arguments.repeats)
        for length, call in timed.items():
            in_a_row = alternate({length: call}, 3 * arguments.repeats)[length]
            unit = 1e9 / (length * arguments.dim)
            rows.append(
                {"what": what, "length": length, "ns in turn": unit * in_turn[length], "ns in a row": unit * in_a_row}
            )
    return rows


def convolution_rows(arguments: argparse.Namespace) -> list[dict]:
    def with_torch(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        width = weight.shape[1]
        return F.silu(F.conv1d(F.pad(x, (width - 1, 0)), weight[:, None], bias, groups=weight.shape[0]))

    x = scan_case(arguments.dim, arguments.peer_length, 1)["u"]
    case = {"x": x, "weight": torch.randn(arguments.dim, 4), "bias": torch.randn(arguments.dim)}
    contestants = {"cpu": (partial(causal_conv1d, backend="cpu"), case), "torch": (with_torch, case)}
    check(contestants)
    rows = []
    for what, measure in PASSES.items():
        taken = medians(contestants, measure, arguments.repeats)
        rows.append(
            {"what": what, "length": arguments.peer_length, "milliseconds": {k: 1e3 * s for k, s in taken.items()}}
            | {"ratio_to_cpu": {"torch": taken["torch"] / taken["cpu"]}}
        )
    return rows


def print_rows(title: str, rows: list[dict]) -> None:
    names = list(max((row["milliseconds"] for row in rows), key=len))
    print(
        f"\n{title}\n| pass | L |" + "".join(f" {n} ms |" for n in names) + "".join(f" {n} / cpu |" for n in names[1:])
    )
    print("| --- " * (2 * len(names) + 1) + "|")
    for row in rows:
        times = [f"{row['milliseconds'][n]:.3g}" if n in row["milliseconds"] else "-" for n in names]
        ratios = [f"{row['ratio_to_cpu'][n]:.1f}x" if n in row["ratio_to_cpu"] else "-" for n in names[1:]]
        print(f"| {row['what']} | {row['length']} | " + " | ".join(times + ratios) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=positive, nargs="+", default=[480, 1920, 7680, 30720, 61440], help="tokens")
    parser.add_argument("--dim", type=positive, default=256, help="channels")
    parser.add_argument("--states", type=positive, default=16, help="states per channel")
    parser.add_argument("--peer_length", type=positive, default=7680, help="the peers run up to this many tokens")
    parser.add_argument("--repeats", type=positive, default=5, help="timed calls of each peer")
    parser.add_argument("--threads", type=positive, default=torch.get_num_threads(), help="default: torch's")
    parser.add_argument("--out", default="runs/benchmarks/scan.json", help="JSON file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if "cpu" not in available_backends():
        raise InputError("the C++ kernel was not built: there is nothing to compare (install g++, pip install -e .)")
    from ramvid_vad.ops.cpu_library import instruction_set

    if not find_spec("mambapy"):
        print("mambapy is not installed: its column is left out (pip install mambapy)")
    report = machine() | {
        "instruction_set": instruction_set(),
        "shape": {"batch": 1, "dim": arguments.dim, "states": arguments.states},
        "scan": scan_rows(arguments),
        "memory_kept": keep_freed_memory(),
        "lengths": length_rows(arguments),
        "convolution": convolution_rows(arguments),
    }
    write_report(arguments.out, report)
    print(f"{report['instruction_set']}, {report['threads']} threads, torch {report['torch']}")
    shape = f"(1, {arguments.dim}, L)"
    if report["scan"]:  # no length may be short enough for the peers
        print_rows(f"selective scan {shape}, N = {arguments.states}, softplus, D and gate; medians", report["scan"])
    print_rows(f"causal convolution of width 4 and SiLU, {shape}; medians", report["convolution"])
    print_table("nanoseconds of cpu per token and channel, freed memory kept; medians", report["lengths"])


if __name__ == "__main__":
    run(main)
