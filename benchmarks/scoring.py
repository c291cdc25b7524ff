"""Frames scored per second on one core, each measure on grey frames of 128 x 128.

    python benchmarks/scoring.py [--out runs/benchmarks/scoring.json]

Frames and reconstructions are smooth noise that differs by noise of 3 grey levels everywhere and by two blobs of some
hundred pixels in every frame (seed 0). The peer of `wmse` is the same score written with scikit-image's `label` and
`regionprops`, checked to give the same figures before anything is timed.
"""

import argparse
from functools import partial

import cv2
import numpy as np
import torch
from measure import alternate, machine, positive, print_table, run, seconds, write_report
from skimage.measure import label, regionprops

from ramvid_vad.scoring.blobs import wmse_scores
from ramvid_vad.scoring.residuals import MEASURES

SIDE, PEER = 128, "wmse by scikit-image"


def make_frames(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames and reconstructions, uint8 (n, 128, 128, 1)."""
    rng = np.random.default_rng(0)
    smooth = np.stack([cv2.GaussianBlur(rng.normal(size=(SIDE, SIDE)), (0, 0), 6) for _ in range(count)])
    x = np.clip(128 + 400 * smooth, 0, 255)
    x_hat = x + rng.normal(scale=3, size=x.shape)
    for picture in x_hat:
        for _ in range(2):
            row, column = rng.integers(0, SIDE - 20, 2)
            picture[row : row + 20, column : column + 12] += 40
    return tuple(np.clip(each, 0, 255).astype(np.uint8)[..., None] for each in (x, x_hat))


def wmse_by_skimage(x: np.ndarray, x_hat: np.ndarray, threshold: float = 0.04, min_area: int = 12) -> np.ndarray:
    scores = []
    for frame, made in zip(x[..., 0] / 255, x_hat[..., 0] / 255, strict=True):
        difference = frame - made
        regions = regionprops(label(np.abs(difference) >= threshold, connectivity=2), difference**2)
        kept = [(region.area, region.intensity_mean) for region in regions if region.area >= min_area]
        total = sum(area**2 for area, _ in kept)
        scores.append(sum(area**2 * mean for area, mean in kept) / total if total else 0.0)
    return np.array(scores)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=positive, default=300)
    parser.add_argument("--repeats", type=positive, default=5)
    parser.add_argument("--out", default="runs/benchmarks/scoring.json", help="JSON file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    x, x_hat = make_frames(arguments.frames)
    few = slice(0, 30)  # of the slow ones
    error = np.abs(wmse_by_skimage(x[few], x_hat[few]) - wmse_scores(x[few], x_hat[few])).max()
    if not error < 1e-9:
        raise SystemExit(f"the two WMSE differ by {error:.1e}: nothing was timed")
    functions = {"wmse": wmse_scores, PEER: wmse_by_skimage} | {k: f for k, f in MEASURES.items() if k != "wmse"}
    unit = [(frames[few] / 255).astype(np.float32) for frames in (x, x_hat)]  # as the evaluation gives it to the others
    given = dict.fromkeys(functions, unit) | {"wmse": (x, x_hat), PEER: (x[few], x_hat[few])}

    def timed(name: str) -> float:
        return seconds(partial(functions[name], *given[name])) / len(given[name][0])

    medians = alternate({name: partial(timed, name) for name in functions}, arguments.repeats)
    rows = [{"measure": name, "frames/s": 1 / s, "time / wmse": s / medians["wmse"]} for name, s in medians.items()]
    print_table(f"scores of frames {SIDE} x {SIDE} on one core; medians", rows)
    write_report(arguments.out, machine() | {"rows": rows})


if __name__ == "__main__":
    run(main)
