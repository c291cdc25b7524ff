"""Speed of the evaluator on data of a benchmark's size, on one core: RBDC, TBDC, pixel AUC, AUPRO, intervals.

python benchmarks/regions.py [--frames 40000] [--boxes 10] [--size 128x192] [--mask 240x360] [--map_frames 2000]
                             [--draws 1000]

Boxes, tracks, maps, masks and scores are random: the work depends on how many there are, hardly on where.
"""

import argparse
import json
import time

import numpy as np

from ramvid_vad.evaluation.statistics.bootstrap import intervals
from ramvid_vad.evaluation.statistics.pixels import PixelCurve
from ramvid_vad.evaluation.statistics.regions import region_metrics
from ramvid_vad.video.benchmarks import BENCHMARKS

FRAMES_PER_VIDEO = 400
TRACKS_PER_VIDEO = 3


def regions(frames: int, boxes: int) -> dict[str, float]:
    """Seconds of ``region_metrics`` with ``boxes`` detections per frame and three tracks in half of the frames."""
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
    start = time.perf_counter()
    result = region_metrics(detections, tracks, lengths)
    seconds = time.perf_counter() - start
    return {"frames": sum(lengths), "detections": sum(map(len, detections)), "seconds": seconds, "rbdc": result.rbdc}


def pixels(frames: int, size: tuple[int, int], mask_size: tuple[int, int]) -> dict[str, float]:
    """Seconds of ``PixelCurve`` with one region in every frame."""
    rng = np.random.default_rng(0)
    maps = rng.gamma(1, 0.01, (50, *size)).astype(np.float32)
    masks = np.zeros((50, *mask_size), bool)
    masks[:, mask_size[0] // 3 : mask_size[0] // 2, mask_size[1] // 3 : mask_size[1] // 2] = True
    start, curve = time.perf_counter(), PixelCurve()
    for part in range(frames // 50):
        curve.add(maps * (1 + 0.01 * part), masks)
    result = curve.metrics()
    seconds = time.perf_counter() - start
    return {"frames": frames, "pixels": result.pixels, "seconds": seconds, "error_bound": result.error_bound}


def draws(resamples: int) -> dict[str, float]:
    """Seconds of ``intervals``: micro and macro AUC, AP and EER of every draw, videos as long as Avenue's."""
    rng = np.random.default_rng(0)
    lengths = BENCHMARKS["avenue"].lengths.values()
    labels = [(np.arange(n) // 100 % 4 == 0).astype(np.uint8) for n in lengths]
    scores = [rng.standard_normal(n) + y for n, y in zip(lengths, labels, strict=True)]
    start = time.perf_counter()
    intervals(scores, labels, resamples)
    return {"frames": sum(lengths), "draws": resamples, "seconds": time.perf_counter() - start}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=40_000, help="frames for RBDC and TBDC, in videos of 400")
    parser.add_argument("--boxes", type=int, default=10, help="detections per frame")
    parser.add_argument("--map_frames", type=int, default=2000, help="frames for pixel AUC and AUPRO")
    parser.add_argument("--size", default="128x192", help="height x width of the maps")
    parser.add_argument("--mask", default="240x360", help="height x width of the masks")
    parser.add_argument("--draws", type=int, default=1000, help="draws of videos behind the intervals")
    options = parser.parse_args()
    size, mask = (tuple(int(side) for side in text.split("x")) for text in (options.size, options.mask))
    print(json.dumps({"regions": regions(options.frames, options.boxes)}))
    print(json.dumps({"pixels": pixels(options.map_frames, size, mask)}))
    print(json.dumps({"intervals": draws(options.draws)}))


if __name__ == "__main__":
    main()
