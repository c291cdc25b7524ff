"""Feature diffusion as a detector, in both protocols, and its study."""

import builtins
import io
import itertools
import json
import shutil
import tempfile
from types import SimpleNamespace

import numpy as np
import pytest
from clips import write_video
from stand_ins import ManyColours, texture

import ramvid_vad
from ramvid_vad.cli import COMMAND_SECTIONS, parse_command
from ramvid_vad.commands.study_features import _to_frames, study_features
from ramvid_vad.detectors import network_training
from ramvid_vad.detectors.detector import load
from ramvid_vad.detectors.feature_diffusion import detector as module
from ramvid_vad.detectors.feature_diffusion.detector import PART, FeatureDiffusion, UnlabelledFeatureDiffusion
from ramvid_vad.detectors.feature_diffusion.model import flagged
from ramvid_vad.detectors.registry import SAVED
from ramvid_vad.errors import InputError
from ramvid_vad.spaces import features as features_module


def clock():
    """Stands in for the module time of the training: a step takes a second, however fast the machine is."""
    seconds = itertools.count()
    return SimpleNamespace(monotonic=lambda: next(seconds))


@pytest.fixture(scope="module", autouse=True)
def stand_in():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features_module, "load_backbone", lambda name, weights="": ManyColours())
        patch.setattr(features_module, "FRAMES", 20)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("feature_diffusion")
    paths = [str(write_video(folder / f"{i}.mkv", texture(40, 40, 60, speed=2, seed=i))) for i in range(4)]
    return folder, paths, FeatureDiffusion.fit(paths, False, work=str(folder / "work"), minutes=0.02)


def test_the_scale_comes_from_held_out_normal_video(made):
    _, paths, detector = made
    assert detector.held_out == ["2.mkv", "3.mkv"]
    clips = np.concatenate([np.unique(detector.score(path).parts[PART].round(9)) for path in paths[2:]])
    errors = [
        detector.model.errors(np.stack([vector for _, vector in detector.features.clips(module.colour(path))]))
        for path in paths[2:]
    ]
    assert detector.scales[PART].mean == pytest.approx(np.log(np.concatenate(errors)).mean(), abs=1e-4)
    assert len(clips) >= 4


def test_scores_are_constant_over_clips(made):
    _, paths, detector = made
    ticks = []
    scores = detector.score(paths[0], tick=ticks.append)
    assert scores.maps is None and scores.frames.shape == (40,) and sum(ticks) == 40
    assert (
        len(set(scores.frames[:16])) == 1 and len(set(scores.frames[16:24])) == 1 and len(set(scores.frames[32:])) == 1
    )
    expected = (
        np.log(np.maximum(scores.parts[PART], detector.scales[PART].floor)) - detector.scales[PART].mean
    ) / detector.scales[PART].sd
    np.testing.assert_allclose(scores.frames, expected)
    assert detector.score(texture(3, 40, 60)).frames.shape == (3,)


def test_saved_and_loaded_it_scores_the_same(made, tmp_path):
    _, paths, detector = made
    detector.card = {"recipe": detector.name}
    detector.save(str(tmp_path))
    np.testing.assert_array_equal(load(str(tmp_path), SAVED).score(paths[0]).frames, detector.score(paths[0]).frames)
    tensors = {name: value for name, value in detector.tensors().items() if "network.decoder" not in name}
    with pytest.raises(ValueError, match="Missing key"):
        FeatureDiffusion.restore(detector.settings(), tensors)
    with pytest.raises(ValueError, match="scales of"):
        FeatureDiffusion.restore(detector.settings() | {"log_scales": {}}, detector.tensors())


def test_the_unsupervised_protocol_learns_from_all_video_and_knows_no_label(made, monkeypatch, tmp_path):
    """All videos give clips, none is held out, and of the labels that lie beside them no file is opened."""
    paths = [shutil.copy(path, tmp_path) for path in made[1]]
    labels = tmp_path / "labels"
    labels.mkdir()
    for i in range(4):
        np.save(labels / f"{i}.npy", np.zeros(40, np.uint8))
    learnt = []
    real = module.VectorDiffusion.fit
    monkeypatch.setattr(
        module.VectorDiffusion,
        "fit",
        lambda vectors, held_out, **s: learnt.append((vectors, held_out)) or real(vectors, held_out, **s),
    )
    opened = []
    for owner, name in ((builtins, "open"), (io, "open"), (np, "load")):
        monkeypatch.setattr(owner, name, _noted(getattr(owner, name), opened))
    detector = UnlabelledFeatureDiffusion.fit(paths, False, work=str(tmp_path / "work"), minutes=0.01)
    vectors, held_out = learnt[0]
    assert len(vectors) == 4 * 7 and len(held_out) == 0  # a clip every 4 of 40 frames
    assert detector.held_out == [] and opened and not [path for path in opened if str(labels) in path]
    errors = detector.model.errors(vectors)
    assert detector.scales[PART].mean == pytest.approx(np.log(errors).mean(), abs=1e-4)
    detector.card = {}
    detector.save(str(tmp_path))
    assert isinstance(load(str(tmp_path), SAVED), UnlabelledFeatureDiffusion)


def _noted(do, opened):
    def noted(path, *given, **more):
        opened.append(str(path))
        return do(path, *given, **more)

    return noted


@pytest.mark.parametrize("kind", [FeatureDiffusion, UnlabelledFeatureDiffusion])
def test_stored_steps(made, kind, tmp_path, monkeypatch):
    """Six steps of a second each, a checkpoint every three: at the last one the detector, before it another."""
    _, paths, _ = made
    monkeypatch.setattr(network_training, "time", clock())
    monkeypatch.setitem(network_training.train_network.__kwdefaults__, "save_every_minutes", 0.05)
    work = str(tmp_path / "work")
    detector = kind.fit(paths, False, work=work, minutes=0.1)
    assert kind.stored_steps(work) == [3, 6] and kind.stored_steps(str(tmp_path)) == []
    earlier, last = (detector.at_step(work, step, paths) for step in (3, 6))
    assert type(last) is type(earlier) is kind and last.held_out == earlier.held_out == detector.held_out
    assert last.scales == detector.scales
    scores, *others = (each.score(paths[0]).frames for each in (detector, last, earlier))
    np.testing.assert_array_equal(others[0], scores)
    assert (others[1] != scores).any()
    path = tmp_path / "work" / "network" / "model000003.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"model000003\.safetensors"):
        detector.at_step(work, 3, paths)


def test_a_training_goes_on_with_the_videos_it_was_begun_with(made):
    folder, paths, _ = made
    with pytest.raises(InputError, match="begun with other normal videos"):
        FeatureDiffusion.fit(paths[:3], False, work=str(folder / "work"), minutes=0.02)
    with pytest.raises(InputError, match="begun with seed 123, not 7"):
        FeatureDiffusion.fit(paths, False, work=str(folder / "work"), minutes=0.02, seed=7)


def test_too_little_video_is_one_line(tmp_path):
    paths = [str(write_video(tmp_path / f"{i}.mkv", texture(17, 40, 60, seed=i))) for i in range(3)]
    with pytest.raises(InputError, match="2 clips of 16 frames: give at least 4"):
        FeatureDiffusion.fit(paths, False, work=str(tmp_path / "work"), minutes=0.01)


def test_without_a_folder_nothing_is_left(made, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(network_training, "time", clock())
    detector = ramvid_vad.fit(made[1], progress=False, minutes=0.1, detector="feature_diffusion")
    assert detector.score(made[1][0]).frames.shape == (40,)
    assert not list(tmp_path.iterdir())


def test_no_frame_is_one_line(made):
    with pytest.raises(InputError, match="no frame"):
        made[2].score([])


def study(*flags):
    study_features(parse_command("", COMMAND_SECTIONS["study_features"], [str(flag) for flag in flags]))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Features of two training and two test videos; the last 32 frames of each test video are far away."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    for part, count in (("train", 40), ("test", 10)):
        (folder / part).mkdir()
        for i in range(2):
            vectors = rng.standard_normal((count, 6)).astype(np.float32)
            if part == "test":
                vectors[-2:] += 6
            np.save(folder / part / f"{i}.npy", vectors)
    (folder / "labels").mkdir()
    for i in range(2):
        np.save(folder / "labels" / f"{i}.npy", np.repeat([0] * 8 + [1] * 2, 16)[: 160 - 3 * i].astype(np.uint8))
    return folder


def test_the_study(files, tmp_path, capsys, monkeypatch):
    flags = ["--train", files / "train", "--test", files / "test", "--labels", files / "labels", "--features", "files"]
    flags += ["--p_means", "-0.5", "--p_stds", "0.6,1.2", "--ks", "0.1,1", "--minutes", 0.02, "--out_dir", tmp_path]
    study(*flags)
    log = json.loads((tmp_path / "study_features.json").read_text())
    assert [(row["p_std"], row["start"]) for row in log["rows"]] == [(s, i) for s in (0.6, 1.2) for i in range(10)]
    assert max(row["auc"] for row in log["rows"]) > 0.9
    assert {len(row["thresholds"]) for row in log["rows"]} == {2}
    for row in log["rows"]:
        few, many = row["thresholds"][1]["flagged"], row["thresholds"][0]["flagged"]
        assert 0 < few <= many < 1
    assert log["train_videos"] == ["0", "1"] and str(files) not in json.dumps(log)
    assert "k=0.1" in capsys.readouterr().out
    first = (tmp_path / "study_features.json").read_bytes()
    study(*flags)  # the trainings are finished: nothing changes
    assert (tmp_path / "study_features.json").read_bytes() == first
    shutil.copytree(files / "train", tmp_path / "other")
    np.save(tmp_path / "other" / "1.npy", np.load(files / "train" / "1.npy")[::-1])
    others = (["--seed", 7], ["--train", files / "test"], ["--train", tmp_path / "other"])
    for other in others:  # whose networks would be those of the first
        with pytest.raises(InputError, match="holds a study made with another"):
            study(*flags, *other)


def test_the_study_never_reads_labels_before_it_scores(files, tmp_path, monkeypatch):
    """Other labels make other figures of the same errors: the networks are the same, byte for byte."""
    common = ["--train", files / "train", "--test", files / "test", "--features", "files", "--p_means", "-0.5"]
    common += ["--p_stds", "1.2", "--minutes", 0.1]
    (tmp_path / "turned").mkdir()
    for i in range(2):
        np.save(tmp_path / "turned" / f"{i}.npy", 1 - np.load(files / "labels" / f"{i}.npy"))
    rows, networks = [], []
    for out, labels in (("one", files / "labels"), ("other", tmp_path / "turned")):
        monkeypatch.setattr(network_training, "time", clock())
        study(*common, "--labels", labels, "--out_dir", tmp_path / out)
        rows.append(json.loads((tmp_path / out / "study_features.json").read_text())["rows"])
        weights = (tmp_path / out / "mean-0.5_std1.2").glob("model*.safetensors")
        networks.append({path.name: path.read_bytes() for path in weights})
    assert networks[0] == networks[1] and list(networks[0]) == ["model000006.safetensors"]
    for one, other in zip(*rows, strict=True):
        assert one["auc"] == pytest.approx(1 - other["auc"])
        assert [t["flagged"] for t in one["thresholds"]] == [t["flagged"] for t in other["thresholds"]]


def test_results_are_not_overwritten_and_the_networks_serve_others(files, tmp_path, monkeypatch):
    flags = ["--train", files / "train", "--test", files / "test", "--labels", files / "labels", "--features", "files"]
    flags += ["--p_means", "0", "--p_stds", "1,1.0", "--ks", "0.1", "--minutes", 0.1, "--out_dir", tmp_path / "out"]
    monkeypatch.setattr(network_training, "time", clock())
    study(*flags)
    results = tmp_path / "out" / "study_features.json"
    first = results.read_bytes()
    assert [row["start"] for row in json.loads(first)["rows"]] == list(range(10))
    for part in ("test", "labels"):
        shutil.copytree(files / part, tmp_path / part)
        np.save(tmp_path / part / "1.npy", np.load(files / part / "1.npy")[::-1])
    for name, value in {"p_means": 1, "p_stds": "1,2", "ks": 1, "test": "test", "labels": "labels"}.items():
        with pytest.raises(InputError, match=rf"study_features\.json: holds results of another {name}: move it"):
            study(*flags, f"--{name}", tmp_path / value if name == value else value)
        assert results.read_bytes() == first
    results.rename(tmp_path / "first.json")
    monkeypatch.delattr(network_training, "save_checkpoint")  # nothing is trained again
    study(*flags, "--ks", 1)
    rows = [json.loads(path.read_text())["rows"] for path in (results, tmp_path / "first.json")]
    assert [row["auc"] for row in rows[0]] == [row["auc"] for row in rows[1]]


def test_the_balanced_accuracy_is_the_auc_of_the_decision():
    from sklearn.metrics import balanced_accuracy_score, roc_auc_score

    rng = np.random.default_rng(0)
    labels, errors = rng.integers(0, 2, 200), rng.random(200)
    decision = flagged(errors, 0.5)
    assert balanced_accuracy_score(labels, decision) == pytest.approx(roc_auc_score(labels, decision))


def test_the_end_of_a_video_may_lack_a_clip_or_have_one_filled_up():
    errors, firsts = np.array([1.0, 2.0]), [0, 16]
    assert _to_frames(errors, firsts, "v", 40)[[15, 16, 39]].tolist() == [1, 2, 2]
    assert len(_to_frames(errors, firsts, "v", 20)) == 20
    for count in (48, 16):
        with pytest.raises(InputError, match=f"v: 2 clips of 16 frames, but {count} labels"):
            _to_frames(errors, firsts, "v", count)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--train", "x"], "--test: give the folder"),
        (["--train", "x", "--test", "y", "--labels", "z", "--ks", "a"], "--ks 'a': expected comma-separated numbers"),
        (["--train", "x", "--test", "y", "--labels", "z", "--p_stds", "0"], "--p_stds 0: must be above 0"),
        (
            ["--train", "x", "--test", "y", "--labels", "z", "--p_stds", "1,4"],
            "--p_means -1.5 with --p_stds 4: too wide",
        ),
    ],
)
def test_a_study_of_nothing_is_one_line(flags, message, tmp_path):
    with pytest.raises(InputError, match=message):
        study(*flags, "--out_dir", tmp_path)


def test_a_study_of_one_clip_is_one_line(files, tmp_path):
    (tmp_path / "short").mkdir()
    np.save(tmp_path / "short" / "0.npy", np.load(files / "train" / "0.npy")[:1])
    flags = ["--train", tmp_path / "short", "--test", files / "test", "--labels", files / "labels"]
    with pytest.raises(InputError, match=r"--train .*short: 1 clips of 16 frames: give at least 4"):
        study(*flags, "--features", "files", "--out_dir", tmp_path / "out")


def test_a_study_of_video(made, tmp_path):
    """The clips of our own space, from video files."""
    folder, *_ = made
    (tmp_path / "labels").mkdir()
    for i in range(4):
        np.save(tmp_path / "labels" / f"{i}.npy", (np.arange(40) > 30).astype(np.uint8))
    flags = ["--train", folder, "--test", folder, "--labels", tmp_path / "labels", "--p_means", "0", "--p_stds", "1"]
    study(*flags, "--minutes", 0.01, "--out_dir", tmp_path / "out")
    log = json.loads((tmp_path / "out" / "study_features.json").read_text())
    assert len(log["rows"]) == 10 and log["test_videos"] == ["0", "1", "2", "3"]
