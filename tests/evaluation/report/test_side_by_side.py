"""The side-by-side mp4: frame for frame, its panes hold what they say, and what is done already is left alone."""

import os
from dataclasses import replace

import numpy as np
import pytest
from known_run import LENGTHS, SIZE, error

from ramvid_vad.errors import InputError
from ramvid_vad.evaluation.report.pictures import frame_source
from ramvid_vad.evaluation.report.side_by_side import (
    CAPTION,
    GAP,
    INK,
    SCORE,
    Plot,
    Scene,
    draw_boxes,
    render_videos,
    worst_first,
)
from ramvid_vad.reconstructions import load_reconstruction
from ramvid_vad.scoring.blobs import wmse
from ramvid_vad.video.reader import read_frames
from ramvid_vad.video.writer import video_comment

NAMES = list(LENGTHS)


@pytest.fixture
def made(run):
    """An evaluation and the source of its frames; the reconstruction of frame 7 of video 01 is off in one rectangle
    only."""
    with np.load(run.file("01")) as file:
        frames, numbers = file["reconstructions"].copy(), file["frame"]
    for row in np.flatnonzero(numbers == 7):
        frames[row] = run.frames["01"][7]
        frames[row, 5:15, 8:20] += 50
    run.rewrite("01", reconstructions=frames)
    return run.evaluate(nulls="constant", bootstrap=0), frame_source(run.options, str(run.root / "cache"))


def panes(picture, scene):
    """input, infilled, residual of a frame (H, W, 3) of the mp4, uint8 (h, w, 3) each."""
    height, width = scene.pane
    return [picture[CAPTION : CAPTION + height, i * (width + GAP) : i * (width + GAP) + width] for i in range(3)]


def centres(pane):
    """One value per pixel of the frame, from an enlarged pane, as int (24, 32, 3)."""
    zoom = pane.shape[0] // SIZE[0]
    return pane[zoom // 2 :: zoom, zoom // 2 :: zoom].astype(int)


def test_the_mp4_decoded_back_shows_every_frame_with_its_own_infilling_and_residual(run, made, tmp_path):
    evaluation, source = made
    paths = render_videos(evaluation, source, str(tmp_path / "videos"), -1, progress=False)
    assert sorted(os.path.relpath(p, tmp_path / "videos") for p in paths) == ["01.mp4", "02.mp4", "scene/03.mp4"]
    for video, name in enumerate(NAMES):
        scene = Scene(evaluation, source, video)
        decoded = list(read_frames(str(tmp_path / "videos" / f"{name}.mp4")))
        assert len(decoded) == LENGTHS[name] == scene.length
        assert decoded[0].shape[0] % 2 == decoded[0].shape[1] % 2 == 0
        loaded = load_reconstruction(str(run.file(name)))
        levels = {f: max(error(f, w) for w in loaded.window[loaded.frame == f]) for f in set(loaded.frame.tolist())}
        if name == "01":
            levels[7] = 50
        white = np.median(list(levels.values()))
        for frame, picture in enumerate(decoded):
            shown = panes(picture, scene)
            others = [np.abs(centres(shown[0]) - run.frames[name][i]).mean() for i in range(LENGTHS[name])]
            assert np.argmin(others) == frame and others[frame] < 25  # noise in colour, which 4:2:0 blurs
            if frame not in levels:
                assert np.ptp(shown[1].astype(int)[20:-20, 20:-20]) < 12  # an empty pane
                continue
            if (name, frame) == ("01", 7):
                continue
            inside = centres(shown[2])[3:-3, 3:-3]
            assert np.abs(inside - min(255, levels[frame] * 255 / white)).mean() < 6, (name, frame)


def test_the_boxes_are_the_blobs_and_the_residual_is_where_it_is(run, made):
    evaluation, source = made
    scene = Scene(evaluation, source, 0)
    real = run.frames["01"][7]
    (blob,) = wmse(real, scene.made.pair(7)[1]).blobs
    assert blob.box == (8, 5, 20, 15)
    picture = panes(list(scene.frames())[7], scene)[2]
    zoom = scene.zoom
    white = {tuple(point) for point in np.argwhere((picture == 255).all(axis=2))}
    x0, y0, x1, y1 = (int(zoom * side) for side in blob.box)
    edge = {(y, x) for y in (y0, y1 - 1) for x in range(x0, x1)} | {(y, x) for y in range(y0, y1) for x in (x0, x1 - 1)}
    assert white <= edge | {(y, x) for y in range(y0 + 2, y1 - 2) for x in range(x0 + 2, x1 - 2)}
    assert len(white & edge) > 0.5 * len(edge)  # five of eight pixels are white, the others black
    assert all((picture[point] == 0).all() for point in edge - white)
    inside = picture[y0 + 3 : y1 - 3, x0 + 3 : x1 - 3]
    assert (inside == inside[0, 0]).all() and inside[0, 0, 0] == 255  # 50 grey levels, more than most
    assert (picture[: y0 - 3] == 0).all() and (picture[:, x1 + 3 :] == 0).all()


def test_boxes_by_hand():
    drawn = draw_boxes(np.full((40, 40, 3), 100, np.uint8), [[1, 2, 4, 9]], zoom=4)
    assert (drawn[8, 4:9] == 255).all() and (drawn[8, 9] == 0).all()  # five white, then black
    assert (drawn[8 + 3 : 36 - 3, 4 + 3 : 16 - 3] == 100).all() and (drawn[20, 30] == 100).all()
    assert (draw_boxes(drawn, []) == drawn).all()


def test_the_curve_runs_up_to_the_frame_over_the_labels(made):
    evaluation, source = made
    row = replace(evaluation.headline, operating=())
    scene = Scene(replace(evaluation, rows=[row, *evaluation.rows[1:]]), source, 0)
    plot = Plot(scene, 600, 0.5)
    for frame in (0, 11, 29):
        image = plot.up_to(frame)[plot.top : plot.bottom]
        blue = np.flatnonzero((image == SCORE).all(axis=2).any(axis=0))
        reach = plot.across(frame)
        assert plot.across(0) - 4 <= blue.min() <= plot.across(0) + 1 and reach <= blue.max() <= reach + 5
        # beneath the curve's end, the dot stands at the score
        column = np.flatnonzero((image[:, reach + 3] == SCORE).all(axis=1)) + plot.top
        assert abs(column.mean() - plot.up(row.processed[0][frame])) <= 1
        assert ((image == INK).all(axis=2)).sum(axis=0).argmax() == reach
    band = (plot.back[plot.top + 2 : plot.bottom - 2] == 150).all(axis=2).any(axis=0)
    for frame, label in enumerate(evaluation.full_labels[0]):
        assert band[plot.across(frame) - 3 : plot.across(frame) + 3].any() == bool(label), frame


def test_thresholds_are_drawn_at_their_level(run):
    evaluation = run.evaluate(nulls="constant", bootstrap=0, quantile=0.5, measures="mse", **run.normal_copies())
    scene = Scene(evaluation, frame_source(run.options, str(run.root / "cache")), 1)
    plot = Plot(scene, 600, 0.5)
    assert [rule for rule, _ in scene.thresholds][:1] == ["quantile"]
    y = plot.up(evaluation.headline.operating[0].threshold)
    dashes = (plot.back[y] == (179, 71, 0)).all(axis=1)
    assert 0.5 < dashes[plot.left : plot.right].mean() < 0.8
    assert not (plot.back[y + 25 : plot.bottom] == (179, 71, 0)).all(axis=2).any()


def test_frames_that_the_protocol_drops_have_no_score(run):
    evaluation = run.evaluate(nulls="constant", bootstrap=0, protocol="mnad")
    scene = Scene(evaluation, frame_source(run.options, str(run.root / "cache")), 0)
    assert np.isnan(scene.scores[:4]).all() and scene.scores[4] == evaluation.headline.processed[0][0]
    assert (scene.labels == run.labels["01"]).all()
    plot = Plot(scene, 600, 0.5)
    assert not (plot.up_to(3) == SCORE).all(axis=2).any() and (plot.up_to(4) == SCORE).all(axis=2).any()


def test_the_worst_come_first_and_what_is_there_is_left_alone(run, made, tmp_path):
    evaluation, source = made
    order = worst_first(evaluation)
    aucs = [np.nan] * 3
    for v, (s, y) in enumerate(zip(evaluation.headline.processed, evaluation.labels, strict=True)):
        pairs = s[y == 1][:, None] - s[y == 0]
        aucs[v] = ((pairs > 0) + 0.5 * (pairs == 0)).mean()
    assert order == sorted(range(3), key=lambda v: aucs[v])
    (path,) = render_videos(evaluation, source, str(tmp_path), 1, progress=False)
    assert path == str(tmp_path / f"{NAMES[order[0]]}.mp4")
    first, inode = video_comment(path), os.stat(path).st_ino
    render_videos(evaluation, source, str(tmp_path), 1, progress=False)
    assert os.stat(path).st_ino == inode  # not written again
    render_videos(evaluation, source, str(tmp_path), 1, fps=5, progress=False)
    assert os.stat(path).st_ino != inode and video_comment(path) != first
    changed = replace(source, blobs=source.blobs | {"threshold": 0.1})
    render_videos(evaluation, changed, str(tmp_path), 1, fps=5, progress=False)
    assert len({first, video_comment(path)}) == 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--videos", "-2"], "--videos .*-2.*at least 0, or -1"),
        (["--videos", "1", "--scores", "x"], "--videos: shows infilled frames: give --reconstructions"),
        (["--videos", "1", "--compare", "a,b"], "--videos: shows infilled frames"),
    ],
)
def test_flags_that_do_not_fit(flags, message):
    from ramvid_vad.cli import parse_command
    from ramvid_vad.commands.evaluate import evaluate

    with pytest.raises(InputError, match=message):
        evaluate(parse_command("", ("eval",), flags))


def test_the_command_makes_them(run, tmp_path, capsys):
    from ramvid_vad.cli import parse_command
    from ramvid_vad.commands.evaluate import evaluate

    flags = ["--reconstructions", run.options.reconstructions, "--data_dir", run.options.data_dir]
    flags += [
        "--labels",
        run.options.labels,
        "--cache_dir",
        str(run.root / "cache"),
        "--out_dir",
        str(tmp_path / "out"),
    ]
    flags += ["--measures", "mse", "--nulls", "constant", "--bootstrap", "0", "--plots", "False", "--videos", "2"]
    evaluate(parse_command("", ("eval",), flags))
    assert len(list((tmp_path / "out" / "videos").rglob("*.mp4"))) == 2
    assert "report.html and videos are in" in capsys.readouterr().out
