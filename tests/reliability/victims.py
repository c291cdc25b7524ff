"""Real commands that are killed: a tiny scene, the command lines, and processes that end by SIGKILL where it hurts.

What ``kills.py``, ``soak.py`` and tests/reliability share.
"""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ramvid_vad.runtime.ranks.launchers import LAUNCHERS

ROOT = Path(__file__).resolve().parents[2]
MODEL = "--image_size 8x12 --num_channels 32 --channel_mult 1 --num_res_blocks 1 --attention_resolutions 8 --d_state 2"
PATIENCE = 200.0
"""Seconds after which a command that does not end counts as hanging; the tests have 300, so that it ends with them."""

HOOK = '''"""Found by every Python that has this folder in PYTHONPATH: SIGKILL just before call number KILL_AT_CALL
among those that sync or rename a temporary file, and a line in the file KILL_TOLD about which that was.
"""

import os
import signal

calls = 0


def watch(name):
    real = getattr(os, name)

    def call(first, *others, **keywords):
        global calls
        path = os.readlink(f"/proc/self/fd/{first}") if isinstance(first, int) else os.fspath(first)
        if ".tmp" in path:
            calls += 1
            if calls == int(os.environ["KILL_AT_CALL"]):
                with open(os.environ["KILL_TOLD"], "a") as told:
                    told.write(f"{name} {os.path.basename(path)}\\n")
                os.kill(os.getpid(), signal.SIGKILL)
        return real(first, *others, **keywords)

    setattr(os, name, call)


if "KILL_AT_CALL" in os.environ:
    watch("fsync")
    watch("replace")
'''


def training(top: Path, log_dir: Path, *more: object) -> list[str]:
    """``video_train.py`` on the scene in ``top``, with a cache of its own: a checkpoint every second step, two kept."""
    flags = "--seq_len 8 --lr 1e-3 --log_interval 1 --ema_rate 0.5,0.9 --save_interval 2 --keep_checkpoints 2"
    paths = ["--data_dir", top / "scene/training", "--cache_dir", f"{log_dir}_cache", "--log_dir", log_dir]
    return [str(each) for each in ("scripts/video_train.py", *MODEL.split(), *flags.split(), *paths, *more)]


def sampling(top: Path, model: Path, out_dir: Path, *more: object) -> list[str]:
    """``video_sample.py``: the scene's test videos, window by window."""
    flags = "--timestep_respacing 4 --sampler ddim --stride 3 --batch_size 1"
    paths = ["--data_dir", top / "scene/testing", "--cache_dir", f"{out_dir}_cache", "--model_path", model]
    return [str(each) for each in ("scripts/video_sample.py", *flags.split(), *paths, "--out_dir", out_dir, *more)]


def mpi_launcher() -> str | None:
    """The mpirun of this environment, else the one in PATH."""
    beside = Path(sys.executable).parent / "mpirun"
    return str(beside) if beside.exists() else shutil.which("mpirun")


def launcher(name: str, ranks: int) -> list[str]:
    """The words before the script: python alone, mpirun, or torchrun (and its options, if ``name`` has any)."""
    if name.startswith("torchrun"):
        run = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"]
        return [*run, *name.split()[1:]]
    if ranks == 1:
        return [sys.executable]
    command = mpi_launcher()
    if command is None:
        raise SystemExit("no mpirun here")
    return [command, "-n", str(ranks), sys.executable]


def without_launcher() -> dict[str, str]:
    """This environment as processes started by hand see it: no launcher's variables, one thread each."""
    names = {name for each in LAUNCHERS for name in each[1:]} | {"MASTER_ADDR", "MASTER_PORT"}
    kept = {name: value for name, value in os.environ.items() if name not in names}
    return kept | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


class Run:
    """One command, as typed, in a session of its own; its output goes to a file."""

    def __init__(self, arguments: list[str], output: Path, ranks: int = 1, under: str = "mpirun", **environment: str):
        own = {"PYTHONPATH": os.pathsep.join([environment.pop("PYTHONPATH", ""), str(ROOT)]).strip(os.pathsep)}
        root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        self.output = output
        self.started, self.started_at = time.monotonic(), time.time()
        with open(output, "w", encoding="utf-8") as file:
            self.process = subprocess.Popen(
                [*launcher(under, ranks), *arguments],
                cwd=ROOT,
                env=without_launcher() | root | own | environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def printed(self) -> str:
        return self.output.read_text(encoding="utf-8", errors="replace")

    def alive(self) -> bool:
        return self.process.poll() is None

    def wait_until(self, condition: Callable[[], bool]) -> bool:
        """Look every few milliseconds; False: the command ended first."""
        deadline = time.monotonic() + PATIENCE
        while self.alive():
            if condition():
                return True
            if time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"nothing happened in {PATIENCE:g} s:\n{self.printed()}")
            time.sleep(0.005)
        return False

    def wait_for(self, text: str) -> bool:
        """Until it has printed ``text``; False: it ended first."""
        return self.wait_until(lambda: text in self.printed())

    def working(self, what: str, folder: Path) -> bool:
        """Whether the start-up is over: "train" has told its size, "sample" has begun to write its first window."""
        return " M parameters" in self.printed() if what == "train" else self.wrote(folder, "window*")

    def wrote(self, folder: Path, pattern: str) -> bool:
        """Whether such a file in ``folder`` is newer than the start."""
        for path in folder.rglob(pattern):
            with suppress(FileNotFoundError):  # a temporary file that has its name by now
                if path.stat().st_mtime > self.started_at:
                    return True
        return False

    def end(self, timeout: float = PATIENCE) -> int:
        """Wait for the end: the exit code."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise RuntimeError(f"it did not end in {timeout:g} s:\n{self.printed()}") from None

    def family(self) -> list[int]:
        """Ids of this command's processes, launcher first."""
        children: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    parent = (entry / "stat").read_text(errors="replace").rsplit(")", 1)[1].split()[1]
                except (OSError, IndexError):
                    continue
                children.setdefault(int(parent), []).append(int(entry.name))
        found = [self.process.pid]
        for each in found:
            found += children.get(each, [])
        return found

    def ranks(self) -> dict[int, int]:
        """Rank -> process id; the processes that decode for a rank are not among them."""
        found = {}
        for pid in self.family():
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                variables = Path(f"/proc/{pid}/environ").read_bytes()
            except OSError:
                continue
            if b"python" not in words[0] or not any(word.startswith(b"scripts/video_") for word in words[1:3]):
                continue
            number = re.search(rb"(?:^|\0)(?:PMI_RANK|OMPI_COMM_WORLD_RANK|RANK)=(\d+)\0", variables + b"\0")
            found.setdefault(int(number[1]) if number else 0, pid)
        return found

    def kill(self, rank: int | None = None) -> None:
        """SIGKILL one rank, or everything at once, as a batch system does at the end of its patience."""
        for pid in self.family() if rank is None else [self.ranks()[rank]]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if rank is None:
            self.process.wait()


def digests(folder: Path, pattern: str = "*") -> dict[str, str]:
    """SHA-256 of the files below a folder, by name."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob(pattern))
        if path.is_file()
    }


def generation(log_dir: Path, step: int) -> dict[str, str]:
    """SHA-256 of the files of one checkpoint: model, averages, optimizer, manifest."""
    return {name: value for name, value in digests(log_dir).items() if f"{step:06d}." in name}
