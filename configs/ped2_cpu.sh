#!/usr/bin/env bash
# UCSD Ped2 with a small network on two cores, in about an hour.
#
#   configs/ped2_cpu.sh [DATA] [RUN]    default: data/ped2 runs/ped2_cpu
#
# DATA is what this command writes:
#   python scripts/prepare_data.py ped2 --source FOLDER_OF_THE_RELEASE --out data/ped2
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"

recipe ped2_cpu "${1:-data/ped2}" "${2:-runs/ped2_cpu}"
