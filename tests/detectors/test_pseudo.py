"""Pseudo-anomalies: what is changed is what is marked, and a part that sees one is chosen."""

import json
import shutil

import numpy as np
import pytest
from clips import write_video
from scipy.ndimage import gaussian_filter1d
from stand_ins import texture

from ramvid_vad.cli import COMMAND_SECTIONS, parse_command
from ramvid_vad.commands.select_recipe import BASE, SIGMA, _aucs, _check_unseen
from ramvid_vad.commands.select_recipe import select_recipe as command
from ramvid_vad.detectors import pseudo
from ramvid_vad.detectors.normal_videos import keep_to
from ramvid_vad.detectors.pseudo import FAINT, KINDS, infilled_by
from ramvid_vad.errors import InputError
from ramvid_vad.video.reader import Clip


@pytest.mark.parametrize("kind", KINDS)
def test_marked_frames_are_changed_and_no_others(kind):
    frames = texture(30, 48, 72, speed=2)
    before = frames.copy()
    made, marks = KINDS[kind](frames, np.random.default_rng(0))
    again, _ = KINDS[kind](frames, np.random.default_rng(0))
    assert np.array_equal(frames, before) and np.array_equal(made, again)
    assert made.dtype == np.uint8
    if kind == "frames skipped":  # no frame stands still in the place of those that are no more there
        assert np.array_equal(made, np.concatenate([frames[:10], frames[10:30:3]]))
        np.testing.assert_array_equal(np.flatnonzero(marks), np.arange(10, 17))
        return
    assert made.shape == frames.shape
    np.testing.assert_array_equal(np.flatnonzero(marks), np.arange(10, 20))
    changed = (made != frames).any(axis=(1, 2, 3))
    assert not changed[:10].any() and changed[11:19].sum() >= 7 and not changed[20:].any()
    if kind == "motion reversed":
        assert np.array_equal(made[10:20], frames[19:9:-1])


def test_a_faint_anomaly_is_a_share_of_the_whole_one():
    frames = texture(30, 48, 72, speed=2)
    for faint, whole in (("faint-texture", "foreign texture"), ("faint-object", "foreign object")):
        some, _ = KINDS[faint](frames, np.random.default_rng(0))
        all_of_it, _ = KINDS[whole](frames, np.random.default_rng(0))
        expected = FAINT * all_of_it[10:20] + (1 - FAINT) * frames[10:20].astype(float)
        np.testing.assert_allclose(some[10:20], expected, atol=0.51)


def test_mixed_motion_changes_one_square_and_unmixed_flow_gives_the_frame_again(monkeypatch):
    """Of a scene that moves by two and by six pixels in turn."""
    frames = texture(60, 48, 72, speed=2)[np.cumsum([1, 3] * 15) - 1]
    made, _ = KINDS["motion mixed"](frames, np.random.default_rng(0))
    rows, columns = np.nonzero((made != frames).any(axis=(0, 3)))
    assert np.ptp(rows) < 8 and np.ptp(columns) < 8  # a sixth of 48
    monkeypatch.setattr(pseudo, "mixture", lambda flow, other, rng: flow)
    same, _ = KINDS["motion mixed"](frames, np.random.default_rng(0))
    assert np.abs(same.astype(int) - frames).mean() < np.abs(made.astype(int) - frames).mean() / 2


def test_a_place_is_infilled_by_the_model_that_is_given():
    frames = texture(30, 48, 72, speed=2)
    seen = []

    def inpaint(frame, place, rng):
        seen.append((frame, place))
        return np.full((place[2], place[2], 3), 7, np.uint8)

    made, marks = infilled_by(inpaint)(frames, np.random.default_rng(0))
    (frame, (y, x, side)), *others = seen
    assert not others and np.array_equal(frame, frames[10]) and np.flatnonzero(marks).tolist() == list(range(10, 20))
    assert (made[10:20, y : y + side, x : x + side] == 7).all()
    made[10:20, y : y + side, x : x + side] = frames[10:20, y : y + side, x : x + side]
    assert np.array_equal(made, frames)


def test_auc_of_a_part_by_hand():
    """Constant scores make ties; a part that is high where frames are changed is 1, and the sum of both as well."""
    flat, high = np.ones(30), np.where(np.arange(30) >= 20, 9.0, 1.0) * np.linspace(1, 1.01, 30)
    normal = [{"flat": flat, "sees": np.linspace(1, 1.01, 30)}] * 2
    marks = np.arange(30) >= 20
    changed = {"kind": [({"flat": flat, "sees": high}, marks)] * 2}
    assert _aucs(["flat"], normal, changed)["mean"] == 0.5
    assert _aucs(["sees"], normal, changed) == {"mean": 1.0, "kind": 1.0}
    assert _aucs(["flat", "sees"], normal, changed)["kind"] == 1.0


def test_a_clip_is_judged_by_the_scales_of_the_other():
    rng = np.random.default_rng(0)
    clips = [{"a": rng.lognormal(sigma=a, size=40), "b": rng.lognormal(sigma=b, size=40)} for a, b in ((1, 3), (3, 1))]
    made = [{name: rng.lognormal(0.3, size=40) for name in "ab"} for _ in clips]
    marks = np.arange(40) >= 25
    expected = []
    for own, other, odd in zip(clips, clips[::-1], made, strict=True):
        sums = []
        for curves in own, odd:
            logs = []
            for name in "ab":
                usual = np.log(other[name])
                logs.append((np.maximum(np.log(curves[name]), usual.min()) - usual.mean()) / usual.std())
            sums.append(gaussian_filter1d(np.sum(logs, axis=0), SIGMA))
        usual, marked = sums[0], sums[1][marks]
        expected.append(np.mean(marked[:, None] > usual[None]))
    assert expected[0] != expected[1]
    found = _aucs(["a", "b"], clips, {"kind": [(odd, marks) for odd in made]})
    assert found["kind"] == pytest.approx(np.mean(expected))


def test_what_was_not_held_out_whole_is_refused(tmp_path):
    """By its name below the folder, dots and all; of a fitted detector by its file, and not a fifth of it."""
    run, normal = tmp_path / "run", tmp_path / "normal"
    run.mkdir()
    (normal / "a").mkdir(parents=True)
    paths = [str(write_video(normal / name, texture(3, 20, 20))) for name in ("cam.1.mkv", "cam.2.mkv", "a/2.mkv")]
    for noted, allowed in ((["cam.1"], paths[:1]), (["cam.2", "b/2"], paths[1:2]), (["2"], []), (["a/2"], paths[2:])):
        (run / "held_out.json").write_text(json.dumps({"held_out": noted}))
        _check_unseen(str(run), str(normal), allowed)
        for path in set(paths) - set(allowed):
            with pytest.raises(InputError, match="was not held out"):
                _check_unseen(str(run), str(normal), [*allowed, path])
    (run / "held_out.json").unlink()
    keep_to(str(run), [], [Clip(paths[0]), Clip(paths[1], 2)])
    _check_unseen(str(run), str(normal), paths[:1])
    for path in paths[1:]:
        with pytest.raises(InputError, match="was not held out"):
            _check_unseen(str(run), str(normal), [path])


def test_a_clip_too_short_for_an_anomaly_is_refused(made, tmp_path):
    folder, _ = made
    (tmp_path / "normal").mkdir()
    for name in ("00.mkv", "01.mkv"):
        shutil.copy(folder / "videos" / name, tmp_path / "normal")
    write_video(tmp_path / "normal" / "02.mkv", texture(5, 36, 52))
    flags = ["--run", str(folder / "run"), "--normal", str(tmp_path / "normal"), "--out_dir", str(tmp_path / "out")]
    note = folder / "run" / "held_out.json"
    note.write_text('{"held_out": ["01", "02"]}')
    with pytest.raises(InputError, match=r"02.mkv: 5 frames: no anomaly can be made of fewer than 6"):
        command(parse_command("", COMMAND_SECTIONS["select_recipe"], flags))
    note.unlink()


def test_the_command_prints_and_keeps_all_that_it_tried(made, tmp_path, capsys):
    folder, _ = made
    flags = ["--run", str(folder / "run"), "--normal", str(folder / "videos"), "--out_dir", str(tmp_path)]
    run = parse_command("", COMMAND_SECTIONS["select_recipe"], flags)
    note = folder / "run" / "held_out.json"
    for noted in (None, '{"held_out": []}', '{"held_out": ["00", "02"]}'):
        if noted:
            note.write_text(noted)
        with pytest.raises(InputError, match=r"01.mkv.* would tell .* was not held out: .*--held_out 2"):
            command(run)
    note.write_text('{"held_out": ["01", "02"]}')
    command(run)
    log = json.loads((tmp_path / "select_recipe.json").read_text())
    assert log["held_out"] == ["01", "02"] and len(log["with one part of it"]) == 2 * 12 * 3
    assert set(log["alone"]) == {*log["with one part of it"], *BASE} and log["chosen"][:-1] == list(BASE)
    for tried in (log["alone"], log["with one part of it"]):
        for found in tried.values():
            assert found["mean"] == pytest.approx(np.mean([found[kind] for kind in KINDS]))
        means = [found["mean"] for found in tried.values()]
        assert means == sorted(means, reverse=True)
    assert log["chosen"][-1] == next(iter(log["with one part of it"]))
    assert f"chosen: {', '.join(log['chosen'])}" in capsys.readouterr().out
    first = (tmp_path / "select_recipe.json").read_bytes()
    command(run)
    assert (tmp_path / "select_recipe.json").read_bytes() == first
    note.write_text("{")
    with pytest.raises(InputError, match=r"held_out.json: cannot be read"):
        command(run)
    note.unlink()
    with pytest.raises(InputError, match="--run: give the folder"):
        command(parse_command("", COMMAND_SECTIONS["select_recipe"], flags[2:]))
