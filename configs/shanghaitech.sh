#!/usr/bin/env bash
# ShanghaiTech Campus with the thesis's network: a GPU and days.
#
#   configs/shanghaitech.sh [DATA] [RUN]    default: data/shanghaitech runs/shanghaitech
#
# DATA/training  01_001.avi ...                (the release's training/videos)
# DATA/testing   01_0014 ...: folders of frames  (the release's testing/frames)
# DATA/labels    01_0014.npy ...               (the release's testing/test_frame_mask)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"

recipe shanghaitech "${1:-data/shanghaitech}" "${2:-runs/shanghaitech}"
