"""Network calls and generated frames per second of the sampler, and what a call consists of.

    python benchmarks/sampling.py [--out runs/benchmarks/sampling.json]

The model and settings of the recipe ped2_cpu (128 x 192, patch size 4, 30 frames of which 22 are generated, 2 DDIM
steps), random weights of seed 0, through `ramvid_vad.inference.infill`; batches of 1, 2 and 4 windows in bfloat16 and
float32, in turn. `noise and rest` is the share of an infilling outside the network: noise, arithmetic of the sampler.
Medians over infillings, the first of each left out.
"""

import argparse
import statistics
from collections.abc import Callable
from functools import partial

import torch
from measure import alternate, machine, positive, print_table, run, seconds, write_report

from ramvid_vad.cli import COMMAND_SECTIONS, parse_command
from ramvid_vad.diffusion.anchors import selective_anchors
from ramvid_vad.inference import infill
from ramvid_vad.runtime.allocator import keep_freed_memory
from ramvid_vad.script_util import create_diffusion, create_model

CONFIG = "ped2_cpu"


def contestant(precision: str, batch: int) -> tuple[Callable[[], float], list[float], list[float]]:
    """(an infilling of a batch: its seconds, the seconds of the network calls of the last one, the share of each
    infilling outside them)."""
    parsed = parse_command("video_sample", COMMAND_SECTIONS["video_sample"], ["--config", CONFIG])
    torch.manual_seed(0)
    model = create_model(parsed.model).eval().requires_grad_(False)
    inside: list[float] = []
    outside: list[float] = []

    def network(*inputs: object, **keywords: object) -> torch.Tensor:
        result = []
        inside.append(seconds(lambda: result.append(model(*inputs, **keywords))))
        return result[0]

    clean = torch.rand(batch, 1, 30, 128, 192) * 2 - 1
    places = [(number, 0) for number in range(batch)]
    diffusion = create_diffusion(parsed.diffusion)
    way = (network, diffusion, clean, selective_anchors(30), places, parsed.sample)

    def timed() -> float:
        inside.clear()
        whole = seconds(partial(infill, *way, precision=precision))
        outside.append(1 - sum(inside) / whole)
        return whole

    return timed, inside, outside


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=positive, default=5)
    parser.add_argument("--out", default="runs/benchmarks/sampling.json", help="JSON file")
    arguments = parser.parse_args()
    keep_freed_memory()
    made = {(precision, batch): contestant(precision, batch) for precision in ("bf16", "fp32") for batch in (1, 2, 4)}
    with torch.no_grad():
        medians = alternate({key: timed for key, (timed, *_) in made.items()}, arguments.repeats)
    rows = []
    for (precision, batch), s in medians.items():
        _, calls, outside = made[precision, batch]
        rows.append(
            {"precision": precision, "windows per batch": batch, "calls/s": len(calls) / s}
            | {"generated frames/s": 22 * batch / s, "noise and rest": statistics.median(outside[1:])}
            | {"time per window / bf16, 1": s / batch / medians["bf16", 1]}
        )
    print_table("infilling with the model of the recipe ped2_cpu; medians", rows)
    write_report(arguments.out, machine() | {"rows": rows})


if __name__ == "__main__":
    run(main)
