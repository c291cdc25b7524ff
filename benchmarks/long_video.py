"""Peak memory and time per frame of infilling and evaluating one long video of small frames.

    python benchmarks/long_video.py [--frames 3000 30000 300000] [--out runs/benchmarks/long_video.json]

A grey H.264 video, 48 x 32, made on the spot (a moving square on noise, seed 0), with labels. Each step in a process of
its own: `decode` into the cache of frames; `infill` windows of 30 every 15, with a network that costs nothing, so that
what is left is our own bookkeeping, files and sampler; `evaluate` the reconstructions (mse, the blend and the previous
frame, the files and the pictures of the report); `nulls_only`. Seconds are those of the processor, whatever else runs.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator

import numpy as np
import torch
from measure import machine, own_process, peak_gigabytes, positive, print_table, run, write_report

from ramvid_vad.diffusion.anchors import selective_anchors
from ramvid_vad.evaluation.from_reconstructions import evaluate_reconstructions
from ramvid_vad.evaluation.from_videos import evaluate_nulls
from ramvid_vad.evaluation.report.files import write_results
from ramvid_vad.evaluation.report.pictures import frame_source
from ramvid_vad.infill_videos import FolderInfilling
from ramvid_vad.options import DiffusionOptions, EvalOptions, SampleOptions
from ramvid_vad.runtime.allocator import keep_freed_memory
from ramvid_vad.script_util import create_diffusion
from ramvid_vad.video.cache import FrameCache
from ramvid_vad.video.writer import write_video

SIZE = (32, 48)
STEPS = ("decode", "infill", "evaluate", "nulls_only")


class Nothing(torch.nn.Module):
    """A network that predicts no noise."""

    def forward(self, x: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        return torch.zeros_like(x)


def scene(frames: int) -> Iterator[np.ndarray]:
    """Grey frames (32, 48, 1): a square that goes round on noise."""
    noise = np.random.default_rng(0).integers(60, 120, (*SIZE, 1), dtype=np.uint8)
    for t in range(frames):
        frame = noise.copy()
        frame[10:20, t % 40 : t % 40 + 8] = 200
        yield frame


def make(folder: str, frames: int) -> None:
    """The video and its labels."""
    for name in ("videos", "labels"):
        os.makedirs(os.path.join(folder, name))
    write_video(os.path.join(folder, "videos", "01.mp4"), scene(frames), fps=25)
    labels = np.arange(frames) % 500 < 100
    np.save(os.path.join(folder, "labels", "01.npy"), labels.astype(np.uint8))


def step(name: str, folder: str) -> None:
    """One of STEPS."""
    video, made, cache_dir = (os.path.join(folder, *part.split()) for part in ("videos 01.mp4", "made", "cache"))
    cache = FrameCache(cache_dir, SIZE, rgb=False)
    places = {"data_dir": os.path.join(folder, "videos"), "labels": os.path.join(folder, "labels")}
    options = EvalOptions(**places, measures="mse", nulls="linear_blend,previous_frame,coverage,constant")
    if name == "decode":
        cache.build(video)
    elif name == "infill":
        settings = {"image_size": list(SIZE), "rgb": False, "keep_aspect": False}
        sampling = SampleOptions(sampler="ddim")
        infilling = FolderInfilling(made, ["01"], [video], cache, selective_anchors(30), sampling, settings)
        diffusion = create_diffusion(DiffusionOptions(timestep_respacing="ddim2"))
        infilling.run(Nothing(), diffusion, torch.device("cpu"), "fp32", progress=False)
        assert not infilling.missing()
        infilling.finish()
    elif name == "evaluate":
        options.reconstructions = made
        evaluation = evaluate_reconstructions(options, cache_dir, progress=False)
        result = os.path.join(folder, "result")
        os.makedirs(result)
        write_results(evaluation, result, progress=False, source=frame_source(options, cache_dir))
    else:
        options.nulls_only, options.nulls = True, "linear_blend,previous_frame,frame_difference,constant"
        evaluate_nulls(options, progress=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=positive, nargs="+", default=[3_000, 30_000, 300_000])
    parser.add_argument("--out", default="runs/benchmarks/long_video.json", help="JSON file")
    parser.add_argument("--step", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        keep_freed_memory()  # as every command does
        start = time.process_time()
        step(*arguments.step)
        print(json.dumps({"seconds": time.process_time() - start, "peak": peak_gigabytes()}))
        return
    rows = []
    for frames in arguments.frames:
        with tempfile.TemporaryDirectory(prefix="ramvid_vad_") as folder:
            make(folder, frames)
            for name in STEPS:
                found = own_process(__file__, "--step", name, folder)
                rows.append(
                    {"frames": frames, "step": name, "peak (MB)": 1000 * found["peak"], "seconds": found["seconds"]}
                    | {"ms per frame": 1000 * found["seconds"] / frames}
                )
                print(rows[-1], file=sys.stderr, flush=True)
    print_table("one video of small frames", rows)
    write_report(arguments.out, machine() | {"rows": rows})


if __name__ == "__main__":
    run(main)
