"""Frames per second from a video file to its scores, stage by stage, with the settings of the recipe ped2_cpu.

    python benchmarks/end_to_end.py [--out runs/benchmarks/end_to_end.json]

One grey H.264 video of 150 frames, 360 x 240, made on the spot (a moving square on noise, seed 0); random weights of
seed 0 (the time does not depend on them). Decode and resize; infill windows of 30 every 15 and the extra ones at the
ends, in bfloat16, 2 DDIM steps; WMSE of every generated frame. Medians over whole passes, the first left out, of each
stage and of all of them together.
"""

import argparse
import os
import statistics
import tempfile

import numpy as np
import torch
from measure import machine, positive, print_table, run, seconds, write_report
from sampling import CONFIG

from ramvid_vad.cli import COMMAND_SECTIONS, parse_command
from ramvid_vad.diffusion.anchors import selective_anchors
from ramvid_vad.inference import infill
from ramvid_vad.runtime.allocator import keep_freed_memory
from ramvid_vad.scoring.blobs import wmse_scores
from ramvid_vad.script_util import create_diffusion, create_model
from ramvid_vad.video.cache import resize_frame
from ramvid_vad.video.datasets import read_window, to_float, to_uint8
from ramvid_vad.video.reader import read_frames
from ramvid_vad.video.windows import covering_starts
from ramvid_vad.video.writer import write_video

FRAMES = 150


class Pipeline:
    """The stages, each with what the one before it left."""

    def __init__(self, path: str):
        self.path = path
        parsed = parse_command("video_sample", COMMAND_SECTIONS["video_sample"], ["--config", CONFIG])
        torch.manual_seed(0)
        self.model = create_model(parsed.model).eval().requires_grad_(False)
        self.diffusion, self.options = create_diffusion(parsed.diffusion), parsed.sample
        self.anchors = selective_anchors(30)

    def decode(self) -> None:
        self.frames = np.stack([resize_frame(frame, (128, 192)) for frame in read_frames(self.path, rgb=False)])

    def infill(self) -> None:
        starts = covering_starts(len(self.frames), 30, 15, self.anchors.numpy())
        self.made = []
        for first in range(0, len(starts), self.options.batch_size):
            batch = starts[first : first + self.options.batch_size]
            clean = to_float(np.stack([read_window(self.frames, start, 30) for start in batch]))
            places = [(0, start) for start in batch]
            result = infill(self.model, self.diffusion, clean, self.anchors, places, self.options, precision="bf16")
            self.made += zip(batch, to_uint8(result).numpy(), strict=True)

    def score(self) -> None:
        hidden = ~self.anchors.numpy()
        for start, window in self.made:
            wmse_scores(read_window(self.frames, start, 30)[hidden], window[hidden])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=positive, default=3)
    parser.add_argument("--out", default="runs/benchmarks/end_to_end.json", help="JSON file")
    arguments = parser.parse_args()
    keep_freed_memory()
    rng = np.random.default_rng(0)
    video = np.repeat(rng.integers(80, 120, (1, 240, 360, 1), np.uint8), FRAMES, 0)
    for t, frame in enumerate(video):
        frame[100:140, 2 * t : 2 * t + 20] = 200
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        path = os.path.join(folder, "street.mp4")
        write_video(path, video)
        stages = Pipeline(path)
        names = {"decode and resize": stages.decode, "infill": stages.infill, "wmse": stages.score}
        passes = [{name: seconds(stage) for name, stage in names.items()} for _ in range(arguments.repeats + 1)][1:]
    taken = {name: [each[name] for each in passes] for name in names} | {"all": [sum(p.values()) for p in passes]}
    rows = [
        {"stage": name, "seconds": (s := statistics.median(each)), "frames/s": FRAMES / s}
        for name, each in taken.items()
    ]
    print_table(f"a video of {FRAMES} frames, 360 x 240; medians", rows)
    write_report(arguments.out, machine() | {"rows": rows})


if __name__ == "__main__":
    run(main)
