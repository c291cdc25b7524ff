"""Windows as training samples: every window can be drawn, in an order that depends on (seed, step, rank) alone."""

import pickle
import subprocess
import sys
import threading
from itertools import islice

import numpy as np
import pytest
import torch
from clips import pictures, write_frames

from ramvid_vad.errors import InputError
from ramvid_vad.video.cache import FrameCache
from ramvid_vad.video.datasets import VideoWindows, read_window, to_float, to_uint8, training_batches, window_order

T, SIZE = 6, (12, 16)
LENGTHS = [9, 4, 6, 7]  # 4, 1 (padded), 1 and 2 windows


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    return [
        str(write_frames(folder / str(i), pictures(n, 18, 24) + np.uint8(i), [f"{j}.png" for j in range(n)]))
        for i, n in enumerate(LENGTHS)
    ]


@pytest.fixture(scope="module")
def dataset(paths, tmp_path_factory):
    return VideoWindows(paths, FrameCache(str(tmp_path_factory.mktemp("cache")), SIZE), T)


def batches(dataset, number, **options):
    settings = {"batch_size": 2, "seed": 5} | options
    return list(islice(training_batches(dataset, **settings), number))


def assert_equal(some, others):
    assert len(some) == len(others)
    for (frames, where, ids), (frames2, where2, ids2) in zip(some, others, strict=True):
        assert torch.equal(frames, frames2) and torch.equal(ids, ids2)
        assert all(torch.equal(where[key], where2[key]) for key in ("video", "start"))


# --- numbers


def test_to_float_and_back():
    levels = np.arange(256, dtype=np.uint8).reshape(1, 1, 256, 1)
    x = to_float(levels)
    assert x.dtype == torch.float32 and x.min() == -1 and x.max() == 1
    assert np.array_equal(x.numpy().ravel(), np.arange(256, dtype=np.float32) / np.float32(127.5) - 1)
    assert np.array_equal(to_uint8(x).numpy(), levels)


def test_to_uint8_rounds_and_clips():
    x = torch.tensor([-7.0, -1.0, 0.0, 0.0052, 0.999, 1.0, 33.0]).reshape(1, 1, 1, 7)
    assert to_uint8(x).flatten().tolist() == [0, 0, 128, 128, 255, 255, 255]
    assert to_uint8(x.bfloat16()).dtype == torch.uint8


@pytest.mark.parametrize("batch", [(), (3,)])
def test_layout(batch):
    frames = np.random.default_rng(0).integers(0, 256, (*batch, 2, 3, 4, 3), dtype=np.uint8)  # (B, T, H, W, C)
    x = to_float(frames)
    assert x.shape == (*batch, 3, 2, 3, 4) and x.is_contiguous()
    assert (
        x[..., 2, 1, 0, 3].flatten().tolist()
        == (frames[..., 1, 0, 3, 2].astype(np.float32) / 127.5 - 1).ravel().tolist()
    )
    assert torch.equal(to_float(torch.from_numpy(frames)), x)
    assert np.array_equal(to_uint8(x).numpy(), frames)


# --- windows


def test_every_window_of_every_video(dataset, paths):
    assert len(dataset) == 4 + 1 + 1 + 2
    assert [dataset.locate(i) for i in range(8)] == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (2, 0), (3, 0), (3, 1)]
    for i in range(8):
        video, start = dataset.locate(i)
        frames = dataset.cache.frames(paths[video])
        expected = [frames[min(start + t, LENGTHS[video] - 1)] for t in range(T)]
        assert np.array_equal(dataset.window(i), np.stack(expected))
        sample, where = dataset[i]
        assert sample.shape == (3, T, *SIZE) and where == {"video": video, "start": start}
        assert torch.equal(sample, to_float(np.stack(expected)))


def test_indices_outside(dataset):
    for index in (-1, 8):
        with pytest.raises(IndexError):
            dataset[index]


def test_windows_over_both_ends():
    frames = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1)
    assert read_window(frames, -2, 5).ravel().tolist() == [0, 0, 0, 1, 2]
    assert read_window(frames, 2, 5).ravel().tolist() == [2, 3, 3, 3, 3]
    assert read_window(frames, 1, 3).ravel().tolist() == [1, 2, 3]


def test_grey_is_float32_too(paths, tmp_path):
    dataset = VideoWindows(paths, FrameCache(str(tmp_path), SIZE, rgb=False), T)
    assert all(dataset[i][0].dtype == torch.float32 and dataset[i][0].shape == (1, T, *SIZE) for i in range(8))
    ((frames, _, _),) = batches(dataset, 1)
    assert frames.dtype == torch.float32 and frames.shape == (2, 1, T, *SIZE)


LOADER = """
import pickle, sys, torch

if __name__ == "__main__":
    with open(sys.argv[1], "rb") as file:
        dataset = pickle.load(file)
    loader = torch.utils.data.DataLoader(dataset, batch_size=8, num_workers=1, multiprocessing_context=sys.argv[2])
    torch.save(list(loader), sys.argv[3])
"""


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_torch_loader_processes(dataset, context, tmp_path):
    # in a process of its own: here, the threads of other tests may hold a lock at the fork, which the child waits for
    (tmp_path / "loader.py").write_text(LOADER)
    (tmp_path / "dataset").write_bytes(pickle.dumps(dataset))
    command = [sys.executable, tmp_path / "loader.py", tmp_path / "dataset", context, tmp_path / "batches"]
    subprocess.run(command, check=True, timeout=120)
    ((frames, where),) = torch.load(tmp_path / "batches", weights_only=True)
    assert torch.equal(frames, torch.stack([dataset[i][0] for i in range(8)]))
    assert where["start"].tolist() == [0, 1, 2, 3, 0, 0, 0, 1]
    assert len(pickle.dumps(dataset)) < 20_000


def test_no_frames_in_a_window(paths, dataset):
    with pytest.raises(InputError, match="seq_len 0"):
        VideoWindows(paths, dataset.cache, 0)


# --- order


def test_order_is_a_permutation_and_a_pure_function():
    first = window_order(1000, 3, 0)
    assert first.dtype == np.int64 and sorted(first) == list(range(1000))
    assert np.array_equal(first, window_order(1000, 3, 0))
    for other in (window_order(1000, 3, 1), window_order(1000, 4, 0), np.arange(1000)):
        assert (first == other).mean() < 0.05


def test_batches_follow_the_order(dataset):
    for step, (frames, where, ids) in enumerate(batches(dataset, 9)):
        positions = [2 * step, 2 * step + 1]
        assert ids.dtype == torch.int64 and ids.tolist() == positions
        windows = [window_order(8, 5, p // 8)[p % 8] for p in positions]
        located = [dataset.locate(window) for window in windows]
        assert list(zip(where["video"].tolist(), where["start"].tolist(), strict=True)) == located
        assert torch.equal(frames, torch.stack([dataset[window][0] for window in windows]))
        assert frames.shape == (2, 3, T, *SIZE) and frames.dtype == torch.float32


def test_an_epoch_draws_every_window_once(dataset):
    """Also when a batch reaches over the end of an epoch: 8 windows in batches of 3."""
    drawn = []
    for _, where, _ in batches(dataset, 8, batch_size=3):
        drawn += zip(where["video"].tolist(), where["start"].tolist(), strict=True)
    everything = sorted(dataset.locate(i) for i in range(8))
    for epoch in range(3):
        assert sorted(drawn[8 * epoch : 8 * epoch + 8]) == everything
    assert drawn[:8] != drawn[8:16]


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("step", [1, 5, 11])
def test_a_resumed_iteration_equals_an_unbroken_one(dataset, step, num_workers):
    unbroken = batches(dataset, step + 3)[step:]
    assert_equal(batches(dataset, 3, start_step=step, num_workers=num_workers), unbroken)


@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_together_are_one_process(dataset, world_size):
    whole = batches(dataset, 5, batch_size=2 * world_size)
    shares = [batches(dataset, 5, rank=rank, world_size=world_size) for rank in range(world_size)]
    joined = [
        (
            torch.cat([share[step][0] for share in shares]),
            {key: torch.cat([share[step][1][key] for share in shares]) for key in ("video", "start")},
            torch.cat([share[step][2] for share in shares]),
        )
        for step in range(5)
    ]
    assert_equal(joined, whole)


@pytest.mark.parametrize("num_workers", [1, 3])
def test_workers_change_nothing_and_go_away(dataset, num_workers):
    def workers():  # other tests' threads may end meanwhile, so only those of this kind count
        return [thread for thread in threading.enumerate() if thread.name.startswith("windows")]

    iterator = training_batches(dataset, batch_size=2, seed=5, num_workers=num_workers)
    assert_equal(list(islice(iterator, 10)), batches(dataset, 10))
    assert workers()
    iterator.close()
    for thread in workers():
        thread.join(timeout=30)
    assert not workers()


def test_an_error_in_a_worker_reaches_the_caller(dataset, monkeypatch):
    iterator = training_batches(dataset, batch_size=2, seed=5, num_workers=2)
    next(iterator)
    monkeypatch.setattr(VideoWindows, "window", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        for _ in range(20):
            next(iterator)


@pytest.mark.parametrize(("batch_size", "world_size"), [(9, 1), (3, 3), (1, 9)])
def test_fewer_windows_than_a_batch_is_an_error_at_once(dataset, batch_size, world_size):
    with pytest.raises(InputError, match=r"8 windows of 6 frames, fewer than one batch") as error:
        training_batches(dataset, batch_size=batch_size, seed=0, world_size=world_size)
    assert f"= {batch_size * world_size}" in str(error.value)


def test_exactly_one_batch_of_windows_will_do(dataset):
    for _, where, ids in batches(dataset, 3, batch_size=4, world_size=2, rank=1):
        assert len(ids) == len(where["video"]) == 4
