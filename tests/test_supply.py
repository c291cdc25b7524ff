"""The locked requirements are whole, hashed and silent on where they came from; the licence page names them all."""

import importlib.metadata
import re
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "supply"))
import licences  # noqa: E402
import lock  # noqa: E402

LOCKED = [*licences.LOCKED, "supply/requirements-tools.txt"]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")


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


def entries(*files: str) -> list[str]:
    return [entry for file in files for entry in lock.entries((ROOT / file).read_text(encoding="utf-8"))]


def by_hand(file: str) -> list[Requirement]:
    """The requirements of a hand-written list."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def project() -> dict:
    tomllib = pytest.importorskip("tomllib", reason="tomllib came with Python 3.11")
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.mark.parametrize("file", LOCKED)
def test_every_entry_is_pinned_and_hashed(file):
    text = (ROOT / file).read_text(encoding="utf-8")
    assert len(entries(file)) == len(re.findall(r"^[^\s#]", text, re.MULTILINE)) > 0
    for entry in entries(file):
        assert re.match(r"[\w.-]+==[\w.+]+( ; [^\n]+)? \\\n", entry), entry
        assert re.findall(r"--hash=(\w+):", entry) == re.findall(r"--hash=(sha256):[0-9a-f]{64}\b", entry) != []
    assert not re.search(r"://|--(extra-)?index|--find|^-", text, re.MULTILINE), "where files come from is the user's"


@pytest.mark.parametrize("python", PYTHONS)
def test_the_hand_written_list_is_locked_for_every_python(python):
    found = locked(*licences.LOCKED[:2], python=python)
    for requirement in by_hand("requirements-dev.in"):
        version = found[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement}: locked at {version}; run make lock"
    assert {canonicalize_name(r.name) for r in by_hand("supply/requirements-tools.in")} <= set(
        locked("supply/requirements-tools.txt", python=python)
    )


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_is_what_pyproject_asks_for(python):
    found = locked(*licences.LOCKED[:2], python=python)
    optional = project()["optional-dependencies"]
    for line in project()["dependencies"] + optional["mpi"] + optional["tensorboard"]:
        requirement = Requirement(line)
        assert requirement.specifier.contains(found[requirement.name]), line


def test_no_torch_that_runs_code_from_a_weights_only_file():
    """CVE-2025-32434: torch.load with weights_only=True could execute code before 2.6."""
    torch = next(Requirement(line) for line in project()["dependencies"] if line.startswith("torch"))
    assert not torch.specifier.contains("2.5.1") and torch.specifier.contains("2.6.0")


def test_the_lock_is_closed():
    """What the installed packages require is locked too, in a version that they accept."""
    found = locked(*licences.LOCKED[:2], python=f"{sys.version_info[0]}.{sys.version_info[1]}")
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


def test_the_licence_page_names_the_locked_packages():
    assert list(licences.present()) == list(licences.names()), "run make licences"


def test_the_licence_page_says_what_the_packages_say():
    page = licences.present()
    here = locked(*licences.LOCKED[:2], python=f"{sys.version_info[0]}.{sys.version_info[1]}")
    for name, version in here.items():
        if licences.stated(name) and importlib.metadata.version(name) == version:
            assert page[name] == licences.stated(name), f"{name}: run make licences"


@pytest.mark.parametrize(
    ("licence", "kind"),
    [
        ("MIT OR Apache-2.0", "permissive"),
        ("MPL-2.0 AND MIT", "copyleft by file"),
        ("GPL-3.0-only", "copyleft"),
        ("LGPL-2.1-or-later", "copyleft"),
        ("LicenseRef-NVIDIA-Proprietary", "proprietary"),
        ("as you like", "unknown"),
    ],
)
def test_kinds_of_licences(licence, kind):
    assert licences.kind(licence) == kind


def test_packages_that_are_not_permissive_are_named_above_the_table():
    above, table = (ROOT / "docs/licences.md").read_text(encoding="utf-8").split("## All")
    strict = re.findall(r"^\| (?!package |---)([\w.-]+) \| [^|]+ \| (?!permissive)\w", table, re.MULTILINE)
    assert len(strict) > 3
    for name in strict:
        assert re.search(rf"\b{name}\b", above), name
