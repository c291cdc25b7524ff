"""Cost against the number of frames, and how many fit: a training step with Mamba and with plain attention.

    python benchmarks/frames.py [--gigabytes 8] [--out runs/benchmarks/frames.json] [--plot runs/benchmarks/frames.png]

RaMViD's settings at 64 x 64 pixels, as network.py. `mamba` is ours with gradient checkpointing (`--use_checkpoint
True`), bfloat16 autocast and freed memory kept; `attention bf16, checkpointed` the same with `--mixer attention`,
PyTorch's fused attention, so that the mixer is all that differs. `plain attention` is plain_attention.py in float32,
without any of the three. Every point is a process of its own that runs two training steps: peak resident memory, all of
Python and PyTorch included, and the seconds of the second step, taken once. The largest number of frames below the
limit is first estimated from the points, then searched by trying.
"""

import argparse
import json
from pathlib import Path

from measure import machine, own_process, peak_gigabytes, print_table, run, seconds, write_report
from network import contestant

FUSED, PLAIN = "attention bf16, checkpointed", "plain attention"
POINTS = {"mamba": (15, 30, 60, 120), FUSED: (15, 30, 60, 120), PLAIN: (10, 15, 20, 30)}
OF_NETWORK = {"mamba": "mamba bf16", FUSED: "attention bf16", PLAIN: PLAIN}  # the names of network.py


def measure(name: str, frames: int) -> None:
    """In a process of its own: print peak memory and time of a training step."""
    checkpointed = {} if name == PLAIN else {"use_checkpoint": True}
    step = contestant(OF_NETWORK[name], frames, **checkpointed)["step"]
    step()
    print(json.dumps({"frames": frames, "seconds": seconds(step), "GB": peak_gigabytes()}))


def largest(name: str, points: list[dict], limit: float) -> int:
    """The largest number of frames whose step stays below ``limit``, 0 if one frame does not; every step tried is
    added to ``points``."""

    def fits(frames: int) -> bool:
        known = [point for point in points if point["frames"] == frames]
        if not known:
            known = [own_process(__file__, "--measure", name, str(frames))]
            points.extend(known)
        return known[0]["GB"] < limit

    low = max((point["frames"] for point in points if point["GB"] < limit), default=0)
    grain = max(1, low // 20)  # of a long clip a few frames more or less are not worth their minutes
    while True:
        guess = _estimate(points, limit, power=2 if name == PLAIN else 1)
        guess = max(guess // grain * grain, low + grain)
        if fits(guess):
            low = guess
            continue
        over = min(point["frames"] for point in points if point["GB"] >= limit)
        while over - low > grain:
            middle = (low + over) // 2
            low, over = (middle, over) if fits(middle) else (low, middle)
        return low


def _estimate(points: list[dict], limit: float, power: int) -> int:
    """From the two largest points, for memory that grows as frames to the ``power``."""
    first, second = sorted(points, key=lambda point: point["frames"])[-2:]
    slope = (second["GB"] - first["GB"]) / (second["frames"] ** power - first["frames"] ** power)
    return int(max(second["frames"] ** power + (limit - second["GB"]) / slope, 0.0) ** (1 / power))


def plot(points: dict[str, list[dict]], path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    styles = {"mamba": ("#0072B2", "o-"), FUSED: ("#009E73", "^-."), PLAIN: ("#D55E00", "s--")}  # of Okabe and Ito
    for panel, (key, label) in zip(panels, (("seconds", "seconds per step"), ("GB", "peak memory, GB")), strict=True):
        for name, each in points.items():
            each = sorted(each, key=lambda point: point["frames"])
            colour, style = styles[name]
            panel.plot([p["frames"] for p in each], [p[key] for p in each], style, color=colour, label=name)
        panel.set(xlabel="frames in the window", ylabel=label, xlim=0, ylim=0)
        panel.grid(alpha=0.3)
    panels[0].legend()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    print(f"written to {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=8.0, help="limit of resident memory, 10^9 bytes")
    parser.add_argument("--out", default="runs/benchmarks/frames.json", help="JSON file")
    parser.add_argument("--plot", default="runs/benchmarks/frames.png", help="PNG file")
    parser.add_argument("--measure", nargs=2, metavar=("NAME", "FRAMES"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure[0], int(arguments.measure[1]))
        return
    points = {
        name: [own_process(__file__, "--measure", name, str(frames)) for frames in each]
        for name, each in POINTS.items()
    }
    fit = {name: largest(name, each, arguments.gigabytes) for name, each in points.items()}
    for name, each in points.items():
        print_table(f"{name}: a training step at 64 x 64", sorted(each, key=lambda point: point["frames"]))
    counts = ", ".join(f"{name} {frames}" for name, frames in fit.items())
    print(f"\nframes in {arguments.gigabytes:g} GB: {counts}")
    write_report(arguments.out, machine() | {"limit_gigabytes": arguments.gigabytes, "points": points, "fit": fit})
    plot(points, arguments.plot)


if __name__ == "__main__":
    run(main)
