"""Two machines, played by two network namespaces: ranks that meet by address, one that dies, one that is cut off."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from hosts import ADDRESSES, TwoHosts
from tiny_runs import assert_same_end, command, one_video, pid_of_rank, wait_for_step
from victims import ROOT, Run, mpi_launcher, without_launcher

STEPS = 14  # of which several are left when the one that is waited for is in the log
SECONDS = 60  # 25 until TCP gives a silent machine up, 5 of grace, and the rest for a busy machine


@pytest.fixture
def hosts():
    try:
        two = TwoHosts()
    except SystemExit as error:
        pytest.skip(str(error))
    yield two
    two.remove()


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return one_video(tmp_path_factory.mktemp("videos"))


class Ranks:
    """A process on each host, each with a file for what it prints; ``launcher(rank)``: the words before the script."""

    def __init__(self, hosts, arguments, folder, launcher=None):
        environment = without_launcher()
        self.outputs = [folder / f"{rank}.txt" for rank in (0, 1)]
        self.processes = []
        for rank, output in enumerate(self.outputs):
            variables = hosts.variables(rank)
            if launcher:  # which sets its own
                variables = {"GLOO_SOCKET_IFNAME": variables["GLOO_SOCKET_IFNAME"]}
            with open(output, "w") as file:
                self.processes.append(
                    subprocess.Popen(
                        hosts.command(rank, sys.executable, *(launcher(rank) if launcher else ()), *arguments),
                        cwd=ROOT,
                        env=environment | variables,
                        stdin=subprocess.DEVNULL,
                        stdout=file,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                )

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for process in self.processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def printed(self):
        return "\n".join(output.read_text(errors="replace") for output in self.outputs)

    def wait_for_step(self, log_dir, step):
        wait_for_step(log_dir, step, self.processes, self.printed)

    def codes(self, seconds):
        deadline = time.monotonic() + seconds
        try:
            return [process.wait(max(0.1, deadline - time.monotonic())) for process in self.processes]
        except subprocess.TimeoutExpired:
            pytest.fail(f"did not end in {seconds} s:\n{self.printed()}")


@pytest.fixture(scope="module")
def whole(videos):
    """The end of an undisturbed run of two ranks on one host."""
    folder = videos.parent / "whole"
    under = "mpirun" if mpi_launcher() else "torchrun"
    here = Run(command(videos, folder, STEPS), folder.with_suffix(".txt"), ranks=2, under=under)
    assert here.end() == 0, here.printed()
    return folder


def test_two_hosts_end_like_two_ranks_on_one(hosts, videos, whole, tmp_path):
    with Ranks(hosts, command(videos, tmp_path / "two", STEPS), tmp_path) as ranks:
        assert ranks.codes(80) == [0, 0], ranks.printed()
    assert_same_end(tmp_path / "two", whole, STEPS)


@pytest.mark.parametrize("fault", ["rank 0 killed", "rank 1 killed", "cable pulled"])
def test_what_is_lost_on_one_host_ends_the_other(hosts, videos, tmp_path, fault):
    """No launcher is there to do it. A killed process closes its socket; behind a dead cable nobody does."""
    with Ranks(hosts, command(videos, tmp_path / "log", 100000), tmp_path) as ranks:
        ranks.wait_for_step(tmp_path / "log", 3)
        left = [0, 1]
        if fault == "cable pulled":
            hosts.unplug()
        else:
            left.remove(int(fault.split()[1]))
            ranks.processes[1 - left[0]].kill()
        codes = ranks.codes(SECONDS)
        assert all(codes[rank] == 1 for rank in left), ranks.printed()
        printed = ranks.outputs[left[0]].read_text()
        assert "has ended" in printed, printed
        assert "Traceback" not in printed, printed


def test_torchrun_recovers_over_two_hosts(hosts, videos, whole, tmp_path):
    """As in docs/cluster.md, and told who is host: a namespace has no name that the rendezvous could know it by."""

    def torchrun(rank):
        words = "-m torch.distributed.run --nnodes 2 --nproc_per_node 1 --max-restarts 2 --rdzv-backend c10d"
        where = f"--rdzv-endpoint {ADDRESSES[0]}:29400 --rdzv-id test --local-addr {ADDRESSES[rank]}"
        return [*words.split(), *where.split(), "--rdzv-conf", f"is_host={1 - rank},join_timeout=60"]

    with Ranks(hosts, command(videos, tmp_path / "log", STEPS), tmp_path, torchrun) as ranks:
        ranks.wait_for_step(tmp_path / "log", 3)
        os.kill(pid_of_rank("RANK", 1, tmp_path / "log"), signal.SIGKILL)
        assert ranks.codes(80) == [0, 0], ranks.printed()
        assert "going on from step" in ranks.printed()
    assert_same_end(tmp_path / "log", whole, STEPS)
