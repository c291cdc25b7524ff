"""The report: self-contained, the same bytes twice, deaf to what a video is called."""

import base64
import io
import json

import numpy as np
import pytest
from known_run import error
from PIL import Image
from sklearn.metrics import roc_auc_score, roc_curve

from ramvid_vad.evaluation.metrics import video_auc
from ramvid_vad.evaluation.reconstructions import load_reconstruction
from ramvid_vad.evaluation.report import frame_source
from ramvid_vad.evaluation.report.frames import LONGEST, _jpeg, pictures
from ramvid_vad.evaluation.report.gather import operating_curves
from ramvid_vad.evaluation.report.page import render


def test_curves_agree_with_scikit_learn():
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 20, 300).astype(float), rng.integers(0, 2, 300)
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    assert np.allclose(operating_curves(scores, labels)["roc"], np.stack([fpr, tpr], 1), atol=1e-5)
    assert video_auc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_one_class_has_no_curve():
    assert operating_curves(np.arange(5.0), np.ones(5)) is None


def test_names_open_no_tag():
    data = {"title": "</title><script>alert(1)</script>", "videos": [{"name": "</script><script>alert(2)"}]}
    page = render(data)
    assert "@" not in page.split("<style>")[0] and page.count("&lt;/title&gt;") == 2
    assert "alert(1)</script>" not in page and "</script><script>alert" not in page
    block = page.split('id="data">', 1)[1].split("</script>", 1)[0]
    assert json.loads(block) == data


def test_pictures_fit_the_budget_and_hold_the_wanted_frames(run):
    source = frame_source(run.options, str(run.root / "cache"))
    names, shown = list(run.frames), [(0, len(f)) for f in run.frames.values()]
    wanted = [(0, 13), (2, 0)]
    for budget in (200_000, 40_000, 1):
        kept = pictures(source, names, shown, wanted, budget)
        again = pictures(source, names, shown, wanted, budget)
        assert kept == again
        characters = sum(len(p[k]) for video in kept for p in video for k in ("input", "infilled", "residual"))
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
            assert p["white"] == pytest.approx(worst / 255, abs=5e-4)
            assert p["boxes"] == ([[0, 0, 32, 24]] if worst >= 0.04 * 255 else [])


def test_large_frames_are_reduced():
    frame = np.zeros((300, 600, 3), np.uint8)
    frame[..., 0] = 255
    image = Image.open(io.BytesIO(base64.b64decode(_jpeg(frame))))
    assert image.size == (LONGEST, LONGEST // 2)
    red, green, blue = image.getpixel((100, 50))
    assert red > 240 and green < 15 and blue < 15
