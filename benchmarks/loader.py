"""Training windows from the cache of decoded frames against decoding the whole video for each window.

    python benchmarks/loader.py [--out runs/benchmarks/loader.json]

Eight H.264 videos of 300 frames, 320 x 240, made on the spot (moving squares on noise, seed 0); windows of 30 frames at
64 x 64, drawn as training draws them. Contestants, in turn:

- `cache`: `training_batches` over `VideoWindows`, frames memory-mapped.
- `decode per sample`: RaMViD's way, the whole video decoded and resized for each window, with the same reader.

Then decoding into the cache with 1 and 2 workers, in turn too, how many frames a second epoch decodes (counted at the
reader), and the share of its time that a training run with the model of the recipe ped2_cpu waits for batches.
"""

import argparse
import io
import itertools
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from functools import partial
from unittest import mock

import numpy as np
import torch
from measure import alternate, machine, positive, print_table, run, seconds, write_report

from ramvid_vad.cli import COMMAND_SECTIONS, parse_command
from ramvid_vad.commands.train import train
from ramvid_vad.training import data as data_module
from ramvid_vad.video import cache as cache_module
from ramvid_vad.video.cache import FrameCache, resize_frame
from ramvid_vad.video.datasets import VideoWindows, to_float, training_batches
from ramvid_vad.video.prefetch import prefetch
from ramvid_vad.video.reader import read_frames
from ramvid_vad.video.writer import write_video

VIDEOS, FRAMES, WINDOW, SIDE = 8, 300, 30, 64


def make_videos(folder: str) -> list[str]:
    rng = np.random.default_rng(0)
    os.makedirs(folder)
    paths = [os.path.join(folder, f"{number:02d}.mp4") for number in range(VIDEOS)]
    for path in paths:
        frames = np.repeat(rng.integers(80, 120, (1, 240, 320, 3), np.uint8), FRAMES, 0)
        for t, frame in enumerate(frames):
            frame[100:140, t : t + 20] = 200
        write_video(path, frames)
    return paths


def seconds_per_window(windows: Iterator, count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        next(windows)
    return (time.perf_counter() - start) / count


def decode_per_sample(paths: list[str]) -> Iterator[torch.Tensor]:
    """Window after window, each from a video decoded from its beginning to its end."""
    rng = np.random.default_rng(0)
    while True:
        frames = [resize_frame(frame, (SIDE, SIDE)) for frame in read_frames(paths[rng.integers(len(paths))])]
        start = rng.integers(len(frames) - WINDOW + 1)
        yield to_float(np.stack(frames[start : start + WINDOW]))


def decoding_seconds(paths: list[str], folder: str, workers: int) -> float:
    """Into a cache of its own, which goes again."""
    with tempfile.TemporaryDirectory(dir=folder) as own:
        return seconds(partial(prefetch, FrameCache(own, (SIDE, SIDE)), paths, workers=workers, progress=False))


def frames_decoded_in_an_epoch(dataset: VideoWindows) -> int:
    decoded = 0

    def counted(*arguments: object, **more: object) -> Iterator[np.ndarray]:
        nonlocal decoded
        for frame in read_frames(*arguments, **more):
            decoded += 1
            yield frame

    with mock.patch.object(cache_module, "read_frames", counted):
        for _ in itertools.islice(training_batches(dataset, batch_size=1, seed=1), len(dataset)):
            pass
    return decoded


def waiting_share(data: str, folder: str, steps: int) -> float:
    """Share of the time of a real training run that passes in next(batches), the first two steps left out."""
    arguments = ["--config", "ped2_cpu"]
    arguments += ["--data_dir", data, "--log_dir", os.path.join(folder, "log"), "--max_steps", str(steps)]
    arguments += ["--cache_dir", os.path.join(folder, "wide")]
    waited, marks = [], []
    original = training_batches

    def timed(*inputs: object, **more: object) -> Iterator:
        batches = original(*inputs, **more)
        while True:
            start = time.perf_counter()
            batch = next(batches)
            waited.append(time.perf_counter() - start)
            marks.append(time.perf_counter())
            yield batch

    with mock.patch.object(data_module, "training_batches", timed), redirect_stdout(io.StringIO()):
        train(parse_command("video_train", COMMAND_SECTIONS["video_train"], arguments))
    return sum(waited[3:]) / (marks[-1] - marks[2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=positive, default=5)
    parser.add_argument("--steps", type=positive, default=12, help="training steps for the share of waiting")
    parser.add_argument("--out", default="runs/benchmarks/loader.json", help="JSON file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = make_videos(os.path.join(folder, "videos"))
        decoding = alternate({str(n): partial(decoding_seconds, paths, folder, n) for n in (1, 2)}, arguments.repeats)
        cache = FrameCache(os.path.join(folder, "windows"), (SIDE, SIDE))
        prefetch(cache, paths, workers=2, progress=False)
        dataset = VideoWindows(paths, cache, WINDOW)
        cached, decoded = training_batches(dataset, batch_size=1, seed=0), decode_per_sample(paths)
        medians = alternate(
            {
                "cache": lambda: seconds_per_window(cached, 200),
                "decode per sample": lambda: seconds_per_window(decoded, 2),
            },
            arguments.repeats,
        )
        second_epoch = frames_decoded_in_an_epoch(dataset)
        share = waiting_share(os.path.join(folder, "videos"), folder, arguments.steps)
    rows = [
        {"loader": name, "ms per window": 1e3 * s, "frames/s": WINDOW / s, "time / cache": s / medians["cache"]}
        for name, s in medians.items()
    ]
    print_table(f"windows of {WINDOW} frames at {SIDE} x {SIDE}; medians", rows)
    for workers, each in decoding.items():
        print(f"first epoch: {VIDEOS * FRAMES / each:.0f} frames/s decoded by {workers} workers, their start included")
    print(f"second epoch: {second_epoch} frames decoded; training waits for batches {100 * share:.2f} % of its time")
    more = {"decoding_seconds": decoding, "frames_decoded_in_second_epoch": second_epoch, "waiting_share": share}
    write_report(arguments.out, machine() | {"rows": rows} | more)


if __name__ == "__main__":
    run(main)
