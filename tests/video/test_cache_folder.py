"""The folder of decoded frames: its size, its limit, and that nothing but our own entries ever goes."""

import os
import time
from pathlib import Path

import pytest
from clips import pictures, write_video

from ramvid_vad.cli import COMMAND_SECTIONS, parse_command
from ramvid_vad.commands.cache import cache as cache_command
from ramvid_vad.errors import InputError
from ramvid_vad.loading import frame_cache
from ramvid_vad.video.cache import FrameCache
from ramvid_vad.video.cache_folder import IN_USE, entries, remove
from ramvid_vad.video.prefetch import prefetch

OTHERS = ("notes.txt", "mine.npy", "a-0123456789.npy", ".hidden")


@pytest.fixture
def folder(tmp_path):
    """Three entries of 1000, 2000 and 3000 bytes, last used 30, 20 and 10 days ago, and what others put there."""
    folder = tmp_path / "cache"
    folder.mkdir()
    for i in (1, 2, 3):
        path = folder / f"{i}.mp4-{str(i) * 40}.npy"
        path.write_bytes(bytes(1000 * i))
        then = time.time() - (40 - 10 * i) * 24 * 3600
        os.utime(path, (then, then))
    for name in OTHERS:
        (folder / name).touch()
    (folder / f"link-{'4' * 40}.npy").symlink_to(folder / "notes.txt")
    return folder


def left(folder):
    return [os.path.basename(entry.path)[0] for entry in entries(str(folder))]


def test_entries_are_listed_the_longest_unused_first(folder):
    assert [(os.path.basename(entry.path)[:5], entry.size) for entry in entries(str(folder))] == [
        ("1.mp4", 1000), ("2.mp4", 2000), ("3.mp4", 3000),
    ]  # fmt: skip
    assert entries(str(folder / "none")) == []


def test_an_entry_that_vanishes_hides_no_other(folder, monkeypatch):
    """Another run removes it between the listing and the look at its size."""
    present = [*os.scandir(folder)]
    (folder / f"2.mp4-{'2' * 40}.npy").unlink()
    monkeypatch.setattr(os, "scandir", lambda path: present)
    assert left(folder) == ["1", "3"]


@pytest.mark.parametrize(
    ("limit", "stay"), [(6000, "123"), (5999, "23"), (5000, "23"), (4999, "3"), (2999, ""), (0, "")]
)
def test_the_longest_unused_go_until_the_rest_fits(folder, limit, stay):
    gone = remove(str(folder), limit)
    assert "".join(left(folder)) == stay and sum(entry.size for entry in gone) == 6000 - sum(
        1000 * int(i) for i in stay
    )
    assert all((folder / name).exists() for name in OTHERS) and len(os.listdir(folder)) == len(stay) + len(OTHERS) + 1


def test_what_is_used_stays(folder):
    (first, *_) = entries(str(folder))
    remove(str(folder), 0, keep={first.path}, unused_for=15 * 24 * 3600)
    assert left(folder) == ["1", "3"]


def test_a_run_that_decodes_makes_room_and_keeps_its_own(folder, tmp_path):
    videos = [str(write_video(tmp_path / f"{i}.mkv", pictures(3))) for i in range(2)]
    cache = FrameCache(str(folder), (24, 40), limit=20_000)  # its own entries alone are more than 17 kB
    os.utime(folder / f"3.mp4-{'3' * 40}.npy")  # used today, perhaps by another run
    prefetch(cache, videos, progress=False)
    assert sorted(os.path.basename(entry.path)[:5] for entry in entries(str(folder))) == ["0.mkv", "1.mkv", "3.mp4"]
    cache.frames(videos[0])
    assert time.time() - entries(str(folder))[0].used < IN_USE


def test_opening_an_entry_is_its_use(tmp_path):
    video = str(write_video(tmp_path / "1.mkv", pictures(3)))
    cache = FrameCache(str(tmp_path / "cache"), (24, 40))
    cache.frames(video)
    os.utime(cache.entry(video), (1, 1))
    FrameCache(cache.cache_dir, (24, 40)).frames(video)
    assert time.time() - entries(cache.cache_dir)[0].used < 3600


def run(*flags):
    cache_command(parse_command("cache", COMMAND_SECTIONS["cache"], [str(flag) for flag in flags]))


def test_the_command_lists_prunes_and_clears(folder, capsys):
    run("--cache_dir", folder)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines[:-1]] == ["1.mp4", "2.mp4", "3.mp4"]
    assert lines[-1] == f"3 entries, 0.000 GB in {folder}"
    run("--cache_dir", folder, "--action", "prune", "--limit", 3e-6)
    assert capsys.readouterr().out.startswith("removed 2 entries, 0.000 GB\n1 entries, ")
    run("--cache_dir", folder, "--action", "clear")
    assert left(folder) == [] and all((folder / name).exists() for name in OTHERS)


def test_a_folder_that_cannot_be_read_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"--cache_dir .*file: cannot be read"):
        run("--cache_dir", tmp_path / "file")


def test_the_option_reaches_the_cache(tmp_path):
    flags = ["--cache_dir", str(tmp_path), "--cache_limit", "2.5"]
    parsed = parse_command("video_train", COMMAND_SECTIONS["video_train"], flags)
    assert frame_cache(parsed.video, parsed.model).limit == 2.5e9
    assert Path(frame_cache(parsed.video, parsed.model).cache_dir) == tmp_path
