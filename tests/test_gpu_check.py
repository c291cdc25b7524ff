"""gpu-check in its dry run, from a plain copy of the tree: every part runs, and what it leaves out is named."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
GPU = ROOT / "benchmarks" / "gpu"


@pytest.fixture(scope="module")
def tools():
    """The files of benchmarks/gpu as modules, for this file's tests alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(GPU))
        import arrays
        import networks_part
        import rows

        yield {"arrays": arrays, "networks": networks_part, "rows": rows}


@pytest.mark.timeout(600)
def test_the_dry_run_passes_from_a_copy_and_names_what_needs_cuda(tmp_path):
    tree = tmp_path / "copy"
    left = shutil.ignore_patterns("__pycache__", "field*", "version*")
    for folder in ("benchmarks", "ramvid_vad", "tests/data", "tests/ops"):
        shutil.copytree(ROOT / folder, tree / folder, ignore=left)
    shutil.copy(ROOT / "tests" / "golden_figures.py", tree / "tests")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, str(tree / "benchmarks" / "gpu" / "check.py"), "--dry", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads((tmp_path / "out" / "gpu_check.json").read_text())["rows"]
    parts = ["correct", "scan", "networks", "train_pixels", "train_features", "ranks"]
    assert list(dict.fromkeys(row["part"] for row in rows)) == parts
    machines = [row for row in rows if row["row"].endswith(": the machine")]
    assert len(machines) == 6 and {row["package"] for row in machines} == {str(tree / "ramvid_vad")}
    assert {row["status"] for row in rows} <= {"passed", "skipped", "CUDA only"}
    assert all(row["why"] for row in rows if row["status"] == "skipped")
    named = {row["row"] for row in rows if row["status"] == "CUDA only"}
    assert {"compute-sanitizer over the Triton kernels", "NCCL: one rank trains as no rank does"} <= named
    assert all(f"CUDA only  {name}" in done.stdout for name in named)
    table = (tmp_path / "out" / "gpu_check.md").read_text().splitlines()
    assert len(table) == 2 + len(rows)
    # what comes back becomes a checkpoint again
    returned = [sys.executable, str(tree / "benchmarks" / "gpu" / "returned.py"), "--returned", str(tmp_path / "out")]
    subprocess.run(returned, cwd=tmp_path, env=environment, check=True)
    from ramvid_vad.training.weights import load_weights

    state, config = load_weights(str(tmp_path / "out" / "models" / "features.safetensors"))
    assert config["space"]["space"] == "features" and all(value.isfinite().all() for value in state.values())


def test_arrays_give_back_what_was_written(tools, tmp_path):
    rng = np.random.default_rng(0)
    pixels = {"a/01": rng.integers(0, 256, (5, 4, 6, 1), dtype=np.uint8), "b": np.zeros((2, 4, 6, 1), np.uint8)}
    tools["arrays"].write_arrays(tmp_path / "p.npz", "pixels", pixels, ["b"])
    found = tools["arrays"].Arrays(tmp_path / "p.npz")
    assert found.learning == ["a/01"] and found.held_out == ["b"]
    for name, frames in pixels.items():
        np.testing.assert_array_equal(found.frames(name), frames)
    maps = np.clip(rng.standard_normal((7, 3, 2, 2)) * 3, -12, 12)
    tools["arrays"].write_arrays(tmp_path / "m.npz", "maps", {"x": maps}, [])
    again = tools["arrays"].Arrays(tmp_path / "m.npz").frames("x")
    assert again.dtype == np.float16 and np.abs(again - maps).max() <= 0.1 + 0.01  # half a step, and float16


def test_the_busy_share_is_of_the_union_of_the_kernels(tools):
    spans = [(0.0, 4.0, "conv<float>"), (2.0, 5.0, "norm"), (3.0, 3.5, "norm"), (8.0, 10.0, "conv<half>")]
    share, kernels = tools["networks"].busy(spans)
    assert share == pytest.approx(0.7)  # 0 to 5 and 8 to 10, of 10
    assert kernels == pytest.approx({"conv": 6 / 9.5, "norm": 3.5 / 9.5}) and tools["networks"].busy([]) == (0.0, {})


def test_a_failed_question_fails_its_row_alone(tools, tmp_path):
    rows = tools["rows"].Rows(tmp_path / "part.json", True, float("inf"))

    def wrong():
        tools["rows"].near(torch.tensor([1.0, 2.1]), torch.tensor([1.0, 2.0]), 1e-2)

    def skipped():
        raise tools["rows"].Skip("no such tool")

    rows.ask("wrong", wrong)
    rows.ask("skipped", skipped)
    rows.ask("right", lambda: {"off": tools["rows"].near(torch.ones(2), torch.ones(2), 0)})
    rows.deadline = 0
    rows.ask("late", dict)
    kept = {row["row"]: row for row in json.loads((tmp_path / "part.json").read_text())}
    assert [row["status"] for row in kept.values()] == ["FAILED", "skipped", "passed", "out of time"]
    assert "off by 0.05" in kept["wrong"]["why"] and kept["skipped"]["why"] == "no such tool"
