#!/usr/bin/env bash
# UCSD Ped2 with a small network on two cores, in about an hour.
#
#   configs/ped2_cpu.sh [DATA] [RUN]    default: data/ped2 runs/ped2_cpu
#
# DATA/training  01 ... 16: folders of frames, or video files
# DATA/testing   01 ... 12
# DATA/labels    01.npy ... 12.npy: one 0 (normal) or 1 (abnormal) per test frame
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"

recipe ped2_cpu "${1:-data/ped2}" "${2:-runs/ped2_cpu}"
