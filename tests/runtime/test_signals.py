"""A first signal is noted, a second one ends the process, wherever the main thread stands."""

import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ramvid_vad.runtime.signals import Terminated, ending, finishing

ROOT = Path(__file__).resolve().parents[2]
# the main thread waits in C, where no Python handler runs, for a lock that is never let go
WAITING = """
import ctypes, sys
from ramvid_vad.runtime.signals import ending, finishing
lock = ctypes.create_string_buffer(64)
take = ctypes.CDLL(None).pthread_mutex_lock
take(lock)


def wait():
    print("waiting", flush=True)
    take(lock)


with ending():
    if sys.argv[1] == "outside":
        wait()
    with finishing(lambda line: print(line, flush=True), "step"):
        wait()
"""


@pytest.fixture(autouse=True)
def interrupts_arrive():
    """A shell starts what runs in its background with SIGINT ignored, and processes hand that on to their children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def until_it_waits(pid: int) -> None:
    """Until the main thread stands in the system call futex, after a moment where the kernel does not say."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            call = Path(f"/proc/{pid}/syscall").read_text().split()[0]
        except OSError:
            time.sleep(1)
            return
        if call in ("202", "98"):  # on x86-64, on AArch64
            return
        time.sleep(0.01)


@pytest.mark.parametrize("way", ["inside", "outside"])
@pytest.mark.parametrize(("first", "second"), [("SIGTERM", "SIGTERM"), ("SIGINT", "SIGTERM"), ("SIGTERM", "SIGINT")])
def test_a_second_signal_ends_a_process_that_waits_in_a_library(tmp_path, way, first, second):
    (tmp_path / "waiting.py").write_text(WAITING)
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "waiting.py"), way],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "waiting\n"
        until_it_waits(process.pid)
        process.send_signal(getattr(signal, first))
        if way == "inside":
            assert process.stdout.readline() == f"{first}: ending after this step; once more to end at once\n"
        time.sleep(0.5)  # two signals at once are one
        assert process.poll() is None, "the first is only noted"
        process.send_signal(getattr(signal, second))
        assert process.wait(30) == 128 + getattr(signal, second)
    finally:
        process.kill()
        process.stdout.close()


def test_the_first_signal_is_noted_and_handlers_are_put_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    lines = []
    for _ in range(3):  # one signal each time: they do not add up
        with finishing(lines.append, "batch") as stop:
            assert not stop
            os.kill(os.getpid(), signal.SIGTERM)
            deadline = time.monotonic() + 30
            while not lines and time.monotonic() < deadline:
                time.sleep(0.01)
            assert stop and stop.name == "SIGTERM"
        assert lines == ["SIGTERM: ending after this batch; once more to end at once"]
        lines.clear()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert signal.set_wakeup_fd(-1) == -1


@pytest.mark.parametrize(("number", "error"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)])
def test_outside_of_any_work_the_first_signal_is_an_exception(number, error):
    with pytest.raises(error), ending():
        os.kill(os.getpid(), number)
        time.sleep(30)


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("call", range(6))  # that puts handlers and descriptor in, and out again
def test_a_signal_between_handlers_and_descriptor_is_not_lost(monkeypatch, call, before):
    calls = []

    def arrive():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.05)  # in which its handler runs

    def interrupted(real, *arguments, **more):
        calls.append(real)
        here = len(calls) == call + 1
        if here and before:
            arrive()
        done = real(*arguments, **more)
        if here and not before:
            arrive()
        return done

    with pytest.raises(Terminated), ending(), monkeypatch.context() as patch:
        for name in ("signal", "set_wakeup_fd"):
            patch.setattr(signal, name, functools.partial(interrupted, getattr(signal, name)))
        with finishing(lambda line: None, "step") as noted:
            pass
        assert len(calls) == 6
        if noted:
            raise Terminated  # as a run does that was told to end


def test_one_signal_that_comes_by_two_ways_is_one():
    """A shell or launcher passes on what came to the whole group: the run still ends in good order."""
    lines = []
    with finishing(lines.append, "step") as stop:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.02)
    assert stop.name == "SIGTERM" and len(lines) == 1
