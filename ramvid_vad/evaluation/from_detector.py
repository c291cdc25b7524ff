"""A fitted detector against labels: its own scores, each of its parts, and the null rows beside them."""

import os
from typing import Any

import numpy as np

from ramvid_vad.detectors.detector import Detector, Scores, folder_for, load
from ramvid_vad.detectors.registry import SAVED
from ramvid_vad.errors import InputError
from ramvid_vad.evaluation.from_reconstructions import check_measures, chosen_nulls
from ramvid_vad.evaluation.from_videos import null_scores
from ramvid_vad.evaluation.inputs.ground_truth import labels_of_videos, look_at_labels
from ramvid_vad.evaluation.nulls.registry import BLIND, STAND_INS
from ramvid_vad.evaluation.results import Evaluation
from ramvid_vad.evaluation.rows import assemble, check, chosen_protocol
from ramvid_vad.events.camera import has_night
from ramvid_vad.events.light import NIGHT
from ramvid_vad.options import EvalOptions
from ramvid_vad.runtime.beside import in_threads
from ramvid_vad.runtime.files import sha256_of
from ramvid_vad.runtime.progress import progress_bar, warn
from ramvid_vad.video.reader import find_videos, video_name


def evaluate_detector(options: EvalOptions, progress: bool = True) -> Evaluation:
    """Score the videos of --data_dir with the detector of --detector, and evaluate that against --labels.

    The first row is the detector; the parts follow, each as the standardised logarithm that the sum is made of.
    InputError: no such detector, videos and labels that do not belong together.
    """
    check(options, "detector", "data_dir", "labels")
    protocol, (null_names, left_out) = chosen_protocol(options), chosen_nulls(options)
    paths = find_videos(options.data_dir, options.only)
    names = [video_name(path, options.data_dir) for path in paths]
    folders = [folder_for(options.detector, name) for name in names]
    loaded = {folder: load(folder, SAVED) for folder in dict.fromkeys(folders)}
    for folder in loaded:
        if has_night(folder):
            warn(
                f"{folder}: has a detector for the day, which is evaluated here; that of the night is {folder}/{NIGHT}"
            )
    used = [loaded[folder] for folder in folders]  # by each video
    kinds = list(dict.fromkeys(detector.name for detector in used))
    if len(kinds) > 1:
        raise InputError(f"{options.detector}: has {' and '.join(kinds)} for its scenes: fit all with one command")
    look_at_labels(options.labels, options.benchmark, options.label_set, names)
    with progress_bar(f"scoring with {kinds[0]}", "frame", shown=progress) as bar:

        def score(path_and_detector: tuple[str, Detector]) -> Scores:
            path, detector = path_and_detector
            return detector.score(path, maps=False, tick=bar.update)

        scored = in_threads(score, list(zip(paths, used, strict=True)))
    lengths = [len(each.frames) for each in scored]
    truth = labels_of_videos(options.labels, options.benchmark, options.label_set, names, lengths)
    raw = {(kinds[0], ""): [each.frames for each in scored]}
    for part in scored[0].parts:
        scales = [getattr(detector, "scales", {}).get(part, np.asarray) for detector in used]
        raw.setdefault((part, ""), [scale(each.parts[part]) for scale, each in zip(scales, scored, strict=True)])
    about = [{"card": each.card, "about": each.about()} for each in loaded.values()]
    if options.detector in loaded:
        about = about[0]
    else:
        about = {"scenes": dict(zip(map(os.path.basename, loaded), about, strict=True))}
    provenance: dict[str, Any] = {
        "detector": {"name": kinds[0], **about},
        "detector_sha256": sha256_of(
            [os.path.join(folder, f"detector.{e}") for folder in loaded for e in ("json", "safetensors")]
        ),
        "nulls_left_out": left_out,
    }
    if set(null_names) - set(BLIND):
        measures = check_measures(options)[:1] if set(null_names) & set(STAND_INS) else []
        *_, beside, made_from = null_scores(options, null_names, measures, progress)
        raw, provenance = raw | beside, provenance | made_from
    return assemble(options, names, truth, raw, protocol, null_names, provenance)
