"""What the benchmarks share: contestants in turn, medians, peak memory in a process of its own, the report, and how a
user's mistake is told."""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

from ramvid_vad.errors import InputError


def run(main: Callable[[], None]) -> None:
    """Call a script's ``main``. InputError and OSError: one line on stderr and exit code 2."""
    try:
        main()
    except (InputError, OSError) as error:
        print(f"{Path(sys.argv[0]).name}: error: {error}", file=sys.stderr)
        sys.exit(2)


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number of at least 1")
    return int(text)


def whole_numbers(text: str) -> list[int]:
    """ "1,2,5", for argparse."""
    return [positive(each) for each in text.split(",")]


def read_report(path: str, *keys: str) -> dict:
    """A JSON file that has these keys. InputError: it is none."""
    try:
        report = json.loads(Path(path).read_text(encoding="utf-8"))
        return {key: report[key] for key in keys}
    except (ValueError, TypeError, LookupError):
        raise InputError(f"{path}: expected a JSON file with {', '.join(keys)}") from None


def seconds(function: Callable[[], object]) -> float:
    """Of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def alternate(timed: dict[str, Callable[[], float]], repeats: int) -> dict[str, float]:
    """Median of what each contestant returns (its seconds); one of each in turn, after a first that does not count."""
    values: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(repeats + 1):
        for name, measure in timed.items():
            values[name].append(measure())
    return {name: statistics.median(each[1:]) for name, each in values.items()}


def own_process(script: str, *arguments: str) -> dict:
    """Run ``script`` with arguments in a process of its own; the JSON of its last line."""
    done = subprocess.run([sys.executable, script, *arguments], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{script} {' '.join(arguments)}: ended with exit code {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


class Contestant:
    """A process of its own that waits to be called: ``serve`` is its side."""

    def __init__(self, command: list[str], **options: object):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options)
        self.peak = 0.0

    def call(self, what: str = "") -> float:
        """Seconds of one call."""
        with suppress(BrokenPipeError):  # it has ended, and answers nothing
            self.process.stdin.write(f"{what}\n")
            self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"{' '.join(self.process.args)}: ended; its message stands above")
        taken, self.peak = json.loads(answer)
        return taken

    def end(self) -> None:
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()


def serve(measure: Callable[[str], float]) -> None:
    """For every line on standard input one call: its seconds and the peak memory so far in GB."""
    for line in sys.stdin:
        print(json.dumps([measure(line.strip()), peak_gigabytes()]), flush=True)


def peak_gigabytes() -> float:
    """Largest resident size of this process so far (Linux), in 10^9 bytes."""
    with open("/proc/self/status", encoding="ascii") as status:
        line = next(line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e9


def machine() -> dict:
    """What the figures depend on."""
    model = platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as cpus:
            names = [line.split(":")[1].strip() for line in cpus if line.startswith("model name")]
        model = names[0] if names else model
    return {
        "machine": model,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def print_table(title: str, rows: list[dict[str, object]]) -> None:
    """Rows of one set of keys as a Markdown table."""
    print(f"\n{title}\n| " + " | ".join(rows[0]) + " |\n" + "| --- " * len(rows[0]) + "|")
    for row in rows:
        print(
            "| "
            + " | ".join(f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values())
            + " |"
        )


def write_report(path: str, report: dict) -> None:
    """As JSON, in a folder made if it is missing."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"written to {path}")
