"""Fixtures of the evaluation's tests."""

import pytest
from known_run import Run, make_run


@pytest.fixture
def run(tmp_path) -> Run:
    """A small finished run whose residuals are known."""
    return make_run(tmp_path)
