"""Residual on held-out normal clips against the number of sampling steps: the way to choose the steps without labels.

    python benchmarks/steps_on_normal.py --model_path runs/X/model --data_dir HELD_OUT_NORMAL --steps 2,3,5,10

For each number of steps the clips are infilled with ``video_sample.py`` and the mean squared error of the generated
frames is printed, in grey levels squared; less is better. Seed 0.
"""

import argparse
import json
import os

import numpy as np
from measure import run, write_report

from ramvid_vad.cli import COMMAND_SECTIONS, parse_command
from ramvid_vad.commands.sample import sample
from ramvid_vad.loading import cache_folder
from ramvid_vad.video.cache import FrameCache
from ramvid_vad.video.reader import find_videos, video_name


def squared_error(folder: str, data_dir: str, cache_dir: str) -> float:
    """Mean over all generated frames of the mean squared error, grey levels squared."""
    errors = []
    for path in find_videos(data_dir):
        with np.load(os.path.join(folder, video_name(path, data_dir) + ".npz"), allow_pickle=False) as made:
            settings = json.loads(str(made["settings"]))
            cache = FrameCache(
                cache_dir, tuple(settings["image_size"]), rgb=settings["rgb"], keep_aspect=settings["keep_aspect"]
            )
            real = cache.frames(path)[made["frame"]].astype(np.float64)
            errors.append(((real - made["reconstructions"]) ** 2).mean(axis=(1, 2, 3)))
    return float(np.concatenate(errors).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_path", required=True)
    parser.add_argument("--data_dir", required=True, help="normal clips that were not trained on")
    parser.add_argument("--steps", default="2,3,5,10", help="values of --timestep_respacing, comma-separated")
    parser.add_argument("--cache_dir", default="")
    parser.add_argument("--out_dir", default="runs/benchmarks/steps_on_normal")
    known, more = parser.parse_known_args()  # the rest goes to video_sample.py
    table = {}
    for steps in known.steps.split(","):
        folder = os.path.join(known.out_dir, steps)
        arguments = ["--model_path", known.model_path, "--data_dir", known.data_dir, "--cache_dir", known.cache_dir]
        arguments += ["--out_dir", folder, "--timestep_respacing", steps, *more]
        sample(parse_command("video_sample", COMMAND_SECTIONS["video_sample"], arguments))
        table[steps] = squared_error(folder, known.data_dir, cache_folder(known.cache_dir))
    print("steps  squared error")
    for steps, error in table.items():
        print(f"{steps:>5}  {error:.2f}")
    write_report(os.path.join(known.out_dir, "steps_on_normal.json"), table)


if __name__ == "__main__":
    run(main)
