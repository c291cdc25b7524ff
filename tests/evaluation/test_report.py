"""The report: self-contained, the same bytes twice, deaf to what a video is called."""

import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from ramvid_vad.evaluation.report.gather import _auc, operating_curves
from ramvid_vad.evaluation.report.page import render


def test_curves_agree_with_scikit_learn():
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 20, 300).astype(float), rng.integers(0, 2, 300)
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    assert np.allclose(operating_curves(scores, labels)["roc"], np.stack([fpr, tpr], 1), atol=1e-5)
    assert _auc(scores, labels != 0) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_one_class_has_no_curve():
    assert operating_curves(np.arange(5.0), np.ones(5)) is None


def test_names_open_no_tag():
    data = {"title": "</title><script>alert(1)</script>", "videos": [{"name": "</script><script>alert(2)"}]}
    page = render(data)
    assert "@" not in page.split("<style>")[0] and page.count("&lt;/title&gt;") == 2
    assert "alert(1)</script>" not in page and "</script><script>alert" not in page
    block = page.split('id="data">', 1)[1].split("</script>", 1)[0]
    assert json.loads(block) == data
