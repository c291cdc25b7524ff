"""How far long work has come, on stderr: a bar on a terminal, a line a minute in a file or a pipe."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TextIO, TypeVar

from tqdm import tqdm

T = TypeVar("T")
INTERVAL = 60.0  # seconds between two lines


class Lines:
    """What a bar would show, as a line every INTERVAL seconds and one at the end; the part of tqdm used here."""

    def __init__(self, **described: Any):
        self._described, self._notes = described, ""  # the first are format_meter's arguments
        self.n, self._shown = described["initial"], None
        self._lock = threading.Lock()  # several threads may work on one thing
        self._began = self._last = time.monotonic()

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *error: object) -> None:
        if self._shown != self.n:
            self._print()

    def update(self, n: float = 1) -> None:
        """``n`` more units are done."""
        with self._lock:
            self.n += n
            if time.monotonic() - self._last >= INTERVAL:
                self._print()

    def set_postfix(self, refresh: bool = True, **figures: object) -> None:
        """Figures for the end of the next line."""
        self._notes = ", ".join(f"{key}={value}" for key, value in figures.items())

    def _print(self) -> None:
        self._last, self._shown = time.monotonic(), self.n
        elapsed = self._last - self._began
        say(tqdm.format_meter(self.n, elapsed=elapsed, ncols=0, postfix=self._notes, **self._described), sys.stderr)


def progress_bar(
    desc: str, unit: str, total: float | None = None, initial: float = 0, shown: bool = True
) -> "tqdm | Lines":
    """A context manager with ``update(n)`` and ``set_postfix(**figures)``; shows nothing unless ``shown``.

    total: units there are, None if unknown.  initial: units that an earlier run has done.
    """
    if shown and not sys.stderr.isatty():
        return Lines(prefix=desc, unit=unit, total=total, initial=initial)
    return tqdm(desc=desc, unit=unit, total=total, initial=initial, disable=not shown)


def tracked(items: Sequence[T], desc: str, unit: str, shown: bool = True) -> Iterator[T]:
    """``items`` one by one, each counted when the next one is asked for."""
    with progress_bar(desc, unit, len(items), shown=shown) as bar:
        for item in items:
            yield item
            bar.update()


def counted(items: Iterable[T], tick: Callable[[int], Any]) -> Iterator[T]:
    """``items`` one by one; ``tick(1)`` as each one comes."""
    for item in items:
        tick(1)
        yield item


def say(line: str, file: TextIO) -> None:
    """A line that keeps clear of the bar below it; lost where it cannot be written: a closed pipe, a full disk."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # the last: there is no such stream
        tqdm.write(line, file=file)
        file.flush()


def warn(line: str) -> None:
    """A warning where there is no Logger."""
    say(f"WARNING: {line}", sys.stderr)
