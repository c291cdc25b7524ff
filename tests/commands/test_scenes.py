"""One detector per scene: each video is scored as by a detector fitted on its scene alone, and no other is asked."""

import csv

import numpy as np
import pytest
from clips import write_video
from stand_ins import texture

import ramvid_vad
from ramvid_vad.__main__ import main
from ramvid_vad.evaluation.from_detector import evaluate_detector
from ramvid_vad.events.camera import Camera
from ramvid_vad.options import EvalOptions
from ramvid_vad.video.benchmarks.scenes import scene_of

SCENES = {"01": 1, "02": 5}  # pixels a frame that things move by


@pytest.fixture(scope="module")
def top(tmp_path_factory):
    """Two scenes named as ShanghaiTech names them, and a folder with a detector for each."""
    folder = tmp_path_factory.mktemp("scenes")
    for name in ("training", "testing", "labels"):
        (folder / name).mkdir()
    for scene, speed in SCENES.items():
        for number in (1, 2, 3):
            clip = texture(20, 36, 52, speed=speed, seed=number + 10 * speed)
            write_video(folder / "training" / f"{scene}_000{number}.mkv", clip)
        write_video(folder / "testing" / f"{scene}_0014.mkv", texture(20, 36, 52, speed=3, seed=speed))
        np.save(folder / "labels" / f"{scene}_0014.npy", np.repeat([0, 1], 10).astype(np.uint8))
    main(["fit", str(folder / "training"), "--scenes", "shanghaitech", "--out", str(folder / "cameras")])
    return folder


@pytest.fixture(scope="module")
def alone(top):
    """Scene -> the camera of that scene's videos alone."""
    for scene in SCENES:
        videos = [str(path) for path in sorted((top / "training").glob(f"{scene}_*"))]
        ramvid_vad.fit(videos, str(top / "alone" / scene), progress=False)
    return {scene: Camera.load(str(top / "alone" / scene)) for scene in SCENES}


def test_evaluate_scores_each_video_with_the_detector_of_its_scene(top, alone):
    options = {"data_dir": str(top / "testing"), "labels": str(top / "labels"), "benchmark": "shanghaitech"}
    found = evaluate_detector(EvalOptions(detector=str(top / "cameras"), nulls="", bootstrap=100, **options), False)
    for number, scene in enumerate(SCENES):
        detector = alone[scene].detector
        scores = detector.score(str(top / "testing" / f"{scene}_0014.mkv"), maps=False)
        np.testing.assert_array_equal(found.row("calibrated").raw[number], scores.frames)
        for part, values in scores.parts.items():
            np.testing.assert_array_equal(found.row(part).raw[number], detector.scales[part](values))
        card = found.provenance["detector"]["scenes"][scene]["card"]
        assert card["normal_videos"] == [f"{scene}_000{number}.mkv" for number in (1, 2, 3)]
    assert found.row("calibrated").metrics["scene_auc"] is not None
    other = alone["02"].detector.score(str(top / "testing" / "01_0014.mkv"), maps=False)
    assert (found.row("calibrated").raw[0] != other.frames).all()  # a scene's detector knows that scene alone


def test_score_does_the_same_and_raises_the_scenes_own_alarm(top, alone, tmp_path, capsys):
    main(["score", str(top / "testing"), "--model", str(top / "cameras"), "--out", str(tmp_path)])
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "index.report.html")
    for scene in SCENES:
        expected = alone[scene].detector.score(str(top / "testing" / f"{scene}_0014.mkv"), maps=False).frames
        with open(tmp_path / f"{scene}_0014.scores.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        np.testing.assert_allclose([float(row["score"]) for row in rows], expected, rtol=1e-5)
        assert Camera.load(str(top / "cameras" / scene)).threshold == alone[scene].threshold
    assert alone["01"].threshold != alone["02"].threshold


def test_a_scene_that_was_never_fitted_is_one_line(top, tmp_path, capsys):
    (tmp_path / "videos").mkdir()
    for name in ("03_0001", "01_0001"):
        write_video(tmp_path / "videos" / f"{name}.mkv", texture(5, 36, 52))
        np.save(tmp_path / f"{name}.npy", np.zeros(5, np.uint8))
    words = ["--data_dir", str(tmp_path / "videos"), "--labels", str(tmp_path), "--out_dir", str(tmp_path / "out")]
    for command in (
        ["score", str(tmp_path / "videos"), "--model", str(top / "cameras"), "--out", str(tmp_path / "scores")],
        ["evaluate", "--detector", str(top / "cameras"), *words],
    ):
        with pytest.raises(SystemExit) as end:
            main(command)
        said = capsys.readouterr().err
        assert end.value.code == 2 and said.count("\n") == 1
        assert "03_0001: scene 03, but" in said and "was fitted on scenes 01, 02" in said
    assert not (tmp_path / "scores").exists()


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("holiday", [], "holiday.mkv: no name of shanghaitech"),
        ("07_0001", [], "scene 07: 5 frames of normal video: give at least 50"),
        ("07_0001", ["--zone", "0,0 9,0 9,9"], "--zone 0,0 9,0 9,9: is of one picture"),
        ("07_0001", ["--add", "x"], "--add x: takes more into a camera"),
    ],
)
def test_mistakes_of_fitting_are_one_line(tmp_path, capsys, name, more, message):
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / f"{name}.mkv", texture(5, 36, 52))
    out = tmp_path / "cameras"
    with pytest.raises(SystemExit) as end:
        main(["fit", str(tmp_path / "videos"), "--scenes", "shanghaitech", "--out", str(out), *more])
    assert end.value.code == 2 and message in capsys.readouterr().err and not (out / "scenes.json").exists()


def test_the_folder_of_scenes_is_no_detector_itself_and_stays_what_it_is(top, tmp_path):
    with pytest.raises(ramvid_vad.InputError, match="has a detector for each scene: give the folder of one"):
        ramvid_vad.load(str(top / "cameras"))
    with pytest.raises(ramvid_vad.InputError, match="give another folder, or that of one scene"):
        ramvid_vad.fit(str(top / "training"), str(top / "cameras"), progress=False)
    damaged = tmp_path / "cameras"
    damaged.mkdir()
    (damaged / "scenes.json").write_text("{")
    with pytest.raises(SystemExit):
        main(["score", str(top / "testing"), "--model", str(damaged), "--out", str(tmp_path)])


@pytest.mark.parametrize(
    ("benchmark", "name", "scene"),
    [
        ("shanghaitech", "01_0014", "01"),
        ("shanghaitech", "frames/12_173", "12"),
        ("shanghaitech", "demo", None),
        ("ubnormal", "Scene10/abnormal_scene_10_scenario_3_fog", "10"),
        ("ubnormal", "normal_scene_1_scenario1_4", "1"),
        ("ped2", "01_0014", None),
    ],
)
def test_names_tell_the_scene(benchmark, name, scene):
    assert scene_of(benchmark, name) == scene
