"""The thread that reads a source into the queue: a file at its rate, a stream again and again when it breaks off."""

import gc
import sys
import threading
import time
from collections.abc import Callable

from ramvid_vad.errors import InputError
from ramvid_vad.runtime.progress import say
from ramvid_vad.watch.counters import Counters
from ramvid_vad.watch.input.queue import Before, Frame, FrameQueue
from ramvid_vad.watch.input.source import Connection, Lost, Source

WAITS = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Seconds before the first, second ... try to open a lost stream again; the last one before every further try."""
LATE = (
    0.5  # seconds between two frames, beyond their distance by the source's own clock, that the reader is to blame for
)
JUMP = 5.0  # seconds ahead of its time from which on a frame of a live stream is one of a clock that was set


class Reader:
    """Reads ``source`` into ``queue`` until its end or until ``ending`` is set.

    again: play a file over and over.  timeout: seconds to open, and of silence.  clock: seconds, as of ``Frame``.
    lost: why nothing comes, "" while it does.  since: when it was lost last.  failure: what ended it, if it was an
    error of the user's.
    """

    def __init__(
        self,
        source: Source,
        queue: FrameQueue,
        counters: Counters,
        ending: threading.Event,
        clock: Callable[[], float],
        again: bool = False,
        timeout: float = 10.0,
    ) -> None:
        self._source, self._queue, self._counters = source, queue, counters
        self._ending, self._clock, self._again, self._timeout = ending, clock, again, timeout
        self._tries, self.since = 0, 0.0  # since the last picture
        self.lost, self.failure = "", None
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)

    def start(self) -> None:
        """Begin, on a thread of its own."""
        self._thread.start()

    def join(self, timeout: float) -> None:
        """Wait until it has ended; a read that hangs ends by its own time limit."""
        self._thread.join(timeout)

    def _run(self) -> None:
        try:
            self.read()
        except InputError as error:
            self.failure = error
        except Exception as error:  # a thread has nobody else to tell
            self.failure = InputError(f"{self._source.shown}: reading failed ({type(error).__name__}: {error})")
        finally:
            self._queue.end()

    def read(self) -> None:
        """All of it, on the calling thread. InputError: a file that cannot be opened."""
        while not self._ending.is_set():
            ended = ""
            try:
                with Connection(self._source, self._timeout, self._counters) as connection:
                    lasts, before = connection.lasts, self._counters.read
                    self._play(connection)
                if self._counters.read == before:
                    raise Lost("it was opened, and no picture came")
                if lasts and not self._again:
                    return
                ended = "" if lasts else "the stream has ended"
            except Lost as lost:
                ended = str(lost)
                if self._source.kind == "file":
                    raise InputError(f"{self._source.shown}: {ended}") from None
            connection = None
            gc.collect()  # PyAV's containers and streams hold each other: their decoders would stay in memory for long
            if ended and not self._ending.is_set():
                self._told_lost(ended)
                self._ending.wait(WAITS[min(self._tries, len(WAITS)) - 1])

    def _play(self, connection: Connection) -> None:
        began, last = self._clock(), None
        for seconds, rgb, luma in connection.pictures():
            early = began + seconds - self._clock()
            if connection.segments and not -LATE <= early <= JUMP:
                began, early = began - early, 0.0  # the next segment came late, or its clock began anew: on from here
            if (connection.lasts or connection.segments) and early > 0:
                self._ending.wait(early)
            if self._ending.is_set():
                self._counters.dropped += 1
                return
            now, missing = self._clock(), Before.LOST if self._tries else Before.CLOSED
            if self._tries:
                say(f"{self._source.shown}: back after {now - self.since:.0f} s", sys.stderr)
            self.lost, self._tries = "", 0
            if last:  # the clocks of the watch and of the source
                missing = Before.MISSED if now - last[0] > LATE + seconds - last[1] else Before.NOTHING
            last = now, seconds
            self._queue.put(Frame(now, rgb, luma, missing))

    def _told_lost(self, why: str) -> None:
        self._tries += 1
        self.lost = why
        if self._tries == 1:  # a camera may be away for weeks: it is not said at every try
            self.since = self._clock()
            say(f"{self._source.shown}: lost ({why}); trying again, at last every {WAITS[-1]:.0f} s", sys.stderr)


def watch_clock() -> Callable[[], float]:
    """Seconds since 1970 that never jump, whatever sets the machine's clock."""
    offset = time.time() - time.monotonic()
    return lambda: offset + time.monotonic()
