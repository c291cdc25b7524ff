"""Full disks, read-only folders and SIGKILL inside a save: earlier generations stay, and the next save works."""

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch

from ramvid_vad.runtime.files import temporary_beside
from ramvid_vad.training.checkpoints import find_latest, load_checkpoint, save_checkpoint, steps_in
from ramvid_vad.training.weights import save_weights


def content(step, size):
    """A run's state at a step: what is loaded must be of one step throughout."""
    weight = torch.full((size,), float(step))
    parameter = torch.nn.Parameter(weight.clone())
    optimizer = torch.optim.AdamW([("w", parameter)])
    optimizer.state[parameter] = {"step": torch.tensor(float(step)), "exp_avg": weight + 1, "exp_avg_sq": weight + 2}
    return {"w": weight}, {"0.9": {"w": weight + 3}}, optimizer


def save(folder, step, size=50_000, keep=2):
    model, ema, optimizer = content(step, size)
    save_checkpoint(str(folder), step, model, ema, optimizer, {"step": step}, {}, keep=keep)


def check(folder):
    """The step of the newest generation, all of whose parts are of that step."""
    latest = find_latest(str(folder), lambda line: None)
    if latest is None:
        return 0
    loaded, step = load_checkpoint(latest, ["0.9"]), latest.step
    assert loaded.model["w"].eq(step).all() and loaded.ema["0.9"]["w"].eq(step + 3).all()
    assert loaded.optimizer["w"]["exp_avg"].eq(step + 1).all() and loaded.optimizer["w"]["step"] == step
    assert loaded.extra == {"step": step}
    return step


def visible(folder):
    return sorted(os.listdir(folder))


def age_temporary(folder):
    """As if what killed saves left had lain there for a while: the youngest may be another process's."""
    for left in folder.glob(".*.tmp"):
        os.utime(left, (1, 1))


def test_full_disk_loses_nothing_and_the_next_save_works(mount):
    folder = mount("size=2200k")  # one generation of 4 x 200 kB and a half, twice
    save(folder, 1)
    save(folder, 2)
    before = visible(folder)
    for size in (50_000, 100_000, 400_000):
        with pytest.raises(OSError, match=r"step 3 could not be saved in .*No space left.*earlier ones stay"):
            save(folder, 3, size=size)
        assert visible(folder) == before and check(folder) == 2
    with pytest.raises(OSError, match="No space left"):
        save_weights(str(folder / "model000002.safetensors"), {"w": torch.ones(600_000)}, {})
    assert visible(folder) == before and check(folder) == 2
    (folder / "model000001.safetensors").unlink()
    (folder / "opt000001.safetensors").unlink()
    save(folder, 3)
    assert check(folder) == 3


def test_read_only_folder_loses_nothing(mount):
    folder = mount("size=4m")
    save(folder, 1)
    before = visible(folder)
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    with pytest.raises(OSError, match=r"step 2 could not be saved in .*Read-only file system"):
        save(folder, 2)
    assert visible(folder) == before and check(folder) == 1
    subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
    save(folder, 2)
    assert check(folder) == 2


def test_removed_folder_is_made_again_and_a_file_in_its_place_is_an_error(tmp_path):
    folder = tmp_path / "run"
    save(folder, 1)
    shutil.rmtree(folder)
    save(folder, 2)
    assert check(folder) == 2
    shutil.rmtree(folder)
    folder.write_text("not a folder")
    with pytest.raises(OSError, match="step 3 could not be saved"):
        save(folder, 3)


@pytest.mark.parametrize("broken", ["fsync", "replace", "open"])
def test_an_error_at_every_call_of_a_save(tmp_path, monkeypatch, broken):
    save(tmp_path, 1, size=10)
    save(tmp_path, 2, size=10)
    before = visible(tmp_path)
    real, failures = getattr(os, broken), 0
    for fatal in range(40):
        calls = 0

        def fail(*args, fatal=fatal, **keywords):
            nonlocal calls
            calls += 1
            if calls == fatal + 1:
                raise OSError(5, "Input/output error")
            return real(*args, **keywords)

        monkeypatch.setattr(os, broken, fail)
        try:
            save(tmp_path, 3, size=10, keep=0)
        except OSError as error:
            assert "could not be saved" in str(error) and "Input/output error" in str(error)
            failures += 1
        else:
            break
        finally:
            monkeypatch.setattr(os, broken, real)
        assert not [name for name in visible(tmp_path) if name.endswith(".tmp")]
        assert check(tmp_path) in (2, 3)
        for name in {*visible(tmp_path)} - {*before}:
            (tmp_path / name).unlink()
    assert failures >= 4, "the calls that fail are the ones a save makes"
    assert check(tmp_path) == 3


def in_child(work):
    """Run work() in a forked process; returns how that ended, negative: by that signal."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return child


def killed_at(fatal, folder, step, calls_to=("fsync", "replace", "open", "remove", "listdir")):
    """Save in a forked process that is killed at the given call of the system; was it killed before the end?"""

    def work():
        calls = 0

        def die_before(real):
            def call(*args, **keywords):
                nonlocal calls
                calls += 1
                if calls == fatal + 1:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*args, **keywords)

            return call

        for name in calls_to:
            setattr(os, name, die_before(getattr(os, name)))
        save(folder, step, size=10, keep=2)

    return os.WIFSIGNALED(os.waitpid(in_child(work), 0)[1])


def test_what_a_library_left_in_a_killed_save_goes_with_the_next_one(tmp_path):
    """safetensors writes to a temporary file of its own, beside the one it is given; that has the size of a model."""
    save(tmp_path, 1, size=10)
    workshop = Path(temporary_beside(str(tmp_path / "any")))
    workshop.mkdir()
    for left in ("0.tmp", ".tmpJSFEer"):
        (workshop / left).write_bytes(bytes(100))
    (tmp_path / ".tmpMine").touch()
    age_temporary(tmp_path)
    save(tmp_path, 2, size=10)
    assert check(tmp_path) == 2 and not workshop.exists() and (tmp_path / ".tmpMine").exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_sigkill_at_every_call_of_a_save(tmp_path):
    save(tmp_path, 1, size=10)
    save(tmp_path, 2, size=10)
    step = 3
    while killed_at(step - 3, tmp_path, step):
        assert check(tmp_path) in (2, *range(3, step + 1))
        valid = [each for each in range(1, step + 1) if is_valid(tmp_path, each)]
        assert len(valid) >= 2, f"killed at call {step - 3}: only {valid} are left"
        step += 1
    assert step > 18 and check(tmp_path) == step
    age_temporary(tmp_path)
    save(tmp_path, step + 1, size=10)
    assert not [name for name in visible(tmp_path) if name.endswith(".tmp")], "what killed saves left is cleared away"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_sigkill_at_every_call_of_the_very_first_save_is_a_fresh_start(tmp_path):
    fatal = 0
    while killed_at(fatal, tmp_path / str(fatal), 7):
        assert check(tmp_path / str(fatal)) in (0, 7)
        fatal += 1
    assert fatal > 12


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_sigkill_while_old_generations_are_deleted_leaves_none_of_their_files_for_ever(tmp_path):
    save(tmp_path, 1, size=10)
    save(tmp_path, 2, size=10)
    step = 3
    while killed_at(step - 3, tmp_path, step, ["remove"]):
        assert check(tmp_path) == step
        step += 1
    save(tmp_path, step + 1, size=10)
    assert step > 6
    assert len(visible(tmp_path)) == 2 * 4, "two generations of four files"


def is_valid(folder, step):
    from ramvid_vad.training.checkpoints import _Invalid, _verified

    try:
        _verified(str(folder), step)
    except _Invalid:
        return False
    return True


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_sigkill_at_random_moments(tmp_path):
    rng, newest = random.Random(0), 0
    for _ in range(10):

        def run(start=newest):
            for step in range(start + 1, start + 1000):
                save(tmp_path, step, size=200_000)

        child, deadline = in_child(run), time.monotonic() + 60
        while max(steps_in(str(tmp_path)), default=-1) <= newest and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.1))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        step = check(tmp_path)
        assert step > newest
        newest = step
    age_temporary(tmp_path)
    save(tmp_path, newest + 1000)
    assert not [name for name in visible(tmp_path) if name.endswith(".tmp")]
