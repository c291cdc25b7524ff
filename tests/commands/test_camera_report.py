"""The report that score writes: an event in the video is the event of the page, marked where it is."""

import json

import numpy as np
import pytest
from PIL import Image

from ramvid_vad.commands.camera_report import FOLDER, keep_normal_frames, write_index, write_report
from ramvid_vad.detectors.fusion import CalibratedSum, LogScale

SIZE = (120, 160)


def footage(event: bool) -> list[np.ndarray]:
    """Noise on grey; in an event a bright square jumps about in the lower right corner from frame 30 to 39."""
    rng = np.random.default_rng(int(event))
    frames = [np.clip(rng.normal(120, 2, (*SIZE, 3)), 0, 255).astype(np.uint8) for _ in range(60)]
    for i in range(30, 40) if event else ():
        y, x = 80 + 10 * (i % 2), 110 + 15 * (i % 3)
        frames[i][y : y + 20, x : x + 20] = 250
    return frames


def save(frames, folder):
    folder.mkdir(parents=True)
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{i:03d}.png")
    return str(folder)


@pytest.fixture
def detector() -> CalibratedSum:
    """Of frame difference and flow alone, calibrated on the footage without the event."""
    scales = {"frame_difference": LogScale(0.0, 1.0, 1e-3), "optical_flow": LogScale(0.0, 1.0, 1e-3)}
    raw = CalibratedSum(None, scales, [], []).score(iter(footage(False)))
    logs = {part: np.log(np.maximum(values, 1e-3)) for part, values in raw.parts.items()}
    scales = {part: LogScale(float(v.mean()), float(v.std()) or 1.0, 1e-3) for part, v in logs.items()}
    normal = CalibratedSum(None, scales, [], []).score(iter(footage(False))).frames
    return CalibratedSum(None, scales, ["quiet"], [3 * normal])  # other noise exceeds the threshold of so few frames


def data_of(page):
    return json.loads(page.read_text().split('id="data">', 1)[1].split("</script>", 1)[0])


def test_the_event_is_found_and_marked_where_it_is(tmp_path, detector):
    video = save(footage(True), tmp_path / "<b>today")
    model = tmp_path / "door"
    keep_normal_frames([save(footage(False), tmp_path / "quiet")], str(model))
    assert len(list((model / FOLDER).iterdir())) == 6
    page = tmp_path / "out.html"
    write_report(detector, str(model), video, detector.score(video), str(page))
    data = data_of(page)
    (event,) = data["events"]
    assert 29 <= event["begin"] <= 31 and 39 <= event["end"] <= 42 and 30 <= event["peak"] <= 40
    assert event["multiple"] > 1 and event["parts"] and data["worst"] == []
    x0, y0, x1, y1 = event["picture"]["box"]
    assert event["picture"]["size"] == list(SIZE)
    assert 90 <= x0 < x1 <= 160 and 60 <= y0 < y1 <= 120  # in the corner where the square is
    assert len(data["normal"]["pictures"]) == 6 and sum(data["normal"]["counts"]) == 60
    assert data["title"] == "door: <b>today" and "<b>today" not in page.read_text()


def test_a_quiet_video_shows_its_highest_moments(tmp_path, detector):
    video = save(footage(False), tmp_path / "quiet")
    page = tmp_path / "out.html"
    detector.normal = [detector.normal[0] + 50]
    write_report(detector, str(tmp_path), video, detector.score(video), str(page))
    data = data_of(page)
    assert data["events"] == [] and data["lead"].startswith("Nothing in 60 frames")
    peaks = [m["peak"] for m in data["worst"]]
    assert peaks[0] == int(detector.score(video).frames.argmax()) and all(m["picture"] for m in data["worst"])


def test_the_index_has_the_figures_of_the_tables(tmp_path, detector):
    limit = float(np.quantile(detector.normal[0], 0.99, method="higher"))
    for name, scores in (("a", [0, 2 * limit, 0]), ("b", [0.5 * limit] * 3)):
        lines = "".join(f"{i},{i / 10},{s}\n" for i, s in enumerate(scores))
        (tmp_path / f"{name}.scores.csv").write_text(f"frame,seconds,score\n{lines}")
    tables = [str(tmp_path / f"{name}.scores.csv") for name in "ab"]
    page = tmp_path / "index.report.html"
    assert write_index(detector, "door", tables, str(tmp_path)) == str(page)
    rows = [(r["name"], r["report"], r["events"], pytest.approx(r["peak"])) for r in data_of(page)["rows"]]
    assert rows == [("a", "a.report.html", 1, 2.0), ("b", "b.report.html", 0, 0.5)]
