"""The optional build of the C++ kernel: with a compiler, without one, and against another version."""

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ramvid_vad.ops import cpu_library, selective_scan

ROOT = Path(__file__).resolve().parents[2]

USE = """
import torch
from ramvid_vad.ops import available_backends, selective_scan
x = torch.ones(1, 2, 3)
for _ in range(2):
    y = selective_scan(x, x, -torch.ones(2, 1), x[:, :1], x[:, :1])
print(available_backends(), y.sum().item() > 0)
"""


@pytest.fixture
def sources(tmp_path):
    """A copy of ramvid_vad.ops, what it imports and their setup.py, nothing built."""
    for room in ("ops", "runtime"):
        unbuilt = shutil.ignore_patterns("*.so", "__pycache__")
        shutil.copytree(ROOT / "ramvid_vad" / room, tmp_path / "ramvid_vad" / room, ignore=unbuilt)
    shutil.copy(ROOT / "ramvid_vad" / "errors.py", tmp_path / "ramvid_vad")
    (tmp_path / "ramvid_vad" / "__init__.py").touch()
    shutil.copy(ROOT / "setup.py", tmp_path)
    return tmp_path


def build(folder, **environment):
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    return subprocess.run(command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=True)


def use(folder):
    environment = os.environ | {"PYTHONPATH": str(folder)}
    result = subprocess.run([sys.executable, "-c", USE], cwd=folder, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip(), result.stderr.splitlines()


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_builds_with_a_compiler_and_runs(sources):
    build(sources, CXX="g++")
    assert use(sources) == ("['cpu', 'reference'] True", [])


def test_two_builds_at_once_do_not_take_each_others_library(tmp_path, monkeypatch):
    """A second build from start to end, just before the first one puts its library in place."""
    compiler = tmp_path / "compiler"
    compiler.write_text('#!/bin/sh\nfor last; do :; done\necho library > "$last"\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    setup, target = runpy.run_path(str(ROOT / "setup.py")), tmp_path / "kernel.so"
    code = "import pathlib, runpy, sys; runpy.run_path(sys.argv[1])['build_library']('', pathlib.Path(sys.argv[2]))"
    replace = os.replace

    def second_build_first(*paths):
        subprocess.run([sys.executable, "-c", code, str(ROOT / "setup.py"), str(target)], check=True)
        replace(*paths)

    monkeypatch.setattr(os, "replace", second_build_first)
    setup["build_library"]("", target)
    assert target.read_text() == "library\n" and {path.name for path in tmp_path.iterdir()} == {"compiler", "kernel.so"}


def test_without_a_compiler_it_installs_and_says_once_that_it_runs_the_reference(sources):
    output = build(sources, CXX="/nonexistent/c++")
    assert "C++ kernel not built" in output.stderr and "/nonexistent/c++" in output.stderr
    assert not list(sources.rglob("*.so"))
    printed, said = use(sources)
    assert printed == "['reference'] True"
    (line,) = said
    assert line.startswith("WARNING: the C++ kernel was not built: no C++ compiler was there") and "install g++" in line


def test_a_library_of_another_version_is_refused(monkeypatch, capsys):
    if cpu_library.load() is None:
        pytest.skip("the C++ kernel was not built")
    cpu_library.load.cache_clear()
    monkeypatch.setattr(cpu_library, "VERSION", cpu_library.VERSION + 1)
    x = torch.ones(1, 2, 3)
    try:
        selective_scan(x, x, -torch.ones(2, 1), x[:, :1], x[:, :1])
        assert "WARNING: the C++ kernel belongs to another version of the package" in capsys.readouterr().err
    finally:
        cpu_library.load.cache_clear()
