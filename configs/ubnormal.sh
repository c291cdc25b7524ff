#!/usr/bin/env bash
# UBnormal with the thesis's network: a GPU and days.
#
#   configs/ubnormal.sh [DATA] [RUN]    default: data/ubnormal runs/ubnormal
#
# The release keeps all splits of a scene in one folder; sort them by its split lists:
# DATA/training  the normal videos of the training split
# DATA/testing   the videos of the test split, normal and abnormal (158 abnormal, 53 normal)
# DATA/labels    NAME.npy for every test video: one 0 (normal) or 1 (abnormal) per frame; all zeros for the normal ones
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"

recipe ubnormal "${1:-data/ubnormal}" "${2:-runs/ubnormal}"
