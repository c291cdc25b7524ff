"""Windows of videos as training samples, in an order that is a pure function of (seed, position)."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import count

import numpy as np
import torch

from ramvid_vad.errors import InputError
from ramvid_vad.runtime.randomness import stream
from ramvid_vad.video.cache import FrameCache
from ramvid_vad.video.windows import frame_indices


def to_float(frames: np.ndarray | torch.Tensor) -> torch.Tensor:
    """uint8 (..., T, H, W, C) in 0..255 -> float32 (..., C, T, H, W) in [-1, 1], contiguous: x / 127.5 - 1."""
    source = np.moveaxis(np.asarray(frames), -1, -4)
    result = np.empty(source.shape, np.float32)
    np.divide(source, 127.5, out=result, dtype=np.float32)
    result -= 1
    return torch.from_numpy(result)


def to_uint8(frames: torch.Tensor) -> torch.Tensor:
    """Float (..., C, T, H, W) in [-1, 1] -> uint8 (..., T, H, W, C), rounded; values outside are clipped."""
    levels = ((frames.float() + 1) * 127.5).round_().clamp_(0, 255)
    return levels.to(torch.uint8).movedim(-4, -1).contiguous()


def read_window(frames: np.ndarray, start: int, seq_len: int) -> np.ndarray:
    """The window of ``frames`` (n, H, W, C) at ``start``, uint8 (T, H, W, C); padded by repeating the end frames."""
    if 0 <= start <= len(frames) - seq_len:
        return np.asarray(frames[start : start + seq_len])
    return np.asarray(frames[frame_indices(start, seq_len, len(frames))])


class VideoWindows(torch.utils.data.Dataset):
    """Every window of seq_len consecutive frames of every video; each can be drawn.

    paths: videos, as find_videos returns them.  cache: gives their frames (those not cached are decoded here).
    A video of n frames has n - seq_len + 1 windows; a shorter one has one, padded by repeating its last frame.
    to_input: windows (..., T, H, W, C), or maps of another space, as the model sees them, float (..., C, T, H, W).
    A sample is (float32 (C, T, H, W) in [-1, 1], {"video": index into paths, "start": first frame}).
    """

    def __init__(
        self,
        paths: Sequence[str],
        cache: FrameCache,
        seq_len: int,
        to_input: Callable[[np.ndarray], torch.Tensor] = to_float,
    ):
        if seq_len < 1:
            raise InputError(f"seq_len {seq_len}: a window needs at least one frame")
        self.paths, self.cache, self.seq_len, self.to_input = list(paths), cache, seq_len, to_input
        self.lengths = [len(cache.frames(path)) for path in self.paths]
        windows = [max(length - seq_len + 1, 1) for length in self.lengths]
        self._ends = np.cumsum(windows, dtype=np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1]) if self.paths else 0

    def locate(self, index: int) -> tuple[int, int]:
        """(video, start) of a window."""
        if not 0 <= index < len(self):
            raise IndexError(f"window {index} of {len(self)}")
        video = int(np.searchsorted(self._ends, index, side="right"))
        return video, index - int(self._ends[video - 1] if video else 0)

    def window(self, index: int) -> np.ndarray:
        """Frames of a window, uint8 (T, H, W, C)."""
        video, start = self.locate(index)
        return read_window(self.cache.frames(self.paths[video]), start, self.seq_len)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, dict[str, int]]:
        video, start = self.locate(index)
        return self.to_input(self.window(index)), {"video": video, "start": start}


def window_order(num_windows: int, seed: int, epoch: int) -> np.ndarray:
    """The order in which an epoch draws the windows: a permutation, int64 (num_windows,)."""
    return stream(seed, "window order", epoch).permutation(num_windows)


def training_batches(
    dataset: VideoWindows,
    *,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    rank: int = 0,
    world_size: int = 1,
    num_workers: int = 0,
    mirrored: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> Iterator[tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]]:
    """Endless batches (frames (B, C, T, H, W) float32, {"video", "start"} int64 (B,), sample ids int64 (B,)).

    batch_size: windows per rank.  The global batch of step s is the positions s * B * world_size ... of one endless
    sequence, of which each rank takes its slice; position p is window ``window_order(N, seed, p // N)[p % N]`` and p
    is the sample id. So step s gives the same whether or not steps before it were drawn, and ranks together give what
    one process with the global batch would.
    num_workers: threads that prepare the batches ahead (reading and conversion release the interpreter's lock, and
    threads need no copies between processes); 0 prepares each when asked for.
    mirrored: (C, T, H, W) -> the same seen in a mirror, for half of the samples; None: none are.
    Raises InputError when there are fewer windows than one global batch holds.
    """
    num_windows, global_batch = len(dataset), batch_size * world_size
    if num_windows < global_batch:
        raise InputError(
            f"{len(dataset.paths)} videos give {num_windows} windows of {dataset.seq_len} frames, fewer than one batch "
            f"({world_size} ranks x batch_size {batch_size} = {global_batch}); lower batch_size or add video"
        )
    if not 0 <= rank < world_size or start_step < 0 or batch_size < 1:
        raise ValueError(f"rank {rank} of {world_size}, start_step {start_step}, batch_size {batch_size}")
    order = lru_cache(maxsize=2)(lambda epoch: window_order(num_windows, seed, epoch))

    def batch(step: int):
        first = step * global_batch + rank * batch_size
        samples = range(first, first + batch_size)
        windows = [int(order(p // num_windows)[p % num_windows]) for p in samples]
        video, start = np.array([dataset.locate(window) for window in windows]).T
        frames = dataset.to_input(np.stack([dataset.window(window) for window in windows]))
        if mirrored is not None:
            for row, sample in enumerate(samples):
                if stream(seed, "mirror", sample).random() < 0.5:
                    frames[row] = mirrored(frames[row])
        where = {"video": torch.tensor(video), "start": torch.tensor(start)}
        return frames, where, torch.tensor(samples)

    return _ahead(batch, start_step, num_workers) if num_workers else map(batch, count(start_step))


def _ahead(batch, start_step: int, num_workers: int) -> Iterator:
    """batch(start_step), batch(start_step + 1) ... in order, two per thread prepared in advance."""
    pool = ThreadPoolExecutor(num_workers, thread_name_prefix="windows")
    try:
        steps = count(start_step)
        waiting = deque(pool.submit(batch, next(steps)) for _ in range(2 * num_workers))
        while True:
            waiting.append(pool.submit(batch, next(steps)))
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
