"""Seconds of the soak of the watch: cuts and restarts; no frame is unaccounted for, nothing is left open."""

import os
import sys
import threading
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "watch"))
from servers import jpegs, motion_jpeg
from stand_in import BRIGHT, DARK, accounted, watch

from ramvid_vad.watch.input import reader


def test_cuts_and_restarts_leave_nothing_open_and_no_frame_uncounted(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "WAITS", (0.3,))
    pictures = jpegs([DARK] * 20 + [BRIGHT] * 10 + [DARK] * 5)
    seen = []
    for turn in range(3):
        with motion_jpeg([pictures] * 4, rate=200.0) as server:
            watched = watch(f"http://{server.address}/", tmp_path)
            watched.run(lambda server=server: server.asked == 5)
        accounted(watched.counters)
        assert watched.counters.received == 140 * (turn + 1)
        seen.append((len(os.listdir("/proc/self/fd")), threading.active_count()))
    assert seen[1] == seen[2]  # the first turn opens what libraries keep
    names = sorted(name for _, _, names in os.walk(tmp_path) for name in names if name.endswith((".mp4", ".jpg")))
    assert len(names) == 2 * 4 * 3
