"""The weights that the trainings of gpu-check brought back, as checkpoints that the commands take.

    python benchmarks/gpu/returned.py [--returned runs/gpu]

Writes models/pixels.safetensors and models/features.safetensors into that folder, of the pieces that are there; for
the latter space.safetensors beside it. docs/gpu.md says how both are evaluated. float16 on the way: 3 digits of
each weight.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from measure import run  # noqa: E402

from ramvid_vad.errors import InputError  # noqa: E402
from ramvid_vad.training.weights import save_weights  # noqa: E402


def join(folder: Path, kind: str) -> Path:
    """The checkpoint made of the pieces of one training."""
    about = json.loads((folder / f"weights_{kind}.json").read_text(encoding="utf-8"))
    weights = {}
    for number in range(about["about"]["pieces"]):
        with np.load(folder / f"weights_{kind}_{number}.npz") as piece:
            weights |= {name: torch.from_numpy(piece[name].astype(np.float32)) for name in piece}
    path = folder / "models" / f"{kind}.safetensors"
    save_weights(str(path), weights, about["config"])
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--returned", default="runs/gpu", help="folder with what came back")
    folder = Path(parser.parse_args().returned)
    kinds = [kind for kind in ("pixels", "features") if (folder / f"weights_{kind}.json").exists()]
    if not kinds:
        raise InputError(f"--returned {folder}: holds no weights_pixels.json and no weights_features.json")
    for kind in kinds:
        print(join(folder, kind))
    if (folder / "space.safetensors").exists():
        (folder / "models").mkdir(exist_ok=True)
        shutil.copy(folder / "space.safetensors", folder / "models")


if __name__ == "__main__":
    run(main)
