"""Decoding many videos at once, each in a worker process that may die or hang without taking the run with it.

Workers are fresh interpreters, not forks: they are safe beside CUDA, MPI and threads, import neither torch nor the
calling script nor anything in the working directory, and decode on one core each. They read one JSON line per video and
answer in JSON lines: {"frames": k} now and then, and {"done": n} or {"error": message} at the end.
"""

import contextlib
import json
import os
import queue
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable

from ramvid_vad.errors import InputError, RunError
from ramvid_vad.runtime.files import ABANDONED, clear_abandoned
from ramvid_vad.runtime.progress import progress_bar
from ramvid_vad.video.cache import CacheUnwritable, FrameCache
from ramvid_vad.video.cache_folder import IN_USE, remove

TIMEOUT = 120.0
"""Seconds without a sign of progress after which a worker is ended."""
LONGEST_WAIT = 1e6
"""Seconds: the system counts the milliseconds of a wait in 31 bits."""
LAST_BREATH = 10.0
"""Seconds that a killed worker gets to vanish: one that waits for a dead disk cannot be ended, only left behind."""
_START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from ramvid_vad.video.prefetch import work; work()"


def prefetch(
    cache: FrameCache,
    paths: Iterable[str],
    workers: int | None = None,
    progress: bool = True,
    timeout: float = TIMEOUT,
    failures: dict[str, str] | None = None,
) -> int:
    """Decode those of ``paths`` that are not cached yet; returns how many there were.

    workers: processes, by default one per core this process may use.  progress: show a bar.
    timeout: seconds without a sign of progress, a new frame as a rule, after which a decoder counts as hanging and is
    ended.
    failures: given a dictionary, damaged videos are noted there (path -> message) and the others go on; without one
    the first raises its InputError. A decoder that hangs or crashes counts as damage. What is no video's fault always
    raises: InputError for a cache folder that cannot be written, RunError for a worker that was killed, of memory for
    example.
    """
    paths = list(paths)
    todo = cache.missing(paths)
    if not todo:
        return 0
    clear_abandoned(cache.cache_dir, max(ABANDONED, 2 * timeout))  # a decoder without a new frame is ended before
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    for path in todo:
        waiting.put(path)
    results: queue.SimpleQueue[tuple[str, BaseException | None]] = queue.SimpleQueue()
    crew = [_Worker(cache, timeout) for _ in range(min(workers or cores, len(todo)))]
    threads = [threading.Thread(target=_serve, args=(worker, waiting, results), daemon=True) for worker in crew]
    try:
        for thread in threads:
            thread.start()
        with progress_bar("decoding", "video", len(todo), shown=progress) as bar:
            for _ in todo:
                path, error = results.get()
                bar.update()
                bar.set_postfix(frames=sum(worker.frames for worker in crew), refresh=False)
                if error and (failures is None or not isinstance(error, DamagedVideo)):
                    raise error
                if error:
                    failures[path] = str(error)
    finally:
        for worker in crew:
            worker.dismiss()
        for thread in threads:
            thread.join()
    if cache.limit:
        own = {cache.entry(path) for path in paths if path not in (failures or {})}
        remove(cache.cache_dir, cache.limit, keep=own, unused_for=IN_USE)
    return len(todo)


def _serve(worker: "_Worker", waiting: queue.SimpleQueue, results: queue.SimpleQueue) -> None:
    """One thread per worker: hand it video after video until none is left."""
    while not worker.dismissed:
        try:
            path = waiting.get_nowait()
        except queue.Empty:
            return
        try:
            worker.decode(path)
            results.put((path, None))
        except OSError as error:
            why = f"{path}: no process to decode it ({error}); use fewer --num_workers, or allow more (ulimit -n, -u)"
            results.put((path, RunError(why)))
        except BaseException as error:  # whatever it is, somebody waits for this video
            results.put((path, error))


class DamagedVideo(InputError):
    """A video that cannot be decoded to its end, as opposed to anything else that may go wrong meanwhile."""


class _Worker:
    """A decoding process, started again after one that was lost."""

    def __init__(self, cache: FrameCache, timeout: float):
        self.cache, self.timeout = cache, timeout
        self.frames = 0  # decoded so far, over all videos
        self.dismissed = False
        self.process: subprocess.Popen | None = None
        self._temporary = ""  # what the process is writing

    def decode(self, path: str) -> None:
        """Raises DamagedVideo when the process refuses the video, crashes or hangs over it, all with its name.

        InputError: the cache cannot be written; RunError: the process was killed from outside.
        """
        process = self._running()
        before = self.frames
        self._temporary = self.cache.temporary()
        with contextlib.suppress(BrokenPipeError):  # a process that died meanwhile shows as the end of its answers
            process.stdin.write(json.dumps([path, self._temporary]).encode() + b"\n")
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while True:
                if not selector.select(min(self.timeout, LONGEST_WAIT)):
                    self._end()
                    raise DamagedVideo(
                        f"{path}: its decoder hangs, no new frame in {self.timeout:g} s after frame "
                        f"{self.frames - before}; re-encode the video or take it out of the data"
                    )
                line = process.stdout.readline()
                if not line:
                    raise self._cause_of_death(path)
                answer = json.loads(line)
                self.frames = before + answer.get("frames", self.frames - before)
                if "error" in answer:
                    raise (DamagedVideo if answer["damaged"] else InputError)(answer["error"])
                if "done" in answer:
                    return

    def dismiss(self) -> None:
        self.dismissed = True
        if self.process:
            self._end()

    def _running(self) -> subprocess.Popen:
        if self.process is None or self.process.poll() is not None:
            self.process = subprocess.Popen(
                # -I: neither the working directory nor PYTHONPATH, where "-m" and "-c" look first
                [sys.executable, "-I", "-c", _START, json.dumps(_places()), json.dumps(self.cache.settings())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,  # a line read ahead into a buffer would be invisible to the selector
            )
        if self.dismissed:  # meanwhile, by the other thread, which did not see this process yet
            self._end()
        return self.process

    def _end(self) -> None:
        """Kill the process and clear away the entry it was writing."""
        self.process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(LAST_BREATH)
        if self._temporary:
            with contextlib.suppress(FileNotFoundError):
                os.remove(self._temporary)

    def _cause_of_death(self, path: str) -> InputError | RunError:
        code = self.process.wait()
        self._end()
        if code == -signal.SIGKILL:
            return RunError(
                f"{path}: its decoding process was killed (SIGKILL), as happens when memory runs out; use fewer "
                "--num_workers"
            )
        if code < 0:
            crash = signal.Signals(-code).name
            return DamagedVideo(f"{path}: its decoding process crashed ({crash}); re-encode the video or take it out")
        return RunError(f"{path}: its decoding process ended with exit code {code}; what it said stands above")


def _places() -> list[str]:
    """Where this process finds modules, but for the working directory: it may be a folder of downloaded videos.

    Unless it is where this package lies: then it is a checkout, and was on the path before.
    """
    here, package = os.path.realpath(os.getcwd()), os.path.realpath(os.path.join(__file__, "../../.."))
    return [path for path in sys.path if path and (os.path.realpath(path) != here or here == package)]


def work() -> None:
    """The worker's side: answers on standard output, anything that libraries print goes to standard error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the caller then ends its workers
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    cache = FrameCache(**json.loads(sys.argv[2]))

    def answer(**what) -> None:
        print(json.dumps(what), file=answers, flush=True)

    for line in sys.stdin:
        try:
            path, temporary = json.loads(line)
            answer(done=True, frames=cache.build(path, _every_half_second(answer), temporary))
        except InputError as error:
            answer(error=str(error), damaged=not isinstance(error, CacheUnwritable))


def _every_half_second(answer: Callable) -> Callable[[int], None]:
    last = time.monotonic()

    def tick(count: int) -> None:
        nonlocal last
        if time.monotonic() - last > 0.5:
            last = time.monotonic()
            answer(frames=count)

    return tick
