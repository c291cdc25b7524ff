"""What ``--dry_run`` says of the work to come, as comments after the options: nothing is decoded, nothing written."""

import torch

from ramvid_vad.errors import InputError
from ramvid_vad.loading import cache_folder
from ramvid_vad.models.unet import UNet
from ramvid_vad.options import RunOptions, parse_image_size
from ramvid_vad.video.decoding.frame_rate import about_how_many
from ramvid_vad.video.finding import find_videos
from ramvid_vad.video.windows import covering_starts


def training_ahead(run: RunOptions, model: UNet) -> list[str]:
    """Videos, windows and cache, and the memory that does not depend on the batch. model: on any device."""
    counts, lines = _videos(run)
    if counts:
        windows = sum(max(count - run.video.seq_len + 1, 1) for count in counts)
        lines.append(f"# about {windows} windows of {run.video.seq_len} frames, {run.train.batch_size} a step and rank")
    number = sum(parameter.numel() for parameter in model.parameters())
    averages = len([rate for rate in run.train.ema_rate.split(",") if rate.strip()])
    size = number * 4 * (4 + averages)
    lines.append(
        f"# {number / 1e6:.2f} M parameters: weights, gradients, AdamW's two moments and {averages} averages take "
        f"{size / 1e9:.2f} GB; activations come on top and grow with --batch_size (--microbatch limits them)"
    )
    return lines


def infilling_ahead(run: RunOptions, anchors: torch.Tensor, calls_per_batch: int) -> list[str]:
    """Videos, windows, cache and calls of the network. anchors: bool (T,).  calls_per_batch: of one batch."""
    counts, lines = _videos(run)
    if counts:
        options = run.sample
        settings = (run.video.seq_len, options.stride, anchors.numpy(), options.extra_windows)
        windows = sum(len(covering_starts(count, *settings)) for count in counts)
        calls = -(-windows // options.batch_size) * calls_per_batch
        lines.append(
            f"# about {windows} windows of {run.video.seq_len} frames: {calls} network calls of up to "
            f"{options.batch_size} windows each"
        )
    return lines


def _videos(run: RunOptions) -> tuple[list[int], list[str]]:
    """About how many frames each video has whose container says it, and lines on all of them, or on why there are
    none: the options may be looked at where the videos are not."""
    if not run.video.data_dir:
        return [], []
    try:
        paths = find_videos(run.video.data_dir, run.video.only)
    except InputError as error:
        return [], [f"# {error}"]
    counts = [count for count in map(about_how_many, paths) if count]
    lines = [f"# {len(paths)} videos of about {sum(counts)} frames in {run.video.data_dir!r}"]
    if len(counts) < len(paths):
        lines[0] += f", without {len(paths) - len(counts)} whose length shows only when decoded"
    if getattr(run.space, "space", "pixels") == "pixels":
        height, width = parse_image_size(run.model.image_size)
        size = sum(counts) * height * width * (3 if run.model.rgb else 1)
        folder = cache_folder(run.video.cache_dir)
        lines.append(f"# decoded frames take about {size / 1e9:.2f} GB in {folder!r}, as far as they are not there yet")
    return counts, lines
