"""What is written: the same bytes twice, whole or not at all, figures that follow from the score files."""

import csv
import hashlib
import json
import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from known_run import LENGTHS
from PIL import Image

from ramvid_vad.cli import COMMAND_SECTIONS, parse_command
from ramvid_vad.commands.evaluate import evaluate
from ramvid_vad.evaluation import evaluate_scores, frame_metrics
from ramvid_vad.evaluation.report.files import write_results
from ramvid_vad.evaluation.report.plots import plot_videos

ROOT = Path(__file__).resolve().parents[3]
FILES = {"metrics.json", "scores.npz", "scores.csv", "table.txt", "report.html"}


def files(folder):
    """Name -> content; of the report without the date that it bears."""
    found = {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
    return {name: re.sub(rb'"made": "[-0-9]{10}"', b'"made": ""', content) for name, content in found.items()}


def test_running_twice_gives_equal_files(run, monkeypatch):
    for folder, clock in (("a", time.time()), ("b", time.time() + 10**8)):
        monkeypatch.setattr(time, "time", lambda now=clock: now)
        (run.root / folder).mkdir()
        write_results(run.evaluate(), str(run.root / folder), progress=False)
    first, second = files(run.root / "a"), files(run.root / "b")
    assert first.keys() == second.keys()
    plots = {f"plots/{name}.png" for name in LENGTHS}
    assert set(first) == {*FILES, *plots}
    for name in first:
        assert first[name] == second[name], name


@pytest.mark.parametrize("protocol", ["default", "mnad"])
def test_figures_follow_from_the_score_files(run, protocol):
    evaluation = run.evaluate(protocol=protocol)
    write_results(evaluation, str(run.root), plots=False)
    document = json.loads((run.root / "metrics.json").read_text())
    scores = np.load(run.root / "scores.npz", allow_pickle=False)
    trim = 4 if protocol == "mnad" else 0
    labels = [scores[f"labels/{name}"] for name in document["videos"]]
    saved = {
        "mse": ("mse", None),
        "wmse.linear_blend": ("wmse", "linear_blend"),
        "optical_flow": (None, "optical_flow"),
    }
    for key, (measure, null) in saved.items():
        row = next(r for r in document["rows"] if (r["measure"], r["null"]) == (measure, null))
        raw = [scores[f"{key}/raw/{name}"] for name in document["videos"]]
        processed = [scores[f"{key}/processed/{name}"] for name in document["videos"]]
        assert row["metrics_before_protocol"] == pytest.approx(frame_metrics(raw, labels))
        assert row["metrics"] == pytest.approx(frame_metrics(processed, [y[trim:] for y in labels]))
    with open(run.root / "scores.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["video"], int(line["frame"])) for line in lines] == [
        (v, i) for v, n in LENGTHS.items() for i in range(n)
    ]
    assert [int(line["label"]) for line in lines] == np.concatenate(labels).tolist()
    column = [line["mse processed"] for line in lines if line["video"] == "02"]
    assert column[:trim] == [""] * trim
    np.testing.assert_allclose([float(v) for v in column[trim:]], scores["mse/processed/02"], rtol=1e-8)
    raw_column = [float(line["wmse.linear_blend raw"]) for line in lines if line["video"] == "02"]
    np.testing.assert_allclose(raw_column, scores["wmse.linear_blend/raw/02"], rtol=1e-8)


def test_metrics_name_what_made_them(run):
    write_results(run.evaluate(tau=0.05), str(run.root), plots=False)
    document = json.loads((run.root / "metrics.json").read_text())
    assert document["schema"] == 2 and document["version"]
    assert document["wmse"] == {"tau": 0.05, "min_area": 12, "weight": "area"}
    assert document["protocol"]["line"].startswith("default: trimmed 0 + 0 frames per video, Gaussian sigma 2")
    assert len(document["labels"]["sha256"]) == 64
    assert document["environment"]["numpy"] == np.__version__ and document["environment"]["python"]
    digests = [hashlib.sha256(frames.tobytes()).hexdigest() for frames in run.frames.values()]
    assert document["frames_sha256"] == hashlib.sha256("".join(digests).encode()).hexdigest()
    assert document["reconstructions"]["model"] == "toy" and "video" not in document["reconstructions"]


def test_plots_show_curve_and_bands(run):
    write_results(run.evaluate(), str(run.root), progress=False)
    picture = np.asarray(Image.open(run.root / "plots" / "scene" / "03.png").convert("RGB")).astype(int)
    assert picture.shape == (300, 900, 3)
    for colour in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00), (224, 224, 224)):  # model, blend, ground truth
        assert (np.abs(picture - colour).max(axis=2) < 12).sum() > 100, colour


def test_a_name_is_no_formula(tmp_path):
    labels = {"cam$_$1": (np.arange(20) // 10).astype(np.uint8)}
    evaluation = evaluate_scores({"cam$_$1": np.arange(20.0)}, labels, method="x", bootstrap=0, nulls="constant")
    plot_videos(evaluation, str(tmp_path), progress=False)
    assert (tmp_path / "cam$_$1.png").exists()


def flags_of(run, *flags):
    places = ["--reconstructions", run.options.reconstructions, "--data_dir", run.options.data_dir]
    return [*places, "--labels", run.options.labels, "--cache_dir", str(run.root / "cache"), *flags]


def command(run, *flags):
    line = [sys.executable, str(ROOT / "scripts" / "vad_eval.py"), *flags_of(run, *flags)]
    return subprocess.run(line, capture_output=True, text=True, timeout=250, cwd=ROOT)


def test_the_command_twice_gives_equal_files_and_a_report_with_pictures(run, monkeypatch, capsys):
    """In this process and in one whose sets and dictionaries hash differently."""
    out = [run.root / "out" / name for name in ("here", "there")]
    more = ("--measures", "wmse,ssim", "--noise_seeds", "2")
    evaluate(parse_command("", COMMAND_SECTIONS["vad_eval"], flags_of(run, "--out_dir", str(out[0]), *more)))
    monkeypatch.setenv("PYTHONHASHSEED", "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1")
    done = command(run, "--out_dir", str(out[1]), *more)
    assert done.returncode == 0, done.stderr
    for folder, said in zip(out, (capsys.readouterr().out, done.stdout), strict=True):
        assert "micro AUC" in said and str(folder) in said
    written = [files(folder) for folder in out]
    assert written[0].keys() == written[1].keys() and "metrics.json" in written[0]
    assert sum(name.endswith(".png") for name in written[0]) == 3
    for name, content in written[0].items():
        assert content == written[1][name], name
    block = written[0]["report.html"].decode().split('id="data">', 1)[1].split("</script>", 1)[0]
    assert [len(video) > 0 for video in json.loads(block)["pictures"]["videos"]] == [True] * 3


def test_a_label_file_one_frame_short_is_one_line_and_exit_code_2(run):
    np.save(run.root / "labels" / "02.npy", np.zeros(16, np.uint8))
    done = command(run, "--out_dir", str(run.root / "out"))
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert "02.npy: 16 labels, but the video has 17 frames" in line
    assert not (run.root / "out").exists()  # nothing is left of a run that never began


def test_files_are_whole_or_as_they_were(run):
    """A full disk, as far as a limit on the size of a file can stand in for it: for each file, one that stops it."""
    evaluation = run.evaluate(nulls="ramp", bootstrap=0)
    out = run.root / "out"
    out.mkdir()
    write_results(evaluation, str(out), progress=False)
    good = files(out)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for size in sorted({len(content) for content in good.values()}):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size - 1, before[1]))
        try:
            with pytest.raises(OSError, match="too large"):
                write_results(evaluation, str(out), progress=False)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert files(out) == good


@pytest.mark.parametrize(
    ("given", "options"),
    [
        (slice(None), {"sigma": 0.0}),
        (slice(None), {"sigma": 0.0, "trim": "4,3"}),
        (slice(4, -3), {"sigma": 0.0, "trim": "4,3"}),  # the scores came without them
        (slice(4, None), {"protocol": "mnad"}),
    ],
)
def test_plots_have_scores_over_the_labels_of_their_frames(tmp_path, monkeypatch, given, options):
    """Scores that are high on just the abnormal frames: the bands must lie exactly where each curve is high."""
    from matplotlib.figure import Figure

    labels = np.isin(np.arange(40), [*range(9, 14), *range(25, 33)]).astype(np.uint8)
    evaluation = evaluate_scores({"v": labels[given] * 3.0 + 1}, {"v": labels}, bootstrap=0, **options)
    shown = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, file, **_: (shown.append(figure), Path(file).touch()))
    write_results(evaluation, str(tmp_path), progress=False)
    (axes,) = shown[0].axes
    bands = [band.get_x() + np.array([0, band.get_width()]) for band in axes.patches]
    inside = {frame for frame in range(40) for low, high in bands if low < frame < high}
    assert inside == set(np.flatnonzero(labels))
    assert len(axes.lines) == 1 + (not evaluation.protocol.min_max)
    for line in axes.lines:
        x, y = line.get_data()
        assert set(x[y > y.min()]) == inside and set(np.diff(x)) == {1}
        assert axes.get_xlim()[0] < x[0] and x[-1] < axes.get_xlim()[1]
