"""The Python interface and the one command: fit, save, load and score without labels."""

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ramvid_vad
from ramvid_vad.__main__ import COMMANDS, main
from ramvid_vad.detectors.fusion import PARTS, split
from ramvid_vad.video.reader import read_frames
from ramvid_vad.video.writer import write_video

SMALL = ["--image_size=16", "--num_channels=32", "--num_res_blocks=1", "--channel_mult=1", "--attention_resolutions=16"]


def street(first: int, frames: int = 60) -> np.ndarray:
    """A textured scene of 48 x 64 pixels in which a small bright square walks to the right, uint8 (n, 48, 64, 3)."""
    rng = np.random.default_rng(0)
    scene = np.repeat(rng.integers(60, 120, (48, 64, 1), dtype=np.uint8), 3, axis=2)
    video = np.stack([scene] * frames)
    for t in range(frames):
        left = (first + t) % 56
        video[t, 20:28, left : left + 8] = 200
    return video


@pytest.fixture(scope="module")
def camera(tmp_path_factory):
    """Normal videos, one with a large black bar in frames 30 to 39, and a detector fitted on the normal ones."""
    top = tmp_path_factory.mktemp("camera")
    (top / "normal").mkdir()
    for number in range(3):
        write_video(str(top / "normal" / f"{number}.mp4"), iter(street(7 * number)), 10)
    odd = street(3)
    odd[30:40, 4:44, 20:40] = 0
    write_video(str(top / "odd.mp4"), iter(odd), 10)
    detector = ramvid_vad.fit(str(top / "normal"), str(top / "detector"), progress=False)
    return top, detector


def test_what_normal_video_never_showed_stands_out(camera):
    top, detector = camera
    scores = detector.score(str(top / "odd.mp4"))
    assert scores.frames.shape == (60,) and scores.fps == 10 and set(scores.parts) == set(PARTS)
    assert scores.maps.shape == (60, 6, 8) and scores.maps.dtype == np.float32
    assert scores.frames[30:40].min() > np.delete(scores.frames, range(29, 42)).max()
    row, column = np.unravel_index(scores.maps[35].argmax(), (6, 8))
    assert 0 <= row <= 5 and 2 <= column <= 5  # the bar: columns 20 to 39, in cells of 8 pixels
    np.testing.assert_allclose(
        scores.frames, sum(scale(scores.parts[part]) for part, scale in detector.scales.items()), rtol=1e-12
    )


def test_a_saved_detector_is_the_same_and_fitting_again_gives_its_bytes(camera, tmp_path):
    top, detector = camera
    loaded = ramvid_vad.load(str(top / "detector"))
    video = str(top / "odd.mp4")
    np.testing.assert_array_equal(loaded.score(video).frames, detector.score(video).frames)
    np.testing.assert_array_equal(loaded.score(video).maps, detector.score(video).maps)
    assert loaded.card == detector.card and loaded.card["normal_videos"] == ["0.mp4", "1.mp4", "2.mp4"]
    again = ramvid_vad.fit([str(top / "normal" / f"{n}.mp4") for n in range(3)], str(tmp_path), progress=False)
    for name in ("detector.json", "detector.safetensors"):
        assert (tmp_path / name).read_bytes() == (top / "detector" / name).read_bytes(), again.card


def test_a_file_a_folder_of_frames_and_frames_in_memory(camera, tmp_path):
    from PIL import Image

    top, detector = camera
    frames = list(read_frames(str(top / "odd.mp4")))
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"{number:03d}.png")
    folder = detector.score(str(tmp_path), maps=False)
    assert folder.maps is None and folder.fps == 0
    memory = detector.score(iter(frames), maps=False).frames
    np.testing.assert_allclose(folder.frames, memory, atol=1e-6)
    # a file's own luma and that of its colours differ by rounding
    np.testing.assert_allclose(detector.score(str(top / "odd.mp4")).parts["features"], folder.parts["features"])
    grey = detector.score(frame[..., 0] for frame in frames)
    assert grey.frames.argmax() in range(29, 42)
    for wrong, message in (
        ([np.zeros((48, 64, 3))], "frame 0 is float64"),
        ([frames[0], frames[1][:40]], "frame 1 is .*first one"),
        ([np.zeros((48, 64, 4), np.uint8)], "frame 0 is uint8"),
    ):
        with pytest.raises(ramvid_vad.InputError, match=message):
            detector.score(iter(wrong))


def test_few_videos_calibrate_on_their_last_fifth(camera):
    top, _ = camera
    learning, held_out = split([str(top / "normal" / "0.mp4"), str(top / "normal" / "1.mp4")])
    assert [(clip.first, clip.end) for clip in learning] == [(0, 48)] * 2
    assert [(clip.first, clip.end) for clip in held_out] == [(48, None)] * 2
    assert [len(list(clip.frames())) for clip in (*learning, *held_out)] == [48, 48, 12, 12]
    assert str(held_out[0]) == "0.mp4 from frame 48"
    one = ramvid_vad.fit(str(top / "normal" / "0.mp4"), progress=False)
    assert one.held_out == ["0.mp4 from frame 48"] and len(one.normal[0]) == 12


def test_what_cannot_be_fitted_or_loaded_is_one_line(camera, tmp_path):
    top, _ = camera
    (tmp_path / "short").mkdir()
    write_video(str(tmp_path / "short" / "a.mp4"), iter(street(0, 20)), 10)
    (tmp_path / "three").mkdir()
    for i in range(3):
        write_video(str(tmp_path / "three" / f"{i}.mp4"), iter(street(i, 16)), 10)
    cases = [
        (lambda: ramvid_vad.fit(str(tmp_path / "short")), "20 frames of normal video: give at least 50"),
        (lambda: ramvid_vad.fit(str(tmp_path / "three")), "48 frames of normal video: give at least 50"),
        (lambda: ramvid_vad.fit(str(tmp_path / "none")), "none"),
        (lambda: ramvid_vad.fit(str(top / "normal"), recipe="quick"), "recipe 'quick': choose one of fast"),
        (lambda: ramvid_vad.fit([str(top / "normal" / "0.mp4")] * 2), "given twice"),
        (lambda: ramvid_vad.load(str(tmp_path)), "no fitted detector there"),
    ]
    for call, message in cases:
        with pytest.raises(ramvid_vad.InputError, match=message) as error:
            call()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "damage",
    [
        lambda about: about["settings"]["log_scales"]["features"].update(sd=0),
        lambda about: about["settings"]["log_scales"].pop("features"),
        lambda about: about["settings"].update(log_scales=[1]),
        lambda about: about.update(detector="unknown"),
        lambda about: about.update(format=99),
        lambda about: about.update(format=1),
        lambda about: about.pop("card"),
        lambda about: about["settings"]["held_out"].append("one more"),
    ],
)
def test_a_damaged_detector_is_refused_in_one_line(camera, tmp_path, damage):
    top, _ = camera
    shutil.copytree(top / "detector", tmp_path / "copy")
    path = tmp_path / "copy" / "detector.json"
    about = json.loads(path.read_text())
    damage(about)
    path.write_text(json.dumps(about))
    with pytest.raises(ramvid_vad.InputError, match=r"fit it again|newer version") as error:
        ramvid_vad.load(str(tmp_path / "copy"))
    assert "\n" not in str(error.value)


def test_a_folder_of_the_format_before_is_read(camera, tmp_path):
    top, _ = camera
    shutil.copytree(top / "detector", tmp_path / "copy")
    path = tmp_path / "copy" / "detector.json"
    about = json.loads(path.read_text())
    assert about["format"] == 3
    path.write_text(json.dumps(about | {"format": 2}))
    assert ramvid_vad.load(str(tmp_path / "copy")).about() == ramvid_vad.load(str(top / "detector")).about()


def test_a_detector_file_cut_short_is_refused(camera, tmp_path):
    top, _ = camera
    shutil.copytree(top / "detector", tmp_path / "copy")
    path = tmp_path / "copy" / "detector.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ramvid_vad.InputError, match="fit it again"):
        ramvid_vad.load(str(tmp_path / "copy"))


def test_two_fits_are_not_mixed(camera, tmp_path):
    """A kill between the two renames of fitting again leaves the tensors of one beside the settings of the other."""
    top, _ = camera
    shutil.copytree(top / "detector", tmp_path / "copy")
    ramvid_vad.fit(str(top / "normal" / "0.mp4"), str(tmp_path / "other"), progress=False)
    shutil.copy(tmp_path / "other" / "detector.safetensors", tmp_path / "copy")
    with pytest.raises(ramvid_vad.InputError, match=r"another fit.*fit it again"):
        ramvid_vad.load(str(tmp_path / "copy"))


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, ramvid_vad; print([m for m in ('torch', 'cv2', 'av', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == "[]\n"
    assert set(ramvid_vad.__all__) <= set(dir(ramvid_vad))
    for name in ramvid_vad.__all__:
        assert getattr(ramvid_vad, name) is not None
    with pytest.raises(AttributeError, match="train"):
        ramvid_vad.train  # noqa: B018


def test_one_command_fits_and_scores(camera, tmp_path, capsys, monkeypatch):
    top, detector = camera
    main(["fit", str(top / "normal"), "--out", str(tmp_path / "camera")])
    assert "calibrated on 1.mp4, 2.mp4" in capsys.readouterr().out
    main(["score", str(top / "odd.mp4"), "--model", str(tmp_path / "camera"), "--out", str(tmp_path)])
    assert "60 frames, the most unusual is frame 3" in capsys.readouterr().out
    with open(tmp_path / "odd.scores.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["frame"] for row in rows] == [str(t) for t in range(60)] and rows[25]["seconds"] == "2.500"
    np.testing.assert_allclose(
        [float(row["score"]) for row in rows], detector.score(str(top / "odd.mp4")).frames, rtol=1e-5
    )


def test_scoring_again_goes_on_and_writes_over_nothing_else(camera, tmp_path, capsys, monkeypatch):
    """Names with spaces and colons, a damaged video among others, and two videos of one name."""
    top, detector = camera
    monkeypatch.chdir(tmp_path)
    for folder in ("a:b", "my videos", "other"):
        Path(folder).mkdir()
    write_video("a:b/x.mp4", iter(street(3, 12)), 10)
    write_video("my videos/day 1.mp4", iter(street(3, 12)), 10)
    Path("my videos/broken.mp4").write_text("no video")
    shutil.copy("a:b/x.mp4", "other")
    common = ["--model", str(top / "detector"), "--out", "s"]
    with pytest.raises(SystemExit) as end:
        main(["score", "a:b", "my videos", *common])
    said = capsys.readouterr()
    assert end.value.code == 2 and "1 of 3 videos could not be scored" in said.err and "broken.mp4: cannot" in said.err
    assert sorted(path.name for path in Path("s").iterdir() if path.suffix == ".csv") == [
        "day 1.scores.csv",
        "x.scores.csv",
    ]
    with open("s/x.scores.csv", newline="") as file:
        assert [row["seconds"] for row in csv.DictReader(file)] == [f"{t / 10:.3f}" for t in range(12)]
    monkeypatch.setattr(type(detector), "stream", None)  # nothing is computed a second time
    before = Path("s/x.scores.csv").read_bytes()
    main(["score", "a:b/x.mp4", *common])
    assert "s/x.scores.csv: finished before" in capsys.readouterr().out
    assert Path("s/x.scores.csv").read_bytes() == before
    with pytest.raises(SystemExit):
        main(["score", "a:b", "other", *common])
    assert "the scores of both would be s/x.scores.csv" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    write_video("a:b/x.mp4", iter(street(3, 13)), 10)  # another video of the same name
    main(["score", "a:b/x.mp4", *common])
    assert "13 frames" in capsys.readouterr().out


def test_a_place_for_the_detector_that_cannot_be_is_refused_before_the_work(camera, tmp_path, monkeypatch):
    top, _ = camera
    (tmp_path / "file").write_text("kept")
    monkeypatch.setattr("ramvid_vad.detectors.fusion.FrozenFeatures", None)  # not even begun
    for out in (tmp_path / "file", tmp_path / "file" / "below", ""):
        with pytest.raises(ramvid_vad.InputError, match=r"^out"):
            ramvid_vad.fit(str(top / "normal"), str(out), progress=False)
    assert (tmp_path / "file").read_text() == "kept"


def test_ctrl_c_leaves_no_half_detector(camera, tmp_path, monkeypatch, capsys):
    top, _ = camera

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("ramvid_vad.detectors.fusion.log_scale", interrupted)  # the last step but saving
    with pytest.raises(SystemExit) as end:
        main(["fit", str(top / "normal" / "0.mp4"), "--out", str(tmp_path / "camera")])
    lines = capsys.readouterr().err.splitlines()
    assert end.value.code == 130 and lines[-1] == "ramvid-vad fit: stopped; the same command begins again"
    assert "counting frames: 100% 60/60" in lines[0] and not (tmp_path / "camera").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fit"], "ramvid-vad fit: error: which normal video"),
        (["fit", "x", "--nonsense", "1"], "unknown flag --nonsense"),
        (["score", "x.mp4"], "--model: give the folder"),
        (["wach"], "unknown command 'wach'"),
    ],
)
def test_mistakes_of_the_one_command_are_one_line_and_code_2(words, message, capsys):
    with pytest.raises(SystemExit) as end:
        main(words)
    said = capsys.readouterr().err
    assert end.value.code == 2 and message in said and said.count("\n") == 1


def test_help_and_version(capsys):
    main([])
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in COMMANDS)
    main(["--version"])
    assert capsys.readouterr().out == f"ramvid_vad {ramvid_vad.__version__}\n"
    for name in COMMANDS:
        with pytest.raises(SystemExit) as end:
            main([name, "--help"])
        assert end.value.code == 0 and "--" in capsys.readouterr().out


def test_the_ten_lines_of_the_page_run(camera, tmp_path, monkeypatch, capsys):
    page = (Path(__file__).resolve().parent.parent / "docs" / "api.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", page, re.S)[1]
    top, _ = camera
    shutil.copytree(top / "normal", tmp_path / "normal")
    shutil.copy(top / "odd.mp4", tmp_path / "today.mp4")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/api.md", "exec"), {})
    said = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"frame (29|3\d|40|41), \d\.\d s, cell \d, [1-6]", said[0])
    assert [line.split(":")[0] for line in said[1:]] == list(PARTS)


def test_a_model_infills_from_python_what_the_command_infills(tmp_path):
    for folder in ("normal", "videos"):
        (tmp_path / folder).mkdir()
        write_video(str(tmp_path / folder / "a.mp4"), iter(street(0, 40)), 10)
    model, out, cache = (str(tmp_path / name) for name in ("model", "out", "cache"))
    data = ["--cache_dir", cache, "--data_dir"]
    main(["train", *SMALL, *data, str(tmp_path / "normal"), "--log_dir", model, "--max_steps", "1"])
    words = ["--timestep_respacing", "2", "--batch_size", "2", "--model_path", model, "--out_dir", out]
    main(["sample", *words, *data, str(tmp_path / "videos")])
    infiller = ramvid_vad.load_model(model, timestep_respacing="2", batch_size=2, cache_dir=cache)
    made = infiller.infill(str(tmp_path / "videos" / "a.mp4"))
    with np.load(tmp_path / "out" / "a.npz") as expected:
        np.testing.assert_array_equal(made.frames, expected["reconstructions"])
        np.testing.assert_array_equal(made.frame, expected["frame"])
    with pytest.raises(ramvid_vad.InputError, match="unknown option 'strid': did you mean 'stride'"):
        ramvid_vad.load_model(model, strid=1)


def test_without_the_frozen_network_motion_stands_alone(camera, tmp_path, monkeypatch, capsys):
    top, detector = camera
    monkeypatch.setattr("ramvid_vad.detectors.fusion.installed", lambda: False)
    alone = ramvid_vad.fit(str(top / "normal"), str(tmp_path), progress=False)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "motion alone" in said and "pip install" in said
    scores, both = (each.score(str(top / "odd.mp4")) for each in (ramvid_vad.load(str(tmp_path)), detector))
    assert list(scores.parts) == ["frame_difference", "relative_flow"] and scores.maps.shape == both.maps.shape
    for part, values in scores.parts.items():
        np.testing.assert_array_equal(values, both.parts[part])
    assert alone.about()["centres"] == 0 and scores.frames.argmax() in range(29, 42)
