"""The source distribution is the whole project; the wheel holds all that runs outside of a checkout."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BUILD = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"


def build(kind: str, project: Path, target: Path) -> Path:
    """Runs the build backend as pip does, without a compiler (tests/ops builds the kernel)."""
    target.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"CXX": "/nonexistent"}
    command = [sys.executable, "-c", BUILD, f"build_{kind}", str(target)]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    (made,) = target.iterdir()
    return made


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """(the tracked files, the source distribution that is made from them alone)."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    folder = tmp_path_factory.mktemp("packages")
    tracked = [name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()]
    for name in tracked:
        (folder / "project" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / "project" / name)
    return tracked, build("sdist", folder / "project", folder / "sdist")


def test_the_source_distribution_is_the_whole_project(source):
    tracked, archive = source
    with tarfile.open(archive) as files:
        held = {name.partition("/")[2] for name in files.getnames()}
    assert set(tracked) - held == set()


def test_the_wheel_made_from_it_has_recipes_page_and_kernel_sources_and_no_tests(source, tmp_path):
    tracked, archive = source
    with tarfile.open(archive) as files:
        files.extractall(tmp_path, filter="data")
    (project,) = tmp_path.iterdir()
    with zipfile.ZipFile(build("wheel", project, tmp_path / "wheel")) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert held == {name for name in tracked if name.startswith("ramvid_vad/")}
