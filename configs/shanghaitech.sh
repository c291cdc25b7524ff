#!/usr/bin/env bash
# ShanghaiTech Campus with the thesis's network: for a GPU.
#
#   configs/shanghaitech.sh [DATA] [RUN]    default: data/shanghaitech runs/shanghaitech
#
# DATA is what this command writes:
#   python scripts/prepare_data.py shanghaitech --source FOLDER_OF_THE_RELEASE --out data/shanghaitech
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"

recipe shanghaitech "${1:-data/shanghaitech}" "${2:-runs/shanghaitech}"
