"""PerVideo of normal training video by the model itself: what alarm thresholds are calibrated on."""

import os
from dataclasses import replace
from typing import Any

from ramvid_vad.errors import InputError
from ramvid_vad.evaluation.raw_scores import VideoScorer
from ramvid_vad.evaluation.statistics.metrics import PerVideo
from ramvid_vad.options import EvalOptions
from ramvid_vad.reconstructions import common_settings, find_reconstructions, first_difference, load_reconstruction
from ramvid_vad.runtime.beside import in_threads
from ramvid_vad.runtime.files import sha256_of
from ramvid_vad.video.cache import FrameCache
from ramvid_vad.video.prefetch import prefetch
from ramvid_vad.video.reader import find_videos, video_name
from ramvid_vad.video.rows import on_disk


def normal_scores(
    options: EvalOptions, settings: dict[str, Any], scorer: VideoScorer, cache: FrameCache, progress: bool
) -> tuple[dict[str, PerVideo] | None, dict[str, Any]]:
    """measure -> raw scores of the normal videos, and what they were made from; None without --normal_reconstructions.

    settings: of the test reconstructions.  scorer, cache: those of the test videos. InputError: reconstructions of
    another model or other settings, a file without a video.
    """
    folder = options.normal_reconstructions
    if not folder:
        return None, {}
    if not options.normal_dir:
        raise InputError("--normal_reconstructions: give --normal_dir, the normal videos that were infilled")
    paths = find_videos(options.normal_dir)
    names = [video_name(path, options.normal_dir) for path in paths]
    if not os.path.isdir(folder):
        raise InputError(f"--normal_reconstructions {folder}: no such folder")
    files = find_reconstructions(folder, names)
    found, lengths = common_settings(files)
    if different := first_difference(found, settings):
        key, of_normal, of_test = different
        raise InputError(
            f"--normal_reconstructions {folder}: made with {key} {of_normal!r}, but --reconstructions with "
            f"{of_test!r}: a threshold carries over within one setting only"
        )
    prefetch(cache, paths, progress=progress)
    alone = replace(scorer, nulls=[])

    def score(video: tuple[str, str, int]) -> dict[tuple[str, str], Any]:
        path, name, length = video
        real = on_disk(cache.frames(path))
        if len(real) != length:
            raise InputError(f"{files[name]}: made from a video of {length} frames, but {path} has {len(real)}")
        return alone(path, real, load_reconstruction(files[name]), lambda _: None)

    scored = in_threads(score, list(zip(paths, names, lengths, strict=True)))
    by_measure = {measure: [scores[measure, ""] for scores in scored] for measure in scorer.measures}
    about = {"normal_reconstructions_sha256": sha256_of(files[name] for name in names), "normal_videos": names}
    return by_measure, about
