"""Work that must not hold up scoring: a thread of its own behind a bounded list of jobs, the oldest dropped first."""

import sys
import threading
import time
from collections import deque
from collections.abc import Callable

from ramvid_vad.runtime.progress import say


class Worker:
    """Runs jobs one by one, in order. A job that raises is counted as failed and said, once until one succeeds.

    title: in messages.  hide: takes passwords out of them.  done, failed, dropped: how many jobs.
    """

    def __init__(self, title: str, most: int, hide: Callable[[str], str] = lambda text: text) -> None:
        self.title, self._hide, self._most = title, hide, most
        self.done = self.failed = self.dropped = 0
        self._jobs: deque[Callable[[], None]] = deque()
        self._changed, self._busy, self._ended, self._quiet = threading.Condition(), False, False, False
        self._thread = threading.Thread(target=self._run, name=title, daemon=True)
        self._thread.start()

    def add(self, job: Callable[[], None]) -> None:
        """Never waits."""
        with self._changed:
            if len(self._jobs) == self._most:
                self._jobs.popleft()
                self.dropped += 1
            self._jobs.append(job)
            self._changed.notify_all()

    def end(self, patience: float) -> None:
        """Wait at most ``patience`` seconds for what there is to do; what is not done then counts as dropped."""
        end = time.monotonic() + patience
        with self._changed:
            self._changed.wait_for(lambda: not self._jobs and not self._busy, patience)
            self.dropped += len(self._jobs)
            self._jobs.clear()
            self._ended = True
            self._changed.notify_all()
        self._thread.join(max(end - time.monotonic(), 0.1))

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._ended)
                if not self._jobs:
                    return
                job, self._busy = self._jobs.popleft(), True
            try:
                job()
            except Exception as error:  # whatever a receiver or a disk does, the watch goes on
                self.failed += 1
                if not self._quiet:
                    say(f"WARNING: {self.title}: {self._hide(str(error) or type(error).__name__)}", sys.stderr)
                self._quiet = True
            else:
                self.done += 1
                self._quiet = False
            with self._changed:
                self._busy = False
                self._changed.notify_all()
