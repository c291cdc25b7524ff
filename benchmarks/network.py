"""One network call and one training step: Mamba as we run it against attention as RaMViD runs it.

    python benchmarks/network.py [--frames 30] [--out runs/benchmarks/network.json]

RaMViD's settings: 64 x 64 pixels, 32 channels, 1 residual block, mixers at 16 and 8 pixels, batch 1. A training step is
forward, mean squared error and backward. Every contestant is a process of its own; they are called in turn (a network
call twice, and the second counts, as within a sampling run), and their peak resident memory is read at the end (Python
and PyTorch included: about 0.3 GB).

- `mamba bf16`: ours, channels-last, bfloat16 autocast. The ratios are to it.    - `mamba fp32`: the same in float32.
- `attention bf16`: ours with `--mixer attention`, PyTorch's fused attention.
- `plain attention`: the same weights through plain_attention.py in float32, checked first to give the same result; and
  memory as the C library hands it out, without ramvid_vad/runtime/allocator.py, which RaMViD has not either.
- `plain attention, memory kept`: with it.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial

import torch
from measure import Contestant, alternate, machine, positive, print_table, run, seconds, serve, write_report
from plain_attention import plain_forward
from torch import Tensor, nn

from ramvid_vad.models.precision import network_autocast
from ramvid_vad.models.unet import UNet
from ramvid_vad.runtime.allocator import keep_freed_memory

SETTINGS = {"model_channels": 32, "num_res_blocks": 1, "mixer_downsamplings": (4, 8), "channel_mult": (1, 2, 3, 4)}
PLAIN = "plain attention"
CONTESTANTS = ("mamba bf16", "mamba fp32", "attention bf16", PLAIN, PLAIN + ", memory kept")


def with_random_weights(model: nn.Module) -> nn.Module:
    """Layers that start at zero get small weights: they would hide all before them, and leave it without gradients."""
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    return model


def network(mixer: str, **more: object) -> nn.Module:
    """64 x 64 pixels, RGB, all of whose layers do something."""
    torch.manual_seed(0)
    return with_random_weights(UNet(3, 3, **SETTINGS, mixer=mixer, **more))


def contestant(name: str, frames: int, **more: object) -> dict[str, Callable[[], object]]:
    """{"call": one network call, "step": one training step} of a contestant."""
    if name != PLAIN:
        keep_freed_memory()
    model = network("mamba" if name.startswith("mamba") else "attention", **more)
    forward: Callable[..., Tensor] = partial(plain_forward, model) if name.startswith(PLAIN) else model
    precision = "bf16" if name.endswith("bf16") else "fp32"
    x, t = torch.randn(1, 3, frames, 64, 64), torch.tensor([500.0])

    def call() -> None:
        with torch.no_grad(), network_autocast(precision, x.device):
            forward(x, t)

    def step() -> None:
        model.zero_grad(set_to_none=True)
        with network_autocast(precision, x.device):
            y = forward(x, t)
        ((y.float() - x) ** 2).mean().backward()

    return {"call": call, "step": step}


def check(frames: int) -> float:
    """Relative difference between plain_attention.py and our own network with attention."""
    model, x, t = network("attention"), torch.randn(1, 3, frames, 64, 64), torch.tensor([500.0])
    with torch.no_grad():
        y, plain = model(x, t), plain_forward(model, x, t)
    error = ((y - plain).abs().max() / y.abs().max()).item()
    if not error < 1e-4:
        raise SystemExit(f"plain_attention.py differs from our network by {error:.1e}: nothing was timed")
    return error


def compare(what: str, frames: int, repeats: int) -> list[dict]:
    command = [sys.executable, __file__, "--frames", str(frames), "--serve"]
    running = {name: Contestant([*command, name, what]) for name in CONTESTANTS}
    try:
        medians = alternate({name: each.call for name, each in running.items()}, repeats)
    finally:
        for each in running.values():
            each.end()
    fastest, smallest = medians["mamba bf16"], running["mamba bf16"].peak
    return [
        {"what": what, "network": name, "seconds": medians[name], "peak GB": running[name].peak}
        | {"time / mamba bf16": medians[name] / fastest, "memory / mamba bf16": running[name].peak / smallest}
        for name in CONTESTANTS
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=positive, default=30)
    parser.add_argument("--repeats", type=positive, default=3, help="timed calls of each contestant")
    parser.add_argument("--out", default="runs/benchmarks/network.json", help="JSON file")
    parser.add_argument("--serve", nargs=2, metavar=("CONTESTANT", "WHAT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        name, what = arguments.serve
        function = contestant(name, arguments.frames)[what]
        if what == "call":
            serve(lambda _: [seconds(function), seconds(function)][1])
        else:
            serve(lambda _: seconds(function))
        return
    report = machine() | {"frames": arguments.frames, "difference_of_plain_attention": check(4), "rows": []}
    for what in ("call", "step"):
        report["rows"] += compare(what, arguments.frames, arguments.repeats)
    print_table(f"one window of {arguments.frames} frames, 64 x 64, batch 1; medians", report["rows"])
    write_report(arguments.out, report)


if __name__ == "__main__":
    run(main)
