"""Frames per second from a video file to its scores, decoding and features included, of the two recipes of fit.

    python benchmarks/detectors.py [--frames 120] [--repeats 3] [--out runs/benchmarks/detectors.json]

An H.264 video of 360 x 240, colour, made on the spot: a smooth texture that moves (seed 0). `fast` is fitted on it,
`full` has the recipe's network with random weights of seed 0 (the time does not depend on them): with one call per part
as in the recipe (mode flash), and with five (mode fast). A video of twice the length shows what a further frame costs.
Medians, each in turn; peak memory is that of all.
"""

import argparse
import os
import tempfile
from dataclasses import asdict

import numpy as np
import torch
from encode import moving_texture
from measure import alternate, machine, peak_gigabytes, positive, print_table, run, seconds, write_report

from ramvid_vad.detectors.fusion import CalibratedSum
from ramvid_vad.detectors.infilling import GROUPS, RECIPE_BOXES, RECIPE_PARTS, Infilling
from ramvid_vad.loading import with_anchor_kind
from ramvid_vad.options.config_file import run_of_recipe
from ramvid_vad.runtime.allocator import keep_freed_memory
from ramvid_vad.script_util import create_model
from ramvid_vad.spaces.features import FeatureSpace
from ramvid_vad.video.reader import Clip, read_frames
from ramvid_vad.video.writer import write_video


def untrained(video: str, mode: str) -> Infilling:
    """The recipe ``full`` as it is before its first step, calibrated on the video. mode: of MODES."""
    run = with_anchor_kind(run_of_recipe("full", (*GROUPS, "video")))
    space = FeatureSpace.fit([video], centre=run.space.space_centre)
    torch.manual_seed(0)
    state = create_model(run.model, groups=tuple(space.groups.values())).state_dict()
    config = {name: asdict(getattr(run, name)) for name in GROUPS} | {"seq_len": run.video.seq_len}
    maps = list(space.encode(read_frames(video)))
    detector = Infilling(space, config, state, parts=RECIPE_PARTS, boxes=RECIPE_BOXES, mode=mode)
    detector.compare_with([np.stack(maps)])
    detector.calibrate({Clip(video): maps}, progress=False)
    return detector


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=positive, default=120)
    parser.add_argument("--repeats", type=positive, default=3)
    parser.add_argument("--out", default="runs/benchmarks/detectors.json")
    options = parser.parse_args()
    keep_freed_memory()  # as every command does
    with tempfile.TemporaryDirectory() as folder:
        videos = {count: os.path.join(folder, f"{count}.mp4") for count in (options.frames, 2 * options.frames)}
        for count, path in videos.items():
            write_video(path, moving_texture(count), fps=25)
        first = videos[options.frames]
        detectors = {"fast": CalibratedSum.fit([first], progress=False)}
        detectors |= {f"full, mode {mode}": untrained(first, mode) for mode in ("flash", "fast")}
        timed = {
            (name, count): lambda detector=detector, path=path: seconds(lambda: detector.score(path, maps=False))
            for name, detector in detectors.items()
            for count, path in videos.items()
        }
        taken = alternate(timed, options.repeats)
    short, long = videos
    rows = [
        {
            "recipe": name,
            "frames per second": long / taken[name, long],
            "ms of a further frame": 1000 * (taken[name, long] - taken[name, short]) / (long - short),
        }
        for name in detectors
    ]
    print_table(f"From file to scores, {long} frames of 240 x 360", rows)
    write_report(options.out, {**machine(), "peak_gigabytes": peak_gigabytes(), "rows": rows})


if __name__ == "__main__":
    run(main)
