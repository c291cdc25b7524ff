"""Events, their files, the state of a restart, and what is kept."""

import errno
import io
import json
import os
import time
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from servers import jpegs, motion_jpeg
from stand_in import BRIGHT, DARK, Brightness, ByNight, accounted, watch

from ramvid_vad.errors import InputError
from ramvid_vad.video.reader import read_frames, read_image
from ramvid_vad.video.writer import write_video
from ramvid_vad.watch import folder as folders
from ramvid_vad.watch.clips import Recent
from ramvid_vad.watch.folder import Folder, days_to_keep
from ramvid_vad.watch.loop import Watch
from ramvid_vad.watch.page.picture import marked


def lines(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "door.mp4"
    frames = np.full((30, 48, 64, 3), DARK, np.uint8)
    frames[10:20] = BRIGHT
    write_video(str(path), frames, fps=30)
    return str(path)


def test_an_event_is_told_with_picture_and_clip(film, tmp_path, capsys):
    watched = watch(film, tmp_path, before=0.2)
    watched.run(lambda: False)
    told = lines(capsys)
    assert [line["change"] for line in told] == ["new", "update", "update", "end"]
    last = told[-1]
    assert (last["camera"], last["id"], last["kind"]) == ("door", 1, "anomaly")
    assert (last["start_frame"], last["end_frame"]) == (10, 19)
    assert last["severity"] == pytest.approx(BRIGHT / 128, abs=0.02)
    written = [line for day in sorted(tmp_path.glob("*/events.jsonl")) for line in day.read_text().splitlines()]
    assert [json.loads(line) for line in written] == told  # of two days, where the test runs over midnight
    assert (tmp_path / last["thumbnail"]).read_bytes()[:2] == b"\xff\xd8"
    means = [float(frame.mean()) for frame in read_frames(str(tmp_path / last["clip"]))]
    before = sum(mean < 128 for mean in means[:-5])
    assert 4 <= before <= 8 and 8 <= sum(mean > 128 for mean in means) <= 12  # 0.2 s at 30 a second, and the event
    accounted(watched.counters)


class Late(Brightness):
    """Tells an event six frames after it began, as after a suspected fault or of a long --min_seconds."""

    def stream(self, frames, ready=None, settle=0.0):
        waiting = []
        for moment in super().stream(frames, ready, settle):
            waiting += [(moment.number + 6, change) for change in moment.changes if change[0] == "new"]
            due = [change for number, change in waiting if number == moment.number]
            moment.changes = due + [change for change in moment.changes if change[0] == "end"]
            yield moment


def test_the_clip_of_an_event_that_is_told_late_begins_before_it(film, tmp_path, capsys):
    watch(film, tmp_path, Late(), before=0.2).run(lambda: False)
    told = lines(capsys)
    assert [line["change"] for line in told] == ["new", "end"]
    means = [float(frame.mean()) for frame in read_frames(str(tmp_path / told[-1]["clip"]))]
    first = next(number for number, mean in enumerate(means) if mean > 128)
    assert 4 <= first <= 8 and 8 <= sum(mean > 128 for mean in means) <= 12


def test_a_picture_is_written_once_for_each_peak(tmp_path):
    frames = np.full((30, 48, 64, 3), DARK, np.uint8)
    frames[10:25] = 239  # a severity that is above what three digits say of it
    write_video(str(tmp_path / "a.mp4"), frames, fps=60)
    watched = watch(str(tmp_path / "a.mp4"), tmp_path / "out")
    watched.run(lambda: False)
    assert watched.figures()["clips"] == {"written": 2, "failed": 0, "dropped": 0}  # the picture and the clip


def test_the_nearest_normal_example_and_the_light_are_told(film, tmp_path, capsys):
    watch(film, tmp_path, ByNight()).run(lambda: False)
    said = capsys.readouterr()
    last = json.loads(said.out.splitlines()[-1])
    assert (last["normal_example"], last["normal_picture"]) == (0, last["thumbnail"].replace(".jpg", ".normal.jpg"))
    crop = read_image(str(tmp_path / last["normal_picture"]))
    assert crop.shape == (24, 32, 3) and np.abs(crop.mean((0, 1)) - [0, 200, 0]).max() < 5
    assert said.err.splitlines().count(f"{film}: night") == 1  # not at every frame


def test_the_picture_of_an_event_is_its_peak_though_that_is_told_later(tmp_path, capsys):
    frames = np.full((30, 48, 64, 3), DARK, np.uint8)
    frames[10:20] = 180
    frames[16] = BRIGHT
    write_video(str(tmp_path / "a.mp4"), frames, fps=30, crf=0)
    watch(str(tmp_path / "a.mp4"), tmp_path / "out").run(lambda: False)
    last = lines(capsys)[-1]
    assert last["peak_frame"] == 16
    shown = read_image(str(tmp_path / "out" / last["thumbnail"])).mean()
    heat = np.ones((6, 8), np.float32)
    peak, usual = (marked(np.full((48, 64, 3), v, np.uint8), heat, 2.0, last["box"]).mean() for v in (BRIGHT, 180))
    assert abs(shown - peak) < 3 < abs(shown - usual)


def test_black_frames_are_a_fault_and_no_anomaly(tmp_path, capsys):
    frames = np.full((30, 48, 64, 3), DARK, np.uint8)
    frames[10:20] = 0
    write_video(str(tmp_path / "a.mp4"), frames, fps=60)
    watch(str(tmp_path / "a.mp4"), tmp_path / "out").run(lambda: False)
    told = lines(capsys)
    assert [(line["kind"], line["fault"], line["change"]) for line in told] == [
        ("health", "black", "new"),
        ("health", "black", "end"),
    ]
    assert (told[1]["start_frame"], told[1]["end_frame"]) == (10, 19)


def test_a_restart_goes_on_with_numbers_and_counts(film, tmp_path, capsys):
    watch(film, tmp_path).run(lambda: False)
    second = watch(film, tmp_path)
    second.run(lambda: False)
    told = lines(capsys)
    assert [line["id"] for line in told] == [1] * 4 + [2] * 4
    assert told[-1]["start_frame"] == 40 and second.counters.scored == 60 and second.counters.connections == 2
    accounted(second.counters)
    assert [event["id"] for event in second.board.status()["events"]] == [2, 1]


def test_what_a_killed_watch_left_open_is_ended(film, tmp_path, capsys):
    watched = watch(film, tmp_path)
    watched.run(lambda: watched.counters.scored >= 15)
    told = lines(capsys)
    assert told[-1]["change"] == "end" and (tmp_path / told[-1]["clip"]).exists()
    state = json.loads((tmp_path / "state.json").read_text())
    left = {name: value for name, value in told[0].items() if name not in ("change", "camera")}
    (tmp_path / "state.json").write_text(json.dumps(state | {"open": [left]}))  # killed after the last line
    watch(film, tmp_path).run(lambda: True)
    assert lines(capsys) == []
    (written,) = tmp_path.glob("*/events.jsonl")
    written.write_text(json.dumps(told[0]) + "\n")
    (tmp_path / "state.json").write_text(json.dumps(state | {"open": [left]}))  # killed before it
    watch(film, tmp_path).run(lambda: False)
    told = lines(capsys)
    assert (told[0]["change"], told[0]["id"], told[0]["interrupted"]) == ("end", 1, True)
    assert told[1]["id"] == 2


def test_an_event_stays_in_the_state_until_its_last_line_is_written(film, tmp_path, monkeypatch):
    watched, order = watch(film, tmp_path), []
    append, save = watched.folder.append, watched.folder.save_state
    monkeypatch.setattr(watched.folder, "append", lambda record: (order.append(record["change"]), append(record)))
    monkeypatch.setattr(watched.folder, "save_state", lambda state: (order.append(len(state["open"])), save(state)))
    watched.run(lambda: False)
    told, ended = order.index("new"), order.index("end")
    assert order[told - 1] == 1 and 0 not in order[told:ended] and order[ended + 1] == 0


def test_a_line_is_whole_and_on_the_disk_or_not_there(tmp_path, monkeypatch):
    class Full(io.FileIO):
        def write(self, data):
            return super().write(data[:5])

    folder, synced, record = Folder(str(tmp_path), 0), [], {"start": "2026-11-27T10:00:00", "id": 1}
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_ino))
    folder.append(record)
    written = tmp_path / "2026-11-27" / "events.jsonl"
    assert synced == [written.stat().st_ino]
    monkeypatch.setattr(folders, "open", lambda path, mode, buffering: Full(path, mode), raising=False)
    with pytest.raises(OSError, match="No space left") as error:
        folder.append(record)
    assert error.value.errno == errno.ENOSPC and error.value.strerror
    assert json.loads(written.read_text()) == record
    folder.close()


def test_a_number_is_not_used_twice_when_the_state_is_gone(film, tmp_path, capsys):
    watch(film, tmp_path).run(lambda: False)
    (tmp_path / "state.json").unlink()
    watch(film, tmp_path).run(lambda: False)
    assert [line["id"] for line in lines(capsys)] == [1] * 4 + [2] * 4


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 2}', '{"format": 1}', '{"format": 1, "counters": 3}'])
def test_a_damaged_state_is_said(film, tmp_path, content):
    (tmp_path / "state.json").write_text(content)
    with pytest.raises(InputError, match=r"state\.json"):
        watch(film, tmp_path)
    Folder(str(tmp_path), 0).close()  # it can be had again


def test_two_watches_do_not_share_a_folder(film, tmp_path):
    first = watch(film, tmp_path)
    with pytest.raises(InputError, match="another watch"):
        watch(film, tmp_path)
    first.run(lambda: True)
    watch(film, tmp_path).run(lambda: True)


def test_keep_removes_our_own_old_files_and_nothing_else(tmp_path):
    today = date.today()
    old, edge = (str(today - timedelta(days=days)) for days in (15, 14))
    names = ["events.jsonl", "000001.jpg", "000001.mp4", "holiday.jpg", "1.mp4", "000001.mp4.part"]
    for folder in (old, edge, "notes", "2026-99-99", f"{old}-copy"):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).write_text("x")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "000001.jpg").write_text("x")
    (tmp_path / "2020-01-01").symlink_to(outside)
    (tmp_path / old / "000002.jpg").symlink_to(outside / "000001.jpg")
    (tmp_path / "2020-01-02").mkdir()
    (tmp_path / "2020-01-02" / "000009.mp4").write_text("x")
    folder = Folder(str(tmp_path), days_to_keep("14d"))
    assert folder.sweep(today) == 4
    assert sorted(os.listdir(tmp_path / old)) == sorted([*names[3:], "000002.jpg"])
    assert not (tmp_path / "2020-01-02").exists() and (outside / "000001.jpg").exists()
    for kept in (edge, "notes", "2026-99-99", f"{old}-copy"):
        assert sorted(os.listdir(tmp_path / kept)) == sorted(names)
    folder.close()
    folder = Folder(str(tmp_path), days_to_keep(""))
    assert folder.sweep(today + timedelta(days=9999)) == 0
    folder.close()


def test_a_day_that_cannot_be_removed_is_said_once_and_the_others_go(tmp_path, monkeypatch, capsys):
    days, remove = [str(date.today() - timedelta(days=days)) for days in (17, 16, 15)], os.remove
    for day in days:
        (tmp_path / day).mkdir()
        (tmp_path / day / "events.jsonl").write_text("x")

    def refused(path):
        if days[0] in path:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        remove(path)

    monkeypatch.setattr(os, "remove", refused)
    folder = Folder(str(tmp_path), 14)
    assert [folder.sweep(date.today()) for _ in range(2)] == [2, 0]
    assert [day for day in days if (tmp_path / day).exists()] == days[:1]
    assert capsys.readouterr().err.count("cannot be cleared (Permission denied)") == 1
    folder.close()


@pytest.mark.parametrize("text", ["-1d", "0", "two weeks", "14h", "999999d"])
def test_what_is_no_number_of_days_is_said(text):
    with pytest.raises(InputError, match="--keep"):
        days_to_keep(text)


def test_what_is_remembered_is_bounded():
    recent = Recent(2.0)
    for number in range(200):
        recent.add(number / 10, np.zeros((8, 8, 3), np.uint8))
    assert len(recent._stills) == 21
    clip = recent.clip(0.0)
    for number in range(200, 2000):
        clip.add(recent.add(number / 10, np.zeros((8, 8, 3), np.uint8)))
    assert len(clip._stills) == 21 + 300  # 30 s from its begin on


def test_a_full_disk_is_said_once_and_the_watch_goes_on(film, tmp_path, monkeypatch, capsys):
    watched = watch(film, tmp_path)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for name in ("append", "save_state", "absolute"):
        monkeypatch.setattr(watched.folder, name, full)
    watched.run(lambda: False)
    said = capsys.readouterr()
    assert watched.counters.scored == 30 and len(said.out.splitlines()) == 4
    assert said.err.count("the watch goes on") == 1 and said.err.count("No space left") == 2  # and the pictures
    accounted(watched.counters)


def test_passwords_are_in_nothing_that_is_written(tmp_path, capsys):
    secret = "s3cret-w0rd"
    with motion_jpeg([jpegs([DARK, BRIGHT, DARK] * 5)]) as server:
        source = f"http://admin:{secret}@{server.address}/cam?pwd={secret}"
        sinks = {"webhook": f"http://me:{secret}@127.0.0.1:1/{'x'}?token={secret}"}
        watched = watch(source, tmp_path, name="", sinks=sinks)
        watched.run(lambda: server.asked > 1 and watched.counters.connections > 2)
    said = capsys.readouterr()
    texts = [said.out, said.err, json.dumps(watched.board.status()), repr(vars(watched)), *watched.summary()]
    for root, _, names in os.walk(tmp_path):
        texts += [Path(root, name).read_bytes().decode("latin-1") for name in names]
    assert "webhook: " in said.err and "***@" in said.err and len(texts) > 6
    assert not [text for text in texts if secret in text]


def test_a_clock_that_is_set_while_it_watches_is_that_of_the_events(film, tmp_path, monkeypatch, capsys):
    """A board without a battery begins in the past; events of then must not be swept as old ones."""
    watched, real, later = watch(film, tmp_path), time.time, (date.today() + timedelta(399)).isoformat()
    monkeypatch.setattr(time, "time", lambda: real() + 400 * 86400)
    watched.run(lambda: False)
    told = lines(capsys)
    assert told and all(line[name] >= later for line in told for name in ("start", "peak", "end"))


def test_an_event_keeps_its_day_when_the_clock_is_set_while_it_lasts(film, tmp_path, monkeypatch, capsys):
    watched, real, tell = watch(film, tmp_path), time.time, Watch._tell

    def then_set(self, change, record):
        tell(self, change, record)
        monkeypatch.setattr(time, "time", lambda: real() + 400 * 86400)

    monkeypatch.setattr(Watch, "_tell", then_set)
    watched.run(lambda: False)
    told = lines(capsys)
    assert len({line["start"] for line in told}) == 1 and told[-1]["change"] == "end"
    assert told[-1]["start"] <= told[-1]["end"] < (date.today() - timedelta(390)).isoformat()
    assert (tmp_path / told[-1]["thumbnail"]).exists()
