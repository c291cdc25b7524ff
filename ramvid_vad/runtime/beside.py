"""Calls beside each other, in threads, with results in order. Meanwhile each library keeps to one thread of its own:
many small operations on few cores would only wait for each other."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import cv2
import torch

Item, Result = TypeVar("Item"), TypeVar("Result")
MOST_WORKERS = 8
_here = threading.local()  # .working: this thread is a worker
_lock = threading.Lock()
_users, _before = 0, (1, 1)  # of single_threaded_libraries, and what the first of them found


def workers() -> int:
    """Calls that run at once: a core each, of those that this process may use, and no more than PyTorch has threads
    (OMP_NUM_THREADS); at most MOST_WORKERS."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _before[0] if _users else torch.get_num_threads(), MOST_WORKERS)


def in_threads(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """``function`` of every item, in order; see ``in_order``."""
    calls = ([partial(function, item)] for item in items)
    return [result for (result,) in in_order(calls, ahead=len(items))]


def always() -> bool:
    return True


def never() -> bool:
    return False


def in_order(
    items: Iterable[Sequence[Callable[[], Result]]], ahead: int | None = None, ready: Callable[[], bool] = always
) -> Iterator[list[Result]]:
    """The results of each item's calls, which run beside each other.

    ahead: further items that are asked for and begun, at most, before an item's results are given; None: as many as
    there are workers.  ready: whether the next item can be had without waiting: where not, results are given first.
    Where a worker, or a thread ``one_by_one``, calls this function, all runs in that thread. What a call raises is
    raised in its turn, and no other is begun.
    """
    if getattr(_here, "working", False):
        yield from ([call() for call in item] for item in items)
        return
    count = workers()
    ahead = count if ahead is None else ahead
    with single_threaded_libraries(), ThreadPoolExecutor(count, initializer=_begin) as pool:
        begun: deque[list[Future[Result]]] = deque()
        try:
            for item in items:
                begun.append([pool.submit(call) for call in item])
                while begun and (len(begun) > ahead or not ready()):
                    yield [future.result() for future in begun.popleft()]
            while begun:
                yield [future.result() for future in begun.popleft()]
        finally:  # a failure, Ctrl-C, or nobody wants the rest
            pool.shutdown(cancel_futures=True)


def _begin() -> None:
    _here.working = True


@contextmanager
def one_by_one() -> Iterator[None]:
    """This thread makes all calls itself, for what sees one thread alone: a counter of operations."""
    before = getattr(_here, "working", False)
    _here.working = True
    try:
        yield
    finally:
        _here.working = before


@contextmanager
def single_threaded_libraries() -> Iterator[None]:
    """PyTorch's and OpenCV's own threads are switched off until the last of those who asked for it has ended."""
    global _users, _before
    with _lock:
        if not _users:
            _before = torch.get_num_threads(), cv2.getNumThreads()
            torch.set_num_threads(1)
            cv2.setNumThreads(1)
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                torch.set_num_threads(_before[0])
                cv2.setNumThreads(_before[1])
