"""``ramvid-vad compare``: several detectors on one benchmark under one budget of time -> one report.

A folder per detector holds its fit, its evaluation and what it costs; what is finished there is not done again.
"""

import json
import os
import shutil
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from ramvid_vad import api
from ramvid_vad.detectors.cost import measured_cost
from ramvid_vad.detectors.network_training import LOG
from ramvid_vad.detectors.registry import FITTED
from ramvid_vad.errors import InputError
from ramvid_vad.evaluation.from_detector import evaluate_detector
from ramvid_vad.evaluation.inputs.finished_runs import read_run
from ramvid_vad.evaluation.inputs.ground_truth import look_at_labels
from ramvid_vad.evaluation.nulls.registry import BLIND, chosen_names
from ramvid_vad.evaluation.report.contest import REFERENCE, as_markdown, as_text, contest_document, contestant
from ramvid_vad.evaluation.report.files import as_json, write_results
from ramvid_vad.evaluation.statistics import comparison
from ramvid_vad.infill_videos import claim_folder, read_settings
from ramvid_vad.options import CompareOptions, EvalOptions, RunOptions
from ramvid_vad.runtime.files import sha256_of, write_text
from ramvid_vad.runtime.logger import result_dir
from ramvid_vad.runtime.progress import warn
from ramvid_vad.runtime.text import one_line
from ramvid_vad.video.files import fingerprint
from ramvid_vad.video.reader import find_videos, video_name

REPORT = "report"
LOGS = (LOG, "progress.jsonl")  # of train_network, and of the training loop of the diffusion model


def compare(run: RunOptions) -> None:
    """Fit, evaluate and measure each detector, and write the report after each one.

    One that fails does not keep the others from being compared. InputError: at the end, if there was one; before
    anything is done, if the folders or names cannot be.
    """
    options = run.compare
    for name in ("data_dir", "labels", "normal_dir", "out_dir"):
        if not getattr(options, name):
            raise InputError(f"--{name}: give the folder")
    names = list(dict.fromkeys([REFERENCE, *chosen_names(options.detectors, list(FITTED), "detectors")]))
    normal, test = find_videos(options.normal_dir), find_videos(options.data_dir)
    names_of_test = [video_name(path, options.data_dir) for path in test]
    look_at_labels(options.labels, options.benchmark, options.label_set, names_of_test)  # before hours of training
    out_dir = result_dir(options.out_dir)
    claim_folder(out_dir, _claim(options, normal, test), "a comparison")
    done: dict[str, dict[str, Any]] = {}
    failures: dict[str, str] = {}
    for name in names:
        folder = os.path.join(out_dir, name)
        with suppress(FileNotFoundError):
            os.remove(os.path.join(folder, "failure.txt"))
        try:
            done[name] = _contestant(name, folder, options, normal, test, out_dir)
        except Exception as error:  # whatever a method throws, the others go on
            failures[name] = one_line(str(error) or repr(error))
            os.makedirs(folder, exist_ok=True)
            write_text(os.path.join(folder, "failure.txt"), traceback.format_exc())
            warn(f"{name} failed ({failures[name]}): {folder}/failure.txt; the others go on")
        document = contest_document(read_settings(os.path.join(out_dir, "settings.json")), done, failures)
        for ending, text in (("json", as_json(document)), ("md", as_markdown(document)), ("txt", as_text(document))):
            write_text(os.path.join(out_dir, f"{REPORT}.{ending}"), text)
    print(as_text(document))
    print(f"{REPORT}.txt, {REPORT}.md and {REPORT}.json are in {out_dir}")
    if failures:
        raise InputError(f"{len(failures)} of {len(names)} detectors failed: {', '.join(failures)}; see failure.txt")


def _claim(options: CompareOptions, normal: Sequence[str], test: Sequence[str]) -> dict[str, Any]:
    """What every figure of the folder depends on. The list of detectors may grow."""
    kept = ("benchmark", "minutes", "sigma", "bootstrap", "seed")
    paths = [options.labels] if os.path.isfile(options.labels) else _files(options.labels)
    videos = {"normal": (options.normal_dir, normal), "test": (options.data_dir, test)}
    return {
        **{name: getattr(options, name) for name in kept},
        **({"label_set": options.label_set} if options.label_set else {}),
        "labels_sha256": sha256_of(paths),
        **{
            f"{kind}_videos": {os.path.relpath(path, folder): repr(fingerprint(path)[1:]) for path in paths}
            for kind, (folder, paths) in videos.items()
        },
    }


def _files(folder: str) -> list[str]:
    return sorted(os.path.join(root, name) for root, _, names in os.walk(folder) for name in names)


def _contestant(
    name: str, folder: str, options: CompareOptions, normal: Sequence[str], test: Sequence[str], out_dir: str
) -> dict[str, Any]:
    """All that the report says of one detector, made as far as it is not there."""
    fitted = os.path.join(folder, "detector")
    if not os.path.exists(os.path.join(fitted, "detector.json")):
        _fit(name, folder, fitted, options, normal)
    evaluated = os.path.join(folder, "evaluation")
    cost = os.path.join(folder, "cost.json")
    _forget_of_another(fitted, evaluated, cost)
    _evaluate(fitted, evaluated, options)
    if not os.path.exists(cost):
        write_text(cost, as_json(measured_cost(fitted, test[0])))
    curve = _curve(folder, fitted, options, normal) if options.curve else {}
    reference = os.path.join(out_dir, REFERENCE, "evaluation")
    paired = None
    if name != REFERENCE and os.path.exists(os.path.join(reference, "metrics.json")):
        paired = comparison.compare(read_run(reference), read_run(evaluated), options.bootstrap, options.seed)
    spent = read_settings(os.path.join(folder, "fit.json"))["seconds"]
    metrics = read_settings(os.path.join(evaluated, "metrics.json"))
    return contestant(metrics, paired, read_settings(cost), spent, _held_out(fitted, name), curve)


def _fit(name: str, folder: str, fitted: str, options: CompareOptions, normal: Sequence[str]) -> None:
    """Into ``fitted``; fit.json tells the seconds, those of interrupted calls included."""
    spent = os.path.join(folder, "fit.json")
    before = read_settings(spent)["seconds"] if os.path.exists(spent) else 0.0
    began = time.monotonic()
    try:
        api.fit(normal, fitted, minutes=options.minutes, detector=name, seed=options.seed, alarms_per_hour=None)
    finally:
        os.makedirs(folder, exist_ok=True)
        write_text(spent, as_json({"seconds": before + time.monotonic() - began}))


def _forget_of_another(fitted: str, evaluated: str, cost: str) -> None:
    """Remove what was measured of a detector that is not this one: it was fitted again."""
    metrics = os.path.join(evaluated, "metrics.json")
    files = [os.path.join(fitted, f"detector.{ending}") for ending in ("json", "safetensors")]
    if os.path.exists(metrics) and read_settings(metrics)["detector_sha256"] != sha256_of(files):
        shutil.rmtree(evaluated)
        shutil.rmtree(os.path.join(os.path.dirname(evaluated), "steps"), ignore_errors=True)
        with suppress(FileNotFoundError):
            os.remove(cost)


def _evaluate(detector: str, out_dir: str, options: CompareOptions) -> None:
    """The files of ``ramvid-vad evaluate --detector``, unless they are there."""
    if os.path.exists(os.path.join(out_dir, "metrics.json")):
        return
    names = ("benchmark", "data_dir", "labels", "label_set", "sigma", "bootstrap", "seed")
    shared = {name: getattr(options, name) for name in names}
    given = EvalOptions(detector=detector, nulls=",".join(BLIND), **shared)
    evaluation = evaluate_detector(given)
    write_results(evaluation, result_dir(out_dir), plots=False)


def _curve(folder: str, fitted: str, options: CompareOptions, normal: Sequence[str]) -> dict[str, float | None]:
    """Step of each stored checkpoint -> micro AUC of the detector as it was then."""
    detector, work = api.load(fitted), os.path.join(fitted, "training")
    curve = {}
    for step in detector.stored_steps(work):
        place = os.path.join(folder, "steps", f"{step:06d}")
        then, evaluated = os.path.join(place, "detector"), os.path.join(place, "evaluation")
        if not os.path.exists(os.path.join(then, "detector.json")):
            earlier = detector.at_step(work, step, normal)
            earlier.card = detector.card | {"step": step}
            earlier.save(then)
        _evaluate(then, evaluated, options)
        curve[str(step)] = read_settings(os.path.join(evaluated, "metrics.json"))["rows"][0]["metrics"]["micro_auc"]
    return curve


def _held_out(fitted: str, detector: str) -> dict[str, dict[str, float]]:
    """Network -> step -> mean loss on held-out normal video, as each log of the training tells it in keys held_out...

    A network is named as its folder in ``training``; one whose log lies in ``training`` itself, as the detector.
    """
    top, curves = os.path.join(fitted, "training"), {}
    for folder, _, files in sorted(os.walk(top)):
        for log in sorted(set(LOGS) & set(files)):
            losses = {}
            with open(os.path.join(folder, log), encoding="utf-8") as file:
                for line in map(json.loads, file):
                    seen = [value for key, value in line.items() if key.startswith("held_out")]
                    if seen:
                        losses[str(line["step"])] = sum(seen) / len(seen)
            if losses:
                curves[detector if folder == top else os.path.relpath(folder, top)] = losses
    return curves
