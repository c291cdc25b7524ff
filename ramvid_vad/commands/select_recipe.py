"""``select_recipe.py``: which part of a model tells pseudo-anomalies from normal video that was held out."""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from itertools import islice, product
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from ramvid_vad.detectors.free_parts import BOXES
from ramvid_vad.detectors.fusion import HELD_OUT, calibrated_sum, log_scale
from ramvid_vad.detectors.infilling import RELATIVE, Infilling
from ramvid_vad.detectors.normal_videos import NORMAL_VIDEOS, state_of
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
from ramvid_vad.spaces.frame_size import resized
from ramvid_vad.training.data import HELD_OUT_FILE
from ramvid_vad.video.reader import Clip, find_videos, read_frames, read_numbers, video_name

LEVELS = (0.3, 0.7, 1.5)
GROUPS = ("appearance", "motion")
CANDIDATES = (
    *(Part("none", level, group) for level, group in product(LEVELS, GROUPS)),
    Part("appearance_given_motion", None, "appearance"),
    Part("motion_given_appearance", None, "motion"),
    *(Part(kind, None, group) for kind, group in product(("prediction", "infill"), GROUPS)),
)
SIDES = (3, 5, 7)  # of the box, in cells
BASE = tuple(f"{name} box {side}" for name, side in BOXES.items())
SIGMA = 4.0  # frames, the evaluation's default smoothing
LEAST = 6  # frames of a clip: fewer are too short to change a third of

Curves = dict[str, np.ndarray]


def select_recipe(run: RunOptions) -> None:
    """Score held-out normal clips as they are and with each pseudo-anomaly, and choose the part of the model to add to
    those that need none: the one whose calibrated sum with them has the highest mean AUC. One part is one network call.

    A sum's AUC is that of changed frames against all unchanged ones of a clip, after smoothing, its scales set by the
    other clips; the mean is over clips, then kinds. Prints and writes all that it tried. InputError: no run, no videos.
    """
    options = run.select
    for name in ("run", "normal"):
        if not getattr(options, name):
            raise InputError(f"--{name}: give the folder")
    if not os.path.isfile(options.run) and not Infilling.stored_steps(options.run):
        raise InputError(f"--run {options.run}: no checkpoint there: give the log directory of a training run")
    out = result_dir(options.out_dir, make=False, flag="--out_dir")
    paths = find_videos(options.normal)
    if len(paths) <= HELD_OUT:
        raise InputError(f"--normal {options.normal}: {len(paths)} videos: give at least {HELD_OUT + 1}")
    held_out = paths[-HELD_OUT:]
    _check_unseen(options.run, options.normal, held_out)
    for path in held_out:
        if (count := sum(1 for _ in islice(read_numbers(path), LEAST))) < LEAST:
            raise InputError(f"{path}: {count} frames: no anomaly can be made of fewer than {LEAST}")
    kinds = dict(KINDS)
    if options.inpainter:
        kinds["place infilled"] = infilled_by(load_inpainter(options.inpainter))
    model = Infilling.from_run(options.run, [], parts=CANDIDATES, backbone_weights=options.backbone_weights)
    learned = [_encoded(model, read_frames(path)) for path in paths[:-HELD_OUT][: options.memory_videos]]
    model.free, model.relative = list(BOXES), [part.name for part in CANDIDATES]
    model.compare_with(learned, progress=True)
    names = [f"{how}{part.name} box {side}" for how, part, side in product(("", RELATIVE), CANDIDATES, SIDES)]

    normal: list[Curves] = []
    changed: dict[str, list[tuple[Curves, np.ndarray]]] = {kind: [] for kind in kinds}
    with progress_bar("scoring held-out clips", "clip", len(held_out) * (1 + len(kinds))) as bar:
        for path in held_out:
            frames = np.stack([resized(frame, model.space.size) for frame in read_frames(path)])
            normal.append(_curves(model, frames))
            bar.update()
            for number, (kind, change) in enumerate(kinds.items()):
                made, marks = change(frames, stream(options.seed, f"pseudo {os.path.basename(path)}", number))
                changed[kind].append((_curves(model, made), marks))
                bar.update()
    alone = _ranked({name: _aucs([name], normal, changed) for name in [*names, *BASE]})
    summed = _ranked({name: _aucs([*BASE, name], normal, changed) for name in names})
    chosen = [*BASE, next(iter(summed))]
    log = {
        "options": asdict(options) | {"run": "", "normal": "", "out_dir": "", "inpainter": "", "backbone_weights": ""},
        "held_out": [video_name(path, options.normal) for path in held_out],
        "alone": alone,
        "without the model": _aucs(list(BASE), normal, changed),
        "with one part of it": summed,
        "chosen": chosen,
    }
    result_dir(out, flag="--out_dir")
    write_text(os.path.join(out, "select_recipe.json"), json.dumps(log, indent=1) + "\n")
    print(f"{'':<52}{'mean':>7}" + "".join(f"{kind.split()[-1]:>15}" for kind in kinds))
    rows = {
        **alone,
        f"sum of {len(BASE)} parts that need no model": log["without the model"],
        **{f"+ {name}": found for name, found in summed.items()},
    }
    for name, found in rows.items():
        print(f"{name:<52}{found['mean']:>7.3f}" + "".join(f"{found[kind]:>15.3f}" for kind in kinds))
    print(f"chosen: {', '.join(chosen)}")
    print(f"select_recipe.json is in {out}")


def _check_unseen(run: str, normal: str, held_out: list[str]) -> None:
    """InputError: the run's own note does not say that all of these, whole, were held out, or there is none."""
    folder = run if os.path.isdir(run) else os.path.dirname(run)
    names = {HELD_OUT_FILE: lambda path: video_name(path, normal), NORMAL_VIDEOS: lambda path: state_of(Clip(path))}
    notes = {os.path.join(folder, name): noted for name, noted in names.items()}
    note = next(filter(os.path.exists, notes), "")
    try:
        kept = list(json.loads(Path(note).read_text(encoding="utf-8"))["held_out"]) if note else []
    except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
        raise InputError(f"{note}: cannot be read ({error}): train again") from None
    if seen := [path for path in held_out if not note or notes[note](path) not in kept]:
        raise InputError(
            f"--run {run}: {', '.join(seen)} would tell which part to choose, and was not held out: train with "
            f"--held_out {HELD_OUT}, or give the --normal folder of the training"
        )


def _curves(model: Infilling, frames: np.ndarray) -> Curves:
    """Frame scores of every part with every box."""
    residuals = model.residuals(_encoded(model, frames))
    return {f"{name} box {side}": box_scores(each, side) for (name, each), side in product(residuals.items(), SIDES)}


def _encoded(model: Infilling, frames: Iterable[np.ndarray]) -> np.ndarray:
    """Maps of one video as the cache has them, float16 (n, C, h, w)."""
    return np.stack([each.astype(np.float16) for each in model.space.encode(frames)])


def _ranked(tried: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    return dict(sorted(tried.items(), key=lambda each: -each[1]["mean"]))


def _aucs(
    parts: list[str], normal: list[Curves], changed: dict[str, list[tuple[Curves, np.ndarray]]]
) -> dict[str, float]:
    """AUC of the calibrated sum of some parts for each kind, and their mean."""
    smoothed = choose("default", SIGMA, False)
    found: dict[str, list[float]] = {kind: [] for kind in changed}
    for number, own in enumerate(normal):
        others = [each for other, each in enumerate(normal) if other != number]
        scales = {part: log_scale(np.concatenate([each[part] for each in others])) for part in parts}
        usual = smoothed(calibrated_sum(own, scales))
        for kind, clips in changed.items():
            curves, marks = clips[number]
            marked = smoothed(calibrated_sum(curves, scales))[marks]
            labels = np.repeat([0, 1], [len(usual), len(marked)])
            found[kind].append(float(roc_auc_score(labels, np.concatenate([usual, marked]))))
    means = {kind: float(np.mean(each)) for kind, each in found.items()}
    return {"mean": float(np.mean(list(means.values())))} | means
