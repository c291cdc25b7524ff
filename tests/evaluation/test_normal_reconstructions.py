"""Thresholds from reconstructions of normal video: the scores of those files by each measure, and no others."""

import shutil

import numpy as np
import pytest

from ramvid_vad.errors import InputError
from ramvid_vad.scoring.curves import smooth


def calibrated(run, **changes):
    """Copies of the test videos stand in for normal ones: their scores are known."""
    return run.evaluate(nulls="constant,previous_frame", bootstrap=0, **(run.normal_copies() | changes))


def test_the_threshold_is_the_quantile_of_their_scores(run):
    evaluation = calibrated(run, quantile=0.9, fps=5.0)
    for measure in ("mse", "wmse"):
        row = evaluation.row(measure)
        pooled = np.concatenate([smooth(s, 2.0) for s in row.raw])
        assert row.operating[0].threshold == np.quantile(pooled, 0.9, method="higher")
        assert row.operating[0].figures["false_positive_rate"] <= 0.2
        assert evaluation.row(measure, "previous_frame").operating == ()
    assert len(evaluation.provenance["normal_reconstructions_sha256"]) == 64
    assert evaluation.provenance["alarms"]["fps"] == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"normal_dir": ""}, "--normal_reconstructions: give --normal_dir"),
        ({"normal_reconstructions": "/nowhere"}, "--normal_reconstructions /nowhere: no such folder"),
        ({"normal_scores": "x.npz"}, "--normal_scores: goes with --scores"),
    ],
)
def test_what_is_lacking_is_named(run, changes, message):
    with pytest.raises(InputError, match=message):
        calibrated(run, **changes)


@pytest.mark.parametrize(("flag", "of"), [("normal_dir", "videos"), ("normal_reconstructions", "reconstructions")])
def test_what_is_tested_does_not_calibrate(run, flag, of):
    """By a link too."""
    (run.root / "link").symlink_to(run.root / of)
    for place in (of, "link"):
        with pytest.raises(InputError, match=f"--{flag} .*: is what --.* tests: give normal video that is not tested"):
            calibrated(run, **{flag: str(run.root / place)})


def test_another_model_does_not_calibrate_this_one(run, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(run.root / "reconstructions", other)
    for name in run.frames:
        run.rewrite(name, settings={"seed": 7})
    with pytest.raises(InputError, match="made with seed 0, but --reconstructions with 7"):
        calibrated(run, normal_reconstructions=str(other))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("anchors", [0, 11], r"anchors None, but --reconstructions with \[0, 11\]"),
        ("eta", 0.5, "eta None"),
        ("clip_denoised", False, "clip_denoised None"),
        ("resample_steps", 2, "resample_steps None"),
        ("precision", "bf16", "precision None"),
        ("extra_windows", False, "extra_windows None"),
        ("padding", "mirror", "padding None"),
        ("timestep_respacing", "ddim5", "timestep_respacing '20', but --reconstructions with 'ddim5'"),
        ("model_sha256", "0", "model_sha256 None"),
        ("model_options", {"mixer": "mamba", "num_channels": 64}, r"model_options\.num_channels 32, but .* with 64"),
        ("something_new", 1, "something_new None"),
    ],
)
def test_a_threshold_carries_over_within_one_setting_only(run, tmp_path, name, value, message):
    """Every setting counts, those of another version too; the video alone differs from file to file."""
    for video in run.frames:
        run.rewrite(video, settings={"model_options": {"mixer": "mamba", "num_channels": 32}})
    other = tmp_path / "other"
    shutil.copytree(run.root / "reconstructions", other)
    calibrated(run, normal_reconstructions=str(other))
    for video in run.frames:
        run.rewrite(video, settings={name: value})
    with pytest.raises(InputError, match="--normal_reconstructions .* made with " + message):
        calibrated(run, normal_reconstructions=str(other))


@pytest.mark.parametrize("name", ["anchors", "model_sha256", "eta"])
def test_files_of_two_runs_in_one_folder_are_refused(run, name):
    run.rewrite("02", settings={name: "other"})
    with pytest.raises(InputError, match=rf"02\.npz: made with {name} 'other', but 01\.npz with None"):
        run.evaluate()
