"""Slurm itself, a cluster of one node made for the test: ranks meet; a signal, a killed rank; the same command again.

Needs root and Debian's packages slurmctld, slurmd, slurm-client and munge; skips elsewhere.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from tiny_runs import assert_same_end, command, one_video, pid_of_rank, wait_for_step
from victims import ROOT, Run, mpi_launcher, without_launcher

from ramvid_vad.training.checkpoints import find_latest

STEPS = 60
SECONDS = 30  # within which a dead rank must have ended the others
PROGRAMS = ("slurmctld", "slurmd", "munged", "mungekey", "srun", "scancel")

pytestmark = pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0 or not all(map(shutil.which, PROGRAMS)),
    reason="needs root, Slurm and munge",
)

CONF = """ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={top}/munge.socket
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={top}/state
SlurmdSpoolDir={top}/spool
SlurmctldLogFile={top}/slurmctld.log
SlurmdLogFile={top}/slurmd.log
SlurmctldPidFile={top}/slurmctld.pid
SlurmdPidFile={top}/slurmd.pid
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def free_ports(count):
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in servers]
    for server in servers:
        server.close()
    return ports


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """The environment in which srun finds a running cluster."""
    top = tmp_path_factory.mktemp("slurm")
    top.chmod(0o755)
    for folder in ("state", "spool"):
        (top / folder).mkdir()
    host, cpus = socket.gethostname().split(".")[0], max(2, os.cpu_count())
    (top / "slurm.conf").write_text(CONF.format(host=host, top=top, ports=free_ports(2), cpus=cpus))
    kept = {name: value for name, value in without_launcher().items() if not name.startswith(("SLURM_", "PMI"))}
    environment = kept | {"SLURM_CONF": str(top / "slurm.conf")}
    subprocess.run(["mungekey", "-c", "-k", str(top / "munge.key")], check=True)
    files = {name: f"{top}/munged.{name}" for name in ("pid", "log", "seed")}
    options = [f"--{name}-file={path}" for name, path in files.items()]
    munged = ["munged", "--foreground", "--force", f"--socket={top}/munge.socket", f"--key-file={top}/munge.key"]
    daemons = []
    try:
        for command in ([*munged, *options], ["slurmctld", "-D"], ["slurmd", "-D"]):
            daemons.append(
                subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            )
            time.sleep(1)
        deadline = time.monotonic() + 60
        while subprocess.run(["timeout", "60", "srun", "-Q", "-n", "2", "true"], env=environment).returncode:
            if time.monotonic() > deadline or any(daemon.poll() is not None for daemon in daemons):
                logs = [path.read_text(errors="replace")[-2000:] for path in sorted(top.glob("*.log"))]
                pytest.skip("Slurm does not start here: " + "\n".join(logs))
            time.sleep(1)
        yield environment
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            try:
                daemon.wait(30)
            except subprocess.TimeoutExpired:
                daemon.kill()


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return one_video(tmp_path_factory.mktemp("videos"))


@contextmanager
def job(slurm, arguments, output):
    """srun with two ranks; whatever of it is left at the end is cancelled."""
    with open(output, "a") as file:
        process = subprocess.Popen(
            ["srun", "-n", "2", "--job-name=test", sys.executable, *arguments],
            cwd=ROOT,
            env=slurm,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        subprocess.run(["scancel", "--signal=KILL", "--name=test"], env=slurm, check=False)
        process.kill()
        process.wait()


def printed(output):
    return output.read_text(errors="replace")  # srun cuts lines between the bytes of a letter


@pytest.mark.skipif(mpi_launcher() is None, reason="no mpirun here")
def test_a_job_ends_at_sigterm_with_a_checkpoint_and_goes_on_to_the_same_end(slurm, videos, tmp_path):
    """SIGTERM is what --signal and preemption send."""
    here = Run(command(videos, tmp_path / "one", STEPS), tmp_path / "one.txt", ranks=2)
    assert here.end() == 0, here.printed()
    arguments, output = command(videos, tmp_path / "log", STEPS), tmp_path / "out.txt"
    with job(slurm, arguments, output) as first:
        wait_for_step(tmp_path / "log", 3, [first], lambda: printed(output))
        subprocess.run(["scancel", "--signal=TERM", "--name=test"], env=slurm, check=True)
        assert first.wait(60) == 0, printed(output)
    stopped = find_latest(str(tmp_path / "log")).step
    assert 3 <= stopped < STEPS and "the same command goes on from there" in printed(output)
    with job(slurm, arguments, output) as second:
        assert second.wait(100) == 0, printed(output)
    assert re.search(rf"going on from step {stopped}\b", printed(output))
    assert_same_end(tmp_path / "log", tmp_path / "one", STEPS)


def test_a_killed_rank_ends_the_job(slurm, videos, tmp_path):
    output = tmp_path / "out.txt"
    with job(slurm, command(videos, tmp_path / "log", 100000), output) as process:
        wait_for_step(tmp_path / "log", 3, [process], lambda: printed(output))
        os.kill(pid_of_rank("SLURM_PROCID", 1, tmp_path / "log"), signal.SIGKILL)
        assert process.wait(SECONDS) != 0
    assert "another rank has ended" in printed(output) or "has ended without a word" in printed(output)
