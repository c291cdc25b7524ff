"""What made a result: code version, settings, hashes. No path of this machine and no time, so that it can be repeated.

The hashes are SHA-256 of file contents, end to end in a stated order.
"""

import hashlib
import os
import platform
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import fields
from functools import lru_cache
from importlib import metadata
from typing import Any

import numpy as np

from ramvid_vad import __version__
from ramvid_vad.options import EvalOptions

# where things lie, and how much is printed, says nothing about the result; what lies there is hashed
NO_SETTINGS = (
    "full_table",
    *("reconstructions", "data_dir", "labels", "scores", "lengths", "normal_scores", "normal_reconstructions"),
    *("normal_dir", "out_dir", "cache_dir", "compare", "only"),
)

PACKAGES = ("numpy", "scipy", "scikit-image", "opencv-python-headless", "opencv-python", "pillow", "av", "torch")


def code() -> dict[str, Any]:
    """version of the package; commit of its git checkout, ending in "+" where files were changed, None outside one."""
    return {"version": __version__, "commit": _commit()}


def environment() -> dict[str, str]:
    """What the figures were computed with: Python, the kind of machine, and the packages that touch a number."""
    found = {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    for package in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


@lru_cache(maxsize=1)
def _commit() -> str | None:
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", package, *arguments], capture_output=True, text=True, timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if git("ls-files", "--error-unmatch", "__init__.py") is None:  # no checkout, or somebody else's
        return None
    commit, changed = git("rev-parse", "HEAD"), git("status", "--porcelain", "--untracked-files=no", "--", ".")
    return f"{commit}+" if commit and changed else commit


def settings(options: EvalOptions) -> dict[str, Any]:
    """Every option that may matter: not the places of files."""
    return {spec.name: getattr(options, spec.name) for spec in fields(options) if spec.name not in NO_SETTINGS}


def frames_sha256(frames: Iterable[np.ndarray]) -> str:
    """SHA-256 of decoded frames, uint8 (H, W, C) each, end to end."""
    digest = hashlib.sha256()
    for frame in frames:
        digest.update(np.ascontiguousarray(frame))
    return digest.hexdigest()


def joined_sha256(digests: Iterable[str]) -> str:
    """One SHA-256 of several, in hexadecimal, end to end."""
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def last_name(folder: str) -> str:
    """The folder's own name."""
    return os.path.basename(os.path.abspath(folder))
