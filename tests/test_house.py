"""The house: imports point down, no circle between files, small folders and files; the lists of debts only shrink."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "ramvid_vad"
LINES, FILES = 320, 12  # at most, in a file and in a folder (without __init__.py)

LEVELS = (  # a room, or a file of the package's own folder, imports from its own level and those above it in this list
    ("__init__", "recipes"),  # the version; what a user imports, __init__ imports when it is asked for
    ("errors", "options", "runtime"),
    ("spaces", "ops", "diffusion", "video"),
    ("models", "scoring", "page"),
    ("script_util", "reconstructions", "window_files"),
    ("training", "inference", "infill_videos", "autoregressive", "loading"),
    ("detectors", "evaluation", "events", "watch", "camera_report"),
    ("api",),
    ("commands", "cli"),
    ("demo", "__main__"),  # the demo types the other commands
)
# What still stands against the rules. A file that does no longer must go from its list: these lists only shrink.
CIRCLES: list[list[str]] = []
UPWARD: set[tuple[str, str]] = set()
LONG: set[str] = set()
CROWDED: set[str] = set()


FOR_USERS = {"anomalous_pixels"}  # what only a user's own code reads or calls


@cache
def sources() -> dict[str, Path]:
    """Module name -> file, for all of the package."""
    found = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts)] = path
    return found


def imports(module: str) -> set[str]:
    """The modules of the package that a module names in any import, at its top, in a function or for types alone."""
    found = set()
    for node in ast.walk(ast.parse(sources()[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {module_of(alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import"
            found |= {module_of(f"{node.module}.{alias.name}") for alias in node.names}
    return {name for name in found if name} - {module}


def module_of(name: str) -> str | None:
    """The file that a dotted name stands in; None outside the package."""
    parts = name.split(".")
    if parts[0] != PACKAGE:
        return None
    for end in range(len(parts), 0, -1):
        for candidate in (".".join(parts[:end]), ".".join([*parts[:end], "__init__"])):
            if candidate in sources():
                return candidate
    raise AssertionError(f"{name}: no such file")


def graph() -> dict[str, set[str]]:
    return {module: imports(module) for module in sources()}


def circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """Groups of files that reach each other, each sorted (Tarjan's strongly connected components)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    path: list[str] = []
    found = []

    def visit(node: str) -> None:
        number[node] = low[node] = len(number)
        path.append(node)
        for target in arrows[node]:
            if target not in number:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in path:
                low[node] = min(low[node], number[target])
        if low[node] == number[node]:
            group = [path.pop()]
            while group[-1] != node:
                group.append(path.pop())
            if len(group) > 1:
                found.append(sorted(group))

    for node in arrows:
        if node not in number:
            visit(node)
    return sorted(found)


def level(module: str) -> int:
    room = module.split(".")[1]
    return next((number for number, rooms in enumerate(LEVELS) if room in rooms), -1)


def test_circles_are_found():
    arrows = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set(), "e": {"d"}, "f": {"e", "g"}, "g": {"f"}}
    assert circles(arrows) == [["a", "b", "c"], ["f", "g"]]


def test_no_circle_between_files():
    assert circles(graph()) == CIRCLES


def test_every_room_has_a_level():
    assert {module for module in sources() if level(module) < 0} == set()


def test_imports_point_down():
    upward = {
        (module, target) for module, targets in graph().items() for target in targets if level(target) > level(module)
    }
    assert upward - UPWARD == set(), "these imports point up"
    assert UPWARD - upward == set(), "no longer so: take them from the list"


def test_scripts_and_tests_alone_stand_above_the_package():
    for module in sources():
        tree = ast.parse(sources()[module].read_text(encoding="utf-8"))
        names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not {"scripts", "tests", "benchmarks"} & {name.split(".")[0] for name in names}, module


def test_no_file_is_long():
    long = {name for name, path in sources().items() if len(path.read_text(encoding="utf-8").splitlines()) > LINES}
    assert long - LONG == set(), f"more than {LINES} lines"
    assert LONG - long == set(), "no longer so: take them from the list"


def test_no_folder_is_crowded():
    folders: dict[str, int] = {}
    for module, path in sources().items():
        if path.name != "__init__.py":
            folder = module.rpartition(".")[0]
            folders[folder] = folders.get(folder, 0) + 1
    crowded = {folder for folder, files in folders.items() if files > FILES}
    assert crowded - CROWDED == set(), f"more than {FILES} source files: {folders}"
    assert CROWDED - crowded == set(), "no longer so: take them from the list"


def names_read(tree: ast.AST) -> set[str]:
    """Names, attributes and words of short strings (types as text, modules run by name) that a file refers to."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 80:
            found |= set(re.findall(r"\w+", node.value))
    return found


def test_nothing_is_defined_for_the_tests_alone():
    """Functions, classes, fields and constants that neither the package nor a script uses are dead."""
    callers = [*sources().values(), *(ROOT / "scripts").glob("*.py"), *(ROOT / "benchmarks").glob("*.py")]
    read = set().union(*(names_read(ast.parse(path.read_text(encoding="utf-8"))) for path in callers))
    defined = set()
    for path in sources().values():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        defined |= {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)}
        targets = [n.target for n in ast.walk(tree) if isinstance(n, ast.AnnAssign)]
        targets += [target for n in tree.body if isinstance(n, ast.Assign) for target in n.targets]
        defined |= {target.id for target in targets if isinstance(target, ast.Name)}
    unused = {name for name in defined - read if not name.startswith("__")}
    assert unused == FOR_USERS


@pytest.mark.parametrize("library", ["tqdm"])
def test_what_is_wrapped_once_is_used_through_its_wrapper(library):
    written = re.compile(rf"^\s*(import|from) {library}\b", re.MULTILINE)
    users = [module for module, path in sources().items() if written.search(path.read_text(encoding="utf-8"))]
    assert users == ["ramvid_vad.runtime.progress"]


def test_no_command_imports_the_compiler():
    """It is a third of the time in which a command starts, and none compiles anything."""
    code = (
        "import sys; from ramvid_vad import api; from ramvid_vad.commands import evaluate, sample, train; "
        "from ramvid_vad.commands.camera import fit, score; "
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "False"


def test_no_two_test_files_have_one_name():
    """pytest would import the first for both, and refuse the second."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert sorted(names) == sorted(set(names))
