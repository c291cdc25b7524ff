"""What does not fit is refused in one line that names it: scores, labels and flags, before anything long is done."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ramvid_vad.errors import InputError
from ramvid_vad.evaluation import evaluate_scores, from_videos
from ramvid_vad.evaluation.from_detector import evaluate_detector
from ramvid_vad.evaluation.inputs.ground_truth import labels_of_videos
from ramvid_vad.options import EvalOptions

QUICK = {"bootstrap": 100, "noise_seeds": 2}


@pytest.fixture
def data(tmp_path):
    """Scores and labels of three videos, labels written as files."""
    rng = np.random.default_rng(0)
    scores, labels = {}, {}
    for name, n in (("01", 40), ("02", 25), ("a/03", 31)):
        labels[name] = (np.arange(n) // 7 % 2).astype(np.uint8)
        scores[name] = rng.standard_normal(n) + labels[name]
        path = tmp_path / "labels" / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, labels[name])
    return tmp_path, scores, labels


@pytest.fixture
def videos(tmp_path) -> Path:
    """Two videos of 40 and 32 grey frames."""
    for name, frames in (("01", 40), ("02", 32)):
        (tmp_path / "testing" / name).mkdir(parents=True)
        for i in range(frames):
            Image.fromarray(np.full((64, 96), i, np.uint8)).save(tmp_path / "testing" / name / f"{i:03d}.png")
    return tmp_path


def damage(scores, name, index, value):
    changed = {k: s.copy() for k, s in scores.items()}
    changed[name][index] = value
    return changed


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda s: damage(s, "02", 3, np.nan), {}, r"scores\.npz: video '02': score 3 of 25 \(from 0\) is nan"),
        (lambda s: damage(s, "02", 3, -np.inf), {}, r"score 3 of 25 \(from 0\) is -inf"),
        (lambda s: {k: v for k, v in s.items() if k != "02"}, {}, "no scores of video '02'"),
        (lambda s: s | {"04": np.ones(3)}, {}, "video '04' has no labels"),
        (lambda s: s | {"02": s["02"][4:]}, {}, r"21 scores of video '02', but 25 labels.*4 more.*--protocol mnad"),
        (lambda s: s | {"02": np.append(s["02"], 1)}, {}, "26 scores of video '02', but 25 labels: drop"),
        (lambda s: s | {"02": np.ones((5, 5))}, {}, r"an array \(5, 5\) of float64 is not one score per frame"),
        (lambda s: s | {"02": np.array(["a"] * 25)}, {}, "is not one score per frame"),
        (lambda s: s | {"02": np.array([object()] * 25)}, {}, "not an npz of numbers"),
        (lambda s: s, {"trim": "4"}, "--trim '4': two whole numbers"),
        (lambda s: s, {"trim": "4,0", "protocol": "mnad"}, "fixes its own trim"),
        (lambda s: s, {"bootstrap": -1}, "--bootstrap -1"),
        (lambda s: s, {"bootstrap": 1}, "--bootstrap 1, --seed 0: give at least 100 draws, or 0"),
        (lambda s: s, {"noise_seeds": 1}, "--noise_seeds 1"),
        (lambda s: s, {"sigma": float("nan")}, "--sigma nan: a standard deviation in frames, from 0 to 10000"),
        (lambda s: s, {"sigma": 1e6}, "--sigma 1000000.0"),
        (lambda s: s, {"alarm_period": float("nan")}, "--alarm_period nan"),
        (lambda s: s, {"quantile": float("nan")}, "--quantile nan"),
        (lambda s: s, {"fps": float("inf")}, "--fps inf"),
        (lambda s: s, {"lengths": "40,25,31"}, r"--lengths: not read, .*scores\.npz names its videos: leave it out"),
        (lambda s: s, {"normal_reconstructions": "x"}, "not with --scores: give --normal_scores"),
        (lambda s: s, {"method": "labels"}, "--method 'labels': scores.npz keeps something else"),
        (lambda s: s, {"method": "about"}, "--method 'about'"),
        (lambda s: s, {"method": "a/raw/b"}, "--method 'a/raw/b'"),
        (lambda s: s, {"benchmark": "ped3"}, "--benchmark 'ped3'"),
        (lambda s: s, {"quantile": 1.5}, "--quantile 1.5"),
        (lambda s: s, {"nulls": "optical_flow"}, "--nulls optical_flow: give --data_dir, the test videos"),
        (lambda s: s, {"normal": "/nowhere"}, "--normal_scores /nowhere: no such file"),
        (lambda s: s, {"benchmark": "ped2"}, "has 180 frames in UCSD Ped2"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(data, change, options, message):
    root, scores, _ = data
    np.savez(root / "scores.npz", **change(scores))
    with pytest.raises(InputError) as error:
        evaluate_scores(str(root / "scores.npz"), str(root / "labels"), **(QUICK | options))
    assert "\n" not in str(error.value)
    assert re.search(message, str(error.value)), error.value


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("s.csv", "video,frame,score\n01,0,1\n01,2,1\n", "frame 1 is missing or there twice"),
        ("s.csv", "video,frame,score\n01,5,1\n", "frames begin at 5"),
        ("s.csv", "video,score\n01,1,2\n", "line 2 has 3 columns"),
        ("s.csv", "video,score\n01,high\n", "one number per frame is needed"),
        ("s.txt", "1 2 x", "one number per frame is needed"),
        ("s.txt", "", "empty"),
        ("s.npz", "PK no", "not an npz of numbers"),
        ("s.npy", "no", "not an array of numbers"),
        ("s.bin", "no", "scores are read from"),
    ],
)
def test_files_that_cannot_be_read_are_named(data, name, content, message):
    root, _, _ = data
    (root / name).write_text(content)
    with pytest.raises(InputError, match=message) as error:
        evaluate_scores(str(root / name), str(root / "labels"))
    assert name in str(error.value)


def test_the_test_scores_do_not_calibrate(data):
    root, scores, labels = data
    np.savez(root / "s.npz", **scores)
    np.savez(root / "again.npz", **scores)
    for normal in ("s.npz", "again.npz"):
        with pytest.raises(InputError, match="--normal_scores"):
            evaluate_scores(str(root / "s.npz"), labels, normal=str(root / normal), **QUICK)
    with pytest.raises(InputError, match="the very scores that are tested: give those of normal video"):
        evaluate_scores(scores, labels, normal=scores, **QUICK)


def test_a_file_called_labels_needs_another_name(data):
    root, scores, labels = data
    np.savez(root / "labels.npz", **scores)
    with pytest.raises(InputError, match="give another --method"):
        evaluate_scores(str(root / "labels.npz"), labels, **QUICK)
    assert evaluate_scores(str(root / "labels.npz"), labels, method="x", **QUICK).rows[0].measure == "x"


@pytest.mark.parametrize("kind", ["folder", "npz"])
@pytest.mark.parametrize("benchmark", ["", "own"])
def test_a_part_has_one_hash_whatever_the_input_is(data, kind, benchmark):
    """The SHA-256 and the labels left over are those of the routes that read the video."""
    root, scores, labels = data
    place = root / "labels"
    if kind == "npz":
        place = root / "all.npz"
        np.savez(place, **labels)
    found = evaluate_scores(scores, str(place), only="01,a/*", benchmark=benchmark, **QUICK)
    expected = labels_of_videos(str(place), benchmark, "", ["01", "a/03"], [40, 31]).labels
    about = found.provenance["labels"]
    assert found.names == ["01", "a/03"]
    assert about["without_a_video"] == expected.unused == ["02"] and about["sha256"] == expected.sha256


@pytest.mark.parametrize(
    ("scores", "labels", "options", "message"),
    [
        ({}, {"1": [0, 1]}, {}, "scores: no video in it: give one array of scores per video"),
        ({"1": ["a", "b"]}, {"1": [0, 1]}, {}, r"scores: video '1': an array \(2,\) of <U1 is not one score per frame"),
        ({"1": [[1], [2, 3]]}, {"1": [0, 1]}, {}, "scores: video '1': no array of numbers"),
        ({"1": [1, np.nan]}, {"1": [0, 1]}, {}, "scores: video '1': score 1 of 2"),
        ({"1": [1, 2]}, {"1": 1}, {}, "2 scores of video '1', but 1 labels"),
        ({"1": [1, 2]}, {"1": [0, np.nan]}, {}, "labels: video '1': the label of frame 1 is nan"),
        ({"1": [1, 2]}, {"1": ["0", "1"]}, {}, "labels: video '1': an array of <U1"),
        ({"1": [1, 2]}, {1: [0, 1], "1": [1, 0]}, {}, "labels: two videos are called '1'"),
        ({1: [1, 2], "1": [1, 2]}, {"1": [1, 0]}, {}, "scores: two videos are called '1'"),
        ({"Test001": np.ones(20)}, {"Test001": np.ones(20)}, {"benchmark": "ped2"}, "01, which has 180 frames"),
        (
            {"1": [1, 2]},
            {"Test001": [0, 1], "01": [0, 1]},
            {"benchmark": "ped2"},
            "labels: two videos are '01' in UCSD",
        ),
    ],
)
def test_what_is_passed_in_memory_is_checked_as_a_file(scores, labels, options, message):
    with pytest.raises(InputError, match=message) as error:
        evaluate_scores(scores, labels, **QUICK, **options)
    assert "\n" not in str(error.value)


def test_labels_in_memory_are_named_as_the_benchmark_does():
    y = (np.arange(180) > 90).astype(int)
    found = evaluate_scores({"Test001": np.arange(180.0)}, {"Test001": y}, benchmark="ped2", **QUICK)
    assert found.names == ["01"] and found.rows[0].metrics["macro_auc"] == 1.0
    assert "labels of 1 test videos, 12 are published" in " ".join(found.provenance["label_notes"])


@pytest.mark.parametrize("lengths", ["40,25", "40,25,30", "40,x,31", "40,25.5,31", "0,65,31"])
def test_lengths_that_do_not_fit_are_refused(data, lengths):
    root, scores, _ = data
    np.save(root / "s.npy", np.concatenate(list(scores.values())))
    with pytest.raises(InputError, match=r"lengths|95 frames"):
        evaluate_scores(str(root / "s.npy"), str(root / "labels"), lengths=lengths)


@pytest.mark.parametrize(
    ("lengths", "only", "message"),
    [
        ({"02": 31}, "02", "video '02': 31 labels, but 32 frames"),
        ({"01": 40, "03": 32}, "", "video '03': 32 labels, but 0 frames: it is not there"),
    ],
)
def test_scores_of_other_videos_are_refused_before_these_are_scored(videos, lengths, only, message, monkeypatch):
    scores = {video: np.arange(float(n)) for video, n in lengths.items()}
    labels = {video: np.arange(n) // 20 for video, n in lengths.items()}
    monkeypatch.setattr(from_videos, "windows_alone", lambda *given: pytest.fail("a video was scored"))
    with pytest.raises(InputError, match=f"--data_dir .*: {message}"):
        evaluate_scores(scores, labels, data_dir=str(videos / "testing"), nulls="frame_difference", only=only)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lengths": "40,32"}, "--lengths: goes with --scores, not with --detector: leave it out"),
        ({"method": "x"}, "--method: goes with --scores, not with --detector"),
        ({"normal_scores": "x"}, "--normal_scores: goes with --scores, not with --detector: leave it out"),
        ({"normal_reconstructions": "x"}, "--normal_reconstructions: goes with --reconstructions, not with --detector"),
        ({"benchmark": "ped3"}, "--benchmark 'ped3'"),
    ],
)
def test_flags_that_a_detector_leaves_unread_are_refused(videos, given, message):
    options = EvalOptions(detector="nowhere", data_dir=str(videos / "testing"), labels="nowhere", **given)
    with pytest.raises(InputError, match=message):
        evaluate_detector(options, progress=False)
