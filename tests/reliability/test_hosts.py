"""Two machines, played by two network namespaces: ranks that meet by address, one that dies, one that is cut off."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hosts import ADDRESSES, TwoHosts
from tiny_runs import FLAGS, assert_same_end
from victims import ROOT, Run, mpi_launcher

from ramvid_vad.dist_util import LAUNCHERS
from ramvid_vad.video.writer import write_video

STEPS = 12
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
    folder = tmp_path_factory.mktemp("videos")
    write_video(str(folder / "a.mp4"), np.random.default_rng(0).integers(0, 255, (12, 16, 24, 3), np.uint8))
    return folder


def command(videos, log_dir, *more):
    paths = ["--data_dir", videos, "--cache_dir", videos.parent / "cache", "--log_dir", log_dir]
    return [str(each) for each in ("scripts/video_train.py", *FLAGS, *paths, "--max_steps", STEPS, *more)]


class Ranks:
    """A process on each host, each with a file for what it prints; ``launcher(rank)``: the words before the script."""

    def __init__(self, hosts, arguments, folder, launcher=None):
        own = {name for each in LAUNCHERS for name in each[1:]}
        environment = {name: value for name, value in os.environ.items() if name not in own}
        environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
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
                    )
                )

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for process in self.processes:
            process.kill()
            process.wait()

    def printed(self):
        return "\n".join(output.read_text(errors="replace") for output in self.outputs)

    def wait_for_step(self, log_dir, step):
        log, deadline = log_dir / "progress.jsonl", time.monotonic() + 120
        while not (log.exists() and log.read_text().count("\n") >= step):
            assert all(process.poll() is None for process in self.processes), self.printed()
            assert time.monotonic() < deadline, self.printed()
            time.sleep(0.02)

    def codes(self, seconds):
        deadline = time.monotonic() + seconds
        return [process.wait(max(0.1, deadline - time.monotonic())) for process in self.processes]


@pytest.mark.skipif(mpi_launcher() is None, reason="no mpirun here")
def test_two_hosts_end_like_two_ranks_on_one(hosts, videos, tmp_path):
    here = Run(command(videos, tmp_path / "one"), tmp_path / "one.txt", ranks=2)
    assert here.end() == 0, here.printed()
    with Ranks(hosts, command(videos, tmp_path / "two"), tmp_path) as ranks:
        assert ranks.codes(200) == [0, 0], ranks.printed()
    assert_same_end(tmp_path / "two", tmp_path / "one", STEPS)


@pytest.mark.parametrize("fault", ["rank 0 killed", "rank 1 killed", "cable pulled"])
def test_what_is_lost_on_one_host_ends_the_other(hosts, videos, tmp_path, fault):
    """No launcher is there to do it. A killed process closes its socket; behind a dead cable nobody does."""
    with Ranks(hosts, command(videos, tmp_path / "log", "--max_steps", 100000), tmp_path) as ranks:
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


def test_torchrun_recovers_over_two_hosts(hosts, videos, tmp_path):
    """As in docs/cluster.md, and told who is host: a namespace has no name that the rendezvous could know it by."""

    def torchrun(rank):
        words = "-m torch.distributed.run --nnodes 2 --nproc_per_node 1 --max-restarts 2 --rdzv-backend c10d"
        where = f"--rdzv-endpoint {ADDRESSES[0]}:29400 --rdzv-id test --local-addr {ADDRESSES[rank]}"
        return [*words.split(), *where.split(), "--rdzv-conf", f"is_host={1 - rank},join_timeout=60"]

    with Ranks(hosts, command(videos, tmp_path / "whole"), tmp_path) as ranks:
        assert ranks.codes(200) == [0, 0], ranks.printed()
    with Ranks(hosts, command(videos, tmp_path / "log"), tmp_path, torchrun) as ranks:
        ranks.wait_for_step(tmp_path / "log", 3)
        for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
            if _is_rank(pid, 1, str(tmp_path / "log")):
                os.kill(pid, signal.SIGKILL)
        assert ranks.codes(200) == [0, 0], ranks.printed()
        assert "going on from step" in ranks.printed()
    assert_same_end(tmp_path / "log", tmp_path / "whole", STEPS)


def _is_rank(pid, rank, log_dir):
    try:
        with open(f"/proc/{pid}/environ", "rb") as environ, open(f"/proc/{pid}/cmdline", "rb") as line:
            words = line.read().decode(errors="replace").split("\0")
            return f"RANK={rank}".encode() in environ.read().split(b"\0") and log_dir in words and "-m" not in words
    except OSError:
        return False
