"""Threads: the order of the items, the first failure, and the libraries' settings afterwards."""

import threading
import time

import cv2
import pytest
import torch

from ramvid_vad.evaluation.raw_scores import in_threads


def test_results_come_in_the_order_of_the_items():
    def slow_first(i):
        time.sleep(0.05 if i == 0 else 0)
        return i, torch.get_num_threads(), cv2.getNumThreads()

    assert in_threads(slow_first, list(range(20))) == [(i, 1, 1) for i in range(20)]
    assert in_threads(slow_first, []) == []


def test_the_libraries_have_their_threads_back():
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(2)
    cv2.setNumThreads(2)
    try:
        in_threads(str, [1])
        with pytest.raises(ValueError, match="invalid literal"):
            in_threads(int, ["x"])
        assert (torch.get_num_threads(), cv2.getNumThreads()) == (2, 2)
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


def test_the_first_failure_stops_the_rest():
    done, go = [], threading.Event()

    def fail_at_once(i):
        if i == 0:
            raise RuntimeError("no")
        go.wait(0.02)
        done.append(i)

    with pytest.raises(RuntimeError, match="no"):
        in_threads(fail_at_once, list(range(500)))
    assert len(done) < 400
