"""Threads: the order of the items, the first failure, and the libraries' settings afterwards."""

import threading
import time

import cv2
import pytest
import torch

from ramvid_vad.runtime.beside import in_order, in_threads, one_by_one


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


def counting(begun, items):
    for item in items:
        begun.append(item)
        yield [lambda item=item: item, lambda item=item: -item]


@pytest.mark.parametrize("ahead", [0, 1, 3, 100])
def test_no_more_items_are_asked_for_than_ahead(ahead):
    begun = []
    given = 0
    for given, results in enumerate(in_order(counting(begun, range(10)), ahead), 1):
        assert results == [given - 1, 1 - given]
        assert len(begun) == min(10, given + ahead)
    assert given == 10


def test_a_worker_runs_what_it_asks_for_itself():
    def inner(_):
        names = in_order([[lambda: threading.current_thread().name] * 3] * 4)
        return {name for each in names for name in each} == {threading.current_thread().name}

    assert in_threads(inner, range(5)) == [True] * 5


def test_a_thread_can_make_all_calls_itself():
    here = threading.get_ident()
    with one_by_one():
        assert in_threads(lambda _: threading.get_ident(), [1, 2, 3]) == [here] * 3
    assert here not in in_threads(lambda _: threading.get_ident(), [1, 2, 3])


def test_a_failure_comes_in_its_turn_and_an_abandoned_rest_is_not_begun():
    done = []

    def work(i):
        if i == 3:
            raise ValueError("three")
        time.sleep(0.01)
        done.append(i)
        return i

    results = in_order([lambda i=i: work(i)] for i in range(200))
    with pytest.raises(ValueError, match="three"):
        for number, given in enumerate(results):
            assert given == [number]
    assert number == 2 and len(done) < 20
    abandoned = in_order(([lambda i=i: work(i)] for i in range(100, 300)), ahead=100)
    assert next(abandoned) == [100]
    abandoned.close()
    assert max(done) < 150


def test_threads_of_the_libraries_come_back_when_the_last_user_has_ended():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        one, other = (in_order([[torch.get_num_threads]] * 5, 0) for _ in range(2))
        assert next(one) == next(other) == [1]
        one.close()
        assert torch.get_num_threads() == 1 and next(other) == [1]
        other.close()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
