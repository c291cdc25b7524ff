"""A fitted detector against labels: its own scores, each of its parts, and the null rows beside them."""

import os
from typing import Any

import numpy as np

from ramvid_vad.detectors.detector import Scores, load
from ramvid_vad.detectors.registry import SAVED
from ramvid_vad.errors import InputError
from ramvid_vad.evaluation.from_reconstructions import check_measures, chosen_nulls
from ramvid_vad.evaluation.from_videos import null_scores
from ramvid_vad.evaluation.nulls.registry import BLIND, STAND_INS
from ramvid_vad.evaluation.results import Evaluation
from ramvid_vad.evaluation.rows import assemble, chosen_protocol
from ramvid_vad.options import EvalOptions
from ramvid_vad.runtime.beside import in_threads
from ramvid_vad.runtime.files import sha256_of
from ramvid_vad.runtime.progress import progress_bar
from ramvid_vad.video.reader import find_videos, video_name
from ramvid_vad.video.truth.labels import read_labels


def evaluate_detector(options: EvalOptions, progress: bool = True) -> Evaluation:
    """Score the videos of --data_dir with the detector of --detector, and evaluate that against --labels.

    The first row is the detector; the parts follow, each as the standardised logarithm that the sum is made of.
    InputError: no such detector, videos and labels that do not belong together.
    """
    for name in ("data_dir", "labels"):
        if not getattr(options, name):
            raise InputError(f"--{name}: give the folder")
    protocol, (null_names, left_out) = chosen_protocol(options), chosen_nulls(options)
    detector = load(options.detector, SAVED)
    paths = find_videos(options.data_dir, options.only)
    names = [video_name(path, options.data_dir) for path in paths]
    with progress_bar(f"scoring with {detector.name}", "frame", shown=progress) as bar:

        def score(path: str) -> Scores:
            return detector.score(path, maps=False, tick=bar.update)

        scored = in_threads(score, paths)
    truth = read_labels(options.labels, names, [len(each.frames) for each in scored])
    raw = {(detector.name, ""): [each.frames for each in scored]}
    for part in scored[0].parts:
        scale = getattr(detector, "scales", {}).get(part, np.asarray)
        raw.setdefault((part, ""), [scale(each.parts[part]) for each in scored])
    provenance: dict[str, Any] = {
        "detector": {"name": detector.name, "card": detector.card, "about": detector.about()},
        "detector_sha256": sha256_of(
            [os.path.join(options.detector, f"detector.{e}") for e in ("json", "safetensors")]
        ),
        "nulls_left_out": left_out,
    }
    if set(null_names) - set(BLIND):
        measures = check_measures(options)[:1] if set(null_names) & set(STAND_INS) else []
        *_, beside, made_from = null_scores(options, null_names, measures, progress)
        raw, provenance = raw | beside, provenance | made_from
    return assemble(options, names, truth, raw, protocol, null_names, provenance)
