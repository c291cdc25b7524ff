"""The report: self-contained, the same bytes twice, deaf to what a video is called."""

import json

import numpy as np
import pytest
from known_run import error
from PIL import Image
from sklearn.metrics import roc_auc_score, roc_curve

from ramvid_vad.evaluation import evaluate_scores
from ramvid_vad.evaluation.nulls.registry import BLIND
from ramvid_vad.evaluation.report.page import report_page
from ramvid_vad.evaluation.report.page_data import operating_curves, report_data
from ramvid_vad.evaluation.report.pictures import BUDGET, KINDS, FrameSource, frame_source, pictures, true_aspect
from ramvid_vad.evaluation.report.table import rows_that_matter
from ramvid_vad.evaluation.report.wording import plain_sentence
from ramvid_vad.evaluation.statistics.metrics import video_auc
from ramvid_vad.reconstructions import load_reconstruction


def test_curves_agree_with_scikit_learn():
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 20, 300).astype(float), rng.integers(0, 2, 300)
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    assert np.allclose(operating_curves(scores, labels)["roc"], np.stack([fpr, tpr], 1), atol=1e-5)
    assert video_auc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_one_class_has_no_curve():
    assert operating_curves(np.arange(5.0), np.ones(5)) is None


def test_pictures_fit_the_budget_and_hold_the_wanted_frames(run):
    source = frame_source(run.options, str(run.root / "cache"))
    names, shown = list(run.frames), [(0, len(f)) for f in run.frames.values()]
    wanted = [(0, 13), (2, 0)]
    for budget in (200_000, 40_000, 1):
        kept = pictures(source, names, shown, wanted, budget)
        again = pictures(source, names, shown, wanted, budget)
        assert kept == again
        characters = sum(len(p[k]) for video in kept for p in video for k in KINDS)
        assert characters <= budget or sum(map(len, kept)) == len(wanted)
        assert 13 in [p["frame"] for p in kept[0]]
        assert 0 in [p["frame"] for p in kept[2]]
    everything = pictures(source, names, shown, wanted, 10**9)
    for name, video in zip(names, everything, strict=True):
        made = load_reconstruction(source.files[name])
        assert [p["frame"] for p in video] == sorted(set(made.frame.tolist()))
        for p in video:
            rows = np.flatnonzero(made.frame == p["frame"])
            worst = max(error(p["frame"], made.window[row]) for row in rows)
            assert p["hottest"] == pytest.approx(worst / 255, abs=5e-4)
            assert p["box"] == ([0, 0, 32, 24] if worst > 0.04 * 255 else None)


class Cache:
    """Every video shows the same 300 large frames of noise, the worst that a JPEG can be given."""

    size = (400, 400)
    keep_aspect = True

    def __init__(self):
        self.noise = np.random.default_rng(0).integers(0, 256, (1, *self.size, 3), np.uint8)

    def frames(self, path):
        return np.broadcast_to(self.noise, (300, *self.size, 3))


def test_a_large_report_stays_below_ten_megabytes(tmp_path):
    """20 videos of 300 frames, of each 16 infilled: all pictures together would take five times the budget."""
    rng = np.random.default_rng(1)
    names = [f"{i:02d}" for i in range(20)]
    settings = {"image_size": list(Cache.size), "rgb": True, "keep_aspect": False, "seq_len": 30, "stride": 15}
    files = {name: str(tmp_path / f"{name}.npz") for name in names}
    frame = np.arange(0, 300, 19)[:16]
    for path in files.values():
        np.savez(
            path,
            reconstructions=rng.integers(0, 256, (16, *Cache.size, 3), np.uint8),
            frame=frame, window=np.arange(16), index=np.zeros(16, int), starts=frame,
            anchors=np.zeros(30, bool), num_frames=np.array(300), settings=np.array(json.dumps(settings)),
        )  # fmt: skip
    labels = {name: (np.arange(300) // 40 % 2).astype(np.uint8) for name in names}
    scores = {name: rng.standard_normal(300) for name in names}
    evaluation = evaluate_scores(scores, labels, method="x", bootstrap=0, noise_seeds=2)
    source = FrameSource(dict.fromkeys(names, ""), files, Cache(), {"threshold": 0.9, "min_area": 12, "weight": "area"})
    page = tmp_path / "report.html"
    page.write_text(report_page(evaluation, source))
    stored = json.loads(page.read_text().split('id="data">', 1)[1].split("</script>", 1)[0])["pictures"]["videos"]
    characters = sum(len(p[k]) for video in stored for p in video for k in KINDS)
    each = characters / sum(map(len, stored))
    assert each * 16 * 20 > 4 * BUDGET  # it does not fit
    assert 0.7 * BUDGET < characters <= BUDGET
    assert 0.7 * BUDGET < page.stat().st_size < 10e6
    assert all(stored)


def test_pictures_have_the_proportions_of_the_video(run):
    """The model sees 24 x 32 pixels, squeezed from frames twice as wide; or a part, cropped to its own shape."""
    video = run.root / "videos" / "02"
    for file in video.iterdir():
        Image.open(file).resize((64, 24)).save(file)
    source = frame_source(run.options, str(run.root / "cache"))
    assert true_aspect(source, "01") == pytest.approx(32 / 24, abs=1e-4)
    assert true_aspect(source, "02") == pytest.approx(64 / 24, abs=1e-4)
    source.cache.keep_aspect = True
    assert true_aspect(source, "02") == pytest.approx(32 / 24, abs=1e-4)


def test_the_table_is_folded_to_five_rows(run):
    evaluation = run.evaluate(measures="mse,wmse,ssim", bootstrap=0)
    data = report_data(evaluation)
    rows = [evaluation.rows[i] for i in data["matter"]]
    assert len(rows) == 5 < len(evaluation.rows) == len(data["rows"])
    assert rows[0] is evaluation.headline
    assert [row.null in BLIND for row in rows] == [False] * 4 + [True]
    left_out = [row for row in rows_that_matter(evaluation) if not any(row is shown for shown in rows)]
    lowest = min(row.metrics["micro_auc"] for row in rows[1:4])
    assert left_out and all(row.metrics["micro_auc"] <= lowest for row in left_out)


def test_what_it_says_stands_in_one_sentence_of_its_figures():
    labels = {name: (np.arange(40) // 10 % 2).astype(np.uint8) for name in "abc"}
    scores = {name: y * 2.0 + np.sin(np.arange(40)) for name, y in labels.items()}
    evaluation = evaluate_scores(scores, labels, method="x", bootstrap=0, sigma=0.0, nulls="constant")
    auc = evaluation.headline.metrics["micro_auc"]
    often = f"{100 * auc:.0f} times in 100"
    start = f"Of an abnormal and a normal frame, the abnormal one is ranked higher by x {often}"
    assert plain_sentence(evaluation) == f"{start}; rules that never look at the picture reach 50."


def said_of(scores, labels):
    options = {"method": "x", "bootstrap": 100, "sigma": 0.0, "nulls": ""}
    return plain_sentence(evaluate_scores(scores, labels, **options))


def test_ties_are_called_ties():
    labels = {name: np.repeat([0, 1], 10) for name in "abcdef"}
    constant = said_of({name: np.ones(20) for name in labels}, labels)
    assert constant == "An abnormal and a normal frame always have the same score by x, which tells nothing."
    half = said_of({name: np.repeat([0, 1, 2], [5, 10, 5]) for name in labels}, labels)  # 5 x 5 of 10 x 10 pairs
    assert "higher by x 88 times in 100" in half and "the 25 with equal scores counted as half." in half


def test_only_always_is_a_hundred():
    """One pair of 10,000 in the wrong order is not always."""
    labels = {name: np.repeat([0, 1], 100) for name in "abcdef"}
    scores = {name: np.arange(200.0) for name in labels}
    one_off = {name: np.where(s == 99, 100.5, s) for name, s in scores.items()}
    assert "higher by x 100 times in 100 (100 to 100 with other videos of the kind)." in said_of(scores, labels)
    assert "higher by x 99.9 times in 100 (99.9 to 99.9 with" in said_of(one_off, labels)
