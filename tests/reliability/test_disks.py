"""Damaged checkpoints, full and read-only disks, folders that vanish: a whole run loses nothing and says so."""

import os
import shutil
import subprocess

import pytest
from tiny_runs import assert_same_end, run_sample, run_train
from victims import digests

from ramvid_vad.errors import InputError, RunError
from ramvid_vad.training import loop as loop_module
from ramvid_vad.training.checkpoints import find_latest


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def corrupt(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def delete(path):
    path.unlink()


# every damage to every file is tried on find_latest alone, in training/test_checkpoints.py
@pytest.mark.parametrize(
    ("damage", "name"),
    [
        (corrupt, "model000004.safetensors"),
        (truncate, "ema_0.5_000004.safetensors"),
        (delete, "opt000004.safetensors"),
        (corrupt, "checkpoint000004.json"),
        (delete, "checkpoint000004.json"),
    ],
)
def test_damage_to_the_newest_checkpoint_costs_two_steps_and_nothing_else(made, tmp_path, capfd, name, damage):
    shutil.copytree(made.model, tmp_path / "model")
    damage(tmp_path / "model" / name)
    assert run_train(made.top, tmp_path / "model", "--max_steps", 10)
    printed = capfd.readouterr()
    warning = next(line for line in printed.err.splitlines() if "WARNING: " in line)
    assert "checkpoint of step 4" in warning and "is passed over" in warning and name in warning
    assert "going on from step 2" in printed.out
    assert_same_end(tmp_path / "model", made.whole, 10)


@pytest.fixture
def before_saves(monkeypatch):
    """before_saves({step: action}): what happens just before the checkpoints of these steps are written."""

    def install(actions):
        real = loop_module.save_checkpoint

        def save_checkpoint(log_dir, step, *parts, **keywords):
            actions.get(step, lambda: None)()
            return real(log_dir, step, *parts, **keywords)

        monkeypatch.setattr(loop_module, "save_checkpoint", save_checkpoint)

    return install


def fill(folder):
    """Leave 8 kB of a disk free."""
    status = os.statvfs(folder)
    (folder / "filler").write_bytes(bytes(status.f_bavail * status.f_frsize - 8192))


def remount(folder, mode):
    subprocess.run(["mount", "-o", f"remount,{mode}", str(folder)], check=True)


@pytest.mark.parametrize("trouble", ["full", "read-only"])
def test_a_disk_in_trouble_for_a_while(made, mount, before_saves, capfd, trouble):
    """The saves of steps 4 and 6 fail; training goes on, the one of step 8 succeeds, the end is the same."""
    disk = mount("size=64m")
    begin, end, why = {
        "full": (lambda: fill(disk), lambda: (disk / "filler").unlink(), "No space left on device"),
        "read-only": (lambda: remount(disk, "ro"), lambda: remount(disk, "rw"), "Read-only file system"),
    }[trouble]
    seen = []
    actions = {4: begin, 6: lambda: seen.append(find_latest(str(disk)).step), 8: end}
    before_saves(actions)
    assert run_train(made.top, disk, "--max_steps", 10)
    printed = capfd.readouterr()
    failures = [line for line in printed.err.splitlines() if "could not be saved" in line]
    assert [("step 4" in line, "step 6" in line) for line in failures] == [(True, False), (False, True)]
    assert all(why in line and "tries again at the next interval" in line for line in failures)
    assert seen == [2], "the earlier checkpoint is intact meanwhile"
    assert_same_end(disk, made.whole, 10)
    assert not [*disk.glob("*.tmp")]


@pytest.mark.parametrize("trouble", ["full", "read-only"])
def test_a_disk_in_trouble_to_the_end_is_an_error_and_the_same_command_goes_on(made, mount, before_saves, trouble):
    disk = mount("size=64m")
    begin, end = {
        "full": (lambda: fill(disk), lambda: (disk / "filler").unlink()),
        "read-only": (lambda: remount(disk, "ro"), lambda: remount(disk, "rw")),
    }[trouble]
    actions = {8: begin}
    before_saves(actions)
    with pytest.raises(RunError, match=r"the last checkpoint, of step 10, could not be saved"):
        run_train(made.top, disk, "--max_steps", 10)
    assert find_latest(str(disk)).step == 6
    end()
    actions.clear()
    assert run_train(made.top, disk, "--max_steps", 10)
    assert_same_end(disk, made.whole, 10)


def test_a_log_directory_that_is_removed_is_made_again(made, tmp_path, before_saves):
    folder = tmp_path / "run"
    before_saves({6: lambda: shutil.rmtree(folder)})
    assert run_train(made.top, folder, "--max_steps", 10)
    assert_same_end(folder, made.whole, 10)
    assert find_latest(str(folder)).step == 10


def test_a_file_where_the_log_directory_was_is_an_error_at_the_end(made, tmp_path, before_saves, capfd):
    folder = tmp_path / "run"

    def replace():
        shutil.rmtree(folder)
        folder.write_text("in the way")

    before_saves({6: replace})
    with pytest.raises(RunError, match="step 10, could not be saved"):
        run_train(made.top, folder, "--max_steps", 10)
    printed = capfd.readouterr().err
    assert printed.count("tries again at the next interval") == 2, "steps 6 and 8; the end is an error of its own"
    assert printed.count("the log in") == 1, "a log that cannot be written is said once"


def test_a_full_disk_while_sampling_is_one_line_and_the_same_command_goes_on(made, mount):
    disk = mount("size=4m")
    (disk / "out").mkdir()
    fill(disk)
    with pytest.raises(InputError, match=r"cannot be written \(No space left on device\): free some space, then run"):
        run_sample(made.top, disk / "out")
    (disk / "filler").unlink()
    assert run_sample(made.top, disk / "out")
    assert digests(disk / "out") == digests(made.filled)
