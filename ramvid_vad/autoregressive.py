"""Videos longer than a window: predict one, keep its last frames, go on from these (RaMViD, arXiv 2206.07696, sec. 4).

Every window's new frames are a file until the video is whole, so a killed run goes on where it was. What is kept is
kept as the eight bits of that file: a run in one go and one in parts, on any number of ranks, give the same bytes.
"""

import os
from collections.abc import Sequence

import numpy as np
import torch

from ramvid_vad.diffusion.anchors import prediction_anchors
from ramvid_vad.diffusion.gaussian import GaussianDiffusion
from ramvid_vad.errors import InputError
from ramvid_vad.inference import drawn_classes, infill
from ramvid_vad.models.unet import UNet
from ramvid_vad.options import SampleOptions
from ramvid_vad.runtime.progress import progress_bar
from ramvid_vad.video.datasets import to_float, to_uint8
from ramvid_vad.window_files import part_file, read_part, write_part


def ends_of_windows(num_frames: int, window: int, sampling: SampleOptions) -> list[int]:
    """First frame after each window's new frames, the last at least ``num_frames``.

    InputError: --max_cond_frames or --prediction_step leave a window of ``window`` frames nothing to do.
    """
    given, step = sampling.max_cond_frames, sampling.prediction_step or window - sampling.max_cond_frames
    if given >= window:
        raise InputError(f"--max_cond_frames {given}: must be below the {window} frames of a window")
    if given + step > window:
        raise InputError(
            f"--prediction_step {step}: a window of {window} frames with {given} given has {window - given} new ones"
        )
    if num_frames <= window:
        raise InputError(f"--num_frames {num_frames}: a window has {window} already: give more, or 0")
    return [window, *range(window + step, num_frames + step, step)]


def generate_long(
    model: UNet,
    diffusion: GaussianDiffusion,
    windows: Sequence[torch.Tensor | None],
    shape: tuple[int, int, int, int],
    anchors: torch.Tensor,
    sampling: SampleOptions,
    out_dir: str,
    device: torch.device,
    precision: str,
    rank: int = 0,
    world_size: int = 1,
) -> dict[int, np.ndarray]:
    """This rank's share of the videos of ``num_frames`` frames, by number, each uint8 (T, H, W, C).

    windows, anchors: of the first window, as ``inference.generate`` takes them, whose sample it is.  out_dir: holds the
    windows of what is unfinished.  The noise of a frame is a pure function of (seed, video, frame, draw).
    """
    model.eval()
    length, given = shape[1], sampling.max_cond_frames
    ends = ends_of_windows(sampling.num_frames, length, sampling)
    mine = range(rank, len(windows), world_size)
    videos: dict[int, list[np.ndarray]] = {number: [] for number in mine}
    calls = len(mine) * len(ends)
    with progress_bar("predicting on", "window", calls, shown=rank == 0) as bar:
        for first in range(0, len(mine), sampling.batch_size):
            batch = mine[first : first + sampling.batch_size]
            for at, end in enumerate(ends):
                start = end - length if at == 0 else ends[at - 1] - given
                files = {number: part_file(out_dir, video_name(number), at) for number in batch}
                missing = [number for number in batch if not os.path.exists(files[number])]
                if missing:
                    clean = torch.zeros(len(missing), *shape)
                    for row, number in enumerate(missing):
                        if at:
                            clean[row, :, :given] = to_float(_last(videos[number], given)[None])[0]
                        elif windows[number] is not None:
                            clean[row] = windows[number]
                    result = infill(
                        model,
                        diffusion,
                        clean.to(device),
                        prediction_anchors(length, given) if at else anchors,
                        [(number, start) for number in missing],
                        sampling,
                        precision=precision,
                        y=drawn_classes(model, sampling.seed, missing, device),
                    )
                    new = slice(ends[at - 1] - start, end - start) if at else slice(None)
                    for number, frames in zip(missing, to_uint8(result).cpu().numpy(), strict=True):
                        write_part(files[number], frames[new])
                for number in batch:
                    videos[number].append(read_part(files[number], end - (ends[at - 1] if at else 0)))
                bar.update(len(batch))
    return {number: np.concatenate(parts)[: sampling.num_frames] for number, parts in videos.items()}


def video_name(number: int) -> str:
    """Of a sample whose windows lie in the folder."""
    return f"sample_{number:06d}"


def _last(parts: Sequence[np.ndarray], count: int) -> np.ndarray:
    """The last ``count`` frames of (k_i, H, W, C) end to end; as many of the latest parts are joined as it takes."""
    taken = 1
    while sum(map(len, parts[-taken:])) < count:
        taken += 1
    return np.concatenate(parts[-taken:])[-count:]
