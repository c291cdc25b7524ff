"""Numbers that change while training runs: the learning rate, the timesteps, the fp16 loss scale."""

import math
from typing import Any

import numpy as np
import torch

from ramvid_vad.options import TrainOptions
from ramvid_vad.runtime.randomness import stream


def learning_rate(step: int, options: TrainOptions, share: float = 0.0) -> float:
    """Learning rate of the step after ``step`` completed ones; 0 once a linear decay has ended.

    share: of --max_minutes that are over, 0 to 1: the rate falls along half a cosine, lr * (1 + cos(pi share)) / 2.

    linear: lr * (1 - step / lr_anneal_steps).  step: lr * drop^(step // steps_drop).  time_based: lr / (1 + decay *
    step). As in improved-diffusion, lr_anneal_steps > 0 alone means linear.
    """
    lr = options.lr * (1 + math.cos(math.pi * min(share, 1.0))) / 2
    if options.lr_warmup and step < options.lr_warmup:
        lr *= (step + 1) / options.lr_warmup
    if options.anneal_type == "linear" or (options.anneal_type in ("", "None") and options.lr_anneal_steps):
        return lr * max(0.0, 1 - step / options.lr_anneal_steps)
    if options.anneal_type == "step":
        return lr * options.drop ** (step // options.steps_drop)
    if options.anneal_type == "time_based":
        return lr / (1 + options.decay * step)
    return lr


class UniformTimesteps:
    """Every timestep equally often."""

    learns = False  # from the losses of all ranks, step by step

    def __init__(self, num_timesteps: int, seed: int):
        self.num_timesteps, self.seed = num_timesteps, seed

    def draw(self, step: int, samples: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Timesteps int64 (B,) and loss weights (B,) of the samples; a pure function of (seed, step, sample)."""
        t = [int(stream(self.seed, "timestep", step, sample).integers(self.num_timesteps)) for sample in samples]
        return torch.tensor(t), torch.ones(len(t))

    def state(self) -> Any:
        """What a checkpoint must keep, JSON."""
        return None

    def load_state(self, state: Any) -> None:
        """The inverse of ``state``."""


class SecondMomentTimesteps(UniformTimesteps):
    """Importance sampling by the loss's second moment (IDDPM, arXiv 2102.09672, eq. 18): history of 10 losses each."""

    learns = True
    HISTORY, UNIFORM_SHARE = 10, 0.001

    def __init__(self, num_timesteps: int, seed: int):
        super().__init__(num_timesteps, seed)
        self.history: list[list[float]] = [[] for _ in range(num_timesteps)]

    def draw(self, step: int, samples: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Timesteps and the weights 1 / (T p_t) that keep the expected loss unchanged."""
        if any(len(losses) < self.HISTORY for losses in self.history):
            return super().draw(step, samples)
        p = np.sqrt(np.mean(np.square(self.history), axis=1))
        p = p / p.sum() * (1 - self.UNIFORM_SHARE) + self.UNIFORM_SHARE / self.num_timesteps
        t = [int(stream(self.seed, "timestep", step, sample).choice(self.num_timesteps, p=p)) for sample in samples]
        return torch.tensor(t), torch.from_numpy(1 / (self.num_timesteps * p[t])).float()

    def update(self, timestep: int, loss: float) -> None:
        """One sample's loss, on whatever rank."""
        self.history[timestep] = [*self.history[timestep], loss][-self.HISTORY :]

    def state(self) -> Any:
        return self.history

    def load_state(self, state: Any) -> None:
        self.history = state


TIMESTEP_SAMPLERS = {"uniform": UniformTimesteps, "loss-second-moment": SecondMomentTimesteps}


class LossScale:
    """Loss scale of fp16 as a power of two: one less after a bad step, a little more after each good one.

    growth: what a good step adds to the exponent; 0 keeps the scale at 1 (fp32, bf16). The exponent stays in
    [-8, 24], so that it can recover.
    """

    def __init__(self, growth: float):
        self.growth = growth
        self.exponent = 20.0 if growth else 0.0

    @property
    def value(self) -> float:
        """The factor on the loss."""
        return 2.0**self.exponent

    def update(self, finite: bool) -> None:
        """After each step: did all gradients come out finite?"""
        if self.growth:
            self.exponent = min(max(self.exponent + (self.growth if finite else -1.0), -8.0), 24.0)


def global_norm(gradients: list[torch.Tensor]) -> torch.Tensor:
    """L2 norm of all gradients, float32 (); inf or nan where a gradient is, nan where there is none."""
    if not gradients:
        return torch.tensor(math.nan)
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients, 2, dtype=torch.float32)))
