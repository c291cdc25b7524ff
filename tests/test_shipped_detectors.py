"""The detectors that lie in weights/: whole, small, with a card, and what their card says."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from sklearn.metrics import roc_auc_score

import ramvid_vad

ROOT = Path(__file__).resolve().parent.parent
DETECTORS = sorted(path.parent for path in (ROOT / "weights").glob("*/detector.json"))
DATA = ROOT.parent / "shared" / "data"


@pytest.mark.parametrize("folder", DETECTORS, ids=lambda folder: folder.name)
def test_it_is_small_and_in_half_precision_and_has_a_card(folder):
    assert sum(file.stat().st_size for file in folder.iterdir()) < 6e6
    with safe_open(folder / "detector.safetensors", framework="np") as file:
        kinds = {file.get_slice(name).get_dtype() for name in file.keys() if name.startswith("model.")}  # noqa: SIM118
    assert kinds == {"F16"}
    rows = re.findall(r"^\| ([a-zA-Z ]+) \| (.+) \|$", (folder / "README.md").read_text(), re.MULTILINE)
    assert {"data", "licence of the data", "command", "made", "micro AUC", "null rows"} <= dict(rows).keys()
    assert json.loads((folder / "detector.json").read_text())["card"]["recipe"] == "full"
    assert ramvid_vad.load(str(folder)).name == "infilling"


@pytest.mark.parametrize(
    ("name", "video", "labels"),
    [
        ("ped2_full", "ped2/testing/12.mp4", "ped2/labels/12.npy"),
        ("avenue_part_full", "avenue_part/testing/21.avi", "avenue_part/labels_vollabel/21.npy"),
    ],
)
def test_it_scores_a_video_as_its_card_says(name, video, labels):
    if not (DATA / video).is_file():
        pytest.skip(f"../shared/data/{video} is not here")
    scores = ramvid_vad.load(str(ROOT / "weights" / name)).score(str(DATA / video), maps=False)
    assert list(scores.parts) == [
        "difference box 3",
        "relative_flow box 3",
        "nearest box 5",
        "relative motion_given_appearance motion box 7",
    ]
    told = re.search(r"video \d+ alone, not smoothed: ([0-9.]+)", (ROOT / "weights" / name / "README.md").read_text())
    assert 100 * roc_auc_score(np.load(DATA / labels).ravel(), scores.frames) == pytest.approx(float(told[1]), abs=0.3)
