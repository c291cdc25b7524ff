"""The faults of mutants.py still fit the code, so that its campaign, which is too long for every change, can be run."""

from pathlib import Path

import pytest
from mutants import MUTANTS, ROOT


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.fault)
def test_what_a_fault_replaces_is_there(mutant):
    assert mutant.old in Path(ROOT, "ramvid_vad", mutant.file).read_text() and mutant.old != mutant.new
    file, *names = mutant.test.split("::")
    assert all(f"def {name.split('[')[0]}(" in Path(ROOT, file).read_text() for name in names)
