#!/usr/bin/env bash
# CUHK Avenue with the thesis's network: for a GPU.
#
#   configs/avenue.sh [DATA] [RUN]    default: data/avenue runs/avenue
#
# DATA is what this command writes:
#   python scripts/prepare_data.py avenue --source FOLDER_OF_THE_RELEASE --out data/avenue
#
# Two label sets are in use, which differ in videos 08 and 18 among others; say which one a result was made with.
# The release has vollabel. LABELS=labels_liu2018 takes the other, which Liu et al. distribute with their frames
# (docs/data.md).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"

recipe avenue "${1:-data/avenue}" "${2:-runs/avenue}" "${LABELS:-labels_vollabel}"
