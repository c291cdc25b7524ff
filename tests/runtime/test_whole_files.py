"""Files that are whole or absent, temporary names that nobody shares, and what killed processes left behind."""

import hashlib
import os
import platform
import signal
import subprocess
import sys
import time

import pytest

from ramvid_vad.runtime import files as files_module
from ramvid_vad.runtime.files import (
    ABANDONED,
    clear_abandoned,
    replacing,
    replacing_together,
    sha256_of,
    temporary_beside,
    write_text,
)


def names(folder):
    return sorted(os.listdir(folder))


def age(path, seconds):
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_a_file_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "a.txt"
    write_text(str(path), "one\n")
    assert path.read_bytes() == b"one\n" and names(tmp_path) == ["a.txt"]
    for error in (OSError, KeyboardInterrupt):
        with pytest.raises(error), replacing(str(path)) as temporary, open(temporary, "w") as file:
            file.write("tw")
            raise error
        assert path.read_bytes() == b"one\n" and names(tmp_path) == ["a.txt"]


def test_a_name_of_255_bytes_can_be_written(tmp_path):
    """The temporary name must not be longer than the file's own, which may be as long as can be."""
    name = "ä" * 125 + ".json"
    write_text(str(tmp_path / name), "{}")
    assert names(tmp_path) == [name]


def test_the_mode_follows_the_umask_whatever_a_library_does(tmp_path):
    def private(path):
        """As safetensors writes."""
        os.remove(path)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))

    before = os.umask(0o027)
    try:
        with replacing(str(tmp_path / "a")) as temporary:
            private(temporary)
        with replacing_together(str(tmp_path / "folder")) as place:
            write_text(os.path.join(place, "b"), "b")
            private(os.path.join(place, "b"))
    finally:
        os.umask(before)
    assert [os.stat(tmp_path / name).st_mode & 0o777 for name in ("a", "folder/b")] == [0o640] * 2


@pytest.mark.parametrize("there", (False, True))
def test_a_failure_leaves_no_new_folder(tmp_path, there):
    folder = tmp_path / "folder"
    if there:
        folder.mkdir()
    with pytest.raises(ZeroDivisionError), replacing_together(str(folder)) as place:
        write_text(os.path.join(place, "a"), "a")
        raise ZeroDivisionError
    assert folder.exists() == there and list(tmp_path.rglob("*")) == [folder] * there


def test_temporary_names_differ_where_process_numbers_do_not(monkeypatch):
    """Two containers on one shared folder: process 7 in both, and with the host's network the same host name."""
    monkeypatch.setattr(os, "getpid", lambda: 7)
    assert len({temporary_beside("folder/a") for _ in range(1000)}) == 1000


def test_two_that_write_into_one_folder_do_not_meet(tmp_path):
    with replacing_together(str(tmp_path)) as first:
        write_text(os.path.join(first, "a"), "first")
        age(first, 2 * ABANDONED)  # even then: it is locked
        with replacing_together(str(tmp_path)) as second:
            write_text(os.path.join(second, "b"), "second")
        assert names(tmp_path) == sorted([os.path.basename(first), "b"])
    assert names(tmp_path) == ["a", "b"]


def test_files_come_into_place_together_and_the_last_one_last(tmp_path, monkeypatch):
    def write(folder, text):
        with replacing_together(str(folder), last="a") as made:
            os.mkdir(os.path.join(made, "sub"))
            for name in ("a", "b", "sub/c"):
                write_text(os.path.join(made, name), text)

    def content():
        return {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}

    write(tmp_path / "new" / "folder", "1")
    assert (tmp_path / "new" / "folder" / "sub" / "c").read_text() == "1"
    write(tmp_path, "1")
    (tmp_path / "sub" / "mine").write_text("mine")
    before = content()
    monkeypatch.setattr(files_module, "sync", lambda path: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write(tmp_path, "2")
    assert content() == before
    monkeypatch.undo()
    moved = []
    real = os.replace
    monkeypatch.setattr(os, "replace", lambda old, new: (moved.append(new), real(old, new)))
    write(tmp_path, "2")
    assert os.path.relpath(moved[-1], tmp_path) == "a"
    assert content() == {
        name: "2" if name[-1] in "abc" and "new" not in name else text for name, text in before.items()
    }


LEAVE = """
import os, signal, sys
from ramvid_vad.runtime.files import replacing, replacing_together
with replacing_together(sys.argv[1]), replacing(os.path.join(sys.argv[1], "x")):
    print(flush=True)
    if sys.argv[2] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    input()
"""


def process(folder, what):
    path = [path for path in sys.path if path]
    started = subprocess.Popen(
        [sys.executable, "-I", "-c", f"import sys; sys.path[:] = {path!r}\n{LEAVE}", str(folder), what],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    started.stdout.readline()
    return started


def test_what_the_killed_left_goes_and_what_the_living_write_stays(tmp_path):
    killed = process(tmp_path, "die")
    assert killed.wait() == -signal.SIGKILL
    left = names(tmp_path)
    living = process(tmp_path, "live")
    mine = [".notes.tmp", ".host-1.tmp", f".{platform.node()}-12-0123456.tmp", "a-1-01234567.tmp", "b.tmp"]
    for name in mine:
        (tmp_path / name).touch()
    written = sorted({*names(tmp_path)} - {*left} - {*mine})
    assert len(left) == len(written) == 2
    clear_abandoned(str(tmp_path))
    assert names(tmp_path) == sorted([*left, *written, *mine]), "the youngest may not be locked yet"
    for name in names(tmp_path):
        age(tmp_path / name, 2 * files_module.GRACE)
    clear_abandoned(str(tmp_path))
    assert names(tmp_path) == sorted([*written, *mine])
    living.communicate(b"\n")
    assert names(tmp_path) == sorted(["x", *mine])


def test_another_machines_files_go_by_their_age(tmp_path):
    old, young = tmp_path / ".elsewhere-3-01234567.tmp", tmp_path / ".elsewhere-3-89abcdef.tmp"
    for path, seconds in ((old, ABANDONED + 60), (young, ABANDONED - 60)):
        path.mkdir()
        (path / "0.tmp").touch()
        age(path, seconds)
    (tmp_path / ".elsewhere-3-00000000.tmp").symlink_to(tmp_path)
    clear_abandoned(str(tmp_path))
    assert names(tmp_path) == sorted([young.name, ".elsewhere-3-00000000.tmp"])


def test_where_there_are_no_locks_age_decides(tmp_path, monkeypatch):
    def no_locks(handle, how):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(files_module.fcntl, "flock", no_locks)
    write_text(str(tmp_path / "a"), "a")
    for seconds, stays in ((ABANDONED - 60, True), (ABANDONED + 60, False)):
        left = temporary_beside(str(tmp_path / "b"))
        open(left, "w").close()
        age(left, seconds)
        clear_abandoned(str(tmp_path))
        assert os.path.exists(left) is stays


def test_sha256_of_files_end_to_end(tmp_path):
    (tmp_path / "a").write_bytes(b"a" * (1 << 20) + b"b")
    (tmp_path / "b").write_bytes(b"c")
    expected = hashlib.sha256(b"a" * (1 << 20) + b"bc").hexdigest()
    assert sha256_of([str(tmp_path / "a"), str(tmp_path / "b")]) == expected
