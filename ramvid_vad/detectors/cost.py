"""What scoring with a fitted detector costs, measured in a process of its own."""

import re
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from typing import Any

import torch

from ramvid_vad.detectors.detector import colour, load
from ramvid_vad.detectors.registry import SAVED
from ramvid_vad.runtime.beside import one_by_one

FRAMES = 64  # of the video, whose floating-point operations are counted


def measured_cost(folder: str, video: str) -> dict[str, Any]:
    """Of the detector that is saved in ``folder``, scoring one video file.

    learned: numbers in detector.safetensors, calibration included.  flops_per_frame: of convolutions and matrix
    products, as ``torch.utils.flop_counter`` counts them (a multiply-add is two), over the first FRAMES frames; optical
    flow, scans and what numpy does are not counted.  frames_per_second: from file to scores, decoding included, at
    ``threads`` threads of PyTorch.  peak_memory_mb: resident, of the whole process.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as apart:  # the peak of this process is another's
        return apart.submit(_measure, folder, video).result()


def _measure(folder: str, video: str) -> dict[str, Any]:
    from torch.utils.flop_counter import FlopCounterMode

    detector = load(folder, SAVED)
    head = list(islice(colour(video), FRAMES))
    with one_by_one(), FlopCounterMode(display=False) as counter:  # which also warms up
        detector.score(head, maps=False)
    began = time.perf_counter()
    scores = detector.score(video, maps=False)
    seconds = time.perf_counter() - began
    return {
        "learned": sum(each.numel() for each in detector.tensors().values()),
        "flops_per_frame": counter.get_total_flops() / len(head),
        "frames_per_second": len(scores.frames) / seconds,
        "peak_memory_mb": _peak(),
        "threads": torch.get_num_threads(),
    }


def _peak() -> float:
    """Largest resident memory of this process so far, MB. (getrusage's would be the parent's, which it inherits.)"""
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        return int(re.search(r"VmHWM:\s+(\d+) kB", file.read())[1]) / 1024
