"""Fixtures that every test may use."""

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
