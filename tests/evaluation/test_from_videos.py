"""Nulls from video alone: one command, the same rows as beside a model, and the two label sets of Avenue by name."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ramvid_vad.cli import COMMAND_SECTIONS, parse_command
from ramvid_vad.commands.evaluate import evaluate
from ramvid_vad.detectors.appearance import NearestFeature, PatchMemory, evenly, k_means, normal_frames, normal_patches
from ramvid_vad.detectors.fusion import PARTS, CalibratedSum, calibrated_sum, log_scale
from ramvid_vad.detectors.motion import FrameDifference
from ramvid_vad.errors import InputError
from ramvid_vad.evaluation import from_videos
from ramvid_vad.evaluation.from_detector import evaluate_detector
from ramvid_vad.evaluation.from_videos import evaluate_nulls
from ramvid_vad.evaluation.nulls.registry import NULLS
from ramvid_vad.evaluation.report.table import format_table
from ramvid_vad.options import EvalOptions
from ramvid_vad.video.reader import Clip, read_frames


def write_video(folder: Path, frames: int, jump: int | None = None, seed: int = 0) -> None:
    """A textured wall with a square that moves one pixel per frame, and from frame ``jump`` on seven."""
    rng = np.random.default_rng(seed)
    wall = rng.integers(90, 110, (64, 96), dtype=np.uint8)
    folder.mkdir(parents=True)
    x = 0
    for t in range(frames):
        picture = wall.copy()
        x += 7 if jump is not None and t >= jump else 1
        picture[20:44, x % 70 : x % 70 + 24] = 220
        Image.fromarray(picture).save(folder / f"{t:03d}.png")


@pytest.fixture
def data(tmp_path):
    """Two test videos with an anomaly each and three normal ones, with labels."""
    (tmp_path / "labels").mkdir()
    for name, frames, jump in (("01", 40, 25), ("02", 32, 20)):
        write_video(tmp_path / "testing" / name, frames, jump)
        np.save(tmp_path / "labels" / f"{name}.npy", (np.arange(frames) >= jump).astype(np.uint8))
    for name in ("a", "b", "c"):
        write_video(tmp_path / "training" / name, 12, seed=ord(name))
    return tmp_path


def options_for(data: Path, **changes) -> EvalOptions:
    given = {
        "data_dir": str(data / "testing"),
        "labels": str(data / "labels"),
        "nulls_only": True,
        "measures": "mse,box",
    }
    return EvalOptions(**given | {"noise_seeds": 3} | changes)


def test_every_null_without_a_model(data):
    evaluation = evaluate_nulls(options_for(data), progress=False)
    keys = [(row.measure, row.null) for row in evaluation.rows]
    assert keys == [
        *((measure, null) for measure in ("mse", "box") for null in ("linear_blend", "previous_frame")),
        *(("", null) for null in ("frame_difference", "optical_flow", "constant", "noise", "triangle", "ramp")),
    ]
    assert all(np.isfinite(s).all() for row in evaluation.rows for s in row.raw)
    assert evaluation.row("", "frame_difference").metrics["micro_auc"] > 0.9
    assert evaluation.row("", "constant").metrics["micro_auc"] == 0.5
    assert set(evaluation.provenance["nulls_left_out"]) == {"features", "calibrated", "coverage"}


def test_the_table_names_the_measure_of_each_stand_in(data):
    table = format_table(evaluate_nulls(options_for(data, nulls="linear_blend,ramp"), progress=False), full=True)
    assert "\nmse: linear blend of the anchors " in table and "\nbox: linear blend of the anchors " in table


def test_motion_rows_are_those_of_the_video(data):
    evaluation = evaluate_nulls(options_for(data, nulls="frame_difference", measures="wmse"), progress=False)
    (row,) = evaluation.rows
    expected = FrameDifference().score(str(data / "testing" / "01")).frames
    np.testing.assert_array_equal(row.raw[0], expected)


def test_the_command_names_the_label_set_and_the_row_to_beat(data, capsys):
    arguments = ["--nulls_only", "True", "--data_dir", str(data / "testing"), "--labels", str(data / "labels")]
    arguments += ["--nulls", "frame_difference,constant", "--out_dir", str(data / "out")]
    evaluate(parse_command("", COMMAND_SECTIONS["vad_eval"], arguments))
    said = capsys.readouterr().out
    assert "The row that any model has to beat: frame difference" in said
    document = json.loads((data / "out" / "metrics.json").read_text())
    assert [row["null"] for row in document["rows"]] == ["frame_difference", "constant"]
    assert (data / "out" / "plots" / "01.png").is_file()
    assert "frame_difference/raw/01" in np.load(data / "out" / "scores.npz")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nulls": ""}, "no baseline is left"),
        ({"nulls": "features"}, "--nulls features: give --normal_dir"),
        ({"reconstructions": "x"}, "--reconstructions: not read with --nulls_only"),
        ({"data_dir": ""}, "--data_dir: give"),
        ({"noise_seeds": 1}, "--noise_seeds 1"),
        ({"benchmark": "ped3"}, "--benchmark 'ped3'"),
        ({"lengths": "40,32"}, "--lengths: goes with --scores, not with --nulls_only: leave it out"),
        ({"normal_scores": "x"}, "--normal_scores: goes with --scores, not with --nulls_only: leave it out"),
        ({"labels": "/nowhere"}, "--labels /nowhere: no such folder"),
    ],
)
def test_options_that_do_not_fit_are_named(data, changes, message, monkeypatch):
    """Before a frame is read."""
    monkeypatch.setattr(from_videos, "read_frames", lambda *given, **options: pytest.fail("video was read"))
    with pytest.raises(InputError, match=message):
        evaluate_nulls(options_for(data, **changes), progress=False)


def test_labels_that_are_not_of_the_video_are_refused(data):
    np.save(data / "labels" / "02.npy", np.zeros(31))
    with pytest.raises(InputError, match=r"02\.npy: 31 labels, but the video has 32"):
        evaluate_nulls(options_for(data, nulls="ramp"), progress=False)


# --- what needs normal video ------------------------------------------------------------------------------------------


def test_the_nearest_centre_by_brute_force():
    """Fewer patches than centres: each is its own."""
    rng = np.random.default_rng(0)
    patches, queries = rng.normal(size=(700, 7)) * 3 ** np.arange(7), rng.normal(size=(2, 600, 7)) * 3 ** np.arange(7)
    memory = PatchMemory.of(torch.tensor(patches, dtype=torch.float32))
    scale = patches.std(axis=0, ddof=1)
    expected = np.linalg.norm(queries[:, :, None] / scale - patches / scale, axis=-1).min(axis=-1)
    np.testing.assert_allclose(memory.distances(torch.tensor(queries, dtype=torch.float32)), expected, rtol=1e-4)
    known = torch.tensor(patches[:4], dtype=torch.float32)
    np.testing.assert_allclose(memory.distances(known), 0, atol=5e-3)
    assert len(memory) == 700 and len(PatchMemory.of(torch.ones(30, 2))) == 1


def test_centres_are_means_of_what_is_nearest_to_them():
    """Lloyd's fixed point, on groups that lie far apart; the same points give the same centres."""
    rng = np.random.default_rng(0)
    middles = 100 * np.stack(np.meshgrid(*[np.arange(4)] * 2), -1).reshape(-1, 2)
    points = (middles[:, None] + rng.normal(size=(16, 50, 2))).reshape(-1, 2).astype(np.float32)
    centres = k_means(points, 100)
    assert centres.shape == (100, 2) and np.array_equal(centres, k_means(points, 100))
    nearest = np.linalg.norm(points[:, None] - centres, axis=-1).argmin(1)
    spread = np.mean(np.linalg.norm(points - centres[nearest], axis=1) ** 2)
    drawn = points[rng.permutation(len(points))[:100]]
    assert spread < np.mean(np.linalg.norm(points[:, None] - drawn, axis=-1).min(1) ** 2)


def test_evenly_keeps_a_stride_that_is_a_power_of_two():
    frames = [np.full((16, 16, 1), t, np.uint8) for t in range(100)]
    for least, step in ((200, 1), (60, 1), (40, 2), (10, 8), (1, 128)):
        assert [int(f[0, 0, 0]) for f in evenly(frames, least)] == list(range(0, 100, step))
    assert evenly([], 3) == []


def pooled(frames):
    """Stands in for the network: means of 8 x 8 pixels, as one channel and its square."""
    x = torch.from_numpy(frames).float().mean(dim=3, keepdim=True)
    x = torch.nn.functional.avg_pool2d(x.permute(0, 3, 1, 2), 8).permute(0, 2, 3, 1)
    return torch.cat([x, x.square() / 256], dim=3)


def test_a_place_that_normal_video_never_showed_scores_high(data, capsys):
    paths = [str(data / "training" / name) for name in "abc"]
    patches = normal_patches(normal_frames([Clip(path) for path in paths], progress=True), pooled, progress=True)
    memory = PatchMemory.of(patches.features)
    shown = capsys.readouterr().err
    assert "reading normal video: 100% 36/36" in shown and "features of normal video: 100% 36/36" in shown
    frames = [frame.copy() for frame in read_frames(paths[2])]
    frames[5][:, 40:] = 0
    scored = NearestFeature(pooled, memory).score(frames)
    scores = scored.frames
    assert scored.maps[5].argmax() % scored.maps.shape[2] >= 5  # where it was painted over: from cell 40 / 8 on
    assert scores.argmax() == 5 and scores[5] > 5 * np.delete(scores, 5).max()
    again = normal_patches(normal_frames([Clip(path) for path in paths]), pooled)
    again = NearestFeature(pooled, PatchMemory.of(again.features)).score(frames)
    np.testing.assert_array_equal(scores, again.frames)


def test_log_scale_standardises_normal_scores_and_bears_zeros():
    normal = np.exp(np.random.default_rng(0).normal(3, 2, 500))
    scale = log_scale(normal)
    assert scale(normal).mean() == pytest.approx(0, abs=1e-12) and scale(normal).std() == pytest.approx(1)
    with_zero = log_scale(np.array([0, 1, np.e, np.e**2]))
    assert with_zero(np.array([0.0]))[0] == with_zero(np.array([1.0]))[0]
    assert np.isfinite(log_scale(np.zeros(5))(np.array([0.0, 3.0]))).all()
    scores = {"x": np.array([1.0, 10]), "y": np.array([2.0, 4]), "unused": np.zeros(2)}
    scales = {"x": log_scale(np.array([1.0, 100])), "y": log_scale(np.array([1.0, 4]))}
    np.testing.assert_allclose(calibrated_sum(scores, scales), [-1, 1], atol=1e-12)


def test_the_calibrated_row_adds_its_three_parts(data, monkeypatch):
    monkeypatch.setattr("ramvid_vad.detectors.fusion.FrozenFeatures", lambda: pooled)
    monkeypatch.setattr("ramvid_vad.detectors.fusion.FEWEST", 3 * 12)
    monkeypatch.setattr("ramvid_vad.evaluation.from_reconstructions.installed", lambda: True)
    options = options_for(data, normal_dir=str(data / "training"), measures="mse")
    evaluation = evaluate_nulls(options, progress=False)
    assert {row.null for row in evaluation.rows} == set(NULLS) - {"coverage"}  # that one needs a model
    reference = CalibratedSum.fit([str(data / "training" / name) for name in "abc"], progress=False)
    scored = reference.score(str(data / "testing" / "02"))
    parts = scored.parts
    for part in ("frame_difference", "features"):  # which are rows of their own
        np.testing.assert_allclose(evaluation.row("", part).raw[1], parts[part], rtol=1e-12)
    np.testing.assert_allclose(
        evaluation.row("", "calibrated").raw[1], sum(reference.scales[p](parts[p]) for p in PARTS), rtol=1e-12
    )
    assert evaluation.row("", "calibrated").metrics["micro_auc"] > 0.9
    about = evaluation.provenance["normal"]
    # 153 of its 12 x 8 x 12 patches differ
    assert (about["held_out"], set(about["log_scales"]), about["centres"]) == (["b", "c"], set(PARTS), 153)


def test_too_little_normal_video_is_refused(data):
    with pytest.raises(InputError, match="24 frames of normal video: give at least 50"):
        CalibratedSum.fit([str(data / "training" / name) for name in "ab"])


def test_a_missing_package_is_left_out_or_named(data, monkeypatch):
    monkeypatch.setattr("ramvid_vad.evaluation.from_reconstructions.installed", lambda: False)
    options = {"normal_dir": str(data / "training"), "measures": "mse"}
    evaluation = evaluate_nulls(options_for(data, **options), progress=False)
    assert "pip install" in evaluation.provenance["nulls_left_out"]["features"]
    with pytest.raises(InputError, match=r"--nulls calibrated: pip install"):
        evaluate_nulls(options_for(data, nulls="calibrated", **options), progress=False)


# --- real frames ------------------------------------------------------------------------------------------------------


def test_the_two_label_sets_of_avenue_give_two_results_by_name(shared, tmp_path, monkeypatch, capsys):
    """The videos are scored for the first and taken again for the second: scores know nothing of labels."""
    part, aucs = shared / "data" / "avenue_part", {}
    real, scored = from_videos.null_scores, []
    monkeypatch.setattr(from_videos, "null_scores", lambda *given: scored or scored.extend(real(*given)) or scored)
    for name in ("liu2018", "vollabel"):
        arguments = ["--nulls_only", "True", "--nulls", "frame_difference,constant", "--plots", "False"]
        arguments += ["--data_dir", str(part / "testing"), "--labels", str(part / f"labels_{name}")]
        evaluate(parse_command("", COMMAND_SECTIONS["vad_eval"], [*arguments, "--out_dir", str(tmp_path / name)]))
        document = json.loads((tmp_path / name / "metrics.json").read_text())
        assert document["labels"]["set"] == name
        assert f"label set {name}" in capsys.readouterr().out
        (row,) = (row for row in document["rows"] if row["null"] == "frame_difference")
        aucs[name] = row["metrics"]["micro_auc"], row["metrics"]["abnormal_frames"]
    assert aucs["liu2018"][1] == 972 and aucs["vollabel"][1] == 1061
    assert abs(aucs["liu2018"][0] - aucs["vollabel"][0]) > 0.005


def test_the_training_free_rows_of_ped2(shared):
    """All but the two that need the optional package: measured once with another program, to half a point."""
    ped2 = shared / "data" / "ped2"
    options = EvalOptions(
        data_dir=str(ped2 / "testing"),
        labels=str(ped2 / "labels"),
        nulls="linear_blend,previous_frame,frame_difference,optical_flow",
        measures="mse,box,wmse",
        sigma=3.0,
        bootstrap=0,
    )
    evaluation = evaluate_nulls(options, progress=False)
    for measure, null, raw, smoothed in (
        ("", "frame_difference", 91.5, 93.4),
        ("", "optical_flow", 95.7, 96.9),
        ("mse", "linear_blend", 66.3, 70.5),
        ("box", "linear_blend", 75.0, 82.5),
        ("wmse", "linear_blend", 60.7, 66.2),
        ("box", "previous_frame", 83.5, 83.5),  # "82 to 85", depending on the reduction
    ):
        row, within = evaluation.row(measure, null), 1.5 if null == "previous_frame" else 0.5
        assert 100 * row.raw_metrics["micro_auc"] == pytest.approx(raw, abs=within)
        assert 100 * row.metrics["micro_auc"] == pytest.approx(smoothed, abs=within)
    assert evaluation.headline.null == "optical_flow"
    assert evaluation.provenance["labels"]["benchmark"] == "ped2"


# --- a fitted detector ------------------------------------------------------------------------------------------------


def test_the_rows_of_a_detector_are_its_own_scores(data, tmp_path, monkeypatch, capsys):
    """Sum and parts before the null rows; fitted on the same video, the null that is this detector has its figures."""
    for module in ("fusion", "appearance"):
        monkeypatch.setattr(f"ramvid_vad.detectors.{module}.FrozenFeatures", lambda: pooled)
    monkeypatch.setattr("ramvid_vad.detectors.fusion.FEWEST", 3 * 12)
    monkeypatch.setattr("ramvid_vad.evaluation.from_reconstructions.installed", lambda: True)
    detector = CalibratedSum.fit([str(data / "training" / name) for name in "abc"], progress=False)
    detector.save(str(tmp_path / "detector"))
    flags = ["--detector", str(tmp_path / "detector"), "--data_dir", str(data / "testing")]
    flags += ["--out_dir", str(tmp_path / "out")]
    flags += ["--labels", str(data / "labels"), "--normal_dir", str(data / "training"), "--plots", "False"]
    evaluate(parse_command("", COMMAND_SECTIONS["vad_eval"], flags))
    document = json.loads((tmp_path / "out" / "metrics.json").read_text())
    rows = {(row["measure"] or "", row["null"] or ""): row["metrics"]["micro_auc"] for row in document["rows"]}
    assert [key for key in rows if not key[1]] == [(name, "") for name in ("calibrated", *PARTS)]
    assert rows["calibrated", ""] == pytest.approx(rows["", "calibrated"]) and ("", "ramp") in rows
    scored = [detector.score(str(data / "testing" / name)) for name in ("01", "02")]
    evaluation = evaluate_detector(
        EvalOptions(
            detector=str(tmp_path / "detector"),
            data_dir=str(data / "testing"),
            labels=str(data / "labels"),
            nulls="constant",
        ),
        progress=False,
    )
    for ours, theirs in zip(evaluation.row("calibrated", "").raw, scored, strict=True):
        np.testing.assert_array_equal(ours, theirs.frames)
    parts = np.sum([evaluation.row(part, "").raw[1] for part in PARTS], axis=0)
    np.testing.assert_allclose(parts, scored[1].frames, rtol=1e-9)
    assert evaluation.provenance["detector"]["about"]["held_out"] == ["b", "c"]
    for wrong, message in (
        (["--nulls_only", "True"], "--detector: give one of --scores, --detector"),
        (["--detector", str(tmp_path)], "no fitted detector there"),
        (["--labels", ""], "--labels: give the folder"),
    ):
        with pytest.raises(InputError, match=message):
            evaluate(parse_command("", COMMAND_SECTIONS["vad_eval"], [*flags, *wrong]))
    capsys.readouterr()
