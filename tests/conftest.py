"""Fixtures that every test may use."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

settings.register_profile("no_deadline", deadline=None)  # slow is no failure on a machine that is busy
settings.load_profile("no_deadline")


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """The tests run in several processes: one thread each keeps them from fighting for the cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of small golden files."""
    return ROOT / "tests" / "data"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder beside the project with the real data; tests that need it skip where it is missing."""
    path = ROOT.parent / "shared"
    if not (path / "data").is_dir():
        pytest.skip(f"real data not found: {path.name}/data beside the project")
    return path


@pytest.fixture
def mount(tmp_path):
    """mount(options) gives a folder with a file system of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def do(options):
        if os.name != "posix" or os.geteuid() != 0 or not shutil.which("mount"):
            pytest.skip("mounting a small disk needs root")
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip(f"cannot mount here: {done.stderr.decode().strip()}")
        return folder

    yield do
    while os.path.ismount(folder):
        subprocess.run(["umount", str(folder)], check=True)
