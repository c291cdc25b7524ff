"""Two runs compared: every draw by brute force, no difference between a run and itself, and what cannot be compared."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from ramvid_vad.errors import InputError
from ramvid_vad.evaluation import evaluate_scores
from ramvid_vad.evaluation.inputs.finished_runs import FinishedRun, read_run
from ramvid_vad.evaluation.report.comparison import comparison_data, comparison_document, format_comparison
from ramvid_vad.evaluation.report.files import write_results
from ramvid_vad.evaluation.statistics.bootstrap import draw_videos
from ramvid_vad.evaluation.statistics.comparison import METRICS, compare, reading

ROOT = Path(__file__).resolve().parents[3]
DOCUMENT = {"labels": {"sha256": "0" * 64}, "protocol": {"line": "none"}, "version": "1"}
OTHER_LABELS = DOCUMENT | {"labels": {"sha256": "1" * 64}}


def toy(seed, videos=6, better=0.5):
    """Two runs on the same videos, the second better on the whole; video 2 is all normal."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(5, 90, videos)
    labels = [(rng.random(n) < 0.4).astype(np.uint8) for n in lengths]
    for y in labels:
        y[:2] = 0, 1
    labels[2][:] = 0
    hard = [rng.standard_normal(n) for n in lengths]
    runs = []
    for folder, gain in (("runs/a", 0.5), ("runs/b", 0.5 + better)):
        scores = [np.round(h + rng.standard_normal(len(h)) + gain * y, 1) for h, y in zip(hard, labels, strict=True)]
        runs.append(FinishedRun(folder, "mse", [f"v{i}" for i in range(videos)], labels, scores, 0, DOCUMENT))
    return runs


@pytest.mark.parametrize("seed", range(2))
def test_the_interval_equals_brute_force(seed):
    """Every draw: the drawn videos' frames copied end to end, the two AUCs of scikit-learn, their difference."""
    a, b = toy(seed)
    found = compare(a, b, resamples=100, seed=seed)
    auc = {"micro_auc": [], "macro_auc": []}
    for draw in draw_videos(len(a.names), 100, seed):
        copies = np.repeat(np.arange(len(a.names)), draw)
        y = np.concatenate([a.labels[c] for c in copies])
        micro = [roc_auc_score(y, np.concatenate([run.scores[c] for c in copies])) for run in (a, b)]
        auc["micro_auc"].append(micro[1] - micro[0])
        both = [c for c in copies if a.labels[c].any()]
        macro = [np.mean([roc_auc_score(run.labels[c], run.scores[c]) for c in both]) for run in (a, b)]
        auc["macro_auc"].append(macro[1] - macro[0])
    for name, values in auc.items():  # five of the videos have an anomaly
        student = stats.t.interval(0.95, 4, found.metrics[name].difference, np.std(values) * np.sqrt(5 / 4))
        assert found.metrics[name].interval == pytest.approx(student, abs=1e-12)
    whole = [roc_auc_score(np.concatenate(a.labels), np.concatenate(run.scores)) for run in (a, b)]
    assert found.metrics["micro_auc"].difference == pytest.approx(whole[1] - whole[0], abs=1e-12)


def test_videos_are_paired_by_name(seed=3):
    """The second run lists its videos in another order: every figure and interval stays."""
    a, b = toy(seed)
    order = [4, 0, 5, 2, 1, 3]
    lists = {key: [getattr(b, key)[i] for i in order] for key in ("names", "labels", "scores")}
    found, straight = (compare(a, other, resamples=100, seed=1) for other in (replace(b, **lists), b))
    assert (found.videos, found.metrics) == (straight.videos, straight.metrics)
    assert comparison_document(found) == comparison_document(straight)
    assert comparison_data(found)["videos"] == comparison_data(straight)["videos"]


def test_videos_come_by_largest_loss_and_one_class_last():
    a, b = toy(4, better=0.0)
    found = compare(a, b, resamples=0)
    assert found.videos[-1].name == "v2" and found.videos[-1].difference is None
    assert {v.name for v in found.videos} == set(a.names)
    differences = [v.difference for v in found.videos[:-1]]
    assert differences == sorted(differences) and differences[0] < 0 < differences[-1]
    for v in found.videos[:-1]:
        at = a.names.index(v.name)
        expected = roc_auc_score(b.labels[at], b.scores[at]) - roc_auc_score(a.labels[at], a.scores[at])
        assert v.difference == pytest.approx(expected, abs=1e-12)


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_a_run_against_itself_is_exactly_zero(seed):
    a, _ = toy(seed)
    found = compare(a, replace(a, folder="runs/copy"), resamples=100, seed=seed)
    for d in found.metrics.values():
        assert (d.difference, d.interval) == (0.0, (0.0, 0.0))
    assert [v.difference for v in found.videos] == [0.0] * 5 + [None]
    assert "contains 0" in reading(found)[0] and "better in 0 and worse in 0" in reading(found)[1]


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_swapping_the_runs_negates(seed):
    a, b = toy(seed)
    one, other = compare(a, b, resamples=100, seed=1), compare(b, a, resamples=100, seed=1)
    for key in METRICS:
        assert one.metrics[key].difference == -other.metrics[key].difference
        low, high = other.metrics[key].interval
        assert one.metrics[key].interval == pytest.approx((-high, -low), abs=1e-12)
    swapped = {v.name: v.difference for v in other.videos}
    for v in one.videos:
        assert swapped[v.name] == (None if v.difference is None else -v.difference)


def test_pairing_is_worth_something():
    """Videos of very different difficulty, and B better by the same little in each: the paired interval is clear of 0
    although the runs' own intervals overlap almost wholly."""
    rng = np.random.default_rng(0)
    labels = [np.repeat([0, 1], 100)] * 12
    offsets = np.linspace(-1, 2, 12)
    noise = [rng.standard_normal(200) for _ in offsets]
    runs = []
    for gain in (0.0, 0.2):
        scores = [n + (o + gain) * y for n, o, y in zip(noise, offsets, labels, strict=True)]
        runs.append(FinishedRun(f"b{gain}", "mse", [str(i) for i in range(12)], labels, scores, 0, DOCUMENT))
    found = compare(*runs, resamples=1000)
    low, high = found.metrics["micro_auc"].interval
    assert 0 < low < found.metrics["micro_auc"].difference < high
    assert "does not contain 0" in reading(found)[0]


def test_words_for_every_case():
    a, b = toy(1)
    assert "; --bootstrap 0: without an interval nothing is said" in reading(compare(a, b, resamples=0))[0]
    one = [replace(run, names=run.names[:1], labels=run.labels[:1], scores=run.scores[:1]) for run in (a, b)]
    assert compare(*one).metrics["micro_auc"].interval is None
    assert "; too few videos to tell (1): without an interval" in reading(compare(*one))[0]
    assert reading(compare(*one))[1].startswith("Of 1 video with both classes")
    assert "1 video (0 of one class)" in format_comparison(compare(*one))
    assert "intervals: none, too few videos to tell (1)" in format_comparison(compare(*one))
    assert comparison_data(compare(*one))["intervals"] == "intervals: none, too few videos to tell (1)"
    normal = [replace(run, labels=[np.zeros_like(y) for y in run.labels]) for run in (a, b)]
    found = compare(*normal, resamples=100)
    assert "nothing can be compared" in reading(found)[0]
    assert all(m["difference"] is None for m in comparison_document(found)["metrics"].values())
    assert "-" in format_comparison(found)
    other = replace(b, document=DOCUMENT | {"protocol": {"line": "another"}})
    assert "protocols differ" in reading(compare(a, other, resamples=0))[-1]
    assert "protocols differ" not in reading(compare(a, b, resamples=0))[-1]


def test_folders_of_one_name_are_told_apart():
    a, b = toy(0)
    found = compare(replace(a, folder="runs/x/evaluation"), replace(b, folder="runs/y/evaluation/"), resamples=0)
    assert found.folders == ("x/evaluation", "y/evaluation")
    assert compare(a, b, resamples=0).folders == ("a", "b")
    assert compare(a, a, resamples=0).folders == ("a", "a")


def renamed(run):
    return replace(run, names=["x", *run.names[1:]])


def shorter(run):
    cut = [[*arrays[:1], arrays[1][:-1], *arrays[2:]] for arrays in (run.labels, run.scores)]
    return replace(run, labels=cut[0], scores=cut[1])


def flipped(run):
    return replace(run, labels=[1 - run.labels[0], *run.labels[1:]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (renamed, r"--compare runs/a,runs/b: video 'v0' is in runs/a only, not in runs/b"),
        (lambda run: replace(run, names=run.names[:-1]), r"video 'v5' is in runs/a only"),
        (shorter, r"video 'v1' is scored in frames 0 to \d+ of the one and 0 to \d+ of the other"),
        (lambda run: replace(run, first=4), r"video 'v0' is scored in frames 0 to \d+ of the one and 4 to"),
        (lambda run: replace(run, document=OTHER_LABELS), r"other label files \(SHA-256 0"),
        (flipped, r"the labels of video 'v0' are not the same"),
    ],
)
def test_what_cannot_be_compared_is_one_line(change, message):
    a, b = toy(0)
    with pytest.raises(InputError, match=message) as error:
        compare(a, change(b))
    assert "\n" not in str(error.value)


@pytest.fixture
def runs(tmp_path):
    """Two finished evaluations of one data set, as vad_eval.py writes them."""
    rng = np.random.default_rng(0)
    labels = {name: (np.arange(40) // 9 % 2).astype(np.uint8) for name in ("01", "02", "a/03")}
    for name, y in labels.items():
        (tmp_path / "labels" / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / "labels" / f"{name}.npy", y)
    for folder, gain in (("first", 0.4), ("second", 1.0)):
        (tmp_path / folder).mkdir()
        scores = {name: rng.standard_normal(40) + gain * y for name, y in labels.items()}
        options = {"method": folder, "bootstrap": 100, "noise_seeds": 2, "sigma": 1.0}
        write_results(evaluate_scores(scores, str(tmp_path / "labels"), **options), str(tmp_path / folder), plots=False)
    return tmp_path


def command(*flags):
    script = str(ROOT / "scripts" / "vad_eval.py")
    return subprocess.run([sys.executable, script, *flags], capture_output=True, text=True, timeout=250, cwd=ROOT)


def test_the_command_writes_what_it_prints(runs):
    given = f"{runs / 'first'},{runs / 'second'}"
    done = command("--compare", given, "--out_dir", str(runs / "out"), "--bootstrap", "100")
    assert done.returncode == 0, done.stderr
    document = json.loads((runs / "out" / "comparison.json").read_text())
    evaluated = [json.loads((runs / name / "metrics.json").read_text()) for name in ("first", "second")]
    micro = [d["rows"][0]["metrics"]["micro_auc"] for d in evaluated]
    assert document["schema"] == 1 and document["intervals"]["draws"] == 0
    assert document["intervals"]["none"] == "too few videos to tell (3)"
    assert [document["metrics"]["micro_auc"][key] for key in "ab"] == micro
    assert document["metrics"]["micro_auc"]["difference"] == micro[1] - micro[0]
    assert (document["a"]["folder"], document["b"]["row"]) == ("first", "second")
    assert str(runs) not in (runs / "out" / "comparison.json").read_text()
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("micro AUC"))
    assert line.split()[2:5] == [
        f"{100 * micro[0]:.1f}",
        f"{100 * micro[1]:.1f}",
        f"{100 * (micro[1] - micro[0]):+.1f}",
    ]
    assert " ".join(done.stdout.split()).startswith(document["reading"][0])
    page = (runs / "out" / "comparison.html").read_text()
    assert str(runs) not in page and "http:" not in page.replace("http://www.w3.org", "") and "src=" not in page


def test_reading_a_run_back(runs):
    run = read_run(str(runs / "first"))
    saved = np.load(runs / "first" / "scores.npz")
    assert run.names == ["01", "02", "a/03"] and run.row == "first"
    for name, scores in zip(run.names, run.scores, strict=True):
        np.testing.assert_array_equal(scores, saved[f"first/processed/{name}"])


def test_trimmed_runs_keep_the_labels_of_the_frames_that_are_left(runs):
    given = {name: np.arange(40.0) for name in ("01", "02", "a/03")}
    (runs / "third").mkdir()
    options = {"method": "x", "bootstrap": 0, "noise_seeds": 2, "protocol": "mnad"}
    write_results(evaluate_scores(given, str(runs / "labels"), **options), str(runs / "third"), plots=False)
    run = read_run(str(runs / "third"))
    assert run.first == 4
    for name, y in zip(run.names, run.labels, strict=True):
        np.testing.assert_array_equal(y, np.load(runs / "labels" / f"{name}.npy")[4:])
    with pytest.raises(InputError, match="scored in frames 0 to 39 of the one and 4 to 39 of the other"):
        compare(read_run(str(runs / "first")), run)


def damage(folder, change):
    document = json.loads((folder / "metrics.json").read_text())
    change(document)
    (folder / "metrics.json").write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("change", "row", "message"),
    [
        (lambda f: (f / "metrics.json").unlink(), "", "metrics.json cannot be read"),
        (lambda f: (f / "scores.npz").unlink(), "", "scores.npz cannot be read"),
        (lambda f: (f / "metrics.json").write_text("[1"), "", "is not one of vad_eval.py"),
        (lambda f: (f / "metrics.json").write_text("[" * 10**5), "", "is not one of vad_eval.py"),
        (lambda f: (f / "scores.npz").write_bytes(b"x"), "", "not an npz"),
        (lambda f: damage(f, lambda d: d.update(schema=1)), "", "schema 1, this version reads 2"),
        (lambda f: damage(f, lambda d: d.pop("videos")), "", "is not one of vad_eval.py"),
        (lambda f: damage(f, lambda d: d["videos"].append("x")), "", "do not belong together"),
        (lambda f: damage(f, lambda d: d["protocol"].update(first="a")), "", "do not belong together"),
        (lambda f: None, "wmse", r"--method 'wmse': it holds first"),
    ],
)
def test_a_folder_that_is_no_run_is_one_line(runs, change, row, message):
    change(runs / "first")
    with pytest.raises(InputError, match=message) as error:
        read_run(str(runs / "first"), row)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--compare", "a"], "two folders with a comma between them"),
        (["--compare", "a,b,c"], "two folders"),
        (["--compare", "a,b", "--method", "x,y,z"], "ROW_A,ROW_B"),
        (["--compare", "a,b", "--scores", "x"], "leave --scores"),
        (["--compare", "a,b"], "metrics.json cannot be read"),
    ],
)
def test_flags_that_do_not_fit(flags, message, capsys, monkeypatch):
    from ramvid_vad.cli import run_command
    from ramvid_vad.commands.evaluate import evaluate

    monkeypatch.setattr(sys, "argv", ["vad_eval.py", *flags])
    with pytest.raises(SystemExit) as end:
        run_command("vad_eval", "", evaluate)
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line
