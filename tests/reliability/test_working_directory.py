"""Commands that are started in a folder of videos execute nothing that lies there."""

import os
import subprocess
import sys

import pytest
from tiny_runs import FLAGS
from victims import ROOT

from ramvid_vad.demo.street import generate

NAMES = (
    *("av", "numpy", "torch", "json", "yaml", "PIL", "cv2", "tqdm", "scipy", "safetensors", "blobfile", "matplotlib"),
    *("ramvid_vad", "tempfile", "signal", "queue", "socket", "random", "pickle", "sitecustomize", "usercustomize"),
)


@pytest.fixture
def trap(tmp_path):
    """A folder with a scene and with modules that write their names into ../mark when they are executed."""
    trap = tmp_path / "trap"
    generate(str(trap), size=(32, 48), num_train=2, num_test=1, frames=12, test_frames=12)
    for name in NAMES:
        (trap / f"{name}.py").write_text(
            f"open({str(tmp_path / 'mark')!r}, 'a').write('{name} ')\nraise SystemExit(9)\n"
        )
    return trap


def test_no_command_executes_what_lies_in_the_working_directory(trap, tmp_path):
    # the package is found as where it is installed: by a path that is not the working directory
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"PYTHONPATH": str(ROOT)}

    def run(script, *flags):
        command = [sys.executable, str(ROOT / "scripts" / script), *map(str, flags)]
        done = subprocess.run(command, cwd=trap, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]

    cache = ("--cache_dir", tmp_path / "cache")
    run(
        "video_train.py",
        *FLAGS,
        "--data_dir",
        "training",
        *cache,
        "--log_dir",
        "run",
        "--max_steps",
        2,
        "--num_workers",
        1,
    )
    run("video_sample.py", "--model_path", "run", "--data_dir", "testing", *cache, "--out_dir", "out",
        "--timestep_respacing", 1, "--stride", 6, "--num_workers", 1)  # fmt: skip
    run("vad_eval.py", "--reconstructions", "out", "--data_dir", "testing", "--labels", "labels", *cache,
        "--out_dir", "figures", "--measures", "wmse", "--nulls", "linear_blend", "--bootstrap", 100)  # fmt: skip
    assert not (tmp_path / "mark").exists(), (tmp_path / "mark").read_text()
    assert (trap / "figures" / "metrics.json").exists()
