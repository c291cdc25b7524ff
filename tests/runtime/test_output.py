"""What is printed may be lost; what prints goes on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import os, sys, time
from ramvid_vad.runtime.logger import Logger
from ramvid_vad.runtime.output import unfailing_output
from ramvid_vad.runtime.progress import progress_bar, warn

with unfailing_output():
    log = Logger("run")
    for _ in range(3):
        log.log("a line")
        log.warn("a warning")
        warn("another")
        print("printed", flush=True)
        print("printed to stderr", file=sys.stderr)
        with progress_bar("work", "step", total=2) as bar:
            bar.update()
    print("x" * 100_000)
    open("done", "w").close()
"""


def run(folder, redirect):
    """The program under a shell that sends its output as said; the exit code."""
    (folder / "program.py").write_text(PROGRAM)
    command = f"set -o pipefail; exec 3>&1; {sys.executable} program.py {redirect}"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True)
    return done


@pytest.mark.parametrize(
    "redirect",
    ["| true", "2>&1 | true", ">/dev/full", ">/dev/full 2>&1", "2>/dev/full", ">&-", ">&- 2>&-", "2>&-"],
)
def test_output_that_cannot_be_written_ends_nothing(tmp_path, redirect):
    done = run(tmp_path, redirect)
    assert (tmp_path / "done").exists() and done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    lost = done.stderr.count("standard output cannot be written")
    assert lost == (redirect in ("| true", ">/dev/full")), done.stderr
    log = (tmp_path / "run/log.txt").read_text()
    assert log.count("a line") == log.count("a warning") == 3, "the log file has it all"


def test_output_that_can_be_written_is_as_ever(tmp_path):
    done = run(tmp_path, "")
    assert done.returncode == 0 and done.stdout.count("printed\n") == 3 and done.stderr.count("WARNING: another") == 3
