"""Frames per second from a video file to its scores, decoding included: the recipes fast and full of fit, and the
stages of the recipe ped2_cpu.

    python benchmarks/end_to_end.py [--frames 120] [--repeats 3] [--out runs/benchmarks/end_to_end.json]

H.264 videos of 360 x 240, made on the spot (seed 0). Recipes: a smooth texture that moves, in colour; `fast` is fitted
on it, `full` has its network with random weights of seed 0 (the time does not depend on them): with one call per part
as in the recipe (mode flash), and with five (mode fast). A video of twice the length shows what a further frame costs.
Medians, each in turn; peak memory is that of all, fitting included.

Stages: a moving square on grey noise, 150 frames, random weights of seed 0. Decode and resize; infill windows of 30
every 15 and the extra ones at the ends, in bfloat16, 2 DDIM steps; WMSE of every generated frame. Medians over whole
passes, the first left out, of each stage and of all of them together.
"""

import argparse
import os
import statistics
import tempfile
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from encode import moving_texture
from measure import alternate, machine, peak_gigabytes, positive, print_table, run, seconds, write_report
from sampling import CONFIG

from ramvid_vad.cli import COMMAND_SECTIONS, parse_command
from ramvid_vad.detectors.fusion import CalibratedSum
from ramvid_vad.detectors.infilling import GROUPS, RECIPE_BOXES, RECIPE_PARTS, Infilling
from ramvid_vad.diffusion.anchors import selective_anchors
from ramvid_vad.inference import infill
from ramvid_vad.loading import with_anchor_kind
from ramvid_vad.options.config_file import run_of_recipe
from ramvid_vad.runtime.allocator import keep_freed_memory
from ramvid_vad.scoring.blobs import wmse_scores
from ramvid_vad.script_util import create_diffusion, create_model
from ramvid_vad.spaces.features import FeatureSpace
from ramvid_vad.video.cache import resize_frame
from ramvid_vad.video.datasets import read_window, to_float, to_uint8
from ramvid_vad.video.reader import Clip, read_frames
from ramvid_vad.video.windows import covering_starts
from ramvid_vad.video.writer import write_video

FRAMES = 150


def untrained(video: str, mode: str) -> Infilling:
    """The recipe ``full`` as it is before its first step, calibrated on the video. mode: of MODES."""
    parsed = with_anchor_kind(run_of_recipe("full", (*GROUPS, "video")))
    space = FeatureSpace.fit([video], centre=parsed.space.space_centre)
    torch.manual_seed(0)
    state = create_model(parsed.model, groups=tuple(space.groups.values())).state_dict()
    config = {name: asdict(getattr(parsed, name)) for name in GROUPS} | {"seq_len": parsed.video.seq_len}
    maps = list(space.encode(read_frames(video)))
    detector = Infilling(space, config, state, parts=RECIPE_PARTS, boxes=RECIPE_BOXES, mode=mode)
    detector.compare_with([np.stack(maps)])
    detector.calibrate({Clip(video): maps}, progress=False)
    return detector


def recipes(frames: int, repeats: int, folder: str) -> list[dict[str, Any]]:
    """What the recipes take, from videos of so many frames and twice as many."""
    videos = {count: os.path.join(folder, f"{count}.mp4") for count in (frames, 2 * frames)}
    for count, path in videos.items():
        write_video(path, moving_texture(count), fps=25)
    detectors = {"fast": CalibratedSum.fit([videos[frames]], progress=False)}
    detectors |= {f"full, mode {mode}": untrained(videos[frames], mode) for mode in ("flash", "fast")}
    timed = {
        (name, count): lambda detector=detector, path=path: seconds(lambda: detector.score(path, maps=False))
        for name, detector in detectors.items()
        for count, path in videos.items()
    }
    taken = alternate(timed, repeats)
    return [
        {
            "recipe": name,
            "frames per second": 2 * frames / taken[name, 2 * frames],
            "ms of a further frame": 1000 * (taken[name, 2 * frames] - taken[name, frames]) / frames,
        }
        for name in detectors
    ]


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


def stages(repeats: int, folder: str) -> list[dict[str, Any]]:
    """What each stage of ped2_cpu takes, and all of them."""
    rng = np.random.default_rng(0)
    video = np.repeat(rng.integers(80, 120, (1, 240, 360, 1), np.uint8), FRAMES, 0)
    for t, frame in enumerate(video):
        frame[100:140, 2 * t : 2 * t + 20] = 200
    path = os.path.join(folder, "street.mp4")
    write_video(path, video)
    pipeline = Pipeline(path)
    names = {"decode and resize": pipeline.decode, "infill": pipeline.infill, "wmse": pipeline.score}
    with torch.no_grad():
        passes = [{name: seconds(stage) for name, stage in names.items()} for _ in range(repeats + 1)][1:]
    taken = {name: [each[name] for each in passes] for name in names} | {"all": [sum(p.values()) for p in passes]}
    return [
        {"stage": name, "seconds": (s := statistics.median(each)), "frames/s": FRAMES / s}
        for name, each in taken.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=positive, default=120, help="of the shorter video that the recipes score")
    parser.add_argument("--repeats", type=positive, default=3)
    parser.add_argument("--out", default="runs/benchmarks/end_to_end.json", help="JSON file")
    options = parser.parse_args()
    keep_freed_memory()  # as every command does
    with tempfile.TemporaryDirectory() as folder:
        of_recipes, peak = recipes(options.frames, options.repeats, folder), peak_gigabytes()
        of_stages = stages(options.repeats, folder)
    print_table(f"From file to scores, {2 * options.frames} frames of 240 x 360; at most {peak:.2f} GB", of_recipes)
    print_table(f"ped2_cpu, a video of {FRAMES} frames of 240 x 360; medians", of_stages)
    write_report(options.out, {**machine(), "recipes": of_recipes, "peak_gigabytes": peak, "rows": of_stages})


if __name__ == "__main__":
    run(main)
