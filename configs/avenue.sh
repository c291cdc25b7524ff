#!/usr/bin/env bash
# CUHK Avenue with the thesis's network: a GPU and days.
#
#   configs/avenue.sh [DATA] [RUN]      default: data/avenue runs/avenue
#
# DATA/training  01.avi ... 16.avi    (the release's training_videos)
# DATA/testing   01.avi ... 21.avi    (the release's testing_videos)
# DATA/labels    01.npy ... 21.npy: one 0 (normal) or 1 (abnormal) per test frame. Two sets are in use (they differ in
#                videos 08 and 18, among others): say which one a result was made with.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"

recipe avenue "${1:-data/avenue}" "${2:-runs/avenue}"
