"""Several ranks as one run, under real launchers: they meet, agree, and end together."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from ramvid_vad.errors import InputError
from ramvid_vad.runtime import processes
from ramvid_vad.runtime.ranks import launchers

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 30  # within which a dead rank must have ended the others

PROGRAM = """
import os, sys, time
import torch
from ramvid_vad.runtime import processes as d
from ramvid_vad.runtime.ranks import launchers
mode = sys.argv[1]
d.ARRIVAL_MINUTES = 0.05 if mode == "late" else 1
try:
    d.lifeline.GRACE = 0.3 if mode == "ok" else d.lifeline.GRACE
    d.setup_dist(timeout_minutes=0.05 if mode == "hang" else 1)
except d.InputError as error:
    d.fail(f"error: {error}", 2)
me = d.rank()
sys.stdout.write(f"rank {me} has begun at {time.time()}\\n")
sys.stdout.flush()
if me == 1:
    if mode == "raise":
        raise ValueError("a bug on one rank")
    if mode == "kill":
        os.kill(os.getpid(), 9)
    if mode == "fail":
        d.fail("error: bad input on one rank", 2)
    if mode == "hang":
        time.sleep(100)
if me == 0 and mode == "kill 0":
    os.kill(os.getpid(), 9)
if mode == "fail all":
    d.fail("error: bad input on every rank", 2)
if mode == "raise all":
    raise ValueError("a bug on every rank")
if mode in ("busy", "kill 0"):
    if me == 1 and mode == "busy":
        if os.fork() == 0:  # as a data loader's worker, which may live on
            os.close(1), os.close(2)
            time.sleep(40)
            os._exit(0)
        os.kill(os.getpid(), 9)
    time.sleep(100)
if mode != "ok":
    for _ in range(1000):
        d.barrier()
        time.sleep(0.1)
assert (d.any_true(False), d.any_true(me == 1), d.any_true(me == 0), d.any_true(True)) == (False, True, True, True)
assert d.broadcast_object({"from": me}) == {"from": 0}
assert d.all_gather_object("ab"[me]) == ["a", "b"]
assert d.agree(("a", 1)) and not d.agree(me)
assert d.world_size() == 2 and d.dev() == torch.device("cpu")
cores = len(os.sched_getaffinity(0))
threads, imported = torch.get_num_threads() == max(1, cores // 2), "mpi4py" in sys.modules
sys.stdout.write(f"rank {me} threads {threads} mpi4py {imported}\\n")
sys.stdout.flush()
d.cleanup()
time.sleep(1.5 * me)  # leaving one after the other is no alarm
print(f"rank {me} is done", flush=True)
"""


def mpirun(tmp_path):
    """Command line that starts two ranks of the program under MPI."""
    pytest.importorskip("mpi4py", reason="mpi4py is not installed")
    beside = os.path.join(os.path.dirname(sys.executable), "mpirun")
    command = beside if os.path.exists(beside) else shutil.which("mpirun")
    if command is None:
        pytest.skip("no mpirun here")
    return [[command, "-n", "2", sys.executable, program(tmp_path)]]


def torchrun(tmp_path):
    """The same for torchrun."""
    return [[sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", program(tmp_path)]]


def by_hand(tmp_path):
    """Two processes with torchrun's variables and no launcher that would end one when the other dies."""
    return [[sys.executable, program(tmp_path)]] * 2


def openmpi(tmp_path):
    """Open MPI itself, whatever mpirun stands in the environment."""
    command = shutil.which("mpirun.openmpi")
    if command is None:
        pytest.skip("no Open MPI here")
    return [[command, "--oversubscribe", "-n", "2", sys.executable, program(tmp_path)]]


LAUNCHERS = [mpirun, openmpi, torchrun, by_hand]


def program(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return str(path)


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return str(server.getsockname()[1])


def environment(**extra):
    """This environment without any launcher's variables."""
    names = {name for launcher in launchers.LAUNCHERS for name in launcher[1:]}
    names |= {"MASTER_ADDR", "MASTER_PORT", "OMP_NUM_THREADS", "TORCHELASTIC_RUN_ID"}
    kept = {name: value for name, value in os.environ.items() if name not in names}
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return kept | root | {"PYTHONPATH": str(ROOT)} | extra


def run(commands, mode, variables=None):
    """Run to the end; returns exit codes, all that was printed, and the seconds since the ranks had met."""
    port = free_port()
    variables = variables or (lambda rank: {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"})
    processes = []
    for rank, command in enumerate(commands):
        extra = variables(rank) | {"MASTER_PORT": port} if len(commands) > 1 else {}
        processes.append(
            subprocess.Popen(
                [*command, mode],
                env=environment(**extra),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
        )
    try:
        printed = "".join(process.communicate(timeout=200)[0] for process in processes)
    finally:
        for process in processes:
            process.kill()
    begun = max(float(at) for at in re.findall(r"has begun at ([\d.]+)", printed))
    return [process.returncode for process in processes], printed, time.time() - begun


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_two_ranks_meet_agree_and_leave(tmp_path, launcher):
    codes, printed, _ = run(launcher(tmp_path), "ok")
    assert set(codes) == {0}, printed
    by_mpi = launcher in (mpirun, openmpi)
    for rank in (0, 1):
        assert f"rank {rank} threads True mpi4py {by_mpi}" in printed or launcher is torchrun, printed
        assert f"rank {rank} is done" in printed


@pytest.mark.parametrize("launcher", [mpirun, openmpi, torchrun])
@pytest.mark.parametrize("mode", ["raise", "raise all"])
def test_a_traceback_is_shown_once_and_all_ranks_end(tmp_path, launcher, mode):
    codes, printed, seconds = run(launcher(tmp_path), mode)
    assert 0 not in codes and seconds < SECONDS, printed
    assert len(re.findall(r"^ValueError: a bug on (?:one|every) rank$", printed, re.M)) == 1, printed
    assert f"rank {int(mode == 'raise')} of 2 failed:" in printed


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_killed_rank_ends_the_others(tmp_path, launcher):
    codes, printed, seconds = run(launcher(tmp_path), "kill")
    assert 0 not in codes and seconds < SECONDS, printed
    assert "connection closed" not in printed.lower(), "no traceback for what is another rank's end"
    if launcher is by_hand:
        assert printed.count("this one ends too") + printed.count("this run ends") >= 1


@pytest.mark.parametrize(("mode", "line"), [("busy", "rank 1 has ended"), ("kill 0", "rank 1: rank 0 has ended")])
def test_a_killed_rank_ends_one_that_waits_for_nothing(tmp_path, mode, line):
    codes, printed, seconds = run(by_hand(tmp_path), mode)
    assert sorted(codes) == [-9, 1] and seconds < SECONDS, printed
    assert printed.count(line) == 1, printed


@pytest.mark.parametrize(
    ("launcher", "mode"), [(mpirun, "fail"), (mpirun, "fail all"), (torchrun, "fail"), (by_hand, "fail")]
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, launcher, mode):
    codes, printed, seconds = run(launcher(tmp_path), mode)
    assert seconds < SECONDS and printed.count("error: bad input on ") == 1, printed
    if launcher is mpirun:
        assert codes == [2]
    elif launcher is by_hand:
        assert codes[1] == 2 and codes[0] != 0


def test_a_rank_that_hangs_ends_the_run_after_the_timeout(tmp_path):
    codes, printed, seconds = run(by_hand(tmp_path), "hang")
    assert 0 not in codes and seconds < SECONDS, printed
    assert printed.count("Traceback") == 1 and "rank 0 of 2 failed" in printed


def test_a_rank_that_never_comes_is_a_clear_error(tmp_path):
    port = free_port()
    slurm = {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_LOCALID": "0"}
    done = subprocess.run(
        [sys.executable, program(tmp_path), "late"],
        env=environment(**slurm, MASTER_ADDR="127.0.0.1", MASTER_PORT=port),
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: rank 0 of 2 (Slurm) does not find the others: ")


def test_slurm_and_open_mpi_variables_with_an_address_need_no_mpi(tmp_path):
    path = Path(program(tmp_path))
    path.write_text("import sys; sys.modules['mpi4py'] = None\n" + PROGRAM)
    for names in (("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"), ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE")):

        def variables(rank, names=names):
            return {names[0]: str(rank), names[1]: "2", "MASTER_ADDR": "127.0.0.1"}

        codes, printed, _ = run([[sys.executable, str(path)]] * 2, "ok", variables)
        assert codes == [0, 0] and printed.count("is done") == 2, printed


@pytest.mark.parametrize(
    ("prefix", "message"),
    [
        ("import sys; sys.modules['mpi4py'] = None\n", "mpi4py cannot be imported"),
        ("", "Open MPI started 2 ranks, but mpi4py sees 1: it was built for another MPI"),
    ],
)
def test_ranks_that_would_each_run_alone_are_an_error_with_a_remedy(tmp_path, prefix, message):
    if not prefix:
        mpirun(tmp_path)
    path = Path(program(tmp_path))
    path.write_text(prefix + PROGRAM)
    done = subprocess.run(
        [sys.executable, str(path), "ok"],
        env=environment(OMPI_COMM_WORLD_RANK="0", OMPI_COMM_WORLD_SIZE="2"),
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 2 and message in done.stderr and "torchrun" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and "pip install" in done.stderr


def test_a_single_process_needs_no_mpi_and_starts_no_group(tmp_path):
    path = tmp_path / "single.py"
    path.write_text(
        "import sys, torch\nfrom ramvid_vad.runtime.ranks import launchers\n"
        "from ramvid_vad.runtime import processes as d\nd.setup_dist()\n"
        "d.barrier()\n"
        "assert (d.rank(), d.world_size(), d.any_true(True), d.any_true(False)) == (0, 1, True, False)\n"
        "assert d.all_gather_object(3) == [3] and d.broadcast_object(4) == 4\n"
        "assert not torch.distributed.is_initialized()\n"
        "assert 'mpi4py' not in sys.modules\nd.cleanup()\nd.fail('one line', 2)\n"
    )
    done = subprocess.run([sys.executable, str(path)], env=environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "one line\n")


@pytest.fixture
def variables(monkeypatch):
    """Set exactly these of the launchers' variables."""

    def put(**values):
        for name in {*os.environ} - {*environment()}:
            monkeypatch.delenv(name)
        for name, value in values.items():
            monkeypatch.setenv(name, str(value))

    return put


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, ("no launcher", 0, 1, 0)),
        ({"RANK": 3, "WORLD_SIZE": 8, "LOCAL_RANK": 1}, ("torchrun", 3, 8, 1)),
        (
            {"OMPI_COMM_WORLD_RANK": 5, "OMPI_COMM_WORLD_SIZE": 6, "OMPI_COMM_WORLD_LOCAL_RANK": 2},
            ("Open MPI", 5, 6, 2),
        ),
        ({"PMI_RANK": 1, "PMI_SIZE": 2, "MPI_LOCALRANKID": 0}, ("MPICH", 1, 2, 0)),
        ({"SLURM_PROCID": 7, "SLURM_STEP_NUM_TASKS": 16, "SLURM_LOCALID": 3}, ("Slurm", 7, 16, 3)),
        # a batch script of Slurm, not a step of several tasks
        ({"SLURM_PROCID": 0, "SLURM_NTASKS": 16, "SLURM_LOCALID": 0}, ("no launcher", 0, 1, 0)),
        # mpirun inside Slurm: the tasks of the step are its own daemons
        ({"PMI_RANK": 3, "PMI_SIZE": 4, "SLURM_PROCID": 1, "SLURM_STEP_NUM_TASKS": 2}, ("MPICH", 3, 4, 3)),
        # srun alone, whose plugin pmi2 sets PMI_RANK and PMI_SIZE, too; and mpirun in one task of as many
        ({"PMI_RANK": 1, "PMI_SIZE": 2, "SLURM_PROCID": 1, "SLURM_STEP_NUM_TASKS": 2}, ("Slurm", 1, 2, 1)),
        (
            {"PMI_RANK": 0, "PMI_SIZE": 2, "MPI_LOCALRANKID": 0, "SLURM_PROCID": 0, "SLURM_STEP_NUM_TASKS": 2},
            ("MPICH", 0, 2, 0),
        ),
        # torchrun on each of two nodes, started by mpirun
        (
            {"RANK": 5, "WORLD_SIZE": 8, "LOCAL_RANK": 1, "TORCHELASTIC_RUN_ID": "x", "PMI_RANK": 1, "PMI_SIZE": 2},
            ("torchrun", 5, 8, 1),
        ),
    ],
)
def test_what_the_variables_of_each_launcher_say(variables, values, expected):
    variables(**values)
    assert launchers.launched() == launchers.Place(*expected)
    assert processes.rank() == expected[1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"RANK": 0}, "only one of RANK and WORLD_SIZE"),
        ({"WORLD_SIZE": 4}, "only one of RANK and WORLD_SIZE"),
        ({"RANK": 4, "WORLD_SIZE": 4}, "rank 4 of 4"),
        ({"RANK": "a", "WORLD_SIZE": 4}, "RANK='a': expected a whole number"),
        ({"RANK": 0, "WORLD_SIZE": 1, "PMI_RANK": 1, "PMI_SIZE": 2}, "WORLD_SIZE says 1 ranks, MPICH says 2"),
        ({"PMI_RANK": 0, "PMI_SIZE": ""}, "PMI_SIZE=''"),
    ],
)
def test_contradicting_variables_are_an_error(variables, values, message):
    variables(**values)
    with pytest.raises(InputError, match=message):
        launchers.launched()


def test_missing_address_is_an_error(variables):
    variables(RANK=0, WORLD_SIZE=2)
    with pytest.raises(InputError, match="MASTER_ADDR and MASTER_PORT are not"):
        processes.setup_dist()


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        *[("gpu7", "gpu7"), ("gpu[007-009,012],big1", "gpu007"), ("a-b-1,a-b-2", "a-b-1"), ("n[3,5]", "n3")],
        *[("nid[001-002]-ib", "nid001-ib"), ("rack[1-2]node[3-4],login", "rack1node3")],
    ],
)
def test_slurm_address_is_the_first_node_and_a_port_all_ranks_know(variables, nodes, first):
    variables(SLURM_STEP_NODELIST=nodes, SLURM_JOB_ID=123456, SLURM_STEP_ID=2)
    host, port = launchers.slurm_address()
    assert host == first and 1024 < port < 32768
    variables(SLURM_STEP_NODELIST=nodes, SLURM_JOB_ID=123456, SLURM_STEP_ID=3)
    assert launchers.slurm_address()[1] != port
    variables(SLURM_STEP_NODELIST="")
    with pytest.raises(InputError, match="set MASTER_ADDR"):
        launchers.slurm_address()


@pytest.mark.parametrize(
    ("ranks", "threads"),
    [
        ([("here", {0, 1, 2, 3})] * 2 + [("there", {0, 1, 2, 3})] * 2, 2),  # two nodes, two ranks each
        ([("here", {0, 1, 2, 3}), ("here", {4, 5, 6, 7})], 4),  # bound to cores of their own
        ([("here", {0, 1, 2, 3})] * 9, 1),
    ],
)
def test_cores_are_divided_among_the_ranks_that_share_them(variables, monkeypatch, ranks, threads):
    variables()
    chosen = []
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(socket, "gethostname", lambda: "here")
    monkeypatch.setattr(processes, "all_gather_object", lambda value: ranks)
    processes._share_cores()
    assert chosen == [threads]
    variables(OMP_NUM_THREADS=3)
    processes._share_cores()
    assert chosen == [threads], "the user's number stands"
