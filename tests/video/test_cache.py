"""The frame cache: right pixels, decoded once, never half an entry, and errors that name the folder."""

import io
import os
import pickle
import resource
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from clips import LENGTH, pictures, write_frames, write_video, write_whole
from PIL import Image, ImageOps

from ramvid_vad.errors import InputError, RunError
from ramvid_vad.video import cache as cache_module
from ramvid_vad.video import prefetch as prefetch_module
from ramvid_vad.video import row_files
from ramvid_vad.video.cache import FrameCache, crop_box, resize_frame
from ramvid_vad.video.prefetch import prefetch

SIZE = (24, 40)


@pytest.fixture
def video(tmp_path):
    return str(write_video(tmp_path / "01.mkv", pictures()))


@pytest.fixture
def cache(tmp_path):
    return FrameCache(str(tmp_path / "cache"), SIZE)


@pytest.fixture
def no_decoding(monkeypatch):
    """From here on, decoding is an error."""

    def forbid():
        def read_frames(path, rgb, tick):
            raise AssertionError(f"{path} is decoded again")

        monkeypatch.setattr(cache_module, "read_frames", read_frames)

    return forbid


def entries(cache) -> list[str]:
    return sorted(os.listdir(cache.cache_dir))


# --- pixels


def test_resize_is_bilinear_with_every_source_pixel_counted():
    """Against torch's antialiased bilinear kernel, an independent implementation, to within rounding."""
    rng = np.random.default_rng(0)
    for height, width, size in [(240, 360, (128, 128)), (77, 53, (31, 40)), (720, 1280, (64, 64)), (30, 40, (64, 64))]:
        frame = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        oracle = torch.nn.functional.interpolate(
            torch.from_numpy(frame).permute(2, 0, 1)[None].float(), size, mode="bilinear", antialias=True
        )[0].permute(1, 2, 0)
        assert np.abs(resize_frame(frame, size) - oracle.numpy()).max() <= (1 if width < 1000 else 3)


def test_enlarging_agrees_with_opencv():
    frame = pictures(1, 20, 30)[0]
    oracle = cv2.resize(frame, (64, 48), interpolation=cv2.INTER_LINEAR)
    assert np.abs(resize_frame(frame, (48, 64)).astype(int) - oracle).max() <= 1


def test_a_thin_object_keeps_its_weight_as_it_moves():
    """The reason for anti-aliasing: with four-pixel sampling a moving line comes and goes."""

    def weights(resize) -> list[float]:
        frames = np.zeros((9, 96, 96, 1), np.uint8)
        for i in range(9):
            frames[i, :, 40 + i] = 240
        return [float(resize(frame).sum()) for frame in frames]

    ours = weights(lambda frame: resize_frame(frame, (24, 24)))
    theirs = weights(lambda frame: cv2.resize(frame, (24, 24), interpolation=cv2.INTER_LINEAR))
    assert max(ours) < 1.1 * min(ours)
    assert min(theirs) == 0


def test_keep_aspect_covers_and_crops_the_centre():
    assert crop_box(240, 360, (128, 128), True) == (60, 0, 300, 240)
    assert crop_box(360, 240, (64, 128), True) == (0, 120, 240, 240)
    assert crop_box(240, 360, (128, 192), True) == (0, 0, 360, 240)
    assert crop_box(240, 360, (128, 128), False) == (0, 0, 360, 240)
    frame = pictures(1, 48, 100)[0]
    oracle = np.asarray(ImageOps.fit(Image.fromarray(frame), (30, 20), Image.Resampling.BILINEAR))
    assert np.abs(resize_frame(frame, (20, 30), keep_aspect=True).astype(int) - oracle).max() <= 1
    assert not np.array_equal(resize_frame(frame, (20, 30)), resize_frame(frame, (20, 30), keep_aspect=True))


@pytest.mark.parametrize("rgb", [True, False])
@pytest.mark.parametrize("keep_aspect", [True, False])
def test_frames_are_the_resized_frames_of_the_video(tmp_path, video, rgb, keep_aspect):
    cache = FrameCache(str(tmp_path / "cache"), SIZE, rgb, keep_aspect)
    frames = cache.frames(video)
    assert frames.shape == (LENGTH, *SIZE, 3 if rgb else 1) and frames.dtype == np.uint8
    assert isinstance(frames, np.memmap) and not frames.flags.writeable
    sources = pictures() if rgb else list(cache_module.read_frames(video, rgb=False))
    for i in (0, 7, LENGTH - 1):
        assert np.array_equal(frames[i], resize_frame(sources[i], SIZE, keep_aspect))


def test_an_entry_is_a_plain_npy_file(cache, video):
    frames = cache.frames(video)
    (name,) = entries(cache)
    assert name.startswith("01.mkv-") and name.endswith(".npy")
    assert np.array_equal(np.load(os.path.join(cache.cache_dir, name)), frames)
    assert os.stat(os.path.join(cache.cache_dir, name)).st_mode & 0o444 == 0o444


# --- decoded once


def test_a_second_look_decodes_nothing(cache, video, no_decoding):
    first = np.array(cache.frames(video))
    no_decoding()
    again = FrameCache(cache.cache_dir, SIZE)
    assert np.array_equal(cache.frames(video), first) and np.array_equal(again.frames(video), first)
    assert prefetch(again, [video], progress=False) == 0


def test_what_changes_the_frames_changes_the_entry(tmp_path, video):
    folder = str(tmp_path / "cache")
    variants = [
        FrameCache(folder, SIZE),
        FrameCache(folder, (24, 41)),
        FrameCache(folder, (40, 24)),
        FrameCache(folder, SIZE, rgb=False),
        FrameCache(folder, SIZE, keep_aspect=True),
    ]
    names = [variant.entry(video) for variant in variants]
    os.utime(video, ns=(1, 1))
    names.append(FrameCache(folder, SIZE).entry(video))
    write_video(tmp_path / "01.mkv", pictures(5))
    os.utime(video, ns=(1, 1))
    names.append(FrameCache(folder, SIZE).entry(video))
    assert len(set(names)) == len(names)
    assert len(FrameCache(folder, SIZE).frames(video)) == 5


def test_a_folder_of_frames_is_known_by_its_pictures(tmp_path, cache):
    folder = write_frames(tmp_path / "01", pictures(3), ["1.png", "2.png", "3.png"])
    assert len(cache.frames(str(folder))) == 3
    write_frames(folder, pictures(4)[3:], ["4.png"])
    renewed = FrameCache(cache.cache_dir, SIZE)
    assert len(renewed.frames(str(folder))) == 4
    Image.new("RGB", (64, 48)).save(folder / "2.png")
    assert not FrameCache(cache.cache_dir, SIZE).frames(str(folder))[1].any()


def test_a_relative_and_an_absolute_path_are_one_video(tmp_path, cache, video, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cache.entry("01.mkv") == cache.entry(video)


def test_a_pickled_cache_finds_its_entries(cache, video, no_decoding):
    frames = np.array(cache.frames(video))
    no_decoding()
    assert np.array_equal(pickle.loads(pickle.dumps(cache)).frames(video), frames)


# --- never half an entry


def test_a_damaged_video_leaves_nothing_behind(tmp_path, cache):
    path = write_whole(tmp_path, "mjpeg.avi")
    path.write_bytes(path.read_bytes()[:-6000])
    with pytest.raises(InputError, match=r"mjpeg\.avi"):
        cache.frames(str(path))
    assert entries(cache) == []


def damages(whole):
    """What may have become of an entry, by name. whole: its bytes, of frames (LENGTH, 24, 40, 3)."""
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 4
    shape = f"({LENGTH}, 24, 40, 3)".encode()
    assert shape in whole
    stored = io.BytesIO()
    np.savez(stored, frames=np.zeros((LENGTH, 24, 40, 3), np.uint8))
    return {
        "cut": whole[:-1],
        "longer": whole + b"\0",
        "empty": b"",
        "magic": b"\x93NUMPY",
        "flipped byte": bytes(flipped),
        "checksum": whole[:-1] + bytes([whole[-1] ^ 1]),
        "transposed": whole.replace(shape, f"({LENGTH}, 40, 24, 3)".encode()),
        "shortened": whole.replace(shape, f"({LENGTH - 1}, 24, 40, 3)".encode()),
        "no frame": whole.replace(shape, b"(0, 24, 40, 3)".ljust(len(shape))),
        "huge": whole.replace(shape, b"(9" + b"9" * (len(shape) - 13) + b", 24, 40, 3)"),
        "columns first": whole.replace(b"False", b"True "),
        "signed": whole.replace(b"|u1", b"|i1"),
        "objects": whole.replace(b"|u1", b"|O "),
        "another archive": stored.getvalue(),
        "text": b"hello",
    }


def test_an_entry_that_is_not_what_was_written_is_made_again(cache, video, capfd):
    expected = np.array(cache.frames(video))
    entry = Path(cache.entry(video))
    whole = entry.read_bytes()
    for name, content in damages(whole).items():
        assert content != whole, name
        entry.write_bytes(content)
        row_files._mapped.cache_clear()
        assert np.array_equal(FrameCache(cache.cache_dir, SIZE).frames(video), expected), name
        said = capfd.readouterr().err
        assert said.count("\n") == 1 and f"WARNING: {entry}: damaged (" in said, name
        assert entry.read_bytes() == whole, name
        entry.write_bytes(content)
        row_files._mapped.cache_clear()
        assert prefetch(FrameCache(cache.cache_dir, SIZE), [video], progress=False) == 1, name
        assert entry.read_bytes() == whole, name
        capfd.readouterr()


def test_the_checksum_is_compared_once_in_a_run(cache, video, monkeypatch):
    cache.frames(video)
    monkeypatch.setattr(row_files.hashlib, "sha256", None)
    copy = pickle.loads(pickle.dumps(cache))
    assert len(cache.frames(video)) == len(copy.frames(video)) == LENGTH


def test_a_disk_that_gives_back_other_bytes_is_an_error(cache, video, monkeypatch):
    real = row_files.replacing

    @contextmanager
    def worn(path, temporary=""):
        with real(path, temporary) as name:
            yield name
            with open(name, "r+b") as file:
                file.seek(1000)
                file.write(b"worn")

    monkeypatch.setattr(row_files, "replacing", worn)
    with pytest.raises(InputError, match=r"cache directory .*: gives back other bytes"):
        cache.frames(video)


def test_processes_that_build_the_same_entry_at_once(cache, video):
    command = "import sys; from ramvid_vad.video.cache import FrameCache; " + (
        "print(int(FrameCache(sys.argv[1], (24, 40)).frames(sys.argv[2]).sum()))"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", command, cache.cache_dir, video], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    sums = {process.communicate()[0] for process in both}
    assert sums == {f"{int(cache.frames(video).sum())}\n"}
    assert entries(cache) == [os.path.basename(cache.entry(video))]


def test_what_comes_before_the_first_frame_gives_signs_of_life(tmp_path, cache):
    """Without one for long enough a decoder counts as hanging, and deep samples are all read before the first frame."""
    film = np.arange(5 * 24 * 32, dtype=np.uint16).reshape(5, 24, 32)
    path, counts = write_video(tmp_path / "deep.mkv", film, "ffv1", "gray16le", source="gray16le"), []
    cache.build(str(path), counts.append)
    assert counts == [0] * 5 + [1, 2, 3, 4, 5]


def test_one_frame_is_held_at_a_time(cache, video, monkeypatch):
    def many_frames(path, rgb, tick):
        for _ in range(200):
            yield np.zeros((600, 800, 3), np.uint8)

    monkeypatch.setattr(cache_module, "read_frames", many_frames)
    tracemalloc.start()
    cache.build(video)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 600 * 800 * 3
    assert len(cache.frames(video)) == 200


# --- a folder that cannot be written


def test_a_cache_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    for place in ("file", "file/below"):
        with pytest.raises(InputError, match=f"cache directory .*{place}: cannot be written"):
            FrameCache(str(tmp_path / place), SIZE)


def test_a_cache_folder_that_vanishes(cache, video):
    os.rmdir(cache.cache_dir)
    with pytest.raises(InputError, match=r"cache directory .*: cannot be written"):
        cache.frames(video)


def test_no_space_left(cache, video):
    """A limit on file size stands for the full disk: writing fails in the same way, in the middle."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LENGTH * 24 * 40 * 3 // 2, hard))
    try:
        with pytest.raises(InputError, match=f"cache directory {cache.cache_dir}: cannot be written"):
            cache.frames(video)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert entries(cache) == []
    assert len(cache.frames(video)) == LENGTH


@pytest.mark.parametrize("size", [(0, 10), (10, -1)])
def test_impossible_sizes(tmp_path, size):
    with pytest.raises(InputError, match="frame size"):
        FrameCache(str(tmp_path), size)


# --- many at once


@pytest.fixture
def videos(tmp_path):
    return [str(write_video(tmp_path / f"{i}.mkv", pictures(5 + i))) for i in range(3)]


@pytest.mark.parametrize("workers", [None, 1, 2])
def test_prefetch(cache, videos, workers, no_decoding):
    assert prefetch(cache, videos, workers=workers, progress=False) == 3
    no_decoding()
    assert [len(cache.frames(path)) for path in videos] == [5, 6, 7]
    assert np.array_equal(cache.frames(videos[2])[6], resize_frame(pictures(7)[6], SIZE))


def test_prefetch_stops_at_a_damaged_video(cache, videos):
    with open(videos[1], "r+b") as file:
        file.truncate(5000)
    with pytest.raises(InputError, match=r"1\.mkv: ") as error:
        prefetch(cache, videos, workers=2, progress=False)
    assert "\n" not in str(error.value)


def test_prefetch_can_note_failures_and_go_on(cache, videos, capfd):
    with open(videos[0], "wb"):
        pass
    failures = {}
    prefetch(cache, videos, workers=1, failures=failures)
    assert list(failures) == [videos[0]] and "0 bytes" in failures[videos[0]]
    assert [len(cache.frames(path)) for path in videos[1:]] == [6, 7]
    assert "3/3" in capfd.readouterr().err  # the bar


@pytest.fixture
def first_worker(monkeypatch):
    """Sends a signal to the first decoding process, and only to it, as soon as it runs."""
    real, started = subprocess.Popen, []

    def send(number: int) -> None:
        def popen(*args, **options):
            process = real(*args, **options)
            started.append(process)
            if len(started) == 1:
                os.kill(process.pid, number)
            return process

        monkeypatch.setattr(prefetch_module.subprocess, "Popen", popen)

    return send


def test_a_worker_that_is_killed_is_reported_as_that(cache, videos, first_worker):
    """Of memory, for example: no video is at fault, so none is left out."""
    first_worker(signal.SIGKILL)
    failures = {}
    with pytest.raises(RunError, match=r"0\.mkv: .*killed \(SIGKILL\).* memory .*fewer --num_workers") as error:
        prefetch(cache, videos, workers=1, progress=False, failures=failures)
    assert str(error.value).startswith(videos[0]) and failures == {}
    assert prefetch(cache, videos, workers=1, progress=False) == 3


def test_a_worker_that_crashes_is_reported_with_its_signal(cache, videos, first_worker):
    first_worker(signal.SIGSEGV)
    with pytest.raises(InputError, match=r"0\.mkv: its decoding process crashed \(SIGSEGV\)"):
        prefetch(cache, videos, workers=1, progress=False)


def test_a_decoder_that_hangs_is_cut_off(cache, videos, first_worker):
    first_worker(signal.SIGSTOP)
    with pytest.raises(InputError, match=r"0\.mkv: its decoder hangs, no new frame in 2 s after frame 0"):
        prefetch(cache, videos[:1], progress=False, timeout=2)
    prefetch(cache, videos, workers=1, progress=False)
    assert [len(cache.frames(path)) for path in videos] == [5, 6, 7]


def test_answers_that_arrive_together(cache, monkeypatch):
    """The last two lines of a worker in one write: neither may be waited for in vain."""
    real = subprocess.Popen
    script = r"input(); print('{\"frames\": 8}\n{\"frames\": 9, \"done\": true}', flush=True); input()"
    monkeypatch.setattr(
        prefetch_module.subprocess, "Popen", lambda command, **options: real([command[0], "-c", script], **options)
    )
    worker = prefetch_module._Worker(cache, timeout=20)
    worker.decode("01.mp4")
    assert worker.frames == 9
    worker.dismiss()


def _quietly(worker, path):
    with pytest.raises(RunError):
        worker.decode(path)


def test_the_temporary_file_of_a_lost_worker_is_removed_and_no_other(cache, videos, monkeypatch):
    """Stopped in the middle of a video; another container's worker may have the same host name and number."""
    pipe = f"{videos[0]}.frames"
    os.mkdir(pipe)
    Image.fromarray(np.zeros((24, 40, 3), np.uint8)).save(f"{pipe}/0.png")
    os.mkfifo(f"{pipe}/1.png")  # nobody writes into it: the worker waits there
    monkeypatch.setattr(cache, "entry", lambda path: os.path.join(cache.cache_dir, "x.npy"))
    worker = prefetch_module._Worker(cache, 60)
    other = Path(cache.temporary())
    other.touch()
    started = threading.Thread(target=lambda: _quietly(worker, pipe))
    started.start()
    while len(entries(cache)) < 2 and started.is_alive():
        time.sleep(0.05)
    assert len(entries(cache)) == 2
    worker.dismiss()
    started.join()
    assert entries(cache) == [other.name]


def test_what_was_abandoned_long_ago_is_removed_and_nothing_else(cache, videos):
    """A kill of everything at once leaves a worker's temporary file; nobody who knows its number is left."""
    folder = Path(cache.cache_dir)
    old, fresh, mine = Path(cache.temporary()), Path(cache.temporary()), folder / ".mine-17-x"
    for path in (old, fresh, mine):
        path.touch()
    for path in (old, mine):
        os.utime(path, (1, 1))
    prefetch(cache, videos[:1], workers=1, progress=False)
    assert not old.exists() and fresh.exists() and mine.exists()


def test_code_in_the_working_directory_is_not_run_by_workers(cache, videos, tmp_path, monkeypatch):
    """A folder of downloaded videos may hold modules with the names of ours, or of anything that is imported."""
    trap = tmp_path / "trap"
    trap.mkdir()
    mark = tmp_path / "mark"
    spring = f"open({str(mark)!r}, 'a').write(__name__)\nraise SystemExit(3)\n"
    for name in ("av", "numpy", "PIL", "json", "signal", "tempfile", "sitecustomize", "ramvid_vad", "encodings"):
        (trap / f"{name}.py").write_text(spring)
    monkeypatch.chdir(trap)
    for first in ("", str(trap)):  # as "python -c" and "python -m" have it
        monkeypatch.setattr(sys, "path", [first, *sys.path])
        monkeypatch.setenv("PYTHONPATH", f"{first}:{os.environ.get('PYTHONPATH', '')}")
        assert prefetch(FrameCache(str(tmp_path / f"cache{len(first)}"), SIZE), videos, workers=1, progress=False) == 3
    assert not mark.exists()


def test_a_worker_dismissed_while_it_starts_does_not_stay(cache, videos, monkeypatch):
    worker, real, started = prefetch_module._Worker(cache, 60), subprocess.Popen, []

    def popen(*args, **options):
        worker.dismiss()
        started.append(real(*args, **options))
        return started[0]

    monkeypatch.setattr(prefetch_module.subprocess, "Popen", popen)
    with pytest.raises(RunError, match=r"0\.mkv"):
        worker.decode(videos[0])
    assert started[0].poll() is not None


def children():
    return Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()


def test_no_process_and_no_thread_is_left(cache, videos):
    before = set(threading.enumerate())
    prefetch(cache, videos, workers=2, progress=False)
    started = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children()]
    assert [command for command in started if b"video.prefetch" in command] == []
    new = {thread.name for thread in set(threading.enumerate()) - before}
    assert new <= {"tqdm_monitor"}  # the first bar of a process starts it, shown or not


@pytest.mark.parametrize("timeout", [1e7, 1e12, float("inf")])
def test_any_patience_is_possible(cache, videos, timeout):
    """The system's own wait ends at 2^31 milliseconds."""
    assert prefetch(cache, videos, workers=1, progress=False, timeout=timeout) == 3


def test_what_a_thread_dies_of_reaches_the_caller(cache, videos, monkeypatch):
    def decode(self, path):
        raise ZeroDivisionError("unforeseen")

    monkeypatch.setattr(prefetch_module._Worker, "decode", decode)
    with pytest.raises(ZeroDivisionError, match="unforeseen"):
        prefetch(cache, videos, workers=2, progress=False, failures={})


@pytest.mark.parametrize("left", [1, 2, 3, 5, 8])
def test_few_file_descriptors_are_one_line(cache, videos, left):
    """In a process of its own; with so many descriptors left it ends by itself, with the one line or with success."""
    code = f"""
import os, resource, sys
from ramvid_vad.errors import InputError, RunError
from ramvid_vad.video.cache import FrameCache
from ramvid_vad.video.prefetch import prefetch
import tqdm
cache = FrameCache(**{cache.settings()!r})
cache.missing({videos!r})
used = max(map(int, os.listdir("/proc/self/fd")))
resource.setrlimit(resource.RLIMIT_NOFILE, (used + {left}, used + {left}))
try:
    prefetch(cache, {videos!r}, workers=2, progress=False)
except (InputError, RunError) as error:
    print(str(error).count("\\n"), error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert (done.stdout.startswith("0 ") and "open files" in done.stdout) or len(cache.missing(videos)) == 0
