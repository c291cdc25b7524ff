"""Samplers: each walks the reverse process from noise to frames. One function each, all with one signature.

    sampler(diffusion, model, clean, anchors, noise, *, clip_denoised, resample_steps, eta, y, callback) -> (B,C,T,H,W)

clean: (B,C,T,H,W) in [-1, 1], read only where ``anchors`` (bool (B,T)) is True.  noise(k): standard normal (B,C,T,H,W)
of draw k = 0 (the start), 1, 2 ...: the caller decides what it depends on.  callback(step, x, x_start): called after
each of the ``num_timesteps`` steps with the state before anchors are pasted in again; progress bars and previews hang
on it. The anchors stand clean in x before every network call, at every noise level, and once more in the result.
"""

from collections.abc import Callable
from itertools import count

import numpy as np
import torch

from ramvid_vad.diffusion.gaussian import GaussianDiffusion, Model, ReverseStep
from ramvid_vad.errors import InputError

Noise = Callable[[int], torch.Tensor]
Callback = Callable[[int, torch.Tensor, torch.Tensor], None]
Move = Callable[[ReverseStep, torch.Tensor, int], torch.Tensor]  # (step, x_t, t) -> x_{t-1}


def sample_ancestral(
    diffusion: GaussianDiffusion,
    model: Model,
    clean: torch.Tensor,
    anchors: torch.Tensor,
    noise: Noise,
    *,
    clip_denoised: bool = True,
    resample_steps: int = 1,
    eta: float = 1.0,
    y: torch.Tensor | None = None,
    callback: Callback | None = None,
) -> torch.Tensor:
    """Ancestral sampling (DDPM, algorithm 2). ``eta`` is not used: the reverse variance is the diffusion's own."""
    draws = count(1)

    def move(step: ReverseStep, x: torch.Tensor, t: int) -> torch.Tensor:
        drawn = noise(next(draws))  # drawn at t = 0 too, so that draw k always belongs to step k
        return step.mean + torch.exp(0.5 * step.log_variance) * drawn if t > 0 else step.mean

    return _walk(diffusion, model, clean, anchors, noise, draws, move, clip_denoised, resample_steps, y, callback)


def sample_ddim(
    diffusion: GaussianDiffusion,
    model: Model,
    clean: torch.Tensor,
    anchors: torch.Tensor,
    noise: Noise,
    *,
    clip_denoised: bool = True,
    resample_steps: int = 1,
    eta: float = 0.0,
    y: torch.Tensor | None = None,
    callback: Callback | None = None,
) -> torch.Tensor:
    """DDIM (Song et al. 2021, arXiv 2010.02502, eq. 12 and 16): eta = 0 adds no noise, eta = 1 as much as ancestral."""
    if not 0 <= eta <= 1:
        raise InputError(f"--eta {eta}: must be 0 to 1")
    draws = count(1)

    def move(step: ReverseStep, x: torch.Tensor, t: int) -> torch.Tensor:
        now, before = diffusion.alpha_bar[t], diffusion.alpha_bar_previous[t]
        sigma = eta * np.sqrt((1 - before) / (1 - now) * (1 - now / before))  # eq. 16
        at = torch.full((len(x),), t, device=x.device)
        epsilon = diffusion.predict_epsilon(x, at, step.x_start)
        x = float(np.sqrt(before)) * step.x_start + float(np.sqrt(1 - before - sigma**2)) * epsilon  # eq. 12
        return x + float(sigma) * noise(next(draws)) if t > 0 and eta > 0 else x

    return _walk(diffusion, model, clean, anchors, noise, draws, move, clip_denoised, resample_steps, y, callback)


SAMPLERS = {"ancestral": sample_ancestral, "ddim": sample_ddim}


@torch.inference_mode()
def _walk(
    diffusion: GaussianDiffusion,
    model: Model,
    clean: torch.Tensor,
    anchors: torch.Tensor,
    noise: Noise,
    draws: "count[int]",
    move: Move,
    clip_denoised: bool,
    resample_steps: int,
    y: torch.Tensor | None,
    callback: Callback | None,
) -> torch.Tensor:
    """The loop all samplers share: paste the anchors, call the network, move; RePaint goes back a step and repeats."""
    given = anchors[:, None, :, None, None]
    x = noise(0)
    for step, t in enumerate(reversed(range(diffusion.num_timesteps))):
        at = torch.full((len(clean),), t, device=clean.device)
        for repeat in range(resample_steps):
            x = torch.where(given, clean, x)
            reverse = diffusion.reverse_step(model, x, at, clip_denoised=clip_denoised, anchors=anchors, y=y)
            x = move(reverse, x, t)
            if repeat < resample_steps - 1:  # RePaint (arXiv 2201.09865), algorithm 1, line 8
                beta = float(diffusion.betas[t])
                x = (1 - beta) ** 0.5 * x + beta**0.5 * noise(next(draws))
        if callback is not None:
            callback(step, x, reverse.x_start)
    return torch.where(given, clean, x)
