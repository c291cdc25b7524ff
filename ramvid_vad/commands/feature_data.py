"""The training videos in the feature space: fitted once for a run, stored beside its checkpoints, encoded once."""

import os
from collections.abc import Sequence

from ramvid_vad.errors import InputError
from ramvid_vad.loading import SPACE_FILE, cache_folder
from ramvid_vad.options import RunOptions
from ramvid_vad.runtime import processes
from ramvid_vad.runtime.logger import Logger
from ramvid_vad.runtime.progress import progress_bar
from ramvid_vad.spaces.cache import EncodedVideos
from ramvid_vad.spaces.features import FeatureSpace
from ramvid_vad.spaces.stored import load_space, save_space
from ramvid_vad.video.cache_folder import MAPS
from ramvid_vad.video.reader import read_frames


def read_all(paths: Sequence[str], failures: dict[str, str] | None) -> None:
    """Read every frame of every video. failures: damaged videos are noted there; None: the first is an InputError."""
    for path in paths:
        try:
            for _ in read_frames(path):
                pass
        except InputError as error:
            if failures is None:
                raise
            failures[path] = str(error)


def encoded_videos(parsed: RunOptions, paths: Sequence[str], kept_back: Sequence[str], logger: Logger) -> EncodedVideos:
    """The run's space, fitted on ``paths`` if the log directory has none yet, and all the videos encoded in it.

    InputError: the log directory's space is not the one that the options ask for.
    """
    path = os.path.join(logger.dir, SPACE_FILE)
    options = parsed.space

    def fit() -> None:
        if not os.path.exists(path):
            with progress_bar("fitting the space", "frame") as bar:
                space = FeatureSpace.fit(
                    paths,
                    backbone=options.backbone,
                    weights=options.backbone_weights,
                    kept=options.space_channels,
                    lines=options.lines,
                    tick=bar.update,
                )
            save_space(space, path)

    processes.from_rank_0(fit)
    space = load_space(path, weights=options.backbone_weights)
    if not isinstance(space, FeatureSpace) or space.backbone != options.backbone:
        found = getattr(space, "backbone", space.name)
        raise InputError(
            f"--backbone {options.backbone}: {path} was fitted with {found}: use that, or another --log_dir"
        )
    if space.groups["appearance"] != options.space_channels:
        kept = space.groups["appearance"]
        raise InputError(
            f"--space_channels {options.space_channels}: {path} has {kept}: use that, or another --log_dir"
        )
    cache = EncodedVideos(os.path.join(cache_folder(parsed.video.cache_dir), MAPS), space)

    def encode() -> None:
        with progress_bar("encoding", "video", len(paths) + len(kept_back)) as bar:
            for each in [*paths, *kept_back]:
                cache.frames(each)
                bar.update()

    processes.from_rank_0(encode)
    shape = f"{space.groups} on {space.grid[0]} x {space.grid[1]} cells"
    logger.log(f"space features: {shape}, fingerprint {space.fingerprint}")
    return cache
