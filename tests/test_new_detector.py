"""docs/new_detector.md, followed word by word: its class, its registry entry, its test, and the commands on top."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from clips import write_video
from stand_ins import texture

from ramvid_vad.__main__ import main
from ramvid_vad.detectors import registry

PAGE = Path(__file__).resolve().parent.parent / "docs" / "new_detector.md"


@pytest.fixture(scope="module")
def page():
    """What the page's Python defines; the registry as it was, afterwards."""
    names: dict = {}
    before = dict(registry.PEERS)
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), names)
    yield names
    registry.PEERS.clear()
    registry.PEERS.update(before)


def test_the_pages_own_test(page, tmp_path):
    assert registry.PEERS["background"] is page["Background"]
    page["test_background"](tmp_path)


def test_the_commands_of_the_page(page, tmp_path, capsys):
    for folder in ("normal", "testing", "labels"):
        (tmp_path / folder).mkdir()
    for i in range(3):
        write_video(tmp_path / "normal" / f"{i}.mkv", texture(20, 40, 56, speed=0, seed=0))
    odd = texture(20, 40, 56, speed=0, seed=0)
    odd[10:, 8:24, 8:24] = 255
    write_video(tmp_path / "testing" / "a.mkv", odd)
    np.save(tmp_path / "labels" / "a.npy", np.repeat([0, 1], 10).astype(np.uint8))
    fit, score, evaluate = re.findall(r"^ramvid-vad (?:fit|score|evaluate) .*", PAGE.read_text(), re.MULTILINE)
    places = {name: str(tmp_path / name) for name in ("normal", "camera", "testing", "labels", "result")}
    for command in (fit, score, evaluate):
        words = [places.get(word.strip("/"), word) for word in command.split()[1:]]
        words = [str(tmp_path / "testing" / "a.mkv") if word == "today.mp4" else word for word in words]
        main(words + (["--out", str(tmp_path)] if words[0] == "score" else []))
    said = capsys.readouterr().out
    assert "distance to the mean frame, calibrated on 1.mkv, 2.mkv" in said
    rows = json.loads((tmp_path / "result" / "metrics.json").read_text())["rows"]
    assert rows[0]["measure"] == "background" and rows[0]["metrics"]["micro_auc"] > 0.95
