"""The whole evaluation on a small run whose residuals are known, and every mismatch that must not pass."""

import zipfile

import numpy as np
import pytest
from known_run import ANCHORS, LENGTHS, SIZE, error

from ramvid_vad.cli import COMMAND_SECTIONS, parse_command
from ramvid_vad.commands.evaluate import evaluate
from ramvid_vad.errors import InputError
from ramvid_vad.evaluation import frame_metrics
from ramvid_vad.evaluation.nulls.blind import noise as draw
from ramvid_vad.evaluation.nulls.registry import BLIND, STAND_INS, choose
from ramvid_vad.scoring.curves import smooth
from ramvid_vad.scoring.residuals import MEASURES
from ramvid_vad.video.windows import covering_starts, masked_rows, mirrored, window_anchors


def expected_errors(n):
    """Largest error of each frame over its windows."""
    window, _, frame = masked_rows(n, covering_starts(n, 12, 6, ANCHORS), ANCHORS)
    return np.array([error(frame, window)[frame == i].max() for i in range(n)])


def test_every_frame_has_the_largest_residual_of_its_own_reconstructions(run):
    evaluation = run.evaluate(measures="mse,l1,wmse,psnr", nulls="")
    assert evaluation.names == list(LENGTHS)
    for i, n in enumerate(LENGTHS.values()):
        levels = expected_errors(n) / 255
        np.testing.assert_allclose(evaluation.row("mse").raw[i], levels**2, rtol=1e-5)
        np.testing.assert_allclose(evaluation.row("l1").raw[i], levels, rtol=1e-5)
        np.testing.assert_allclose(evaluation.row("psnr").raw[i], 20 * np.log10(levels), rtol=1e-5)
        # a uniform error is one blob as large as the frame, from tau on
        active = expected_errors(n) >= 0.04 * 255
        np.testing.assert_allclose(evaluation.row("wmse").raw[i], levels**2 * active, rtol=1e-9)
    assert evaluation.provenance["frames_never_reconstructed"] == 0


def test_wmse_options_arrive(run):
    n = LENGTHS["01"]
    scores = run.evaluate(measures="wmse", nulls="", tau=0.1).row("wmse").raw[0]
    np.testing.assert_array_equal(scores > 0, expected_errors(n) >= 0.1 * 255)
    assert not run.evaluate(measures="wmse", nulls="", min_area=SIZE[0] * SIZE[1] + 1).row("wmse").raw[0].any()
    with pytest.raises(InputError, match="tau"):
        run.evaluate(tau=1.5)


def test_metrics_are_those_of_the_smoothed_scores(run):
    evaluation = run.evaluate()
    row = evaluation.row("mse")
    labels = list(run.labels.values())
    for raw, processed in zip(row.raw, row.processed, strict=True):
        np.testing.assert_array_equal(processed, smooth(raw, 2.0))
    assert row.metrics == frame_metrics(row.processed, labels)
    assert row.raw_metrics == frame_metrics(row.raw, labels)
    assert row.metrics["micro_auc"] != row.raw_metrics["micro_auc"]


def test_the_rows_come_in_order(run):
    keys = [(row.measure, row.null) for row in run.evaluate().rows]
    assert keys == [
        *((measure, null) for measure in ("mse", "wmse") for null in ("", *STAND_INS)),
        *(("", null) for null in ("frame_difference", "optical_flow", "coverage", *BLIND)),
    ]
    with pytest.raises(KeyError):
        run.evaluate(nulls="ramp").row("mse", "linear_blend")


def test_stand_ins_are_measured_like_the_model(run):
    evaluation = run.evaluate()
    frames = run.frames["01"] / np.float32(255)
    previous = np.concatenate([frames[1:2], frames[:-1]])
    np.testing.assert_allclose(
        evaluation.row("mse", "previous_frame").raw[0], MEASURES["mse"](frames, previous), rtol=1e-6
    )
    blend = np.zeros(30)
    for start in covering_starts(30, 12, 6, ANCHORS):
        shown = run.frames["01"][mirrored(np.arange(start, start + 12), 30)].astype(float)
        given = np.flatnonzero(window_anchors(start, ANCHORS, 30))
        for position in range(2, 10):  # between the anchors at 1 and 10, or what is left of them at the ends
            if 0 <= start + position < 30:
                left, right = given[given < 2].max(initial=-1), given[given > 9].min(initial=99)
                left, right = (right, right) if left < 0 else (left, left) if right > 11 else (left, right)
                share = (position - left) / (right - left) if right > left else 0
                made = np.rint(shown[left] + (shown[right] - shown[left]) * share)
                error_here = ((shown[position] - made) ** 2).mean() / 255**2
                blend[start + position] = max(blend[start + position], error_here)
    np.testing.assert_allclose(evaluation.row("mse", "linear_blend").raw[0], blend, rtol=1e-3)  # rounding of halves


def test_blind_nulls_take_the_same_protocol(run):
    evaluation = run.evaluate()
    assert evaluation.row("", "constant").metrics["micro_auc"] == 0.5
    noise = evaluation.row("", "noise")
    draws = [[smooth(s, 2.0) for s in draw(list(LENGTHS.values()), seed)] for seed in range(3)]
    seeds = [frame_metrics(scores, evaluation.labels)["micro_auc"] for scores in draws]
    assert noise.metrics["micro_auc"] == pytest.approx(np.mean(seeds))
    assert noise.sd["micro_auc"] == pytest.approx(np.std(seeds, ddof=1))


def test_a_leaking_protocol_shows_in_its_constant_row(run):
    """Zero padding and min-max: a constant score becomes a hump in the middle of every video."""
    evaluation = run.evaluate(protocol="aed-mae-shanghaitech", nulls="constant,triangle")
    constant = evaluation.row("", "constant")
    assert all(0 < s.argmax() < len(s) - 1 and s.max() == 1 for s in constant.processed)
    assert constant.metrics["micro_auc"] != 0.5
    assert "zero-padded" in evaluation.provenance["protocol"]["line"]


def test_trimming_protocols_drop_labels_and_scores_alike(run):
    evaluation = run.evaluate(protocol="mnad", nulls="constant")
    assert [len(s) for s in evaluation.row("mse").processed] == [n - 4 for n in LENGTHS.values()]
    assert [len(y) for y in evaluation.labels] == [n - 4 for n in LENGTHS.values()]
    assert [len(s) for s in evaluation.row("mse").raw] == list(LENGTHS.values())
    assert evaluation.row("mse").metrics["frames"] == sum(LENGTHS.values()) - 12
    with pytest.raises(InputError, match="has only 9"):
        run.evaluate(protocol="memae")


def test_frames_without_a_reconstruction_count_as_perfect_and_are_counted(run):
    for name in LENGTHS:
        with np.load(run.file(name)) as file:
            keep = ~np.isin(file["frame"], [3, 7])
            arrays = {k: file[k][keep] for k in ("reconstructions", "frame", "window", "index")}
        run.rewrite(name, **arrays)
    evaluation = run.evaluate(measures="mse,psnr", nulls="")
    assert evaluation.provenance["frames_never_reconstructed"] == 6
    assert evaluation.row("mse").raw[1][3] == 0 and evaluation.row("psnr").raw[1][7] == -100
    assert evaluation.row("mse").raw[1][4] > 0


def test_how_often_a_frame_was_reconstructed_is_a_row_of_its_own(run):
    """Without extra windows frames near the ends are never masked and count as perfect: labels that are normal just
    there are found by any residual, and the row says so."""
    for name, n in LENGTHS.items():
        regular = covering_starts(n, 12, 6, ANCHORS, extra=False)
        with np.load(run.file(name)) as file:
            keep = file["window"] < len(regular)
            arrays = {k: file[k][keep] for k in ("reconstructions", "frame", "window", "index")}
        run.rewrite(name, **arrays, starts=np.array(regular, np.int32))
        covered = np.bincount(arrays["frame"], minlength=n)
        np.save(run.root / "labels" / f"{name}.npy", (covered > 0).astype(np.uint8))
    evaluation = run.evaluate(measures="mse", sigma=0.0)
    row = evaluation.row("", "coverage")
    np.testing.assert_array_equal(row.raw[0], np.bincount(frames_of(run, "01"), minlength=30))
    assert (row.raw[0] == 0).sum() == 4 and row.metrics["micro_auc"] == 1.0
    assert evaluation.row("mse").metrics["micro_auc"] == 1.0
    with pytest.raises(InputError, match="--nulls coverage: give --reconstructions"):
        choose("coverage", ["video"])


def frames_of(run, name):
    with np.load(run.file(name)) as file:
        return file["frame"]


def test_all_normal_labels_are_undefined(run):
    for name, n in LENGTHS.items():
        np.save(run.root / "labels" / f"{name}.npy", np.zeros(n, np.uint8))
    evaluation = run.evaluate()
    assert all(row.metrics["micro_auc"] is None for row in evaluation.rows)


def test_grey_frames(run):
    for name in LENGTHS:
        with np.load(run.file(name)) as file:
            run.rewrite(name, reconstructions=file["reconstructions"][..., :1], settings={"rgb": False})
    assert run.evaluate(nulls="linear_blend").row("mse").raw[0].shape == (30,)


def overwrite_middle(path):
    """A compressed file whose stream is broken."""
    with np.load(path) as file:
        np.savez_compressed(path, **dict(file))
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 200] = bytes(200)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda r: r.file("02").unlink(), r"no 02\.npz for video '02': infill that video"),
        (lambda r: (r.file("02").unlink(), (r.root / "reconstructions/.parts/02").mkdir(parents=True)), "unfinished"),
        (lambda r: r.file("01").rename(r.file("04")), r"no 01\.npz"),
        (lambda r: r.file("04").write_bytes(r.file("01").read_bytes()), r"04\.npz belongs to no video"),
        (
            lambda r: (r.root / "videos/02/016.png").unlink(),
            r"02\.npz: made from a video of 17 frames, but .*02 has 16",
        ),
        (lambda r: (r.root / "labels/02.npy").unlink(), r"no label file for video '02'"),
        (lambda r: np.save(r.root / "labels/02.npy", np.zeros(16)), r"02\.npy: 16 labels, but the video has 17"),
        (lambda r: r.rewrite("02", settings={"seed": 1}), r"02\.npz: made with seed 1, but 01\.npz with 0"),
        (lambda r: r.rewrite("02", reconstructions=np.zeros((3, *SIZE, 3), np.uint8)), "reconstructions are uint8"),
        (lambda r: r.file("02").write_bytes(b"PK\x03\x04 no"), r"02\.npz: not a reconstruction"),
        (lambda r: r.file("02").write_bytes(r.file("02").read_bytes()[:-300]), r"02\.npz: not a reconstruction"),
        (lambda r: np.savez(r.file("02"), a=np.zeros(3)), r"02\.npz: not a reconstruction"),
        (lambda r: overwrite_middle(r.file("02")), r"02\.npz: not a reconstruction"),
        (lambda r: r.rewrite("02", anchors=~ANCHORS), "a given frame among the generated"),
        (lambda r: r.rewrite("02", starts=np.arange(50)), "frame is not start"),
        (lambda r: r.rewrite("02", num_frames=np.array(5)), "of a video of 5"),
        (lambda r: [r.rewrite(n, settings={"image_size": [24, 24]}) for n in LENGTHS], r"01\.npz: frames"),
    ],
)
def test_what_does_not_belong_together_is_refused(run, damage, message):
    damage(run)
    with pytest.raises(InputError, match=message):
        run.evaluate(nulls="")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"measures": "mse,nope"}, "--measures 'nope'"),
        ({"measures": " "}, "--measures: choose at least one"),
        ({"nulls": "chance"}, "--nulls 'chance'"),
        ({"labels": ""}, "--labels: give"),
        ({"reconstructions": "/nowhere"}, "--reconstructions /nowhere: no such folder"),
        ({"noise_seeds": 1}, "--noise_seeds 1: must be at least 2"),
        ({"protocol": "mnad", "per_video_min_max": True}, "--per_video_min_max"),
        ({"weight": "log"}, "log"),
        ({"lengths": "1,2"}, "--lengths: goes with --scores, not with --reconstructions: leave it out"),
        ({"method": "x"}, "--method: goes with --scores, not with --reconstructions: leave it out"),
        ({"normal_scores": "x"}, "--normal_scores: goes with --scores.*: give --normal_reconstructions"),
        ({"benchmark": "ped3"}, "--benchmark 'ped3'"),
    ],
)
def test_options_that_do_not_fit_are_named(run, changes, message):
    with pytest.raises(InputError, match=message):
        run.evaluate(**changes)


def test_results_do_not_take_the_place_of_a_video_called_scores(tmp_path):
    with zipfile.ZipFile(tmp_path / "scores.npz", "w") as archive:
        archive.writestr("reconstructions.npy", b"frames")
    before = (tmp_path / "scores.npz").read_bytes()
    flags = ["--reconstructions", str(tmp_path), "--out_dir", str(tmp_path), "--data_dir", "d", "--labels", "l"]
    with pytest.raises(InputError, match=r"--out_dir .*: scores\.npz there is the reconstruction of a video called"):
        evaluate(parse_command("vad_eval", COMMAND_SECTIONS["vad_eval"], flags))
    assert (tmp_path / "scores.npz").read_bytes() == before
