"""``select_recipe.py``: which parts and boxes tell pseudo-anomalies from normal video that was held out."""

import json
import os
from dataclasses import asdict
from itertools import product

import numpy as np
from sklearn.metrics import roc_auc_score

from ramvid_vad.detectors.free_parts import BOXES, appearance_memory
from ramvid_vad.detectors.fusion import HELD_OUT, LogScale, log_scale
from ramvid_vad.detectors.infilling import Infilling
from ramvid_vad.detectors.pseudo import KINDS, infilled_by
from ramvid_vad.detectors.pseudo_anomalies.inpainters import load_inpainter
from ramvid_vad.detectors.residual_maps import Part, box_scores
from ramvid_vad.errors import InputError
from ramvid_vad.evaluation.statistics.protocols import choose
from ramvid_vad.options import RunOptions
from ramvid_vad.runtime.files import write_text
from ramvid_vad.runtime.logger import result_dir
from ramvid_vad.runtime.progress import progress_bar
from ramvid_vad.runtime.randomness import stream
from ramvid_vad.video.reader import find_videos, read_frames, video_name

LEVELS = (0.3, 0.7, 1.5)
GROUPS = ("appearance", "motion", "speed")
CANDIDATES = (
    *(Part("none", level, group) for level, group in product(LEVELS, GROUPS)),
    Part("appearance_given_motion", None, "appearance"),
    *(Part("motion_given_appearance", None, group) for group in GROUPS[1:]),
    *(Part(kind, None, group) for kind, group in product(("prediction", "infill"), GROUPS)),
)
SIDES = (3, 5, 7)  # of the box, in cells
GAIN = 0.001  # of mean AUC, that a further part must bring
SIGMA = 4.0  # frames, the evaluation's default smoothing

Curves = dict[str, np.ndarray]


def select_recipe(run: RunOptions) -> None:
    """Score held-out normal clips as they are and with each pseudo-anomaly, and choose parts one after the other.

    A part's AUC is that of changed frames against all unchanged ones of the same clips, after smoothing; of the kinds
    the mean counts. The best part is taken, then again and again the one whose addition to the calibrated sum brings
    most, while that is at least GAIN. Prints and writes all that it tried. InputError: no run, no videos.
    """
    options = run.select
    if run.dry_run:
        print(run.as_yaml())
        return
    for name in ("run", "normal"):
        if not getattr(options, name):
            raise InputError(f"--{name}: give the folder")
    out = result_dir(options.out_dir, flag="--out_dir")
    paths = find_videos(options.normal)
    if len(paths) <= HELD_OUT:
        raise InputError(f"--normal {options.normal}: {len(paths)} videos: give at least {HELD_OUT + 1}")
    held_out = paths[-HELD_OUT:]
    kinds = dict(KINDS)
    if options.inpainter:
        kinds["place infilled"] = infilled_by(load_inpainter(options.inpainter))
    model = Infilling.from_run(options.run, [], parts=CANDIDATES)
    learned = [
        np.stack(list(model.space.encode(read_frames(path)))) for path in paths[:-HELD_OUT][: options.memory_videos]
    ]
    model.memory, model.free = appearance_memory(learned, model.space), list(BOXES)
    names = [f"{part} box {side}" for part, side in product([*(p.name for p in CANDIDATES), *BOXES], SIDES)]

    normal: list[Curves] = []
    changed: dict[str, list[tuple[Curves, np.ndarray]]] = {kind: [] for kind in kinds}
    with progress_bar("scoring held-out clips", "clip", len(held_out) * (1 + len(kinds))) as bar:
        for path in held_out:
            frames = np.stack(list(read_frames(path)))
            normal.append(_curves(model, frames))
            bar.update()
            for number, (kind, change) in enumerate(kinds.items()):
                made, marks = change(frames, stream(options.seed, f"pseudo {os.path.basename(path)}", number))
                changed[kind].append((_curves(model, made), marks))
                bar.update()
    scales = {name: log_scale(np.concatenate([each[name] for each in normal])) for name in names}
    alone = {name: _aucs([name], normal, changed, scales) for name in names}
    chosen: list[str] = []
    steps = []
    best = 0.0
    while len(chosen) < len(names):
        tried = {name: _aucs([*chosen, name], normal, changed, scales) for name in names if name not in chosen}
        name = max(tried, key=lambda each: tried[each]["mean"])
        if chosen and tried[name]["mean"] < best + GAIN:
            break
        chosen, best = [*chosen, name], tried[name]["mean"]
        steps.append({"added": name} | tried[name])
    log = {
        "options": asdict(options) | {"run": "", "normal": "", "out_dir": "", "inpainter": ""},
        "held_out": [video_name(path, options.normal) for path in held_out],
        "alone": dict(sorted(alone.items(), key=lambda each: -each[1]["mean"])),
        "chosen": steps,
    }
    write_text(os.path.join(out, "select_recipe.json"), json.dumps(log, indent=1) + "\n")
    print(f"{'part':<44}{'mean':>7}" + "".join(f"{kind.split()[-1]:>15}" for kind in kinds))
    for name, found in log["alone"].items():
        print(f"{name:<44}{found['mean']:>7.3f}" + "".join(f"{found[kind]:>15.3f}" for kind in kinds))
    for step in steps:
        print(f"+ {step['added']:<42}{step['mean']:>7.3f}" + "".join(f"{step[kind]:>15.3f}" for kind in kinds))
    print(f"select_recipe.json is in {out}")


def _curves(model: Infilling, frames: np.ndarray) -> Curves:
    """Frame scores of every part with every box."""
    residuals = model.residuals(np.stack(list(model.space.encode(frames))).astype(np.float16))
    return {f"{name} box {side}": box_scores(each, side) for (name, each), side in product(residuals.items(), SIDES)}


def _aucs(
    parts: list[str],
    normal: list[Curves],
    changed: dict[str, list[tuple[Curves, np.ndarray]]],
    scales: dict[str, LogScale],
) -> dict[str, float]:
    """AUC of the calibrated sum of some parts for each kind, and their mean."""
    smoothed = choose("default", SIGMA, False)

    def total(curves: Curves) -> np.ndarray:
        return smoothed(np.sum([scales[part](curves[part]) for part in parts], axis=0))

    usual = [total(curves) for curves in normal]
    found = {}
    for kind, clips in changed.items():
        marked = [total(curves)[marks] for curves, marks in clips]
        scores = np.concatenate([*usual, *marked])
        labels = np.concatenate([np.zeros(sum(map(len, usual))), np.ones(sum(map(len, marked)))])
        found[kind] = float(roc_auc_score(labels, scores))
    return {"mean": float(np.mean(list(found.values())))} | found
