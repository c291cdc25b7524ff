"""What a run is trained on: windows of videos, decoded, or encoded in the feature space that was fitted for the run."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from ramvid_vad.errors import InputError
from ramvid_vad.loading import SPACE_FILE, cache_folder, frame_cache
from ramvid_vad.options import RunOptions
from ramvid_vad.runtime import processes
from ramvid_vad.runtime.files import write_text
from ramvid_vad.runtime.logger import Logger
from ramvid_vad.runtime.progress import progress_bar
from ramvid_vad.script_util import NUM_CLASSES
from ramvid_vad.spaces.cache import EncodedVideos
from ramvid_vad.spaces.features import FeatureSpace
from ramvid_vad.spaces.stored import load_space, save_space
from ramvid_vad.training.checkpoints import steps_in
from ramvid_vad.training.held_out import some_windows
from ramvid_vad.training.loop import Batches
from ramvid_vad.training.quarantine import decode_or_leave_out
from ramvid_vad.video.cache_folder import IN_USE, MAPS, remove
from ramvid_vad.video.datasets import VideoWindows, to_float, training_batches
from ramvid_vad.video.decoding.frame_rate import about_how_many
from ramvid_vad.video.files import sizes_of
from ramvid_vad.video.prefetch import prefetch
from ramvid_vad.video.reader import Clip, find_videos, read_frames, video_name

FITTED_FILE = "space.json"  # in the log directory: what the space was fitted with
HELD_OUT_FILE = "held_out.json"  # and which videos are kept back


@dataclass(frozen=True)
class TrainingData:
    """batches: from the first step on, this rank's.  names: of the videos.  left_out: damaged videos, path -> fault.
    grid: (h, w) of what the model sees.  held_out: windows (N, C, T, h, w) of videos that are kept back, or None."""

    batches: Batches
    names: list[str]
    left_out: dict[str, str]
    grid: tuple[int, int]
    held_out: torch.Tensor | None


def training_data(parsed: RunOptions, logger: Logger) -> TrainingData:
    """Windows of all videos, decoded or encoded into the cache once. Rank 0 looks for damaged ones, so that all ranks
    have the same windows."""
    video, options = parsed.video, parsed.train
    found = find_videos(video.data_dir, video.only)
    cache = frame_cache(video, parsed.model)
    workers, timeout = video.num_workers or None, video.decode_timeout

    def decode(paths: list[str], failures: dict[str, str] | None) -> None:
        prefetch(cache, paths, workers=workers, timeout=timeout, failures=failures)

    def read_new(paths: list[str], failures: dict[str, str] | None) -> None:
        space = os.path.join(logger.dir, SPACE_FILE)
        if os.path.exists(space):  # the run goes on
            maps = _maps(parsed, load_space(space, weights=parsed.space.backbone_weights))
            paths = [path for path in paths if not _was_read(maps, path)]
        read_all(paths, failures)

    read = read_new if parsed.space.space == "features" else decode
    left_out = processes.from_rank_0(
        lambda: decode_or_leave_out(read, video.data_dir, found, logger.dir, options.max_damaged_share, logger.warn)
    )
    paths = [path for path in found if path not in left_out]
    if options.held_out >= len(paths):
        raise InputError(f"--held_out {options.held_out}: leaves none of the {len(paths)} videos to train on")
    last = len(paths) - options.held_out
    paths, kept_back = paths[:last], paths[last:]
    classes = None
    if parsed.model.class_cond:
        prefixes = {path: video_name(path, video.data_dir).split("/")[-1].split("_")[0] for path in found}
        known = sorted(set(prefixes.values()))  # a class keeps its number when a video of another one is left out
        if len(known) > NUM_CLASSES:
            raise InputError(
                f"--class_cond True: {len(known)} file-name prefixes in {video.data_dir}, at most {NUM_CLASSES}"
            )
        classes = torch.tensor([known.index(prefixes[path]) for path in paths])
    names = [video_name(path, video.data_dir) for path in paths]
    if kept_back:
        kept_names = [video_name(path, video.data_dir) for path in kept_back]
        processes.from_rank_0(lambda: _keep_held_out(logger.dir, kept_names))
    if parsed.space.space == "features":
        cache = encoded_videos(parsed, [*map(Clip, paths)], [*map(Clip, kept_back)], logger)
    return _windows(parsed, paths, kept_back, names, cache, logger, classes=classes, left_out=left_out)


def clips_data(parsed: RunOptions, learning: Sequence[Clip], kept_back: Sequence[Clip], logger: Logger) -> TrainingData:
    """In the feature space, parts of videos as they are named: the first fifth of one may train, the rest be kept back.

    InputError: a damaged video.
    """
    cache = encoded_videos(parsed, learning, kept_back, logger)
    return _windows(parsed, learning, kept_back, [str(clip) for clip in learning], cache, logger)


def _windows(
    parsed: RunOptions,
    videos: Sequence[Any],
    kept_back: Sequence[Any],
    names: list[str],
    cache: Any,
    logger: Logger,
    *,
    classes: torch.Tensor | None = None,
    left_out: dict[str, str] | None = None,
) -> TrainingData:
    """Of videos that ``cache`` has already. classes: of each video."""
    video, options = parsed.video, parsed.train
    to_input, mirrored = to_float, partial(torch.flip, dims=[-1])
    if isinstance(cache, EncodedVideos):
        to_input, mirrored = cache.model_input, cache.space.mirrored
    dataset = VideoWindows(videos, cache, video.seq_len, to_input)
    if not processes.agree((len(dataset), *names)):
        raise InputError(f"--data_dir {video.data_dir}: the ranks find different videos there")
    where = f" in {video.data_dir}" if video.data_dir else ""
    logger.log(f"{len(names)} videos, {len(dataset)} windows of {video.seq_len} frames{where}")

    def batches(start_step: int) -> Iterator[tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]]:
        for frames, cond, samples in training_batches(
            dataset,
            batch_size=options.batch_size,
            seed=options.seed,
            start_step=start_step,
            rank=processes.rank(),
            world_size=processes.world_size(),
            num_workers=video.num_workers or int(processes.dev().type == "cuda"),  # a GPU need not wait for it
            mirrored=mirrored if options.mirror_windows else None,
        ):
            yield frames, cond if classes is None else cond | {"y": classes[cond["video"]]}, samples

    held_out = some_windows(VideoWindows(kept_back, cache, video.seq_len, to_input)) if kept_back else None
    return TrainingData(batches, names, left_out or {}, tuple(dataset[0][0].shape[-2:]), held_out)


def _keep_held_out(log_dir: str, names: list[str]) -> None:
    """Note which videos are kept back. InputError: a run that has a checkpoint was begun with others."""
    note = os.path.join(log_dir, HELD_OUT_FILE)
    if not steps_in(log_dir):
        _note(note, {"held_out": names})
    elif os.path.exists(note):  # an earlier version noted nothing
        _check_begun(note, {"held_out": names})


def _note(path: str, content: dict[str, Any]) -> None:
    try:
        write_text(path, json.dumps(content, indent=1) + "\n")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); free or grant space there") from None


def _check_begun(path: str, now: dict[str, Any]) -> None:
    """InputError: the note says otherwise, or cannot be read."""
    try:
        with open(path, encoding="utf-8") as file:
            before = json.load(file)
        different = ", ".join(sorted(key for key in now if before.get(key) != now[key]))
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: cannot be read ({error}): give another --log_dir") from None
    if different:
        raise InputError(f"{path}: the run was begun with other {different}: keep these, or give another --log_dir")


def read_all(paths: Sequence[str], failures: dict[str, str] | None) -> None:
    """Read every frame of every video. failures: damaged videos are noted there; None: the first is an InputError."""
    if not paths:
        return
    with progress_bar("reading", "frame", sum(map(about_how_many, paths)) or None) as bar:
        for path in paths:
            try:
                for _ in read_frames(path):
                    bar.update()
            except InputError as error:
                if failures is None:
                    raise
                failures[path] = str(error)


def _maps(parsed: RunOptions, space: FeatureSpace) -> EncodedVideos:
    return EncodedVideos(os.path.join(cache_folder(parsed.video.cache_dir), MAPS), space)


def _was_read(maps: EncodedVideos, path: str) -> bool:
    """Whether the video, as it is now, was read to its end: only then its maps came into their place."""
    try:
        return os.path.exists(maps.entry(path))
    except InputError:  # reading it says what is wrong with it
        return False


def encoded_videos(
    parsed: RunOptions, clips: Sequence[Clip], kept_back: Sequence[Clip], logger: Logger
) -> EncodedVideos:
    """The run's space, fitted on ``clips`` if the log directory has none yet, and all the videos encoded in it.

    InputError: the log directory's space is not the one that the options ask for.
    """
    path = os.path.join(logger.dir, SPACE_FILE)
    options = parsed.space
    note = os.path.join(logger.dir, FITTED_FILE)

    def fit() -> None:
        sizes = [(str(clip), sizes_of(clip.path)) for clip in clips]
        fitted_with = {
            "lines": options.lines,
            "space_centre": options.space_centre,
            "videos": hashlib.sha256(json.dumps(sizes).encode()).hexdigest(),
        }
        if os.path.exists(path) and os.path.exists(note) and not steps_in(logger.dir):
            _check_begun(note, fitted_with)  # later, the checkpoint knows the options, and videos may come and go
        if not os.path.exists(path):
            _note(note, fitted_with)
            with progress_bar("fitting the space", "frame") as bar:
                space = FeatureSpace.fit(
                    clips,
                    backbone=options.backbone,
                    weights=options.backbone_weights,
                    kept=options.space_channels,
                    lines=options.lines,
                    centre=options.space_centre,
                    tick=bar.update,
                )
            save_space(space, path)

    processes.from_rank_0(fit)
    space = load_space(path, weights=options.backbone_weights)
    if space.backbone != options.backbone:
        raise InputError(
            f"--backbone {options.backbone}: {path} was fitted with {space.backbone}: use that, or another --log_dir"
        )
    if space.groups["appearance"] != options.space_channels:
        kept = space.groups["appearance"]
        raise InputError(
            f"--space_channels {options.space_channels}: {path} has {kept}: use that, or another --log_dir"
        )
    cache = _maps(parsed, space)

    def encode() -> None:
        paths = dict.fromkeys(clip.path for clip in [*clips, *kept_back])
        lacking = [path for path in paths if not cache.is_there(path)]
        if not lacking:
            return
        with progress_bar("encoding", "frame", sum(map(about_how_many, lacking)) or None) as bar:
            for path in lacking:
                cache.frames(path, bar.update)
        if parsed.video.cache_limit:
            own, limit = {cache.entry(path) for path in paths}, parsed.video.cache_limit * 1e9
            remove(os.path.dirname(cache.cache_dir), limit, keep=own, unused_for=IN_USE)

    processes.from_rank_0(encode)
    shape = f"{space.groups} on {space.grid[0]} x {space.grid[1]} cells"
    logger.log(f"space features: {shape}, fingerprint {space.fingerprint}")
    return cache
