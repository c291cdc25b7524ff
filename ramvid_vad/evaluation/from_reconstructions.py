"""Reconstructions, real frames and labels -> scores, metrics and null rows of every measure.

Residual of each reconstructed frame -> largest of each frame's residuals -> protocol (smoothing ...) -> metrics. The
null baselines go through the same steps: those that stand in for the model from the residual on, the others from the
protocol on.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from ramvid_vad.detectors.detector import Detector
from ramvid_vad.detectors.fusion import PARTS, CalibratedSum
from ramvid_vad.detectors.registry import DETECTORS
from ramvid_vad.errors import InputError
from ramvid_vad.evaluation.inputs.ground_truth import folder_of_labels, labels_of_videos
from ramvid_vad.evaluation.normal_reconstructions import normal_scores
from ramvid_vad.evaluation.nulls.registry import BLIND, choose, chosen_names
from ramvid_vad.evaluation.provenance import frames_sha256, joined_sha256
from ramvid_vad.evaluation.raw_scores import VideoScorer
from ramvid_vad.evaluation.results import Evaluation
from ramvid_vad.evaluation.rows import assemble, check, chosen_protocol
from ramvid_vad.evaluation.statistics.spatial import VideoRegions, find_truth, spatial_metrics, video_regions
from ramvid_vad.options import EvalOptions
from ramvid_vad.reconstructions import common_settings, find_reconstructions, load_reconstruction
from ramvid_vad.runtime.beside import in_threads
from ramvid_vad.runtime.files import sha256_of
from ramvid_vad.runtime.progress import progress_bar
from ramvid_vad.scoring.residuals import MEASURES
from ramvid_vad.spaces.backbones import installed
from ramvid_vad.video.cache import FrameCache
from ramvid_vad.video.prefetch import prefetch
from ramvid_vad.video.reader import find_videos, video_name
from ramvid_vad.video.rows import on_disk

# of one video: (measure, null) -> scores; frames never reconstructed; null -> regions; SHA-256 of its frames
Scored = tuple[dict[tuple[str, str], np.ndarray], int, dict[str, VideoRegions], str]


def evaluate_reconstructions(options: EvalOptions, cache_dir: str, progress: bool = True) -> Evaluation:
    """Evaluate a folder of reconstructions against real frames and labels. Deterministic.

    cache_dir: where decoded frames are kept. InputError: videos, reconstructions and labels that do not belong
    together, or an option that does not fit.
    """
    check(options, "reconstructions", "reconstructions", "data_dir", "labels")
    measures = check_measures(options)
    null_names, left_out = chosen_nulls(options)
    protocol = chosen_protocol(options)
    paths = find_videos(options.data_dir, options.only)
    names = [video_name(path, options.data_dir) for path in paths]
    files = find_reconstructions(options.reconstructions, names, partial=bool(options.only))
    settings, lengths = common_settings(files)
    truth = labels_of_videos(options.labels, options.benchmark, options.label_set, names, lengths)
    cache = FrameCache(
        cache_dir, tuple(settings["image_size"]), rgb=settings["rgb"], keep_aspect=settings["keep_aspect"]
    )
    prefetch(cache, paths, progress=progress)
    for path, name, length in zip(paths, names, lengths, strict=True):
        found = len(cache.frames(path))
        if found != length:
            raise InputError(f"{files[name]}: made from a video of {length} frames, but {path} has {found}")

    full_labels = [np.asarray(y) for y in truth.labels.values]
    labels = folder_of_labels(options.labels, options.label_set)
    places = find_truth(labels, names, full_labels)
    scorer = make_scorer(options, measures, null_names, progress)
    normal, normal_about = normal_scores(options, settings, scorer, cache, progress)
    with _bar(scorer, files, places is not None, progress) as bar:

        def score(video: tuple[str, str]) -> Scored:
            path, name = video
            real, made = on_disk(cache.frames(path)), load_reconstruction(files[name])
            if made.frames.shape[1:] != real.shape[1:]:
                raise InputError(f"{files[name]}: frames {made.frames.shape[1:]}, but {path} gives {real.shape[1:]}")
            uncovered = made.num_frames - len(np.unique(made.frame))
            regions = {}
            if places:
                aspect = settings["keep_aspect"]
                for null, frame, fake in scorer.reconstructions(real, made):
                    regions[null] = video_regions(
                        places, name, path, real, frame, fake, scorer.wmse, aspect, bar.update
                    )
            return scorer(path, real, made, bar.update), uncovered, regions, frames_sha256(real)

        scored = in_threads(score, list(zip(paths, names, strict=True)))
    raw = {key: [scores[key] for scores, *_ in scored] for key in scored[0][0]}
    provenance = {
        "frames_never_reconstructed": sum(uncovered for _, uncovered, *_ in scored),
        "frames_sha256": joined_sha256(digest for *_, digest in scored),
        "reconstructions": settings,
        "reconstructions_sha256": sha256_of(files[name] for name in names),
        **residual_settings(options),
        **normal_about,
        "nulls_left_out": left_out,
        **({"spatial": places.about()} if places else {}),
        **scorer.about_normal(),
    }
    evaluation = assemble(options, names, truth, raw, protocol, null_names, provenance, normal=normal)
    spatial = {null: spatial_metrics([regions[null] for _, _, regions, _ in scored]) for null in scored[0][2]}
    return replace(evaluation, spatial=spatial)


def residual_settings(options: EvalOptions) -> dict[str, Any]:
    """How residuals become frame scores, for the provenance."""
    return {
        "wmse": {"tau": options.tau, "min_area": options.min_area, "weight": options.weight},
        "merge": "max over windows",
    }


def check_measures(options: EvalOptions) -> list[str]:
    """The measures asked for."""
    names = chosen_names(options.measures, MEASURES, "measures")
    if not names:
        raise InputError(f"--measures: choose at least one of {', '.join(MEASURES)}")
    return names


def chosen_nulls(options: EvalOptions) -> tuple[list[str], dict[str, str]]:
    """The baselines asked for, and those of "all" that the input does not allow, each with what is lacking."""
    if options.noise_seeds < 2:
        raise InputError(f"--noise_seeds {options.noise_seeds}: must be at least 2, for their spread")
    there = {"video": options.data_dir, "normal video": options.normal_dir, "features": installed()}
    there["reconstructions"] = options.reconstructions
    return choose(options.nulls, [need for need, met in there.items() if met])


def make_scorer(
    options: EvalOptions, measures: list[str], null_names: list[str], progress: bool, model: bool = True
) -> VideoScorer:
    """The scorer of the options; learns normal video if a null needs it."""
    wmse = {"threshold": options.tau, "min_area": options.min_area, "weight": options.weight}
    seeing = [null for null in null_names if null not in BLIND]
    asked = [detector for name, detector in DETECTORS.items() if name in seeing]
    detectors: list[Detector] = []
    if any(detector.needs for detector in asked):  # the sum knows most of the others too, from one pass over the video
        detectors = [CalibratedSum.fit(find_videos(options.normal_dir), progress)]
        asked = [detector for detector in asked if detector.name not in (*PARTS, CalibratedSum.name)]
    detectors += [detector.fit((), progress) for detector in asked]
    return VideoScorer(measures, seeing, wmse, detectors, model)


def _bar(scorer: VideoScorer, files: dict[str, str], regions: bool, progress: bool) -> Any:
    total = sum(scorer.steps(load_reconstruction(path, frames=False), regions) for path in files.values())
    return progress_bar("scoring", "frame", total, shown=progress)
