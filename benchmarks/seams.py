"""Does a long autoregressive video show where its windows join? Frame-to-frame change at the joints and elsewhere.

    ramvid-vad sample --model_path RUN --data_dir VIDEOS --cond_frames 0,1,2,3,4 --num_frames 120 --out_dir OUT
python benchmarks/seams.py --samples OUT/samples_10x120x16x24x1.npz --window 12 --given 5 [--out FILE]
"""

import argparse
import json
import zipfile

import numpy as np
from measure import positive, run, write_report

from ramvid_vad.errors import InputError


def changes(videos: np.ndarray, window: int, given: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean |change| in grey levels to the frame before, of the first frame of each window after the first, and of all
    other generated frames. videos: uint8 (N, T, H, W, C) of windows of ``window`` frames with ``given`` ones kept."""
    change = np.abs(np.diff(videos.astype(np.float32), axis=1)).mean((2, 3, 4))  # [:, t - 1]: from frame t - 1 to t
    frames = np.arange(1, videos.shape[1])
    joints = (frames >= window) & ((frames - window) % (window - given) == 0)
    inner = (frames > given) & ~joints  # the first ones are given, or join them
    return change[:, joints].ravel(), change[:, inner].ravel()


def samples_of(path: str) -> np.ndarray:
    """Videos uint8 (N, T, H, W, C). InputError: the file holds none."""
    try:
        return np.load(path)["arr_0"]
    except (ValueError, LookupError, zipfile.BadZipFile):
        raise InputError(f"{path}: expected the samples_....npz of ramvid-vad sample") from None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", required=True)
    parser.add_argument("--window", type=positive, required=True)
    parser.add_argument("--given", type=positive, default=5)
    parser.add_argument("--out", default="runs/benchmarks/seams.json", help="JSON file")
    args = parser.parse_args()
    if args.given >= args.window:
        parser.error(f"--given {args.given}: expected fewer frames than --window {args.window}")
    at, inside = changes(samples_of(args.samples), args.window, args.given)
    if not len(at) or not len(inside):
        raise InputError(f"{args.samples}: its videos have no joint of windows of {args.window} frames")
    drawn = np.random.default_rng(0).choice(inside, (10_000, len(at))).mean(1)  # as many, wherever they lie
    found = {
        "joints": len(at),
        "change_at_joints": float(at.mean()),
        "change_elsewhere": float(inside.mean()),
        "elsewhere_95_percent_of_as_many": np.quantile(drawn, [0.025, 0.975]).tolist(),
        "largest_at_joints": float(at.max()),
        "largest_elsewhere": float(inside.max()),
    }
    print(json.dumps(found, indent=1))
    write_report(args.out, found)


if __name__ == "__main__":
    run(main)
