"""Writes what the part "train" of gpu-check needs, at most 64 MiB: normal videos as arrays, and the feature space.

    python benchmarks/gpu/prepare.py --data_dir data/ped2/training [--out runs/gpu]

pixels.npz: every frame, in the size and colours of the recipe `ped2_cpu`. maps.npz: every frame in a feature space
that is fitted on all but the last two videos, as `ramvid-vad fit --recipe full` fits it; space.safetensors: that
space. The last two videos by name are held out. Everything is cached, so that it is quick the second time. Copy the
tree with these three files in --out to the machine with the GPU; git ignores them.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks"), str(ROOT / "benchmarks" / "gpu")]

from arrays import write_arrays  # noqa: E402
from measure import run as run_script  # noqa: E402

from ramvid_vad.errors import InputError  # noqa: E402
from ramvid_vad.loading import cache_folder, frame_cache  # noqa: E402
from ramvid_vad.options.config_file import run_of_recipe  # noqa: E402
from ramvid_vad.runtime.progress import progress_bar  # noqa: E402
from ramvid_vad.spaces.cache import EncodedVideos  # noqa: E402
from ramvid_vad.spaces.features import FeatureSpace  # noqa: E402
from ramvid_vad.spaces.stored import load_space, save_space  # noqa: E402
from ramvid_vad.video.cache_folder import MAPS  # noqa: E402
from ramvid_vad.video.prefetch import prefetch  # noqa: E402
from ramvid_vad.video.reader import find_videos, video_name  # noqa: E402

LIMIT = 64 * 2**20  # bytes of the three files
HELD_OUT = 2  # videos
SPACE = "space.safetensors"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", required=True, help="normal videos")
    parser.add_argument("--out", default="runs/gpu", help="folder")
    parser.add_argument("--cache_dir", default="", help="as the commands' --cache_dir")
    arguments = parser.parse_args()
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    paths = find_videos(arguments.data_dir)
    names = {path: video_name(path, arguments.data_dir) for path in paths}
    held_out = [names[path] for path in paths[-HELD_OUT:]]
    print(f"{len(paths)} videos, of which {', '.join(held_out)} are held out")

    run = run_of_recipe("ped2_cpu", ("model", "video")).but("video", cache_dir=arguments.cache_dir)
    frames = frame_cache(run.video, run.model)
    prefetch(frames, paths)
    write_arrays(out / "pixels.npz", "pixels", {names[path]: frames.frames(path) for path in paths}, held_out)

    if not (out / SPACE).exists():
        chosen = run_of_recipe("full", ("space",)).space
        asked = {"kept": chosen.space_channels, "lines": chosen.lines, "centre": chosen.space_centre}
        with progress_bar("fitting the space", "frame") as bar:
            space = FeatureSpace.fit(paths[:-HELD_OUT], backbone=chosen.backbone, tick=bar.update, **asked)
        save_space(space, str(out / SPACE))
    maps = EncodedVideos(str(Path(cache_folder(arguments.cache_dir)) / MAPS), load_space(str(out / SPACE)))
    with progress_bar("encoding", "frame") as bar:
        for path in paths:
            if not maps.is_there(path):
                maps.frames(path, bar.update)
    write_arrays(out / "maps.npz", "maps", {names[path]: maps.frames(path) for path in paths}, held_out)

    sizes = {name: (out / name).stat().st_size for name in ("pixels.npz", "maps.npz", SPACE)}
    print(", ".join(f"{out / name} {size / 2**20:.1f} MiB" for name, size in sizes.items()))
    if sum(sizes.values()) > LIMIT:
        total = f"{sum(sizes.values()) / 2**20:.1f} MiB, more than {LIMIT / 2**20:.0f}"
        raise InputError(f"{out}: together {total}: give fewer videos")


if __name__ == "__main__":
    run_script(main)
