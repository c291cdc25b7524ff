"""What is kept of events whose moments are made by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from ramvid_vad.errors import InputError
from ramvid_vad.events import recording
from ramvid_vad.events.camera import Moment
from ramvid_vad.events.events import Event
from ramvid_vad.events.examples import Examples
from ramvid_vad.events.recording import Recorder, record
from ramvid_vad.page.pictures import decoded
from ramvid_vad.video.reader import read_frames, read_image

FPS = 10


def day(tmp_path) -> tuple[Recorder, list[Moment], np.ndarray]:
    """Two events: the first is highest at frame 5 and told at frame 12, the second lasts to the end."""
    levels = np.zeros(40)
    levels[5], levels[6:9], levels[30] = 3.0, 1.5, 2.0
    camera = SimpleNamespace(name="door", fps=FPS, light=None, examples=Examples(), level_of=lambda score: score)
    camera.under = lambda light: camera
    first = Event("door", 0, 5, 8, 0.5, 0.8, 5, 0.5, 3.0, box=(0, 0, 8, 8))
    second = Event("door", 1, 30, 30, 3.0, 3.0, 30, 3.0, 2.0, box=(0, 0, 8, 8))
    changes = {12: [("new", first)], 29: [("end", first)], 30: [("new", second)], 39: [("end", second)]}
    moments = [
        Moment(n, n / FPS, np.full((32, 48, 3), 5 * n, np.uint8), 0.0, level, {}, np.full((4, 6), level), "", told)
        for n, level, told in ((n, float(level), changes.get(n, [])) for n, level in enumerate(levels))
    ]
    return Recorder(str(tmp_path / "day"), camera, FPS), moments, levels


def test_the_picture_of_an_event_that_was_held_back_is_its_peak(tmp_path):
    recorder, moments, levels = day(tmp_path)
    record(recorder, moments)
    for number, peak in ((0, 5), (1, 30)):
        picture = read_image(str(tmp_path / "day.events" / f"{number:04d}.jpg"))
        assert abs(int(picture[20, 30, 0]) - 5 * peak) <= 3
        assert recorder.peaks[number].number == peak and recorder.peaks[number].heat.max() == levels[peak]
        assert abs(int(decoded(recorder.peaks[number].jpeg)[20, 30, 0]) - 5 * peak) <= 3
    assert recorder.highest_moments.peaks[0].number == 5


def test_levels_of_a_suspected_fault_are_the_fault_s_once_it_is_found(tmp_path):
    for found in (True, False):
        recorder, moments, _ = day(tmp_path)
        fault = Event("door", 2, 23, 39, 2.3, 3.9, 23, 2.3, 0.0, fault="moved")
        moments = [m._replace(level=15.0, held=True, changes=[]) if 20 <= m.number < 23 else m for m in moments]
        moments = [m._replace(changes=[]) if m.number >= 12 else m for m in moments]
        if found:
            moments[23:] = [m._replace(level=0.0, health="moved") for m in moments[23:]]
            moments[39] = moments[39]._replace(changes=[("end", fault)])
        record(recorder, moments)
        assert np.isnan(recorder.levels[20:]).all() if found else recorder.levels[20:23] == [15.0] * 3
        ends = [line.split(",")[-3] for line in recorder.table("x").splitlines()[1:]]
        assert ends[19:24] == (["0", "", "", "", ""] if found else ["0", "15", "15", "15", "0"])
        assert max(peak.level for peak in recorder.highest_moments.peaks) == 3.0


def test_each_event_that_the_page_shows_has_its_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "write_video", lambda *args: None)
    recorder, moments, _ = day(tmp_path)
    for n in range(15):
        event = Event("door", n, 2 * n, 2 * n, n / 5, n / 5, 2 * n, n / 5, 1.0 + n, box=(0, 0, 8, 8))
        moments[2 * n] = moments[2 * n]._replace(level=1.0 + n, changes=[("new", event)])
        moments[2 * n + 1] = moments[2 * n + 1]._replace(level=0.0, changes=[("end", event)])
    moments[30:] = []
    record(recorder, moments)
    assert len(recorder.peaks) == len(recorder.events) == 15


def test_clips_are_whole_although_they_are_written_beside_the_scoring(tmp_path):
    recorder, moments, _ = day(tmp_path)
    record(recorder, moments)
    for number, (first, end) in enumerate([(0, 30), (0, 40)]):  # the first is told to have ended at frame 29
        frames = list(read_frames(str(tmp_path / "day.events" / f"{number:04d}.mp4")))
        assert len(frames) == end - first
        assert all(abs(int(frame[20, 30, 0]) - 5 * (first + n)) <= 4 for n, frame in enumerate(frames))


def test_a_clip_that_cannot_be_written_is_no_secret(tmp_path, monkeypatch):
    def full(*args):
        raise InputError("the disk is full")

    monkeypatch.setattr(recording, "write_video", full)
    recorder, moments, _ = day(tmp_path)
    with pytest.raises(InputError, match="the disk is full"):
        record(recorder, moments)
