"""Progress on stderr: a bar on a terminal, a line a minute where stderr goes to a file or a pipe."""

import io
import re
import sys

import pytest

from ramvid_vad.runtime import progress
from ramvid_vad.runtime.progress import progress_bar, say, tracked


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when the test says so."""

    class Clock:
        now = 0.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_a_redirected_log_gets_a_line_a_minute_and_a_last_one(clock, capsys):
    with progress_bar("infilling", "call", total=3000, initial=1000) as bar:
        for _ in range(2000):  # an eighth of a second each: 250 s
            clock.now += 0.125
            bar.update()
    shown = capsys.readouterr().err
    assert "\r" not in shown and shown.endswith("\n")
    lines = shown.splitlines()
    calls = [int(re.search(r"(\d+)/3000", line).group(1)) for line in lines]
    assert calls == [1480, 1960, 2440, 2920, 3000]
    assert all(line.startswith("infilling: ") and "8.00call/s" in line for line in lines)
    assert "[01:00<03:10" in lines[0], "a minute has gone, 190 s are to come"


def test_a_whole_that_is_unknown_is_counted(clock, capsys):
    with progress_bar("scoring", "frame") as bar:
        for _ in range(150):
            clock.now += 1
            bar.update(3)
        bar.set_postfix(frames=7)
    first, second, last = capsys.readouterr().err.splitlines()
    assert first.startswith("scoring: 180frame") and second.startswith("scoring: 360frame")
    assert last.startswith("scoring: 450frame") and "frames=7" in last


def test_an_error_passes_and_the_last_line_says_how_far_it_came(clock, capsys):
    with pytest.raises(RuntimeError), progress_bar("decoding", "video", 5) as bar:
        bar.update(2)
        raise RuntimeError
    assert "2/5" in capsys.readouterr().err


def test_nothing_is_said_twice(clock, capsys):
    with progress_bar("training", "step", 3) as bar:
        clock.now += 60
        bar.update(2)
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_terminal_keeps_its_bar_and_lines_do_not_tear_it(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress_bar("training", "step", 2) as bar:
        bar.update()
        say("a line", terminal)
        bar.update()
    shown = terminal.getvalue()
    assert "\rtraining:" in shown and "2/2" in shown and "%|" in shown
    assert any(line.split("\r")[-1] == "a line" for line in shown.split("\n")), "on a line of its own"


@pytest.mark.parametrize("terminal", [False, True])
def test_who_does_not_show_it_is_silent(terminal, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with progress_bar("sampling", "call", 3, shown=False) as bar:
        bar.update(3)
    assert list(tracked("abc", "plots", "video", shown=False)) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""


def test_items_are_counted(capsys):
    seen = []
    for item in tracked("abc", "plots", "video"):
        seen.append(item)
    assert seen == ["a", "b", "c"] and "3/3" in capsys.readouterr().err
