"""The report that score writes: an event in the video is the event of the page, marked where it is."""

import base64
import errno
import io
import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ramvid_vad.commands.camera import score as scoring
from ramvid_vad.commands.camera.report import write_index, write_report
from ramvid_vad.detectors.fusion import CalibratedSum, LogScale
from ramvid_vad.detectors.motion import FrameDifference, UsualByRow
from ramvid_vad.errors import InputError
from ramvid_vad.events.calibration import camera_of
from ramvid_vad.events.camera import Camera
from ramvid_vad.events.examples import Examples
from ramvid_vad.events.recording import Recorder, record
from ramvid_vad.options import RunOptions

SIZE = (120, 160)


def footage(event: bool) -> list[np.ndarray]:
    """Noise on grey; in an event a bright square jumps about in the lower right corner from frame 30 to 49."""
    rng = np.random.default_rng(int(event))
    frames = [np.clip(rng.normal(120, 2, (*SIZE, 3)), 0, 255).astype(np.uint8) for _ in range(80)]
    for i in range(30, 50) if event else ():
        y, x = 80 + 10 * (i % 2), 110 + 15 * (i % 3)
        frames[i][y : y + 20, x : x + 20] = 250
    return frames


def save(frames, folder):
    folder.mkdir(parents=True)
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{i:03d}.png")
    return str(folder)


@pytest.fixture
def camera(tmp_path) -> Camera:
    """Of frame difference and flow alone, calibrated on the footage without the event."""
    scales = {"frame_difference": LogScale(0.0, 1.0, 1e-3), "relative_flow": LogScale(0.0, 1.0, 1e-3)}
    usual = UsualByRow(np.ones(1, np.float32))
    raw = CalibratedSum(None, usual, scales, [], []).score(iter(footage(False)))
    logs = {part: np.log(np.maximum(values, 1e-3)) for part, values in raw.parts.items()}
    scales = {part: LogScale(float(v.mean()), float(v.std()) or 1.0, 1e-3) for part, v in logs.items()}
    normal = CalibratedSum(None, usual, scales, [], []).score(iter(footage(False))).frames
    detector = CalibratedSum(
        None, usual, scales, ["quiet"], [3 * normal]
    )  # other noise exceeds what so few frames reach
    detector.card = {"recipe": "fast"}
    return camera_of(detector, [save(footage(False), tmp_path / "quiet")], "door", 0.5, progress=False)


def report(camera, video, stem):
    recorder = Recorder(str(stem), camera, 0.0)
    frames = footage("today" in video)
    record(recorder, camera.stream((i / recorder.rate, frame) for i, frame in enumerate(frames)))
    page = stem.with_name(stem.name + ".report.html")
    write_report(camera, video, recorder, str(page))
    stem.with_name(stem.name + ".scores.csv").write_text(recorder.table("x"))
    return page


class OfWindows(FrameDifference):
    """Scores thirty frames at a time, and can only do so once in a test: as a model of windows."""

    asked = 0

    def stream(self, frames, key=0, maps=True):
        self.asked += 1
        found, frames = [], iter(frames)
        while block := list(islice(frames, 30)):
            found += super().stream(iter(block), key, maps)
        yield from found


def test_heat_is_shown_of_a_detector_that_cannot_look_at_single_frames_again(tmp_path):
    detector = OfWindows()
    detector.card = {}
    camera = camera_of(detector, [save(footage(False), tmp_path / "quiet")], "door", 0.5, progress=False)
    detector.asked = 0
    data = data_of(report(camera, save(footage(True), tmp_path / "today"), tmp_path / "today"))
    shown = data["events"][0]["picture"]
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(shown["jpeg"])))).astype(int)
    coloured = np.abs(image[..., 0] - image[..., 2]) > 40  # all of the footage is grey
    assert detector.asked == 1 and coloured[70:, 100:].mean() > 0.1 and coloured[:60, :90].mean() < 0.01


def data_of(page):
    return json.loads(page.read_text().split('id="data">', 1)[1].split("</script>", 1)[0])


def test_the_event_is_found_and_marked_where_it_is(tmp_path, camera):
    video = save(footage(True), tmp_path / "<b>today")
    page = report(camera, video, tmp_path / "today")
    data = data_of(page)
    (line,) = (tmp_path / "today.events.jsonl").read_text().splitlines()
    (event,), told = data["events"], json.loads(line)
    assert (event["begin"], event["end"] - 1, event["peak"]) == (told["start"], told["end"], told["peak"])
    assert 30 <= event["begin"] <= 45 and event["score"] > 1 and event["parts"] and data["worst"] == []
    assert event["clip"] == told["clip"] == "today.events/0000.mp4" and (tmp_path / event["clip"]).exists()
    x0, y0, x1, y1 = event["picture"]["box"]
    assert event["picture"]["box"] == told["box"] and event["picture"]["size"] == list(SIZE)
    assert 80 <= x0 < x1 <= 160 and 60 <= y0 < y1 <= 120  # in the corner where the square is
    assert told["normal_example"] is None and event["normal"] == ""  # no network here knows how anything looks
    assert len(data["normal"]["pictures"]) == 6 and sum(data["normal"]["counts"]) == 80
    assert data["stands_on"] == camera.threshold.sentence()
    assert data["title"] == "door: <b>today" and "<b>today" not in page.read_text()


def test_a_quiet_video_shows_its_highest_moments_and_the_index_has_both(tmp_path, camera):
    quiet = report(camera, str(tmp_path / "quiet"), tmp_path / "calm")
    data = data_of(quiet)
    assert data["events"] == [] and data["lead"].startswith("Nothing in 80 frames")
    assert data["worst"] and all(m["picture"] and m["score"] < 1 for m in data["worst"])
    report(camera, save(footage(True), tmp_path / "today"), tmp_path / "busy")
    page = write_index(camera.name, [str(tmp_path / f"{name}.scores.csv") for name in ("calm", "busy")], str(tmp_path))
    first, second = data_of(Path(page))["rows"]
    assert (first["name"], first["report"], first["events"]) == ("busy", "busy.report.html", 1)
    assert (second["name"], second["events"], second["faults"]) == ("calm", 0, 0) and first["peak"] > 1 > second["peak"]


def test_an_overlay_is_of_the_camera_that_it_is_asked_of(tmp_path, camera):
    """Which may have no example of normal video."""
    camera.examples = Examples()
    video, out = save(footage(False)[:12], tmp_path / "today"), str(tmp_path / "today.scores.csv")
    asked = [("a", True), ("b", False), ("b", True), ("b", True)]
    said = [scoring._score(camera, digest, video, out, overlay) for digest, overlay in asked]
    assert ["finished before" in each for each in said] == [False, False, False, True]
    assert data_of(tmp_path / "today.report.html")["normal"]["pictures"] == []


@pytest.mark.parametrize("what", ["full disk", "no events"])
def test_an_index_that_cannot_be_written_is_one_line(tmp_path, monkeypatch, what):
    for name in "ab":
        (tmp_path / f"{name}.mp4").write_bytes(b"x")
        (tmp_path / f"{name}.scores.csv").write_text("frame,level\n0,0.5\n")
    monkeypatch.setattr(scoring, "_loaded", lambda *args: (Camera.__new__(Camera), ""))
    monkeypatch.setattr(scoring, "_score", lambda model, digest, path, out, overlay: f"{out}: finished before")
    if what == "full disk":

        def full(*args):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(scoring, "write_index", full)
    run = RunOptions(("score",))
    run.score.input, run.score.model, run.score.out = str(tmp_path), str(tmp_path), str(tmp_path)
    with pytest.raises(InputError, match="no index of the videos is written") as error:
        scoring.score(run)
    told = {"full disk": "index.report.html: ", "no events": "a.events.jsonl: "}[what]
    assert told in str(error.value) and "\n" not in str(error.value)
