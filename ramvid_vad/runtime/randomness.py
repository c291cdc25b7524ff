"""Random numbers as pure functions of (seed, purpose, indices): nothing depends on what was drawn before.

A resumed run, another batch size or another number of ranks therefore sees the same data order, timesteps, anchors and
noise. Streams are Philox counters seeded by hashing the name of their purpose together with the indices.
"""

import zlib
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch


def stream(seed: int, purpose: str, *index: int) -> np.random.Generator:
    """An independent generator for one purpose at one place.

    seed: the run's seed, any 64-bit integer.  purpose: what the numbers are for, e.g. "noise".
    index: 64-bit integers that name the place (step, sample, frame ...); they may be negative.
    """
    # SeedSequence joins integers of any width and pads with zeros: words of one width, and how many there are, keep
    # (1,) and (1, 0) apart.
    key = np.array([len(index), seed, zlib.crc32(purpose.encode()), *index], dtype=np.int64).view(np.uint32)
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


def standard_normal(shape: tuple[int, ...], seed: int, purpose: str, *index: int) -> torch.Tensor:
    """Standard normal float32 tensor of ``shape`` on the CPU, a pure function of the other arguments."""
    return torch.from_numpy(stream(seed, purpose, *index).standard_normal(shape, dtype=np.float32))


class StepNoise:
    """Noise of one training step after the other: ``standard_normal`` of purpose "noise" at (step, sample).

    stride: by how much the sample ids grow from step to step.  threads: that draw the next step's meanwhile, for a GPU
    would wait for it; 0: each is drawn when it is asked for. What is drawn does not depend on it.
    """

    def __init__(self, seed: int, stride: int, threads: int = 0):
        self._seed, self._stride = seed, stride
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="noise") if threads else None
        self._ahead: dict[tuple[tuple[int, ...], int, int], Future] = {}

    def __call__(self, shape: tuple[int, ...], step: int, samples: list[int]) -> torch.Tensor:
        """(len(samples), *shape)."""
        drawn = [self._ahead.get((shape, step, sample)) for sample in samples]
        noise = torch.stack(
            [
                self._draw(shape, step, sample) if found is None else found.result()
                for sample, found in zip(samples, drawn, strict=True)
            ]
        )
        if self._pool is not None:
            places = [(shape, step + 1, sample + self._stride) for sample in samples]
            self._ahead = {place: self._pool.submit(self._draw, *place) for place in places}
        return noise

    def _draw(self, shape: tuple[int, ...], step: int, sample: int) -> torch.Tensor:
        return standard_normal(shape, self._seed, "noise", step, sample)
