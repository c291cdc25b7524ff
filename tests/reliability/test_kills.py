"""The kill harness of tests/reliability/kills.py with few kills; the report of 25 is in docs/results/reliability."""

import pytest
from kills import campaign, draw_plan, prepare
from victims import mpi_launcher


@pytest.fixture(scope="module")
def top(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kills")
    prepare(folder, kills=1)  # 39 windows are enough for four: two kills come before the first, one within four
    return folder


@pytest.mark.parametrize(("what", "ranks"), [("train", 1), ("sample", 2)])
def test_a_killed_run_ends_as_one_that_was_left_alone(top, what, ranks):
    """Bit for bit: model, averages, optimizer and log, or the reconstructions of three videos under two ranks."""
    if ranks > 1 and mpi_launcher() is None:
        pytest.skip("no mpirun here")
    result = campaign(what, top, ranks, draw_plan(4, seed=1, ranks=ranks))
    assert result["kills"] == 4, result["landed"]
    assert [kill for kill in result["landed"] if kill.startswith("inside a write")], "one was inside a save"
    assert result["equal"] and result["files_compared"] >= 4
    assert result["left_over"] == []
    assert result["longest_until_all_ended"] < 30
