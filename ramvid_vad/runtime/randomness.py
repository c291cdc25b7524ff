"""Random numbers as pure functions of (seed, purpose, indices): nothing depends on what was drawn before.

A resumed run, another batch size or another number of ranks therefore sees the same data order, timesteps, anchors and
noise. Streams are Philox counters seeded by hashing the name of their purpose together with the indices.
"""

import zlib

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
