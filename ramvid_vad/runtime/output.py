"""Standard output that may be closed or full (``| head``, a log on a full disk) without ending what prints to it."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any


class Unfailing:
    """A text stream of which nothing more is written once a write has failed; the first time, ``told`` says so."""

    def __init__(self, stream: Any, name: str, told: Any):
        self._stream, self._name, self._told = stream, name, told

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._stream, attribute)

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except (OSError, ValueError) as error:
            self._give_up(error)
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._told.write(f"WARNING: {self._name} cannot be written ({error}); what goes there is dropped\n")
            self._told.flush()
        # what still waits in the buffer of the old stream would be tried again, and fail the end of the process
        with contextlib.suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), self._stream.fileno())
        self._stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


@contextlib.contextmanager
def unfailing_output() -> Iterator[None]:
    """Within, no print, log line or progress bar fails because of where it goes, and a stream that is not there (>&-)
    takes what it is given."""
    before = sys.stdout, sys.stderr
    out, err = (stream or open(os.devnull, "w", encoding="utf-8") for stream in before)  # noqa: SIM115
    sys.stdout, sys.stderr = Unfailing(out, "standard output", err), Unfailing(err, "standard error", out)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stdout, sys.stderr = before
