"""``ramvid-vad compare`` on a tiny street: the report, what failed, and going on where it was."""

import json
import shutil
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
from clips import write_video
from stand_ins import PooledColours, texture

import ramvid_vad
from ramvid_vad.__main__ import main
from ramvid_vad.commands import compare as command
from ramvid_vad.detectors import cost as cost_module
from ramvid_vad.detectors import infilling as infilling_module
from ramvid_vad.detectors.motion import FrameDifference
from ramvid_vad.detectors.network_training import LOG
from ramvid_vad.detectors.registry import PEERS
from ramvid_vad.evaluation.report.contest import as_markdown
from ramvid_vad.spaces import features as features_module


class Broken(FrameDifference):
    name = "broken"

    @classmethod
    def fit(cls, normal, progress=True, **training):
        raise RuntimeError("a bug\nof its author")


class Here:
    """Stands in for the process of its own that measures the cost."""

    def __init__(self, *_, **__):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def submit(self, function, *arguments):
        done = Future()
        done.set_result(function(*arguments))
        return done


@pytest.fixture(scope="module")
def top(tmp_path_factory):
    """Normal videos, test videos whose second half moves faster, and their labels."""
    folder = tmp_path_factory.mktemp("compare")
    for name in ("normal", "testing", "labels"):
        (folder / name).mkdir()
    for i in range(3):
        write_video(folder / "normal" / f"{i}.mkv", texture(20, 36, 52, speed=1, seed=i))
    for i in range(2):
        clip = np.concatenate([texture(10, 36, 52, speed=1, seed=9 + i), texture(10, 36, 52, speed=4, seed=9 + i)])
        write_video(folder / "testing" / f"{i}.mkv", clip)
        np.save(folder / "labels" / f"{i}.npy", np.repeat([0, 1], 10).astype(np.uint8))
    return folder


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    """The recipe with a network and a space that take a second, and the cost measured in this process."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(features_module, "load_backbone", lambda name, weights="": PooledColours())
    real = infilling_module.run_of_recipe

    def quick(name, sections):
        run = real(name, sections)
        few = {"save_interval": 2, "log_interval": 1, "max_steps": 4, "held_out_interval": 2}
        return run.but("space", space_channels=3, tube_cells="2,3").but("train", **few)

    monkeypatch.setattr(infilling_module, "run_of_recipe", quick)
    monkeypatch.setattr(cost_module, "ProcessPoolExecutor", Here)
    monkeypatch.setitem(PEERS, "broken", Broken)


def words(top, out, *more):
    places = {"normal_dir": top / "normal", "data_dir": top / "testing", "labels": top / "labels", "out_dir": out}
    given = [word for name, place in places.items() for word in (f"--{name}", str(place))]
    return ["compare", *given, "--bootstrap", "100", "--minutes", "1", *more]


def test_one_report_of_all_that_did_not_fail(top, tmp_path, capsys):
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as end:
        main(words(top, out, "--detectors", "frame_difference,broken,full", "--curve", "True"))
    said = capsys.readouterr()
    assert end.value.code == 2 and said.err.splitlines()[-1].endswith(
        "1 of 4 detectors failed: broken; see failure.txt"
    )
    assert "RuntimeError" in (out / "broken" / "failure.txt").read_text()
    report = json.loads((out / "report.json").read_text())
    assert list(report["detectors"]) == ["fast", "frame_difference", "full"]
    assert report["failed"] == {"broken": "a bug\\nof its author"}
    for name, each in report["detectors"].items():
        metrics = json.loads((out / name / "evaluation" / "metrics.json").read_text())
        assert each["micro_auc"] == metrics["rows"][0]["metrics"]["micro_auc"]
        assert {"constant", "noise", "triangle", "ramp"} == set(each["nulls"])
        assert each["cost"]["frames_per_second"] > 0 and each["fit_seconds"] > 0
    fast, moving, full = report["detectors"].values()
    assert "gain" not in fast and set(fast["parts"]) == {"frame_difference", "relative_flow", "features"}
    assert moving["gain"] == pytest.approx(moving["micro_auc"] - fast["micro_auc"])
    assert moving["cost"]["learned"] == moving["cost"]["flops_per_frame"] == 0 and full["cost"]["flops_per_frame"] > 0
    assert list(full["held_out_loss"]) == ["full"] and list(full["held_out_loss"]["full"]) == ["2", "4"]
    log = (out / "full" / "detector" / "training" / "progress.jsonl").read_text().splitlines()
    last = [value for key, value in json.loads(log[-1]).items() if key.startswith("held_out_")]
    assert len(last) > 1 and full["held_out_loss"]["full"]["4"] == pytest.approx(np.mean(last))
    assert list(full["auc_over_steps"]) == ["2", "4"]
    assert full["auc_over_steps"]["4"] == full["micro_auc"]  # the last stored checkpoint is the detector itself
    table = (out / "report.txt").read_text()
    assert table in said.out and "broken (failed)" in table and "null: constant" in table
    cells = [line.split("|")[1].strip() for line in (out / "report.md").read_text().splitlines() if line[:2] == "| "]
    assert cells[:5] == ["detector", "fast", "frame_difference", "relative_flow", "features"]


def test_held_out_losses_of_each_network_of_a_paper(top, tmp_path, monkeypatch):
    """Three lines of one network's log, as train_network writes it, none of one without held-out video."""

    class Trained(FrameDifference):
        @classmethod
        def fit(cls, normal, progress=True, *, work, **training):
            for network, losses in (("first", [0.5, 0.25, 0.125]), ("second", [3.0]), ("blind", [None])):
                folder = Path(work, network)
                folder.mkdir(parents=True)
                lines = [{"step": 10 * i, "loss": 1.0, "held_out": loss} for i, loss in enumerate(losses, 1)]
                lines = [{key: value for key, value in line.items() if value is not None} for line in lines]
                (folder / LOG).write_text("".join(f"{json.dumps(line)}\n" for line in lines))
            return super().fit(normal, progress)

    monkeypatch.setitem(PEERS, Trained.name, Trained)
    main(words(top, tmp_path / "out", "--detectors", "frame_difference"))
    found = json.loads((tmp_path / "out" / "report.json").read_text())["detectors"]
    assert found["frame_difference"]["held_out_loss"] == {
        "first": {"10": 0.5, "20": 0.25, "30": 0.125},
        "second": {"10": 3.0},
    }
    assert found["fast"]["held_out_loss"] == {}
    notes = [line for line in (tmp_path / "out" / "report.txt").read_text().splitlines() if "held-out" in line]
    assert notes == [
        "frame_difference, loss on held-out normal video by step of first: 10: 0.5, 20: 0.25, 30: 0.125",
        "frame_difference, loss on held-out normal video by step of second: 10: 3",
    ]


def test_the_same_command_goes_on_where_it_was(top, tmp_path, monkeypatch, capsys):
    out, fitted = tmp_path / "out", []
    real = command.api.fit

    def fit(*given, **options):
        fitted.append(options["detector"])
        if options["detector"] == "optical_flow" and len(fitted) < 3:
            raise KeyboardInterrupt
        return real(*given, **options)

    monkeypatch.setattr(command.api, "fit", fit)
    with pytest.raises(SystemExit) as end:
        main(words(top, out, "--detectors", "optical_flow"))
    assert end.value.code == 130 and capsys.readouterr().err.endswith("goes on from what is finished\n")
    before = (out / "fast" / "evaluation" / "scores.npz").stat().st_mtime_ns
    main(words(top, out, "--detectors", "optical_flow"))
    assert fitted == ["fast", "optical_flow", "optical_flow"]
    assert (out / "fast" / "evaluation" / "scores.npz").stat().st_mtime_ns == before
    main(words(top, out, "--detectors", "optical_flow,frame_difference"))  # one more, later
    assert fitted[3:] == ["frame_difference"]
    assert list(json.loads((out / "report.json").read_text())["detectors"]) == [
        "fast", "optical_flow", "frame_difference",
    ]  # fmt: skip
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(words(top, out, "--detectors", "optical_flow", "--sigma", "1"))
    assert "holds a comparison made with another sigma" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--detectors", "nothing"], "--detectors 'nothing': choose from fast, full"),
        (["--labels", ""], "--labels: give the folder"),
        (["--minutes", "0"], "--minutes '0': must be above 0"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_done(top, tmp_path, more, message, capsys):
    with pytest.raises(SystemExit) as end:
        main(words(top, tmp_path / "out", *more))
    said = capsys.readouterr().err
    assert end.value.code == 2 and message in said and said.count("\n") == 1 and not (tmp_path / "out").exists()


@pytest.mark.parametrize("labels", ["labls", "others"])
def test_labels_are_looked_at_before_hours_of_training(top, tmp_path, labels, capsys):
    (top / "others").mkdir(exist_ok=True)
    for name in ("Test001", "Test002"):
        np.save(top / "others" / f"{name}.npy", np.zeros(20, np.uint8))
    with pytest.raises(SystemExit) as end:
        main(words(top, tmp_path / "out", "--labels", str(top / labels)))
    said = capsys.readouterr().err
    assert end.value.code == 2 and labels in said and said.count("\n") == 1 and not (tmp_path / "out").exists()


def test_one_of_several_label_sets_is_named(top, tmp_path, capsys):
    both = tmp_path / "both"
    for name in ("liu2018", "vollabel"):
        shutil.copytree(top / "labels", both / f"labels_{name}")
    asked = words(top, tmp_path / "out", "--labels", str(both), "--detectors", "optical_flow")
    with pytest.raises(SystemExit):
        main(asked)
    assert "choose with --label_set" in capsys.readouterr().err
    one = words(top, tmp_path / "out", "--labels", str(both / "labels_vollabel"), "--detectors", "optical_flow")
    for wrong in ([*asked, "--label_set", "shanghai"], [*one, "--label_set", "liu2018"]):
        with pytest.raises(SystemExit):
            main(wrong)
        assert "label_set" in capsys.readouterr().err and not (tmp_path / "out").exists()
    main([*asked, "--label_set", "vollabel"])
    assert json.loads((tmp_path / "out" / "settings.json").read_text())["label_set"] == "vollabel"
    with pytest.raises(SystemExit):
        main([*asked, "--label_set", "liu2018"])
    assert "--out_dir" in capsys.readouterr().err


def test_a_detector_that_was_fitted_again_is_measured_again(top, tmp_path):
    out = tmp_path / "out"
    main(words(top, out, "--detectors", "frame_difference"))
    detector = out / "frame_difference" / "detector"
    about = json.loads((detector / "detector.json").read_text())
    about["card"]["version"] = "another"
    (detector / "detector.json").write_text(json.dumps(about))
    before = (out / "frame_difference" / "evaluation" / "metrics.json").stat().st_mtime_ns
    (out / "frame_difference" / "cost.json").write_text("{}")
    main(words(top, out, "--detectors", "frame_difference"))
    assert (out / "frame_difference" / "evaluation" / "metrics.json").stat().st_mtime_ns > before
    assert json.loads((out / "frame_difference" / "cost.json").read_text())


def test_all_normal_videos_make_one_detector_whatever_the_light(top, tmp_path, capsys):
    """A fit for a camera parts them; a comparison has one detector for all, and an evaluation is of one."""
    normal = tmp_path / "normal"
    normal.mkdir()
    for i in range(6):
        clip = texture(60, 36, 52, speed=1, seed=i)
        write_video(normal / f"{i}.mkv", clip if i < 3 else (clip // 6))
    main(words(top, tmp_path / "out", "--normal_dir", str(normal), "--detectors", "frame_difference"))
    fitted = tmp_path / "out" / "frame_difference" / "detector"
    assert not (fitted / "night").exists()
    assert len(ramvid_vad.load(str(fitted)).card["normal_videos"]) == 6
    main(["fit", str(normal), "--out", str(tmp_path / "camera"), "--detector", "frame_difference"])
    given = ["--data_dir", str(top / "testing"), "--labels", str(top / "labels"), "--out_dir", str(tmp_path / "e")]
    capsys.readouterr()
    main(["evaluate", "--detector", str(tmp_path / "camera"), *given, "--nulls", "ramp"])
    assert "has a detector for the day, which is evaluated here" in capsys.readouterr().err


def test_labels_end_to_end_are_cut_by_the_lengths_of_what_was_scored(top, tmp_path):
    main(["fit", str(top / "normal"), "--out", str(tmp_path / "flow"), "--detector", "optical_flow"])
    np.save(tmp_path / "all.npy", np.concatenate([np.load(top / "labels" / f"{i}.npy") for i in range(2)]))
    given = ["--data_dir", str(top / "testing"), "--labels", str(tmp_path / "all.npy"), "--nulls", "ramp"]
    main(["evaluate", "--detector", str(tmp_path / "flow"), *given, "--out_dir", str(tmp_path / "evaluation")])
    with np.load(tmp_path / "evaluation" / "scores.npz") as arrays:
        np.testing.assert_array_equal(arrays["labels/1"], np.repeat([0, 1], 10))


def test_a_null_beside_a_detector_of_its_name_keeps_its_own_scores(top, tmp_path):
    main(["fit", str(top / "normal"), "--out", str(tmp_path / "flow"), "--detector", "optical_flow"])
    out = tmp_path / "evaluation"
    given = ["--data_dir", str(top / "testing"), "--labels", str(top / "labels"), "--out_dir", str(out)]
    main(["evaluate", "--detector", str(tmp_path / "flow"), *given, "--nulls", "optical_flow,frame_difference"])
    with np.load(out / "scores.npz") as arrays:
        rows = dict.fromkeys(key.split("/raw/")[0] for key in arrays if "/raw/" in key)
        assert list(rows) == ["optical_flow", "frame_difference", "null.optical_flow"]


def test_a_detectors_labels_are_checked_as_those_of_scores_are(top, tmp_path, capsys):
    """A data set's folder is searched for them, and they are what the options say they are."""
    main(["fit", str(top / "normal"), "--out", str(tmp_path / "flow"), "--detector", "optical_flow"])
    places = ["--detector", str(tmp_path / "flow"), "--data_dir", str(top / "testing"), "--nulls", "ramp"]

    def evaluate(*more):
        main(["evaluate", *places, "--labels", str(top), "--out_dir", str(tmp_path / "evaluation"), *more])
        return json.loads((tmp_path / "evaluation" / "metrics.json").read_text())

    assert evaluate()["label_notes"] == []
    for more, said in (
        (["--label_set", "vollabel"], "--label_set vollabel: the labels in"),
        (["--benchmark", "ped2"], "20 of test video 01, which has 180 frames in UCSD Ped2"),
    ):
        with pytest.raises(SystemExit) as end:
            evaluate(*more)
        assert end.value.code == 2 and said in capsys.readouterr().err


def test_names_cannot_break_the_markdown():
    document = {
        "reference": "fast",
        "detectors": {},
        "failed": {"a": "x | y\\n<b>"},
        "settings": {"minutes": 1, "seed": 0},
    }
    lines = as_markdown(document).splitlines()
    assert lines[2].count("|") == lines[0].count("|") and "x | y" not in lines[2]


def test_a_detector_is_fitted_by_its_name(top, tmp_path, capsys):
    main(["fit", str(top / "normal"), "--out", str(tmp_path / "d"), "--detector", "frame_difference"])
    assert capsys.readouterr().out.startswith(f"{tmp_path}/d: frame difference, 240 lines\nthreshold ")
    loaded = ramvid_vad.load(str(tmp_path / "d"))
    assert isinstance(loaded, FrameDifference) and loaded.card["recipe"] == "frame_difference"
    for more, message in (
        (["--detector", "nothing"], "detector 'nothing': choose one of fast, full"),
        (["--detector", "full", "--recipe", "fast"], "leave --recipe out"),
    ):
        with pytest.raises(SystemExit):
            main(["fit", str(top / "normal"), "--out", str(tmp_path / "e"), *more])
        assert message in capsys.readouterr().err
