"""``video_sample.py``: options and a checkpoint -> reconstructions of whole videos, or RaMViD's samples."""

import json
import os
from typing import Any

import numpy as np
import torch

from ramvid_vad.autoregressive import generate_long
from ramvid_vad.autoregressive import video_name as long_name
from ramvid_vad.commands.dry_run import infilling_ahead
from ramvid_vad.commands.next_command import after_infilling
from ramvid_vad.diffusion.anchors import explicit_anchors
from ramvid_vad.diffusion.gaussian import GaussianDiffusion
from ramvid_vad.errors import InputError
from ramvid_vad.inference import generate
from ramvid_vad.infill_videos import FolderInfilling, claim_folder, sampling_settings
from ramvid_vad.loading import (
    anchor_pattern,
    frame_cache,
    join_ranks,
    load_model,
    weights_in,
    with_anchor_kind,
)
from ramvid_vad.models.precision import resolve_precision, slow_precision
from ramvid_vad.models.unet import UNet
from ramvid_vad.options import RunOptions, SampleOptions, int_list, parse_image_size
from ramvid_vad.runtime import processes
from ramvid_vad.runtime.files import replacing, sha256_of, write_text
from ramvid_vad.runtime.logger import result_dir, warn
from ramvid_vad.runtime.remote import local_copy
from ramvid_vad.runtime.signals import finishing
from ramvid_vad.scoring.frechet import NETWORK, frechet_distance, video_features
from ramvid_vad.spaces.backbones import LITE0, load_backbone
from ramvid_vad.video.datasets import VideoWindows, to_uint8, window_order
from ramvid_vad.video.prefetch import prefetch
from ramvid_vad.video.reader import find_videos, video_name
from ramvid_vad.video.writer import write_video
from ramvid_vad.window_files import remove_leftovers


def sample(parsed: RunOptions) -> bool:
    """Sample as the parsed options say; False if a signal ended it early."""
    parsed = parsed.but("sample", sampling_type=parsed.sample.sampling_type or _guess_type(parsed))
    options = parsed.sample
    if options.sampling_type == "windows" and not parsed.video.data_dir:
        raise InputError("--data_dir: give the folder of videos to infill")
    if not parsed.dry_run:
        join_ranks(parsed)
    path = processes.from_rank_0(lambda: _weights_path(parsed))  # which verifies the checksums
    model, diffusion, parsed = load_model(path, parsed)
    parsed = with_anchor_kind(parsed)
    if parsed.dry_run:
        lines = []
        if options.sampling_type == "windows":
            pattern = anchor_pattern(parsed.anchors, parsed.video.seq_len, options.seed)
            if pattern.fixed is not None:
                lines = infilling_ahead(parsed, pattern.fixed, diffusion.num_timesteps * options.resample_steps)
        print("\n".join([parsed.as_yaml(), *lines]))
        return True
    weights = {"model": os.path.basename(path), "model_sha256": _sha256(path)}
    if not processes.agree(weights["model_sha256"]):
        raise InputError(f"--model_path {path}: the ranks find different files there: it must be a shared folder")
    model.to(processes.dev()).requires_grad_(False)
    finished = True
    if options.sampling_type == "windows":
        finished = _infill_videos(parsed, weights, model, diffusion)
    else:
        _generate_samples(parsed, weights, model, diffusion)
    processes.cleanup()
    return finished


def _guess_type(parsed: RunOptions) -> str:
    """RaMViD's flags, typed and not just present in a file, ask for RaMViD's samples."""
    ramvid = parsed.typed & {"num_samples", "num_frames", "cond_frames", "cond_generation", "frechet"}
    ramvid |= parsed.typed & {"save_gt", "save_gif", "save_mp4"}
    return "generation" if ramvid or not parsed.video.data_dir else "windows"


def _weights_path(parsed: RunOptions) -> str:
    """The file to load: averaged weights, unless --use_ema False or there are none."""
    path = parsed.sample.model_path
    if not path:
        raise InputError("--model_path: give a checkpoint, e.g. runs/NAME/ema_0.9999_100000.safetensors")
    found = weights_in(path, parsed.sample.use_ema)
    if os.path.basename(found).startswith("ema_") and found != path:
        print(f"using the averaged weights {found} (--use_ema False: the raw ones)")
    return found


def _infill_videos(parsed: RunOptions, weights: dict[str, str], model: UNet, diffusion: GaussianDiffusion) -> bool:
    """False if a signal ended it after a batch."""
    options, video = parsed.sample, parsed.video
    if parsed.model.class_cond:
        raise InputError("--class_cond True: whole videos have no class: use --sampling_type generation")
    pattern = anchor_pattern(parsed.anchors, video.seq_len, options.seed)
    if pattern.fixed is None:
        raise InputError("--anchors random: infilling needs the same anchors in every window: use e.g. selective")
    paths = find_videos(video.data_dir, video.only)
    names = [video_name(each, video.data_dir) for each in paths]
    cache = frame_cache(video, parsed.model)
    precision = _precision(options)
    out_dir = result_dir(options.out_dir)
    infilling = None
    if processes.rank() == 0:  # the first to look decodes what is missing and claims the folder
        prefetch(cache, paths, workers=video.num_workers or None, timeout=video.decode_timeout)
        infilling = _infilling(parsed, weights, out_dir, names, paths, cache, pattern.fixed, precision)
    pending = processes.broadcast_object(infilling.pending() if infilling else None)
    if infilling is None:
        infilling = _infilling(parsed, weights, out_dir, names, paths, cache, pattern.fixed, precision)
    mine = pending[processes.rank() :: processes.world_size()]
    first = processes.rank() == 0
    with finishing(lambda line: warn(line) if first else None, "batch of windows") as stop:
        infilling.run(model, diffusion, processes.dev(), precision, mine, progress=first, stop=lambda: bool(stop))
    stopped = processes.any_true(bool(stop))  # waits for the others, too
    missing = infilling.missing()
    if stopped and missing:
        if first:
            print(f"ended with {len(names) - len(missing)} of {len(names)} videos finished; the same command goes on")
        return False
    if first:
        if missing:
            raise InputError(f"--out_dir {out_dir}: unfinished {', '.join(missing)}: run the same command again")
        infilling.finish()
        print("\n".join(after_infilling(parsed, len(names), out_dir)))
    return True


def _precision(options: SampleOptions) -> str:
    """One for all ranks, whatever processors they have."""
    precision = processes.from_rank_0(lambda: resolve_precision(options.precision, processes.dev()))
    if processes.rank() == 0 and (slow := slow_precision(precision, processes.dev())):
        warn(slow)
    return precision


def _infilling(
    parsed: RunOptions,
    weights: dict[str, str],
    out_dir: str,
    names: list[str],
    paths: list[str],
    cache: Any,
    anchors: torch.Tensor,
    precision: str,
) -> FolderInfilling:
    settings = sampling_settings(parsed, weights, anchors, precision)
    return FolderInfilling(out_dir, names, paths, cache, anchors, parsed.sample, settings)


def _generate_samples(parsed: RunOptions, weights: dict[str, str], model: UNet, diffusion: GaussianDiffusion) -> None:
    """Generation, prediction and infilling of single windows as in RaMViD, or of videos that are predicted on: one npz
    with ``arr_0`` (N,T,H,W,C) uint8."""
    options, video = parsed.sample, parsed.video
    height, width = parse_image_size(parsed.model.image_size)
    shape = (3 if parsed.model.rgb else 1, video.seq_len, height, width)
    anchors = _given(parsed)
    windows: list[torch.Tensor | None] = [None] * options.num_samples
    real, names = [], []
    if options.frechet or options.cond_generation:
        if not video.data_dir:
            flag = "cond_generation" if options.cond_generation else "frechet"
            raise InputError(f"--{flag} True needs --data_dir, the real frames; or use False")
        if options.frechet:
            network = load_backbone(LITE0)  # before the work, should it be missing
        cache, paths = frame_cache(video, parsed.model), find_videos(video.data_dir, video.only)
        dataset = VideoWindows(paths, cache, video.seq_len)
        names = [os.path.basename(cache.entry(path)) for path in paths]
        order = window_order(len(dataset), options.seed, 0)
        real = [dataset[int(order[i % len(order)])][0] for i in range(options.num_samples)]
        windows = list(real) if options.cond_generation else windows
    out_dir = result_dir(options.out_dir)
    precision = _precision(options)
    way = (model, diffusion, windows, shape, anchors, options)
    ranks = (processes.dev(), precision, processes.rank(), processes.world_size())
    if options.num_frames:
        kept = ("num_samples", "num_frames", "max_cond_frames", "prediction_step", "cond_generation")
        claim = sampling_settings(parsed, weights, anchors, precision) | {name: getattr(options, name) for name in kept}
        claim_folder(out_dir, claim | {"videos": names if options.cond_generation else []}, "samples")
        mine = generate_long(*way, out_dir, *ranks)
    else:
        try:
            mine = generate(*way, *ranks)
        except KeyboardInterrupt as signal:  # single windows are not kept
            raise type(signal)("begins again") from None
    parts = processes.all_gather_object(mine)
    if processes.rank() == 0:
        samples = {number: frames for part in parts for number, frames in part.items()}
        made = np.stack([samples[i] for i in sorted(samples)])
        _save_samples(out_dir, "samples", made, options)
        remove_leftovers(out_dir, map(long_name, samples) if options.num_frames else ())
        if options.save_gt and options.cond_generation:
            _save_samples(out_dir, "gt", to_uint8(torch.stack(real)).numpy(), options)
        if options.frechet:
            _save_distance(out_dir, made, to_uint8(torch.stack(real)).numpy(), network)


def _given(parsed: RunOptions) -> torch.Tensor:
    """Which frames of the (first) window are given, bool (T,)."""
    options, video = parsed.sample, parsed.video
    if parsed.typed & {"anchors", "num_prediction_anchors"}:
        pattern = anchor_pattern(parsed.anchors, video.seq_len, options.seed)
        if pattern.fixed is None:
            raise InputError("--anchors random: give --cond_frames, the frames that are given, e.g. 0,1")
        anchors = pattern.fixed
    else:
        anchors = explicit_anchors(video.seq_len, int_list(parsed.anchors.cond_frames, "cond_frames") or [0])
    if not options.cond_generation:
        if parsed.typed & {"anchors", "num_prediction_anchors", "cond_frames"}:
            raise InputError("--cond_generation False: no frame is given, so leave --cond_frames and --anchors out")
        anchors = torch.zeros_like(anchors)
    return anchors


def _save_distance(out_dir: str, samples: np.ndarray, real: np.ndarray, network: Any) -> None:
    """frechet.json: the distance of the samples' first windows to the real ones, uint8 (N,T,H,W,C) each."""
    if len(samples) < 2:
        raise InputError("--frechet True: one sample has no spread: give --num_samples 2 or more, hundreds to compare")
    window = samples[:, : real.shape[1]]
    distance = frechet_distance(*(video_features(videos, network) for videos in (window, real)))
    about = {"frechet_distance": distance, "samples": len(samples), "frames": real.shape[1], "network": NETWORK}
    write_text(os.path.join(out_dir, "frechet.json"), json.dumps(about, indent=1) + "\n")
    print(f"Frechet distance {distance:.4g} of {len(samples)} samples ({NETWORK}; not I3D's FVD)")


def _save_samples(out_dir: str, name: str, frames: np.ndarray, options: Any) -> None:
    """frames uint8 (N,T,H,W,C)."""
    path = os.path.join(out_dir, f"{name}_{'x'.join(map(str, frames.shape))}.npz")
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, frames)
    for ending, wanted in (("gif", options.save_gif), ("mp4", options.save_mp4)):
        for number in range(len(frames) if wanted else 0):
            write_video(os.path.join(out_dir, f"{name}_{number:03d}.{ending}"), frames[number])
    print(f"{len(frames)} windows are in {path}")


def _sha256(path: str) -> str:
    with local_copy(path) as local:
        return sha256_of([local])
