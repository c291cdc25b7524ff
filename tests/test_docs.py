"""README, docs/, the cards of weights/ and the recipes name only commands, flags, files and tests that exist."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from ramvid_vad.__main__ import COMMANDS
from ramvid_vad.cli import COMMAND_SECTIONS
from ramvid_vad.options import GROUPS

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    ROOT / "README.md",
    *(page for glob in ("docs/*.md", "weights/*/*.md", "configs/*.sh") for page in sorted(ROOT.glob(glob))),
]
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
# of pip, torchrun, mpirun and sbatch
FOREIGN_FLAGS = {"no-build-isolation", "nproc_per_node", "max-restarts", "nnodes", "hostfile", "nodes", "signal"}
FOREIGN_FLAGS |= {"ntasks-per-node", "gpus-per-node", "cpus-per-task", "time", "requeue"}
FOREIGN_FLAGS |= {"rdzv-backend", "rdzv-endpoint", "index-url"}


def commands(text: str) -> list[tuple[str, str]]:
    """Name and arguments of every command line in a page, continuation lines joined."""
    text = text.replace("\\\n", " ")
    found = re.findall(r"scripts/(\w+)\.py([^\n`]*)", text)
    for name, arguments in re.findall(r"ramvid-vad (\w+)([^\n`]*)", text):
        if " --" in arguments:  # else it may be prose
            found.append((COMMANDS[name][2], re.split(r"ramvid-vad | #", arguments)[0]))
    return found


def script_commands(text: str) -> list[tuple[str, set[str]]]:
    """(path of the script below benchmarks/ or tests/reliability/, its flags) of every command line in a page;
    continuation lines joined, and lines of `code`."""
    text = re.sub(r"(?<!`)`[^`]+`(?!`)", lambda code: code[0].replace("\n", " "), text.replace("\\\n", " "))
    found = re.findall(r"\b((?:benchmarks|tests/reliability)/[\w/]+\.py)([^\n`]*)", text)
    return [(path, set(re.findall(r"(?<![\w-])--(\w+)", arguments))) for path, arguments in found]


def own_flags(path: str) -> set[str]:
    """What a script's parser takes, of which some may come from a neighbour's ``flags``; what it does not know itself
    may be passed on to ramvid-vad sample."""
    source = (ROOT / path).read_text(encoding="utf-8")
    for neighbour in re.findall(r"^from (\w+) import .*\bflags\b", source, re.MULTILINE):
        source += (ROOT / path).with_name(f"{neighbour}.py").read_text(encoding="utf-8")
    passed_on = COMMAND_SECTIONS["video_sample"] if "parse_known_args" in source else ()
    known = {spec.name for section in passed_on for spec in fields(GROUPS[section])}
    return known | set(re.findall(r'add_argument\(\s*"--(\w+)"', source)) | {"help"}


@pages
def test_scripts_have_the_flags_they_are_given(page):
    for path, flags in script_commands(page.read_text(encoding="utf-8")):
        assert flags <= own_flags(path), path


def test_a_script_knows_its_own_flags_and_not_those_of_others():
    page = "`python benchmarks/regions.py --frames\n9 --draws 5` or\n"
    page += "```\npython benchmarks/gpu/check.py \\\n  --dry\n```\n"
    found = [("benchmarks/regions.py", {"frames", "draws"}), ("benchmarks/gpu/check.py", {"dry"})]
    assert script_commands(page) == found and all(flags <= own_flags(path) for path, flags in found)
    assert "draws" not in own_flags("benchmarks/gpu/check.py")
    assert "sampler" in own_flags("benchmarks/steps_on_normal.py")
    assert {"labels", "graph"} <= own_flags("benchmarks/study_boxes.py") and "graph" not in own_flags(
        "benchmarks/study.py"
    )


@pages
def test_flags_exist(page):
    known = {spec.name for group in GROUPS.values() for spec in fields(group)} | {"config", "dry_run", "help"}
    for script in [*(ROOT / "benchmarks").rglob("*.py"), *(ROOT / "tests" / "reliability").glob("*.py")]:
        known |= set(re.findall(r'add_argument\(\s*"--(\w+)"', script.read_text(encoding="utf-8")))
    written = set(re.findall(r"(?<![\w-])--([a-z]\w*(?:-\w+)*)", page.read_text(encoding="utf-8")))
    assert written - known - FOREIGN_FLAGS == set()


def test_both_ways_to_name_a_command_are_found():
    page = "`ramvid-vad fit a --out b` or\nscripts/vad_eval.py --labels a \\\n  --sigma 4\n"
    page += "ramvid-vad score a --model b  # --c\n"
    assert [(name, arguments.split()) for name, arguments in commands(page)] == [
        ("vad_eval", ["--labels", "a", "--sigma", "4"]),
        ("fit", ["a", "--out", "b"]),
        ("score", ["a", "--model", "b"]),
    ]


@pages
def test_commands_have_the_flags_they_are_given(page):
    for name, arguments in commands(page.read_text(encoding="utf-8")):
        known = {spec.name for section in COMMAND_SECTIONS[name] for spec in fields(GROUPS[section])}
        assert set(re.findall(r"--(\w+)", arguments)) <= known | {"config", "dry_run", "help"}, f"{name}{arguments}"


@pages
def test_files_exist(page):
    text = page.read_text(encoding="utf-8")
    for path in re.findall(r"\b(?:scripts|configs|docs|tests|ramvid_vad)/[\w./]*\w", text) + re.findall(
        r"\]\((?!http)([^)]+)\)", text
    ):
        assert (ROOT / path).exists() or (page.parent / path).exists(), path


def test_differences_name_tests_that_exist():
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", (ROOT / "docs" / "differences.md").read_text(encoding="utf-8"))
    assert named
    for file, test in named:
        assert re.search(rf"^def {test}\(", (ROOT / "tests" / file).read_text(encoding="utf-8"), re.MULTILINE), test


def test_the_oldest_numpy_that_is_allowed_has_what_is_called():
    """np.trapezoid came with NumPy 2."""
    assert any("np.trapezoid" in path.read_text(encoding="utf-8") for path in (ROOT / "ramvid_vad").rglob("*.py"))
    assert '"numpy>=2"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
