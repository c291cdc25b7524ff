"""Every part of a trained feature-space model, alone and summed, on test video: rows of docs/study.md.

    python benchmarks/study.py --run runs/ped2_full/training --normal data/ped2/training --data_dir data/ped2/testing \
        --labels data/ped2/labels [--select runs/select/select_recipe.json] [--sigma 3] [--out FILE]

Parts and boxes are those among which select_recipe.py chooses; labels are read for the AUC alone. Sums: the parts that
were read off the maps, without and with each candidate; those that select_recipe.py chose, as its log has them; all
candidates with one box. Micro AUC in %, 95 % intervals over videos; each score's logarithm is standardised on the two
normal videos that were held out.
"""

import argparse
import zlib
from itertools import product
from pathlib import Path

import numpy as np
from measure import machine, print_table, read_report, run, write_report

from ramvid_vad.commands.select_recipe import BASE, CANDIDATES, SIDES
from ramvid_vad.detectors.free_parts import BOXES, Usual
from ramvid_vad.detectors.fusion import HELD_OUT, calibrated_sum, log_scale
from ramvid_vad.detectors.infilling import MODES, Infilling
from ramvid_vad.detectors.residual_maps import BOX, box_scores
from ramvid_vad.evaluation.statistics.bootstrap import intervals
from ramvid_vad.evaluation.statistics.metrics import frame_metrics
from ramvid_vad.evaluation.statistics.protocols import choose
from ramvid_vad.runtime.progress import progress_bar
from ramvid_vad.spaces.cache import EncodedVideos
from ramvid_vad.video.reader import find_videos, video_name
from ramvid_vad.video.truth.labels import read_labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True)
    parser.add_argument("--normal", required=True)
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--labels", required=True)
    parser.add_argument("--select", default="")
    parser.add_argument("--sigma", type=float, default=3.0)
    parser.add_argument("--mode", default="flash", choices=MODES)
    parser.add_argument("--cache_dir", default="runs/study_cache")
    parser.add_argument("--out", default="runs/benchmarks/study.json")
    options = parser.parse_args()
    normal, test = find_videos(options.normal), find_videos(options.data_dir)
    names = [video_name(path, options.data_dir) for path in test]
    model = Infilling.from_run(options.run, [], parts=CANDIDATES, mode=options.mode)
    cache = EncodedVideos(options.cache_dir, model.space)
    model.usual = Usual.of([cache.frames(path) for path in normal[:-HELD_OUT]], model.space)
    model.free = list(BOXES)

    def curves(path: str) -> dict[str, np.ndarray]:
        key = zlib.crc32(Path(path).name.encode())
        residuals = model.residuals(cache.frames(path), key)
        bar.update()
        return {f"{name} box {side}": box_scores(r, side) for (name, r), side in product(residuals.items(), SIDES)}

    with progress_bar("scoring", "video", HELD_OUT + len(test)) as bar:
        usual = [curves(path) for path in normal[-HELD_OUT:]]
        scored = [curves(path) for path in test]
    labels = [
        np.asarray(y) for y in read_labels(options.labels, names, [len(next(iter(s.values()))) for s in scored]).values
    ]
    scales = {part: log_scale(np.concatenate([each[part] for each in usual])) for part in usual[0]}
    smoothed = choose("default", options.sigma, False)
    sums = {part: [part] for part in scales}
    infilled = [f"{part.name} box {BOX}" for part in CANDIDATES]
    sums |= {"sum: read off the maps": [*BASE], "sum: all candidates": infilled, "sum: both": [*BASE, *infilled]}
    sums |= {f"sum: read off the maps, {part}": [*BASE, part] for part in infilled}
    if options.select:
        sums |= {"sum: chosen without labels": read_report(options.select, "chosen")["chosen"]}
    rows = []
    for title, parts in sums.items():
        chosen = {part: scales[part] for part in parts}
        made = [smoothed(calibrated_sum(each, chosen)) for each in scored]
        spread = intervals(made, labels, 1000, 0).get("micro_auc", (np.nan, np.nan))  # too few videos
        metrics = frame_metrics(made, labels, names)
        rows.append(
            {"row": title, "micro AUC": 100 * metrics["micro_auc"], "from": 100 * spread[0], "to": 100 * spread[1]}
            | {"macro AUC": 100 * metrics["macro_auc"]}
        )
    print_table(f"{len(test)} videos, sigma {options.sigma:g}, mode {options.mode}", rows)
    about = {"sums": {title: parts for title, parts in sums.items() if title.startswith("sum")}}
    write_report(options.out, {**machine(), "sigma": options.sigma, "mode": options.mode, **about, "rows": rows})


if __name__ == "__main__":
    run(main)
