"""Scores of any method: every format gives the same result, published logs are met, and what does not fit is named."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from ramvid_vad.errors import InputError
from ramvid_vad.evaluation import evaluate_scores, frame_metrics
from ramvid_vad.evaluation.nulls.blind import noise
from ramvid_vad.evaluation.nulls.registry import NULLS
from ramvid_vad.evaluation.report.files import write_results
from ramvid_vad.evaluation.statistics.protocols import PROTOCOLS, choose
from ramvid_vad.options import EvalOptions
from ramvid_vad.scoring.curves import smooth

ROOT = Path(__file__).resolve().parents[2]
LENGTHS = {"01": 40, "02": 25, "a/03": 31}
QUICK = {"bootstrap": 100, "noise_seeds": 2}


@pytest.fixture
def data(tmp_path):
    """Scores and labels of three videos, labels written as files."""
    rng = np.random.default_rng(0)
    labels = {name: (np.arange(n) // 7 % 2).astype(np.uint8) for name, n in LENGTHS.items()}
    scores = {name: rng.standard_normal(n) + y for (name, n), y in zip(LENGTHS.items(), labels.values(), strict=True)}
    for name, y in labels.items():
        path = tmp_path / "labels" / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, y)
    return tmp_path, scores, labels


def save_csv(path, scores, first=0, shuffled=False):
    rows = [(name, first + i, float(s)) for name, part in scores.items() for i, s in enumerate(part)]
    if shuffled:
        rows = [rows[i] for i in np.random.default_rng(1).permutation(len(rows))]
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([("frame", "score", "video"), *((f, repr(s), v) for v, f, s in rows)])


def save_folder(folder, scores, write):
    for name, part in scores.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, part)


def write_as(kind, root, scores):
    """Path, and further options."""
    joined = np.concatenate(list(scores.values()))
    path = root / f"scores.{kind.split()[0]}"
    if kind == "npz":
        np.savez(path, **scores)
    elif kind == "npy":
        np.save(path, joined)
    elif kind == "npy lengths":
        np.save(path, joined[:, None])
        return str(path), {"lengths": ",".join(map(str, LENGTHS.values()))}
    elif kind == "txt lengths":
        path.write_text("\n".join(map(repr, joined.tolist())))
        (root / "counts.txt").write_text(" ".join(map(str, LENGTHS.values())))
        return str(path), {"lengths": str(root / "counts.txt")}
    elif kind.startswith("csv"):
        save_csv(path, scores, first=int("one" in kind), shuffled="shuffled" in kind)
    else:
        path = root / "folder"
        save_folder(
            path,
            scores,
            {
                "folder npy": lambda p, s: np.save(f"{p}.npy", s),
                "folder npz": lambda p, s: np.savez(f"{p}.npz", s),
                "folder txt": lambda p, s: Path(f"{p}.txt").write_text(" ".join(map(repr, s.tolist()))),
                "folder csv": lambda p, s: Path(f"{p}.csv").write_text(
                    "frame,score\n" + "".join(f"{i},{v!r}\n" for i, v in enumerate(s.tolist()))
                ),
                "folder one": lambda p, s: np.savez(path / "all.npz", **scores),
            }[kind],
        )
    return str(path), {}


KINDS = ["npz", "npy", "npy lengths", "txt lengths", "csv", "csv one shuffled"]
KINDS += ["folder npy", "folder npz", "folder txt", "folder csv", "folder one"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_gives_the_same_figures(data, kind):
    root, scores, labels = data
    path, options = write_as(kind, root, scores)
    found = evaluate_scores(path, str(root / "labels"), method="x", sigma=2.0, **QUICK, **options)
    assert found.names == list(LENGTHS)
    for raw, expected in zip(found.row("x").raw, scores.values(), strict=True):
        np.testing.assert_array_equal(raw, expected)
    smoothed = [smooth(s, 2.0) for s in scores.values()]
    assert found.row("x").metrics == frame_metrics(smoothed, list(labels.values()))
    assert len(found.provenance["scores_sha256"]) == 64
    arrays = evaluate_scores(scores, labels, method="x", sigma=2.0, **QUICK)
    assert arrays.row("x").metrics == found.row("x").metrics
    assert arrays.row("x").intervals == found.row("x").intervals


def test_a_scores_file_of_ours_can_be_scored_again(data):
    root, scores, labels = data
    first = evaluate_scores(scores, labels, method="x", sigma=3.0, **QUICK)
    write_results(first, str(root), plots=False)
    again = evaluate_scores(str(root / "scores.npz"), str(root / "labels"), method="x", sigma=3.0, **QUICK)
    assert again.row("x").metrics == first.row("x").metrics
    with pytest.raises(InputError, match="choose with --method, one of x"):
        evaluate_scores(str(root / "scores.npz"), str(root / "labels"))


@given(st.permutations(list(LENGTHS)), st.sampled_from(["affine", "cube", "exp"]))
def test_neither_order_nor_scale_matters(order, name):
    """Videos in any order: equal in all, intervals too. Strictly increasing maps, without smoothing: the same ranks."""
    rng = np.random.default_rng(5)
    labels = {v: (rng.random(n) < 0.4).astype(np.uint8) for v, n in LENGTHS.items()}
    scores = {v: np.round(rng.standard_normal(n) + labels[v], 1) for v, n in LENGTHS.items()}
    mapped = {"affine": lambda s: 3 * s - 7, "cube": lambda s: s**3, "exp": np.exp}[name]
    plain = evaluate_scores(scores, labels, sigma=0, **QUICK).row("scores")
    other = evaluate_scores(
        {v: mapped(scores[v]) for v in order}, {v: labels[v] for v in reversed(order)}, sigma=0, **QUICK
    ).row("scores")
    for key in ("micro_auc", "macro_auc", "macro_auc_padded", "ap", "eer"):
        assert other.metrics[key] == plain.metrics[key]
    assert other.intervals == plain.intervals


@pytest.mark.parametrize("value", [0.0, 0.1, -35.2])
@pytest.mark.parametrize("sigma", [0.0, 4.0, 20.0])
def test_a_constant_is_worth_exactly_one_half(data, value, sigma):
    _, scores, labels = data
    constant = {name: np.full_like(s, value) for name, s in scores.items()}
    row = evaluate_scores(constant, labels, sigma=sigma, **QUICK).row("scores")
    assert (row.metrics["micro_auc"], row.metrics["macro_auc"]) == (0.5, 0.5)


@pytest.mark.parametrize("value", [0, 1])
def test_one_class_is_undefined_with_its_cause(data, value):
    root, scores, labels = data
    one = {name: np.full_like(y, value) for name, y in labels.items()}
    found = evaluate_scores(scores, one, normal={"n": scores["01"]}, **QUICK)
    write_results(found, str(root), plots=False)
    row = json.loads((root / "metrics.json").read_text())["rows"][0]
    for key in ("micro_auc", "macro_auc", "macro_auc_padded", "ap", "eer", "best_f1", "oracle_accuracy"):
        assert row["metrics"][key] is None
        assert row["undefined"][key] == f"all frames are {'abnormal' if value else 'normal'}"
    assert row["intervals"] == {}
    key = "false_positive_rate" if value else "recall"
    assert row["operating"][0]["figures"][key] is None


def test_scores_without_the_frames_that_a_protocol_drops(data):
    root, scores, labels = data
    short = {name: s[4:] for name, s in scores.items()}
    whole = evaluate_scores(scores, labels, protocol="mnad", **QUICK)
    found = evaluate_scores(short, labels, protocol="mnad", **QUICK)
    assert found.row("scores").metrics == whole.row("scores").metrics
    assert (found.first_raw, found.first_processed) == (4, 4) and (whole.first_raw, whole.first_processed) == (0, 4)
    assert "trimmed 4 + 0 frames per video (the scores came without them)" in found.provenance["protocol"]["line"]
    write_results(found, str(root), plots=False)
    with open(root / "scores.csv", newline="") as file:
        assert next(csv.DictReader(file))["frame"] == "4"
    trimmed = evaluate_scores(short, labels, trim="4,0", per_video_min_max=True, sigma=0.0, **QUICK)
    assert trimmed.row("scores").metrics == whole.row("scores").metrics
    # end to end too
    np.save(root / "joined.npy", np.concatenate(list(short.values())))
    joined = evaluate_scores(str(root / "joined.npy"), str(root / "labels"), protocol="mnad", **QUICK)
    assert joined.row("joined").metrics == whole.row("scores").metrics


def test_normal_scores_calibrate_and_test_labels_do_not(data):
    root, scores, labels = data
    rng = np.random.default_rng(3)
    normal = {f"n{i}": rng.standard_normal(300) for i in range(4)}
    np.savez(root / "normal.npz", **normal)
    found = evaluate_scores(scores, labels, normal=str(root / "normal.npz"), sigma=1.0, fps=25.0, **QUICK)
    flipped = evaluate_scores(scores, {k: 1 - y for k, y in labels.items()}, normal=normal, sigma=1.0, **QUICK)
    points = found.row("scores").operating
    assert [p.threshold for p in points] == [p.threshold for p in flipped.row("scores").operating]
    curves = np.concatenate([smooth(s, 1.0) for s in normal.values()])
    assert points[0].threshold == np.quantile(curves, 0.99, method="higher")
    assert found.row("", "constant").operating == ()
    assert evaluate_scores(scores, labels, **QUICK).row("scores").operating == ()


def test_every_row_has_the_scene_auc_of_shanghaitech(data):
    """The scene is the number before the underscore; blind rows have the figure too, noise its mean over seeds."""
    rng = np.random.default_rng(1)
    names = ["01_0014", "01_0015", "02_0001", "02_0002"]
    labels = {name: (rng.random(30) < 0.4).astype(np.uint8) for name in names}
    scores = {name: rng.standard_normal(30) + i for i, name in enumerate(names)}
    found = evaluate_scores(scores, labels, benchmark="shanghaitech", sigma=0.0, **QUICK)

    def by_scene(scores):
        parts = ([n for n in names if n.startswith(scene)] for scene in ("01", "02"))
        pooled = ([np.concatenate([x[n] for n in part]) for x in (labels, scores)] for part in parts)
        return np.mean([roc_auc_score(y, s) for y, s in pooled])

    assert found.row("scores").metrics["scene_auc"] == pytest.approx(by_scene(scores), abs=1e-12)
    ramp = {name: np.arange(30.0) for name in names}
    assert found.row("", "ramp").metrics["scene_auc"] == pytest.approx(by_scene(ramp), abs=1e-12)
    draws = [dict(zip(names, noise([30] * 4, seed), strict=True)) for seed in range(2)]
    assert found.row("", "noise").metrics["scene_auc"] == pytest.approx(
        np.mean([by_scene(d) for d in draws]), abs=1e-12
    )
    assert found.row("", "constant").metrics["scene_auc"] == 0.5
    assert found.row("scores").metrics["micro_auc"] != found.row("scores").metrics["scene_auc"]
    plain = evaluate_scores(scores, labels, sigma=0.0, **QUICK)
    assert {row.metrics["scene_auc"] for row in plain.rows} == {None}


CHECKS = [  # per-frame scores that other authors published, and the AUC in their own logs
    ("ped2", "ped2", "", {"protocol": "memae"}, 0.9341, "official"),
    ("ped2", "ped2", "", {"trim": "8,7", "sigma": 0.0}, 0.6958, "official"),
    ("avenue", "avenue_part", "vollabel", {"protocol": "memae"}, 0.8099, "vollabel"),
    ("avenue", "avenue_part", "liu2018", {"protocol": "memae"}, 0.8052, "liu2018"),
]


@pytest.mark.parametrize(("name", "folder", "label_set", "options", "auc", "found_set"), CHECKS)
def test_published_logs_are_met_from_the_files_alone(shared, name, folder, label_set, options, auc, found_set):
    scores = shared / "data" / "evaluator_checks" / f"memae_{name}_recons_error.npy"
    found = evaluate_scores(
        str(scores), str(shared / "data" / folder), benchmark=name, label_set=label_set, **options, **QUICK
    )
    assert found.rows[0].metrics["micro_auc"] == pytest.approx(auc, abs=1e-4)
    labels = found.provenance["labels"]
    assert (labels["benchmark"], labels["set"], labels["set_known_by_content"]) == (name, found_set, True)
    assert found.provenance["label_notes"] == []


def test_two_label_sets_must_be_told_apart(shared):
    scores = shared / "data" / "evaluator_checks" / "memae_avenue_recons_error.npy"
    folder = str(shared / "data" / "avenue_part")
    with pytest.raises(InputError, match="choose with --label_set, one of liu2018, vollabel"):
        evaluate_scores(str(scores), folder, protocol="memae")
    with pytest.raises(InputError, match=r"15 more in each video.*--protocol memae"):
        evaluate_scores(str(scores), folder, label_set="liu2018")


def test_the_authors_own_label_file(tmp_path):
    """UCSDped2.m, no video at all: names and lengths are the published ones."""
    folder = tmp_path / "UCSD_Anomaly_Dataset.v1p2" / "UCSDped2" / "Test"
    folder.mkdir(parents=True)
    (folder / "UCSDped2.m").write_text(
        "TestVideoFile = {};\n" + "TestVideoFile{end+1}.gt_frame = [61:120];\n" * 12, encoding="ascii"
    )
    lengths = [180, 180, 150, 180, 150, 180, 180, 180, 120, 150, 180, 180]
    scores = {f"Test{i:03d}": np.arange(float(n)) for i, n in enumerate(lengths, 1)}
    found = evaluate_scores(scores, str(tmp_path), benchmark="ped2", **QUICK)
    assert found.names[:2] == ["01", "02"]
    assert all(y.sum() == 60 and y[60] and not y[59] for y in found.labels)
    assert found.provenance["alarms"]["fps"] == 10
    assert "1648 are published" in " ".join(found.provenance["label_notes"])


def command(*flags):
    script = str(ROOT / "scripts" / "vad_eval.py")
    return subprocess.run([sys.executable, script, *flags], capture_output=True, text=True, timeout=250, cwd=ROOT)


def test_the_command_twice_gives_equal_files(data):
    root, scores, _ = data
    np.savez(root / "theirs.npz", **scores)
    flags = ["--scores", str(root / "theirs.npz"), "--labels", str(root / "labels"), "--bootstrap", "100"]
    for out in ("a", "b"):
        done = command(*flags, "--out_dir", str(root / out), "--plots", "False")
        assert done.returncode == 0, done.stderr
    assert "95 % interval" in done.stdout and "not calibrated" in done.stdout
    for name in ("metrics.json", "scores.npz", "scores.csv"):
        assert (root / "a" / name).read_bytes() == (root / "b" / name).read_bytes(), name
    document = (root / "a" / "metrics.json").read_text()
    assert str(root) not in document and str(ROOT) not in document
    about = json.loads(document)
    assert about["schema"] == 2 and about["version"] and "commit" in about and about["settings"]["seed"] == 0
    with np.load(root / "a" / "scores.npz") as file:
        assert json.loads(str(file["about"]))["scores_sha256"] == about["scores_sha256"]
    both = command(*flags, "--reconstructions", "x")
    assert both.returncode == 2 and "one of --scores" in both.stderr


def test_the_help_is_the_manual():
    done = command("--help")
    assert done.returncode == 0
    for text in ("WHAT TO GIVE", "EXAMPLES", "WHAT IS COMPUTED", "PROTOCOLS", "--normal_scores"):
        assert text in done.stdout
    for protocol in PROTOCOLS.values():
        assert f"      source: {protocol.source}\n" in done.stdout
    assert choose("default", EvalOptions().sigma, False).describe() in done.stdout
    for null in NULLS.values():
        needs = ", ".join(null.needs) or "labels alone"
        assert re.search(rf"^  {null.name} +{re.escape(null.title)}; {needs}$", done.stdout, re.MULTILINE)


def test_the_page_names_every_preset_and_every_null():
    page = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in page for name in PROTOCOLS)
    named = {
        name
        for line in page.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`(\w+)`", line.split("|")[1])
    }
    assert set(NULLS) <= named
