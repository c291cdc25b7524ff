"""SIGINT and SIGTERM end a command in good order: what is under way is finished; a second one ends it at once."""

import contextlib
import signal
from collections.abc import Callable, Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM)


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

    def note(number: int, _frame: object) -> None:
        stop.name = signal.Signals(number).name
        _restore(dict.fromkeys(SIGNALS, signal.SIG_DFL))  # not an exception, which a blocked call would hold up
        warn(f"{stop.name}: ending after this {unit}; once more to end at once")

    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield stop
    finally:
        _restore(before)


@contextlib.contextmanager
def ending() -> Iterator[None]:
    """Within, SIGTERM raises Terminated, as SIGINT raises KeyboardInterrupt."""

    def end(_number: int, _frame: object) -> None:
        raise Terminated

    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, end)}
    try:
        yield
    finally:
        _restore(before)


def _restore(before: dict) -> None:
    for number, handler in before.items():
        signal.signal(number, handler)
