"""Speed of the evaluator on data of a benchmark's size, on one core: RBDC, TBDC, pixel AUC, AUPRO, intervals.

python benchmarks/regions.py [--frames 40000] [--boxes 10] [--size 128x192] [--mask 240x360] [--map_frames 2000]
                             [--draws 1000] [--repeats 3] [--out runs/benchmarks/regions.json]

Boxes, tracks, maps, masks and scores are random: the work depends on how many there are, hardly on where. Medians, the
three in turn, after a first that does not count.
"""

import argparse
import json
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from measure import alternate, machine, positive, run, seconds, write_report

from ramvid_vad.evaluation.statistics.bootstrap import intervals
from ramvid_vad.evaluation.statistics.pixels import PixelCurve
from ramvid_vad.evaluation.statistics.regions import region_metrics
from ramvid_vad.options import parse_image_size
from ramvid_vad.video.benchmarks import BENCHMARKS

FRAMES_PER_VIDEO, MAPS = 400, 50  # MAPS: frames whose maps are made, and taken again and again
TRACKS_PER_VIDEO = 3
Timed = tuple[dict[str, int], Callable[[], dict[str, float]]]  # (how much there is, the work and what it gives)


def regions(frames: int, boxes: int) -> Timed:
    """``region_metrics`` with ``boxes`` detections per frame and three tracks in half of the frames."""
    rng = np.random.default_rng(0)
    lengths = [FRAMES_PER_VIDEO] * (frames // FRAMES_PER_VIDEO)
    detections, tracks = [], []
    for length in lengths:
        corner = rng.integers(0, 800, (length * boxes, 2))
        index = np.repeat(np.arange(length), boxes)
        detections.append(np.column_stack([index, corner, corner + 40, rng.random(len(index))]))
        tracks.append(
            np.array(
                [
                    [t, f, 40 * t + f, 90, 40 * t + f + 50, 200]
                    for t in range(TRACKS_PER_VIDEO)
                    for f in range(length // 4, 3 * length // 4)
                ]
            )
        )
    about = {"frames": sum(lengths), "detections": sum(map(len, detections))}
    return about, lambda: {"rbdc": region_metrics(detections, tracks, lengths).rbdc}


def pixels(frames: int, size: tuple[int, int], mask_size: tuple[int, int]) -> Timed:
    """``PixelCurve`` with one region in every frame."""
    rng = np.random.default_rng(0)
    maps = rng.gamma(1, 0.01, (MAPS, *size)).astype(np.float32)
    masks = np.zeros((MAPS, *mask_size), bool)
    masks[:, mask_size[0] // 3 : mask_size[0] // 2, mask_size[1] // 3 : mask_size[1] // 2] = True

    def work() -> dict[str, float]:
        curve = PixelCurve()
        for part in range(frames // MAPS):
            curve.add(maps * (1 + 0.01 * part), masks)
        result = curve.metrics()
        return {"pixels": result.pixels, "error_bound": result.error_bound}

    return {"frames": frames // MAPS * MAPS}, work


def draws(resamples: int) -> Timed:
    """``intervals``: micro and macro AUC, AP and EER of every draw, videos as long as Avenue's."""
    rng = np.random.default_rng(0)
    lengths = BENCHMARKS["avenue"].lengths.values()
    labels = [(np.arange(n) // 100 % 4 == 0).astype(np.uint8) for n in lengths]
    scores = [rng.standard_normal(n) + y for n, y in zip(lengths, labels, strict=True)]

    def work() -> dict[str, float]:
        intervals(scores, labels, resamples)
        return {}

    return {"frames": sum(lengths), "draws": resamples}, work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=positive, default=40_000, help="frames for RBDC and TBDC, in videos of 400")
    parser.add_argument("--boxes", type=positive, default=10, help="detections per frame")
    parser.add_argument("--map_frames", type=positive, default=2000, help="frames for pixel AUC and AUPRO")
    parser.add_argument("--size", type=parse_image_size, default="128x192", help="height x width of the maps")
    parser.add_argument("--mask", type=parse_image_size, default="240x360", help="height x width of the masks")
    parser.add_argument("--draws", type=positive, default=1000, help="draws of videos behind the intervals")
    parser.add_argument("--repeats", type=positive, default=3)
    parser.add_argument("--out", default="runs/benchmarks/regions.json", help="JSON file")
    options = parser.parse_args()
    for name, least in (("frames", FRAMES_PER_VIDEO), ("map_frames", MAPS)):
        if getattr(options, name) < least:
            parser.error(f"--{name} {getattr(options, name)}: expected at least {least}")
    torch.set_num_threads(1)
    asked = {
        "regions": regions(options.frames, options.boxes),
        "pixels": pixels(options.map_frames, options.size, options.mask),
    }
    asked |= {"intervals": draws(options.draws)}
    found: dict[str, dict[str, float]] = {}

    def timed(name: str) -> float:
        return seconds(lambda: found.update({name: asked[name][1]()}))

    taken = alternate({name: partial(timed, name) for name in asked}, options.repeats)
    rows = {name: about | {"seconds": taken[name]} | found[name] for name, (about, _) in asked.items()}
    for name, row in rows.items():
        print(json.dumps({name: row}))
    write_report(options.out, machine() | rows)


if __name__ == "__main__":
    run(main)
