"""The file of a video's reconstructions: what numpy would write, read row by row; nothing damaged passes."""

import gc
import json
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ramvid_vad.errors import InputError
from ramvid_vad.reconstructions import (
    load_reconstruction,
    write_reconstruction,
)
from ramvid_vad.runtime.files import temporary_beside
from ramvid_vad.video import row_files
from ramvid_vad.video.rows import Rows, on_disk
from ramvid_vad.video.truth.masks import load_masks, save_masks
from ramvid_vad.video.windows import covering_starts, masked_rows, times_masked
from ramvid_vad.window_files import part_file, read_part, remove_leftovers, write_part

ANCHORS = np.isin(np.arange(12), [0, 1, 10, 11])
SETTINGS = {"image_size": [6, 5], "rgb": False, "keep_aspect": False, "seed": 3}


def made(num_frames=40, stride=12):
    """(starts, window, index, frame, frames): the frames of a row say which row it is."""
    starts = covering_starts(num_frames, 12, stride, ANCHORS)
    window, index, frame = masked_rows(num_frames, starts, ANCHORS)
    frames = np.random.default_rng(0).integers(0, 256, (len(frame), 6, 5, 1), dtype=np.uint8)
    return starts, window, index, frame, frames


def write(path, num_frames=40):
    starts, window, index, frame, frames = made(num_frames)
    windows = (frames[window == number] for number in range(len(starts)))
    write_reconstruction(str(path), windows, starts, ANCHORS, num_frames, SETTINGS)
    return starts, window, index, frame, frames


def test_the_file_holds_what_numpy_would_have_written(tmp_path, monkeypatch):
    monkeypatch.setattr("ramvid_vad.reconstructions.WINDOWS_AT_ONCE", 3)
    starts, window, index, frame, frames = write(tmp_path / "ours.npz")
    assert len(starts) > 3 and starts != sorted(starts)
    arrays = {"reconstructions": frames}
    arrays |= {"frame": frame.astype(np.int32), "window": window.astype(np.int32), "index": index.astype(np.int32)}
    arrays |= {"starts": np.array(starts, np.int32), "anchors": ANCHORS}
    arrays |= {"times_masked": times_masked(40, starts, ANCHORS).astype(np.int32), "num_frames": np.array(40)}
    arrays |= {"settings": np.array(json.dumps(SETTINGS, sort_keys=True))}
    np.savez_compressed(tmp_path / "numpy.npz", **arrays)
    with zipfile.ZipFile(tmp_path / "ours.npz") as ours, zipfile.ZipFile(tmp_path / "numpy.npz") as theirs:
        assert ours.namelist() == theirs.namelist()
        for name in theirs.namelist():
            assert ours.read(name) == theirs.read(name), name


def test_threads_read_whole_files_beside_each_other(tmp_path):
    """Python 3.11 refuses a header now and then if two threads parse at once; often, where objects are collected."""
    path, masks, rows = str(tmp_path / "01.npz"), str(tmp_path / "masks.npz"), str(tmp_path / "rows.npy")
    write(path)
    save_masks(masks, [np.ones((4, 5), bool)] * 3)
    np.save(rows, np.zeros((3, 4)))

    def read(number):
        assert len(load_reconstruction(path).frames) and load_masks(masks).all()
        assert row_files._mapped.__wrapped__(rows).shape == (3, 4)

    seldom, switch = gc.get_threshold(), sys.getswitchinterval()
    gc.callbacks.append(work := lambda phase, info: sum(range(20)))
    gc.set_threshold(5)
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(read, range(200)))
    finally:
        gc.callbacks.remove(work)
        gc.set_threshold(*seldom)
        sys.setswitchinterval(switch)


@pytest.mark.parametrize("compressed", [False, True])  # True: as version 0.1 wrote it
def test_rows_are_read_where_they_lie(tmp_path, compressed):
    path = tmp_path / "01.npz"
    starts, window, index, frame, frames = write(path)
    if compressed:
        with np.load(path) as file:
            np.savez_compressed(path, **dict(file))
    loaded = load_reconstruction(str(path))
    assert isinstance(loaded.frames, Rows) and loaded.frames.shape == frames.shape and len(loaded.frames) == len(frame)
    np.testing.assert_array_equal(loaded.frames[:], frames)
    np.testing.assert_array_equal(loaded.frames[7], frames[7])
    for rows in (slice(3, 9), slice(0, 0), slice(30, 10**6), np.array([5, 6, 7, 2, 2, 9]), np.array([], int)):
        np.testing.assert_array_equal(loaded.frames[rows], frames[rows])
    with pytest.raises(IndexError):
        loaded.frames[np.array([0, len(frame)])]
    for name, expected in (("frame", frame), ("window", window), ("index", index), ("starts", starts)):
        np.testing.assert_array_equal(getattr(loaded, name), expected)
    assert (loaded.num_frames, loaded.settings) == (40, SETTINGS)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("at", [0.02, 0.5, 0.9])
def test_a_changed_byte_among_the_frames_is_noticed(tmp_path, compressed, at):
    path = tmp_path / "01.npz"
    write(path, num_frames=300)
    if compressed:
        with np.load(path) as file:
            np.savez_compressed(path, **dict(file))
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo("reconstructions.npy")
    content[member.header_offset + 250 + int(at * (member.compress_size - 250))] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(InputError, match="not a reconstruction"):
        load_reconstruction(str(path))


def test_a_header_that_promises_more_than_the_file_holds_is_refused(tmp_path):
    path = tmp_path / "01.npz"
    write(path)
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **arrays | {"reconstructions": arrays["reconstructions"].astype(np.int16)})
    with pytest.raises(InputError, match="int16"):
        load_reconstruction(str(path))
    write(path)
    content = path.read_bytes().replace(b"6, 5, 1), }", b"6, 9, 1), }")
    path.write_bytes(content)
    with pytest.raises(InputError, match="not a reconstruction"):
        load_reconstruction(str(path))


def test_frames_of_the_cache_are_read_from_their_file(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (9, 4, 3, 1), dtype=np.uint8)
    np.save(tmp_path / "a.npy", frames)
    with open(tmp_path / "a.npy", "ab") as file:  # a checksum, say
        file.write(b"more")
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    rows = on_disk(mapped)
    assert isinstance(rows, Rows)
    np.testing.assert_array_equal(rows[np.array([8, 0, 1])], frames[[8, 0, 1]])
    part = mapped[3:]  # a part of a map says nothing of where it begins
    assert on_disk(part) is part and on_disk(frames) is frames


def test_a_damaged_window_is_removed_and_named(tmp_path):
    path = part_file(str(tmp_path), "scene/01", 7)
    write_part(path, np.zeros((8, 6, 5, 1), np.uint8))
    assert read_part(path, 8).shape == (8, 6, 5, 1)
    with pytest.raises(InputError, match=r"window000007\.npz: damaged .* run the same command again"):
        read_part(path, 9)
    write_part(path, np.zeros((8, 6, 5, 1), np.uint8))
    with open(path, "r+b") as file:
        file.truncate(40)
    with pytest.raises(InputError, match=r"damaged"):
        read_part(path, 8)
    with pytest.raises(InputError, match=r"damaged"):  # it is gone, and the next run makes it
        read_part(path, 8)


def test_only_our_own_files_are_removed(tmp_path):
    ours = [part_file(str(tmp_path), "parts/01", 0), part_file(str(tmp_path), "02", 123)]
    for path in ours:
        write_part(path, np.zeros((1, 6, 5, 1), np.uint8))
    theirs = [
        "01.npz",
        "parts/01.npz",
        "parts/window000000.npz",
        ".parts/02/notes.txt",
        "01.npz.old.tmp",
        "x.npz.1.tmp",
    ]
    left = [temporary_beside(name) for name in ("01.npz", "parts/01.npz", ".parts/parts/01/window000001.npz")]
    for name in theirs + left:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("kept")
    remove_leftovers(str(tmp_path), ["01", "parts/01", "02"])
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == set(theirs)
    assert not (tmp_path / ".parts/parts").exists()
