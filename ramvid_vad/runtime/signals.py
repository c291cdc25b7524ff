"""SIGINT and SIGTERM end a command in good order: what is under way is finished; a second one ends it at once.

Python runs its handlers between two instructions of the main thread, which may stand in a collective for hours. So a
thread of its own hears of each signal, through the descriptor to which the interpreter writes as the signal comes.
"""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM)
TOGETHER = 0.3  # seconds in which signals are one that came by two ways, as where a shell passes on what all have had
_heard: list[float] = []  # when the first came since the outermost of the contexts below was entered


class Terminated(KeyboardInterrupt):
    """SIGTERM where nothing is under way that is worth finishing."""


class Stop:
    """True once a signal has asked for the end."""

    def __init__(self) -> None:
        self.name = ""  # of the signal

    def __bool__(self) -> bool:
        return bool(self.name)


@contextlib.contextmanager
def finishing(warn: Callable[[str], None], unit: str) -> Iterator[Stop]:
    """Within, the first signal is only noted, and ``warn`` is told that the ``unit`` under way is finished."""
    stop = Stop()

    def note(number: int, _frame: object = None) -> None:  # as a handler, for what comes while nobody listens yet
        stop.name = signal.Signals(number).name

    def tell(number: int) -> None:
        note(number)
        warn(f"{stop.name}: ending after this {unit}; once more to end at once")

    with _listening(tell, dict.fromkeys(SIGNALS, note)):
        yield stop


@contextlib.contextmanager
def ending() -> Iterator[None]:
    """Within, SIGTERM raises Terminated, as SIGINT raises KeyboardInterrupt."""

    def end(_number: int, _frame: object) -> None:
        raise Terminated

    with _listening(lambda number: None, {signal.SIGTERM: end}):
        yield


@contextlib.contextmanager
def _listening(first: Callable[[int], None], handlers: dict) -> Iterator[None]:
    """``first(number)`` is called for the first signal, on another thread; the second one ends the process."""
    ear, mouth = socket.socketpair()
    mouth.setblocking(False)

    def listen() -> None:
        while byte := ear.recv(1):
            number = byte[0]
            if number not in SIGNALS:
                continue
            now = time.monotonic()
            if not _heard:
                _heard.append(now)
                first(number)
            elif now - _heard[0] > TOGETHER:
                os._exit(128 + number)

    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    outer = signal.set_wakeup_fd(mouth.fileno(), warn_on_full_buffer=False)
    if outer < 0:
        _heard.clear()
    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(outer)
        for number, handler in before.items():
            signal.signal(number, handler)
        mouth.close()
        listener.join()
        ear.close()
