"""Every part of a trained feature-space model, alone and summed, on test video: rows of docs/study.md.

    python benchmarks/study.py --run runs/ped2_full/training --normal data/ped2/training --data_dir data/ped2/testing \
        --labels data/ped2/labels [--select runs/select/select_recipe.json] [--sigma 3] [--out FILE]

Parts and boxes are those among which select_recipe.py chooses, or with ``--anchors`` those of other patterns; each part
also "relative" to what is usual where a thing stands. Sums: the parts that were read off the maps, without and with
each candidate; those that select_recipe.py chose, as its log has them; all candidates with one box. Micro AUC in %,
95 % intervals over videos; each score's logarithm is standardised on the two normal videos that were held out.
"""

from itertools import product

import numpy as np
from measure import machine, print_table, read_report, run, whole_numbers, write_report
from study_maps import Study, flags

from ramvid_vad.commands.select_recipe import BASE, CANDIDATES, GROUPS, LEVELS, SIDES
from ramvid_vad.detectors.fusion import calibrated_sum, log_scale
from ramvid_vad.detectors.infilling import MODES, RELATIVE
from ramvid_vad.detectors.residual_maps import BOX, Part, box_scores
from ramvid_vad.errors import InputError


def main() -> None:
    parser = flags(__doc__, "runs/benchmarks/study.json")
    parser.add_argument("--select", default="", help="select_recipe.json, for a row of what it chose")
    parser.add_argument("--mode", default="flash", choices=tuple(MODES))
    parser.add_argument("--anchors", default="", help="patterns in place of the candidates', e.g. selective,prediction")
    parser.add_argument("--sides", type=whole_numbers, default=SIDES, help="of the boxes, in cells, 3 and 5 among them")
    options = parser.parse_args()
    if not {3, 5} <= {*options.sides}:  # of the sums
        raise InputError(f"--sides {options.sides}: give 3 and 5, too, e.g. 3,5,10")
    candidates = CANDIDATES
    if options.anchors:
        kinds, levels = options.anchors.split(","), (*LEVELS, None)
        candidates = tuple(Part(kind, level, group) for kind, level, group in product(kinds, levels, GROUPS))
    study = Study(options, candidates, options.mode)

    def curves(residuals: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {
            f"{name} box {side}": box_scores(each, side)
            for (name, each), side in product(residuals.items(), options.sides)
        }

    usual, scored = study.of_videos(curves)
    scales = {part: log_scale(np.concatenate([each[part] for each in usual])) for part in usual[0]}
    sums = {part: [part] for part in scales}
    infilled = [f"{part.name} box {BOX}" for part in candidates]
    sums |= {"sum: read off the maps": [*BASE], "sum: all candidates": infilled, "sum: both": [*BASE, *infilled]}
    beside = [RELATIVE + part for part in infilled]
    sums |= {f"sum: read off the maps, {part}": [*BASE, part] for part in (*infilled, *beside)}
    if options.select:
        sums |= {"sum: chosen without labels": read_report(options.select, "chosen")["chosen"]}
    rows = []
    for title, parts in sums.items():
        chosen = {part: scales[part] for part in parts}
        rows.append(study.row(title, [calibrated_sum(each, chosen) for each in scored]))
    print_table(f"{len(scored)} videos, sigma {options.sigma:g}, mode {options.mode}", rows)
    about = {"sums": {title: parts for title, parts in sums.items() if title.startswith("sum")}}
    write_report(options.out, {**machine(), "sigma": options.sigma, "mode": options.mode, **about, "rows": rows})


if __name__ == "__main__":
    run(main)
