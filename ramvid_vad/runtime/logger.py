"""Where a run's files go, and its log: a line for people, a line of JSON for programs, TensorBoard on demand.

Only rank 0 writes. A log that cannot be written, e.g. on a full disk, is reported once and never stops the run.
"""

import importlib.util
import json
import math
import os
import sys
import tempfile
import time
from typing import Any

from ramvid_vad.errors import InputError
from ramvid_vad.runtime import processes
from ramvid_vad.runtime.files import write_text
from ramvid_vad.runtime.progress import say, warn


def result_dir(chosen: str = "", make: bool = True, flag: str = "--log_dir / --out_dir") -> str:
    """Make the folder for a run's files, the same for all ranks: ``chosen``, $OPENAI_LOGDIR, or a dated one in runs/.

    make: False looks only if it can be made and written, so that hours of work do not end in an error, and a run that
    fails leaves no empty folder.  flag: what asked for it, for the message. InputError: it is remote or
    cannot be written.
    """
    folder = chosen or os.environ.get("OPENAI_LOGDIR", "")
    origin = flag if chosen else "OPENAI_LOGDIR"
    if "://" in folder:
        raise InputError(f"{origin} {folder}: must be a local folder; copy the results from there")
    if processes.rank() == 0:
        folder = folder or _unused(os.path.join("runs", time.strftime("%Y-%m-%d_%H-%M-%S")))
        try:
            there = os.path.abspath(folder)
            if make:
                os.makedirs(folder, exist_ok=True)
            while not os.path.exists(there):
                there = os.path.dirname(there)
            with tempfile.TemporaryFile(dir=there):
                pass
        except OSError as error:
            why = error.strerror or error
            raise InputError(f"{origin} {folder}: cannot be written ({why}); choose another folder") from error
    return processes.broadcast_object(folder)


class Logger:
    """Log of one run in ``dir``: log.txt, progress.jsonl, options.json and, when asked for, tensorboard/.

    log_dir: see ``result_dir``.  tensorboard: write its events too.
    """

    def __init__(self, log_dir: str = "", tensorboard: bool = False):
        if tensorboard and importlib.util.find_spec("tensorboard") is None:
            raise InputError("tensorboard is not installed: pip install '.[tensorboard]', or log without it")
        self.dir = result_dir(log_dir)
        self._writes = processes.rank() == 0
        self._tensorboard = tensorboard
        self._sums: dict[str, tuple[float, int]] = {}  # key -> sum and number of the values to average
        self._values: dict[str, Any] = {}
        self._events: Any = None
        self._failed = False
        self.log(f"logs and checkpoints go to {self.dir}")

    def start(self, options: dict[str, Any], resumed_step: int = 0) -> None:
        """Write the options, and forget what an earlier run logged after the step that this one goes on from."""
        if not self._writes:
            return
        path = os.path.join(self.dir, "progress.jsonl")
        try:
            write_text(os.path.join(self.dir, "options.json"), json.dumps(options, indent=1) + "\n")
            if os.path.exists(path):
                write_text(path, "".join(_lines_until(path, resumed_step)))
            if self._tensorboard:
                from torch.utils.tensorboard import SummaryWriter

                self._events = SummaryWriter(os.path.join(self.dir, "tensorboard"), purge_step=resumed_step + 1)
        except OSError as error:
            self._report(error)

    def log(self, line: str) -> None:
        """One line to the terminal and log.txt."""
        if not self._writes:
            return
        say(line, sys.stdout)
        self._append("log.txt", line + "\n")

    def warn(self, line: str) -> None:
        """One line to stderr and log.txt, marked as a warning."""
        if not self._writes:
            return
        warn(line)
        self._append("log.txt", f"WARNING: {line}\n")

    def logkv(self, key: str, value: Any) -> None:
        """A figure of the next ``dumpkvs``; the last one counts."""
        self._values[key] = value

    def logkv_mean(self, key: str, value: float) -> None:
        """A figure whose mean goes into the next ``dumpkvs``."""
        total, count = self._sums.get(key, (0.0, 0))
        self._sums[key] = total + float(value), count + 1
        self._values[key] = (total + float(value)) / (count + 1)

    def dumpkvs(self, step: int) -> None:
        """Write the figures collected since the last time, then forget them."""
        figures = {"step": step} | {key: _number(value) for key, value in self._values.items() if key != "step"}
        self._values.clear()
        self._sums.clear()
        if not self._writes:
            return
        self.log("  ".join(f"{key} {_short(value):<10}" for key, value in figures.items()).rstrip())
        legal = {key: value if _finite(value) else None for key, value in figures.items()}
        self._append("progress.jsonl", json.dumps(legal, allow_nan=False) + "\n")
        if self._events is not None:
            try:
                for key, value in figures.items():
                    if key != "step" and isinstance(value, int | float):
                        self._events.add_scalar(key, value, step)
                self._events.flush()
            except OSError as error:
                self._events = None  # it would raise the same error for ever
                self._report(error)

    def close(self) -> None:
        """End the TensorBoard files; the others are complete after every line."""
        if self._events is not None:
            try:
                self._events.close()
            except OSError as error:
                self._report(error)

    def _append(self, name: str, text: str) -> None:
        """Add whole lines; what fits only in part is taken back."""
        data = text.encode()
        try:
            os.makedirs(self.dir, exist_ok=True)
            with open(os.path.join(self.dir, name), "ab", buffering=0) as file:
                end = file.tell()
                if file.write(data) != len(data):
                    file.truncate(end)
                    raise OSError("no space left")
        except OSError as error:
            self._report(error)
        else:
            self._failed = False

    def _report(self, error: OSError) -> None:
        if not self._failed:
            warn(f"the log in {self.dir} cannot be written ({error}); the run goes on without it")
        self._failed = True


def _unused(path: str) -> str:
    """``path``, or path-2, path-3 ... where runs were started in the same second."""
    number, free = 1, path
    while os.path.exists(free):
        number += 1
        free = f"{path}-{number}"
    return free


def _lines_until(path: str, last_step: int) -> list[str]:
    """Whole lines of a progress file up to a step; a line that a kill cut off is dropped."""
    kept = []
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                step = json.loads(line)["step"]
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
            if line.endswith("\n") and step <= last_step:
                kept.append(line)
    return kept


def _number(value: Any) -> Any:
    """A plain number from a tensor or numpy scalar."""
    return value.item() if hasattr(value, "item") else value


def _finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
