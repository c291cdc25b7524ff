"""Make the locked requirements again: every package with its version and the hashes of all its files.

    make lock                 keep the versions that are locked wherever requirements-dev.in still allows them
    make lock UPGRADE=1       take the newest ones

`requirements-dev.in` is written by hand; uv makes the rest from it, one set for Python 3.10 and newer on Linux.
`requirements-dev.txt` is everything but PyTorch. `requirements-torch-cpu.txt` is its CPU build, where an index offers
that under its own version (2.13.0+cpu); `requirements-torch-cuda.txt` is the build without a suffix and all that it
brings. `supply/requirements-tools.in` and `.txt` are the same for the tools themselves.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TORCH = ("torch==", "cuda-", "nvidia-", "triton==")
"""How the entries begin of PyTorch and of what its CUDA build requires and its CPU build does not."""
CPU_BUILDS = ("6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",)  # Python 3.11, x86-64
"""SHA-256 of the wheels of the CPU build; uv sees one index only, so they stand here. Of other Pythons: add them."""
HEAD = """\
# Made by `make lock` from {source}: do not edit. Linux, Python 3.10 and newer.
"""


def entries(text: str) -> list[str]:
    """One text per package, its hashes and comments with it; the platform, the same for all, is left out."""
    text = re.sub(r" and sys_platform == 'linux'| ; sys_platform == 'linux'(?= \\)", "", text)
    return re.findall(r"^[A-Za-z0-9].*\n(?:[ ].*\n)*", text, re.MULTILINE)


def resolve(source: Path, targets: list[Path], upgrade: bool) -> list[str]:
    """The entries that uv finds; versions in ``targets`` are preferred unless ``upgrade``."""
    with tempfile.TemporaryDirectory() as folder:
        locked = Path(folder) / "locked.txt"
        locked.write_text("".join(path.read_text(encoding="utf-8") for path in targets if path.exists()))
        command = [sys.executable, "-m", "uv", "pip", "compile", str(source.relative_to(ROOT)), "--universal"]
        command += ["--python-version", "3.10", "--generate-hashes", "--no-header", "--quiet", "--only-binary", ":all:"]
        subprocess.run([*command, "--output-file", str(locked)] + ["--upgrade"] * upgrade, cwd=ROOT, check=True)
        return entries(locked.read_text(encoding="utf-8"))


def write(source: Path, target: Path, found: list[str]) -> None:
    """The locked file with its head."""
    target.write_text(HEAD.format(source=source.relative_to(ROOT)) + "".join(found), encoding="utf-8")
    print(f"{target.relative_to(ROOT)}: {len(found)} entries")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upgrade", action="store_true", help="the newest versions")
    upgrade = parser.parse_args().upgrade

    source = ROOT / "requirements-dev.in"
    target, cpu, cuda = (ROOT / f"requirements-{name}.txt" for name in ("dev", "torch-cpu", "torch-cuda"))
    found = resolve(source, [target, cuda], upgrade)
    version = next(entry.split()[0] for entry in found if entry.startswith("torch=="))
    hashes = "".join(f" \\\n    --hash=sha256:{wheel}" for wheel in CPU_BUILDS)
    write(source, target, [entry for entry in found if not entry.startswith(TORCH)])
    write(source, cpu, [f"{version}+cpu{hashes}\n"])
    write(source, cuda, [entry for entry in found if entry.startswith(TORCH)])

    source, target = ROOT / "supply/requirements-tools.in", ROOT / "supply/requirements-tools.txt"
    write(source, target, resolve(source, [target], upgrade))


if __name__ == "__main__":
    main()
