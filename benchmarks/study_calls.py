"""How many network calls, and how many draws of noise, a part of the recipe is worth: AUC against both (docs/study.md).

    python benchmarks/study_calls.py --run runs/ped2_full/training --normal data/ped2/training \
        --data_dir data/ped2/testing --labels data/ped2/labels [--calls 1,2,5,10,50] [--draws 1,4,16] \
        [--groups motion] [--out FILE]

Part: motion given appearance, and all hidden at level 0.7 (appearance). One call: ``once``; 200: ancestral, as the
thesis samples; in between DPM-Solver++(2M) over steps evenly spaced in log-SNR. Draws, each in one call, are joined by
mean and by minimum. Seconds of scoring stand beside each.
"""

import time

import numpy as np
from measure import machine, print_table, run, whole_numbers, write_report
from study_maps import Study, flags

from ramvid_vad.detectors.fusion import log_scale
from ramvid_vad.detectors.infilling import MODES
from ramvid_vad.detectors.residual_maps import Part, box_scores

PARTS = (Part("motion_given_appearance", None, "motion"), Part("none", 0.7, "appearance"))
GROUPS = tuple(part.group for part in PARTS)
SIDES = (5, 7)


def main() -> None:
    parser = flags(__doc__, "runs/benchmarks/study_calls.json")
    parser.add_argument("--calls", type=whole_numbers, default=[1, 2, 5, 10, 50])
    parser.add_argument("--draws", type=whole_numbers, default=[1, 4, 16])
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=GROUPS, help="the parts of these groups alone")
    options = parser.parse_args()
    ways = [(calls, 1, "mean") for calls in options.calls]
    ways += [(1, draws, join) for draws in options.draws if draws > 1 for join in ("mean", "minimum")]
    parts = [part for part in PARTS if part.group in options.groups]
    rows = []
    for calls, draws, join in ways:
        mode = f"{calls} calls"
        MODES[mode] = {1: MODES["flash"], 200: MODES["exact"]}.get(calls, ("dpmpp_2m", f"logsnr{calls}"))
        study = Study(options, parts, mode, draws, join, free=())
        for path in (*study.held_out, *study.test):
            study.maps.frames(path)  # encoded before the clock runs
        start = time.perf_counter()
        usual, test = study.of_videos(
            lambda maps: {f"{name} box {side}": box_scores(maps[name], side) for name in maps for side in SIDES}
        )
        taken = time.perf_counter() - start
        for name in test[0]:
            scale = log_scale(np.concatenate([each[name] for each in usual]))
            row = study.row(name, [scale(each[name]) for each in test])
            rows.append({"calls": calls, "draws": draws, "joined by": join, **row, "s of scoring": taken})
        print_table(f"{len(test)} videos, sigma {options.sigma:g}", rows)
        write_report(options.out, {**machine(), "sigma": options.sigma, "rows": rows})


if __name__ == "__main__":
    run(main)
