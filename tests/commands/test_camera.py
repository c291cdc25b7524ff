"""fit and score of a camera: events with pictures and clips, again, names from outside, more normal video."""

import csv
import json
import os
import shutil

import cv2
import numpy as np
import pytest

import ramvid_vad
from ramvid_vad.__main__ import main
from ramvid_vad.detectors.detector import Detector
from ramvid_vad.detectors.motion import FrameDifference
from ramvid_vad.detectors.registry import PEERS
from ramvid_vad.events.camera import Camera
from ramvid_vad.events.zones import watched_cells
from ramvid_vad.runtime import beside
from ramvid_vad.video.reader import read_colour_and_grey, read_frames, read_image
from ramvid_vad.video.writer import write_video

NAME = "<img src=x onerror=alert(1)>.mp4"


def street(first: int, frames: int = 60) -> np.ndarray:
    """A textured scene of 48 x 64 pixels, a little noisy, in which a small bright square walks to the right."""
    rng = np.random.default_rng(0)
    scene = np.repeat(rng.integers(60, 120, (48, 64, 1), dtype=np.uint8), 3, axis=2)
    video = np.stack([scene] * frames) + np.random.default_rng(first + 1).integers(0, 3, (frames, 48, 64, 1), np.uint8)
    for t in range(frames):
        left = (first + t) % 56
        video[t, 20:28, left : left + 8] = 200
    return video.astype(np.uint8)


@pytest.fixture(scope="module")
def top(tmp_path_factory):
    top = tmp_path_factory.mktemp("camera")
    (top / "normal").mkdir()
    for number in range(3):
        write_video(str(top / "normal" / f"{number}.mp4"), iter(street(7 * number)), 10)
    odd = street(3, 90)
    for t in range(40, 60):  # dark, large, and quick
        left = 6 * (t - 40) % 44
        odd[t, 4:18, left : left + 20] = 0
    write_video(str(top / NAME), iter(odd), 10)
    main(["fit", str(top / "normal"), "--out", str(top / "cam"), "--alarms_per_hour", "2"])
    return top


def test_a_stream_scores_as_the_whole_to_the_last_bit(top):
    detector, video = ramvid_vad.load(str(top / "cam")), str(top / NAME)
    whole = detector.score(video)
    streamed = list(detector.stream(read_colour_and_grey(video)))
    np.testing.assert_array_equal([each.score for each in streamed], whole.frames)
    np.testing.assert_array_equal([each.map for each in streamed], whole.maps)
    np.testing.assert_array_equal([each.parts["features"] for each in streamed], whole.parts["features"])
    pairs = zip(read_frames(video), read_frames(video, rgb=False), strict=True)
    for (colour, grey), (rgb, luma) in zip(read_colour_and_grey(video), pairs, strict=True):
        assert (colour == rgb).all() and (grey == luma).all()


def test_a_score_is_there_when_its_frame_is(top):
    detector, taken = ramvid_vad.load(str(top / "cam")), []

    def frames():
        for frame in street(0, 5):
            taken.append(1)
            yield frame

    behind = [len(taken) for _ in detector.stream(frames())]
    assert behind == [2, 2, 3, 4, 5]  # the first frame takes the motion of the second


def test_frames_that_wait_are_worked_on_together_and_none_is_waited_for(top, monkeypatch):
    """Two frames wait at the second one's turn and again at the fifth; the scores are those of one by one."""
    monkeypatch.setattr(beside, "workers", lambda: 3)
    detector, taken = ramvid_vad.load(str(top / "cam")), []

    def frames():
        for frame in street(0, 9):
            taken.append(1)
            yield frame

    waiting = iter([True, True] + [False] * 5 + [True, True] + [False] * 9)
    scored = [(len(taken), each.score) for each in detector.stream_ahead(frames(), ready=lambda: next(waiting))]
    assert [behind for behind, _ in scored] == [3, 3, 3, 4, 5, 8, 8, 8, 9]
    assert [score for _, score in scored] == [each.score for each in detector.stream(street(0, 9))]


def test_events_pictures_and_clips_and_again(top, tmp_path, capsys):
    words = ["score", str(top / NAME), "--model", str(top / "cam"), "--out", str(tmp_path), "--overlay", "True"]
    main(words)
    assert "90 frames" in capsys.readouterr().out
    stem = NAME.removesuffix(".mp4")
    (event,) = map(json.loads, (tmp_path / f"{stem}.events.jsonl").read_text().splitlines())
    assert event["camera"] == "cam" and 40 <= event["start"] <= 44 and 57 <= event["end"] <= 64
    assert event["severity"] > 1 and event["parts"] and event["fault"] == ""
    assert event["start_seconds"] == pytest.approx(event["start"] / 10)
    x0, y0, x1, y1 = event["box"]
    assert y0 < 18 and 0 <= x0 < x1 <= 64 and y1 <= 48
    assert (tmp_path / event["thumbnail"]).read_bytes()[:2] == b"\xff\xd8"
    examples = Camera.load(str(top / "cam")).examples
    assert 0 <= event["normal_example"] < len(examples.jpegs) == 48
    nearest = read_image(str(tmp_path / event["normal_picture"]))
    crop = examples.crop(event["normal_example"], event["box"], (48, 64))
    assert nearest.shape == crop.shape and np.abs(nearest.astype(int) - crop).mean() < 5
    assert (tmp_path / f"{stem}.report.html").read_text().count('"normal": "/9j/') == 1  # a JPEG in base64
    clip = list(read_frames(str(tmp_path / event["clip"])))
    assert 30 + 15 <= len(clip) <= 75  # three seconds before, the event, two after
    assert len(list(read_frames(str(tmp_path / f"{stem}.overlay.mp4")))) == 90
    with open(tmp_path / f"{stem}.scores.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    whole = ramvid_vad.load(str(top / "cam")).score(str(top / NAME), maps=False)
    assert [row["score"] for row in rows] == [f"{score:.6g}" for score in whole.frames]
    assert {row["health"] for row in rows} == {""} and max(float(row["level"]) for row in rows) > 1
    main(words)
    assert "finished before" in capsys.readouterr().out
    (tmp_path / f"{stem}.overlay.mp4").unlink()
    main(words)
    assert "90 frames" in capsys.readouterr().out


def test_more_normal_video_makes_it_normal(top, tmp_path, capsys):
    shutil.copytree(top / "cam", tmp_path / "cam")
    main(["fit", "--add", str(top / NAME), "--out", str(tmp_path / "cam")])
    assert "held-out normal video" in capsys.readouterr().out
    before, after = Camera.load(str(top / "cam")), Camera.load(str(tmp_path / "cam"))
    assert after.threshold.value > before.threshold.value and len(after.curves) == len(before.curves) + 1
    kept = before.detector.appearance.memory.centres
    assert (after.detector.appearance.memory.centres[: len(kept)] == kept).all()
    assert len(after.detector.appearance.memory) > len(kept)
    assert after.examples.jpegs[:48] == before.examples.jpegs and len(after.examples.jpegs) == 48 + 8
    assert after.normal.jump >= before.normal.jump and after.normal.sharp.min() <= before.normal.sharp.min()
    frames = enumerate(read_colour_and_grey(str(top / NAME)))
    assert not any(m.changes for m in after.stream((n / 10, frame) for n, frame in frames))


def test_day_and_night_are_two_normals_of_one_camera(tmp_path, capsys):
    def film(name, frames):
        write_video(str(tmp_path / name), iter(frames), 10)
        return str(tmp_path / name)

    (tmp_path / "normal").mkdir()
    for number in range(3):
        film(f"normal/day{number}.mp4", street(7 * number))
        film(f"normal/night{number}.mp4", street(7 * number) // 3)
    cam = str(tmp_path / "cam")
    main(["fit", str(tmp_path / "normal"), "--out", cam, "--alarms_per_hour", "2"])
    assert "told apart by brightness; by day: threshold" in capsys.readouterr().out
    odd = street(30, 120)
    odd[60:] //= 3
    for t in (*range(20, 40), *range(90, 110)):
        left = 6 * (t % 50) % 44
        odd[t, 4:18, left : left + 20] = 255
    main(["score", film("odd.mp4", odd), film("quiet.mp4", street(40) // 3), "--model", cam, "--out", str(tmp_path)])
    starts = [json.loads(line)["start"] for line in (tmp_path / "odd.events.jsonl").read_text().splitlines()]
    assert len(starts) == 2 and 20 <= starts[0] < 40 and 90 <= starts[1] < 110
    assert (tmp_path / "quiet.events.jsonl").read_text() == ""
    for name, lights in (("odd", 60 * ["day"] + 60 * ["night"]), ("quiet", 60 * ["night"])):
        with open(tmp_path / f"{name}.scores.csv", newline="") as file:
            assert [row["light"] for row in csv.DictReader(file)] == lights
    before = Camera.load(cam)
    main(["fit", "--add", str(tmp_path / "quiet.mp4"), "--out", cam])
    after = Camera.load(cam)
    assert len(after.night.curves) == len(before.night.curves) + 1 and len(after.curves) == len(before.curves)
    assert after.threshold == before.threshold and len(after.night.examples.jpegs) == 48 + 8


def test_a_detector_without_an_alarm_still_scores(top, tmp_path):
    shutil.copytree(top / "cam", tmp_path / "cam", ignore=shutil.ignore_patterns("alarm.*"))
    main(["score", str(top / NAME), "--model", str(tmp_path / "cam"), "--out", str(tmp_path)])
    with open(tmp_path / f"{NAME.removesuffix('.mp4')}.scores.csv", newline="") as file:
        assert "level" not in next(csv.DictReader(file))


def test_mistakes_are_one_line(top, capsys):
    for words, message in (
        (["fit", str(top / "normal"), "--add", "x.mp4", "--out", str(top / "cam")], "--add x.mp4"),
        (["fit", str(top / "normal"), "--out", str(top / "zoned"), "--zone", "0,0"], "--zone '0,0'"),
        (["fit", "--add", str(top / NAME), "--out", str(top / "none")], "no fitted detector there"),
    ):
        with pytest.raises(SystemExit) as end:
            main(words)
        said = capsys.readouterr().err.splitlines()[-1]
        assert end.value.code == 2 and message in said


class WholeVideos(FrameDifference):
    """A detector that has no stream."""

    name = "whole_videos"
    stream = Detector.stream

    def score(self, video, maps=True, tick=lambda frames: None):
        return FrameDifference().score(video, maps, tick)


def test_a_detector_without_a_stream_leaves_no_alarm_of_an_earlier_one(top, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(PEERS, WholeVideos.name, WholeVideos)
    out = str(tmp_path / "cam")
    main(["fit", str(top / "normal"), "--out", out, "--detector", "frame_difference"])
    Camera.load(out)
    main(["fit", str(top / "normal"), "--out", out, "--detector", WholeVideos.name])
    assert not (tmp_path / "cam" / "alarm.json").exists() and "threshold" in capsys.readouterr().out
    main(["score", str(top / NAME), "--model", out, "--out", str(tmp_path / "out")])
    assert [path.suffix for path in (tmp_path / "out").iterdir()] == [".csv"]


def test_a_bad_zone_is_said_before_anything_is_fitted(top, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["fit", str(top / "normal"), "--out", str(tmp_path / "cam"), "--zone", "0,0 1,1"])
    said = capsys.readouterr().err
    assert end.value.code == 2 and "--zone '0,0 1,1'" in said and said.count("\n") == 1
    assert not (tmp_path / "cam").exists()


@pytest.mark.parametrize("kind", ["polygon in pixels", "picture"])
def test_a_zone_stays_where_it_was_at_another_size_and_without_its_file(top, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    mask = np.zeros((48, 64), np.uint8)
    mask[:, :32] = 255
    cv2.imwrite("door.png", mask)
    zone = "door.png" if kind == "picture" else "0,0 32,0 32,48 0,48"
    main(["fit", str(top / "normal"), "--out", "cam", "--zone", zone, "--detector", "frame_difference"])
    (tmp_path / "door.png").unlink()
    camera = Camera.load("cam")
    left = np.zeros((6, 8), bool)
    left[:, :4] = True
    np.testing.assert_array_equal(camera.watched, left)
    np.testing.assert_array_equal(watched_cells(camera.watched, (12, 16)), left.repeat(2, 0).repeat(2, 1))
    thin = np.zeros((6, 8), bool)
    thin[3, 3] = True
    assert watched_cells(thin, (3, 4)).any()  # a small zone is there in a small stream too
    for column, inside in ((44, False), (4, True)):  # a blinking square beside what is watched, and in it
        odd = street(0)
        odd[30:40, 4:16, column : column + 12] = np.arange(10)[:, None, None, None] % 2 * 255
        levels = [moment.level for moment in camera.stream((n / 10, frame) for n, frame in enumerate(odd))]
        assert (max(levels) >= 1) == inside


def test_what_was_added_counts_once(top, tmp_path, capsys):
    cam = str(tmp_path / "cam")
    shutil.copytree(top / "cam", cam)
    more = tmp_path / "more"
    more.mkdir()
    write_video(str(more / "a.mp4"), iter(street(30)), 10)
    shutil.copy(more / "a.mp4", more / "b.mp4")
    main(["fit", "--add", str(more), "--out", cam])
    once, files = Camera.load(cam), {path.name: path.read_bytes() for path in (tmp_path / "cam").iterdir()}
    assert len(once.curves) == len(Camera.load(str(top / "cam")).curves) + 1
    assert f"{more}/b.mp4: was added before: passed over" in capsys.readouterr().err
    main(["fit", "--add", str(more), "--out", cam])
    assert {path.name: path.read_bytes() for path in (tmp_path / "cam").iterdir()} == files


def test_pictures_of_two_proportions_are_refused_before_the_work(top, tmp_path, capsys):
    write_video(str(tmp_path / "wide.mp4"), iter(np.concatenate([street(0)] * 2, axis=2)), 10)
    with pytest.raises(SystemExit) as end:
        main(["fit", str(top / "normal"), str(tmp_path / "wide.mp4"), "--out", str(tmp_path / "cam")])
    said = capsys.readouterr().err
    assert end.value.code == 2 and said.count("\n") == 1
    assert "wide.mp4: pictures of 128x48, others of 64x48: these are two cameras" in said
    assert not (tmp_path / "cam").exists()


def test_a_name_that_is_no_utf8_is_scored_and_shown_in_bytes(top, tmp_path):
    source = os.path.join(os.fsencode(tmp_path), b"Eingang_\xfc.mp4")
    shutil.copy(top / NAME, source)
    main(["score", os.fsdecode(source), "--model", str(top / "cam"), "--out", str(tmp_path / "out")])
    assert "Eingang_%FC.mp4" in (tmp_path / "out" / "Eingang_%FC.report.html").read_text()
    assert (tmp_path / "out" / "Eingang_%FC.scores.csv").exists()
