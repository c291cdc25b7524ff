#!/usr/bin/env bash
# UBnormal with the thesis's network: for a GPU.
#
#   configs/ubnormal.sh [DATA] [RUN]    default: data/ubnormal runs/ubnormal
#
# DATA is what this command writes:
#   python scripts/prepare_data.py ubnormal --source FOLDER_OF_THE_RELEASE --out data/ubnormal
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"

recipe ubnormal "${1:-data/ubnormal}" "${2:-runs/ubnormal}"
