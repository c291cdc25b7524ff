"""Runs a script of the project in a feature space that no option makes: rows of docs/study.md.

    python benchmarks/study_space.py [--blocks 2,4,7] [--cell 8] [--zero motion] SCRIPT ITS OPTIONS

Training (scripts/video_train.py) and study (benchmarks/study.py) of one row are both run so; ``--zero`` is kept in the
trained space, so that its study needs none.
"""

import argparse
import runpy
import sys
from pathlib import Path

import torch
from measure import positive, run

from ramvid_vad.detectors import free_parts
from ramvid_vad.errors import InputError
from ramvid_vad.spaces import backbones, features, motion

WIDTHS = (16, 24, 24, 40, 40, 40, 80, 80)  # channels behind each block of EfficientNet-Lite0
ENDLESS = 1e12  # the variance of a channel that shall be 0 everywhere


def without(zero: str) -> None:
    """Fit spaces in which the group ``zero`` is 0 in every map."""
    fit = features.FeatureSpace.fit.__func__
    scale, place = ("motion_sd", "motion_place") if zero == "motion" else ("variance", "place")

    def changed(cls: type, *given: object, **named: object) -> features.FeatureSpace:
        space = fit(cls, *given, **named)
        parts = space.tensors()
        changes = {scale: torch.full_like(parts[scale], ENDLESS), place: torch.zeros_like(parts[place])}
        return cls(**space.settings(), **parts | changes)

    features.FeatureSpace.fit = classmethod(changed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", default="4,7", help="0 to 7, whose maps are put side by side")
    parser.add_argument("--cell", type=positive, default=8, help="pixels, the stride of the first of --blocks")
    parser.add_argument("--zero", default="", choices=("", "appearance", "motion"), help="group that is 0 everywhere")
    parser.add_argument("script")
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="its options")
    options = parser.parse_args()
    try:
        blocks = tuple(sorted(int(each) for each in options.blocks.split(",")))
        backbones.FrozenFeatures.channels = sum(WIDTHS[block] for block in blocks)
    except (ValueError, IndexError):
        raise InputError(f"--blocks {options.blocks}: expected numbers from 0 to 7, e.g. 4,7") from None
    backbones.BLOCKS, backbones.STRIDE = blocks, options.cell
    motion.CELL = features.CELL = free_parts.CELL = options.cell
    if options.zero:
        without(options.zero)
    sys.argv = [options.script, *options.rest]
    sys.path.insert(0, str(Path(options.script).parent))
    runpy.run_path(options.script, run_name="__main__")


if __name__ == "__main__":
    run(main)
