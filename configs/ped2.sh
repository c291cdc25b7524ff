#!/usr/bin/env bash
# UCSD Ped2 with the thesis's network: for a GPU. ped2_cpu.sh is the one for two cores.
#
#   configs/ped2.sh [DATA] [RUN]    default: data/ped2 runs/ped2
#
# DATA is what this command writes:
#   python scripts/prepare_data.py ped2 --source FOLDER_OF_THE_RELEASE --out data/ped2
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"

recipe ped2 "${1:-data/ped2}" "${2:-runs/ped2}"
