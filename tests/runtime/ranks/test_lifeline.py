"""The socket between ranks, with both ends in this process."""

import contextlib
import socket
import threading
import time

import pytest

from ramvid_vad.runtime.ranks import lifeline


@pytest.fixture
def ended(monkeypatch):
    """The lines with which ranks would end; here only their threads stop, and all have ended before the real ``_end``
    is put back: a thread that came to it later would end the tests' own process."""
    lines, over = [], threading.Event()

    def end(line):
        lines.append(line)
        over.wait()

    monkeypatch.setattr(lifeline, "_ends", [])
    monkeypatch.setattr(lifeline, "_end", end)
    others = threading.enumerate()
    yield lines
    over.set()
    for link in lifeline._ends:
        with contextlib.suppress(OSError):
            link.shutdown(socket.SHUT_RDWR)
    for thread in set(threading.enumerate()).difference(others):
        thread.join(60)
        assert not thread.is_alive()


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_no_alarm_after_a_goodbye(ended):
    lifeline.start(*lifeline.listen(2), rank=1)
    wait_for(lambda: len(lifeline._ends) == 2)
    links = [*lifeline._ends]
    lifeline.stop()
    time.sleep(0.2)
    for link in links:
        link.shutdown(socket.SHUT_RDWR)
    time.sleep(0.2)
    assert ended == []


def test_an_end_without_goodbye_is_heard_and_told_to_the_third(ended):
    door = lifeline.listen(3)
    for rank in (1, 2):
        lifeline.start(*door, rank=rank)
    wait_for(lambda: len(lifeline._ends) == 4)
    of_rank_2 = [link for link in lifeline._ends if link.getpeername()[1] == door[1]][1]
    of_rank_2.shutdown(socket.SHUT_RDWR)
    wait_for(lambda: len(ended) == 3)
    told = [line for line in ended if line]
    assert len(told) == 1 and told[0].startswith("rank 2 has ended without a word"), "one rank says it, all end"


def test_strangers_are_not_let_in_and_do_no_harm(ended):
    host, port, token = lifeline.listen(2)
    for hello in (b"", b"GET / HTTP/1.1\r\n\r\n", b"0" * (len(token) + 4)):
        with socket.create_connection(("127.0.0.1", port)) as stranger:
            stranger.sendall(hello)
            stranger.shutdown(socket.SHUT_WR)
            assert stranger.recv(1) == b""
    assert lifeline._ends == [] and ended == []
    lifeline.start(host, port, token, rank=1)
    wait_for(lambda: len(lifeline._ends) == 2)
    next(link for link in lifeline._ends if link.getpeername()[1] == port).shutdown(socket.SHUT_RDWR)
    wait_for(lambda: any("rank 1 has ended" in line for line in ended))


def test_without_a_way_to_rank_0_the_run_goes_on_and_says_so(ended, capsys):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    lifeline.start("127.0.0.1", port, "token", rank=3)
    assert "rank 3: no lifeline to rank 0" in capsys.readouterr().err and ended == []
