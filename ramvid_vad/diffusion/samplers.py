"""Samplers: each walks the reverse process from noise to clean entries. One function each, all with one signature.

    sampler(diffusion, model, clean, anchors, noise, *, clip_denoised, start_level, y, callback, ...) -> (B,C,T,H,W)

clean: (B,C,T,H,W).  anchors: bool (B,T) or over (B,C,T,H,W), True = given; elsewhere ``clean`` is not read, unless
start_level is given.  noise(k): standard normal (B,C,T,H,W) of draw k = 0 (the start), 1, 2 ...: the caller decides
what it depends on.  start_level: None begins at pure noise; a noise level sigma = sqrt((1 - alpha_bar) / alpha_bar)
begins at the *true* entries noised to the nearest timestep (Meng et al. 2021, arXiv 2108.01073).  callback(step, x,
x_start): called after each timestep with the state before the anchors are pasted in again; progress bars and previews
hang on it. The anchors stand clean in x before every network call, at every noise level, and once more in the result.
"""

from collections.abc import Callable
from itertools import count

import numpy as np
import torch

from ramvid_vad.diffusion.anchors import over_entries
from ramvid_vad.diffusion.gaussian import GaussianDiffusion, Model
from ramvid_vad.errors import InputError

Noise = Callable[[int], torch.Tensor]
Callback = Callable[[int, torch.Tensor, torch.Tensor], None]


@torch.inference_mode()
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
    start_level: float | None = None,
    y: torch.Tensor | None = None,
    callback: Callback | None = None,
) -> torch.Tensor:
    """Ancestral sampling (DDPM, algorithm 2). ``eta`` is not used: the reverse variance is the diffusion's own."""
    given, draws = over_entries(anchors), count(1)
    x, first = _start(diffusion, clean, noise, start_level)
    for step, t in enumerate(range(first, -1, -1)):
        at = torch.full((len(x),), t, device=x.device)
        for repeat in range(resample_steps):
            x = torch.where(given, clean, x)
            reverse = diffusion.reverse_step(model, x, at, clip_denoised=clip_denoised, anchors=anchors, y=y)
            drawn = noise(next(draws))  # drawn at t = 0 too, so that draw k always belongs to step k
            x = reverse.mean + torch.exp(0.5 * reverse.log_variance) * drawn if t > 0 else reverse.mean
            if repeat < resample_steps - 1:
                x = _one_step_back(diffusion, x, t, noise(next(draws)))
        if callback is not None:
            callback(step, x, reverse.x_start)
    return torch.where(given, clean, x)


@torch.inference_mode()
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
    start_level: float | None = None,
    y: torch.Tensor | None = None,
    callback: Callback | None = None,
) -> torch.Tensor:
    """DDIM (Song et al. 2021, arXiv 2010.02502, eq. 12 and 16): eta = 0 adds no noise, eta = 1 as much as ancestral."""
    if not 0 <= eta <= 1:
        raise InputError(f"--eta {eta}: must be 0 to 1")
    given, draws = over_entries(anchors), count(1)
    x, first = _start(diffusion, clean, noise, start_level)
    for step, t in enumerate(range(first, -1, -1)):
        at = torch.full((len(x),), t, device=x.device)
        now, before = diffusion.alpha_bar[t], diffusion.alpha_bar_previous[t]
        sigma = eta * np.sqrt((1 - before) / (1 - now) * (1 - now / before))  # eq. 16
        for repeat in range(resample_steps):
            x = torch.where(given, clean, x)
            x_start = diffusion.reverse_step(model, x, at, clip_denoised=clip_denoised, anchors=anchors, y=y).x_start
            epsilon = diffusion.predict_epsilon(x, at, x_start)
            x = float(np.sqrt(before)) * x_start + float(np.sqrt(1 - before - sigma**2)) * epsilon  # eq. 12
            if t > 0 and eta > 0:
                x = x + float(sigma) * noise(next(draws))
            if repeat < resample_steps - 1:
                x = _one_step_back(diffusion, x, t, noise(next(draws)))
        if callback is not None:
            callback(step, x, x_start)
    return torch.where(given, clean, x)


@torch.inference_mode()
def sample_dpmpp_2m(
    diffusion: GaussianDiffusion,
    model: Model,
    clean: torch.Tensor,
    anchors: torch.Tensor,
    noise: Noise,
    *,
    clip_denoised: bool = True,
    resample_steps: int = 1,
    eta: float = 0.0,
    start_level: float | None = None,
    y: torch.Tensor | None = None,
    callback: Callback | None = None,
) -> torch.Tensor:
    """DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095, algorithm 2): second order at one call per timestep.

    It is at its best on timesteps of even log-SNR (``--timestep_respacing logsnr10``). The first and the last step are
    of first order. ``eta`` is not used: no noise is added.
    """
    _no_resampling(resample_steps, "dpmpp_2m")
    given = over_entries(anchors)
    x, first = _start(diffusion, clean, noise, start_level)
    alpha, sigma = np.sqrt(diffusion.alpha_bar), np.sqrt(1 - diffusion.alpha_bar)
    log_snr = np.log(alpha / sigma)  # lambda of the paper: half the logarithm of the signal-to-noise ratio
    earlier, last_h = None, 0.0
    for step, t in enumerate(range(first, -1, -1)):
        x = torch.where(given, clean, x)
        at = torch.full((len(x),), t, device=x.device)
        x_start = diffusion.reverse_step(model, x, at, clip_denoised=clip_denoised, anchors=anchors, y=y).x_start
        if t == 0:
            x = x_start  # the step to sigma = 0: e^-h is 0
        else:
            h = float(log_snr[t - 1] - log_snr[t])
            toward = x_start
            if earlier is not None:
                toward = x_start + (x_start - earlier) * (h / last_h / 2)  # 1 / (2 r) with r = last_h / h
            x = float(sigma[t - 1] / sigma[t]) * x - float(alpha[t - 1]) * float(np.expm1(-h)) * toward
            earlier, last_h = x_start, h
        if callback is not None:
            callback(step, x, x_start)
    return torch.where(given, clean, x)


@torch.inference_mode()
def sample_heun(
    diffusion: GaussianDiffusion,
    model: Model,
    clean: torch.Tensor,
    anchors: torch.Tensor,
    noise: Noise,
    *,
    clip_denoised: bool = True,
    resample_steps: int = 1,
    eta: float = 0.0,
    start_level: float | None = None,
    y: torch.Tensor | None = None,
    callback: Callback | None = None,
) -> torch.Tensor:
    """Heun's second-order steps of dx/dsigma = (x - x_0) / sigma (Karras et al. 2022, arXiv 2206.00364, algorithm 1).

    x stands for x_t / sqrt(alpha_bar_t). Two calls per timestep, but one for the last. ``eta`` is not used.
    """
    _no_resampling(resample_steps, "heun")
    given = over_entries(anchors)
    scaled, first = _start(diffusion, clean, noise, start_level)
    alpha, sigma = np.sqrt(diffusion.alpha_bar), diffusion.sigma
    x = scaled / float(alpha[first])

    def clean_at(x: torch.Tensor, t: int) -> torch.Tensor:
        x_t = torch.where(given, clean, float(alpha[t]) * x)
        at = torch.full((len(x),), t, device=x.device)
        return diffusion.reverse_step(model, x_t, at, clip_denoised=clip_denoised, anchors=anchors, y=y).x_start

    for step, t in enumerate(range(first, -1, -1)):
        x_start = clean_at(x, t)
        slope = (x - x_start) / float(sigma[t])
        if t == 0:
            x = x_start  # Euler's step to sigma = 0
        else:
            width = float(sigma[t - 1] - sigma[t])
            there = x + width * slope
            slope_there = (there - clean_at(there, t - 1)) / float(sigma[t - 1])
            x = x + width * (slope + slope_there) / 2
        if callback is not None:
            callback(step, float(alpha[t - 1]) * x if t else x, x_start)
    return torch.where(given, clean, x)


@torch.inference_mode()
def denoise_once(
    diffusion: GaussianDiffusion,
    model: Model,
    clean: torch.Tensor,
    anchors: torch.Tensor,
    noise: Noise,
    *,
    clip_denoised: bool = True,
    resample_steps: int = 1,
    eta: float = 0.0,
    start_level: float | None = None,
    y: torch.Tensor | None = None,
    callback: Callback | None = None,
) -> torch.Tensor:
    """One call at the starting level: the expected clean entries, given the anchors and the noised rest."""
    _no_resampling(resample_steps, "once")
    given = over_entries(anchors)
    x, first = _start(diffusion, clean, noise, start_level)
    at = torch.full((len(x),), first, device=x.device)
    x = torch.where(given, clean, x)
    x_start = diffusion.reverse_step(model, x, at, clip_denoised=clip_denoised, anchors=anchors, y=y).x_start
    if callback is not None:
        callback(0, x_start, x_start)
    return torch.where(given, clean, x_start)


SAMPLERS = {
    "ancestral": sample_ancestral,
    "ddim": sample_ddim,
    "dpmpp_2m": sample_dpmpp_2m,
    "heun": sample_heun,
    "once": denoise_once,
}


def _start(
    diffusion: GaussianDiffusion, clean: torch.Tensor, noise: Noise, level: float | None
) -> tuple[torch.Tensor, int]:
    """x_t and t to begin with."""
    if level is None:
        return noise(0), diffusion.num_timesteps - 1
    first = diffusion.nearest_timestep(level)
    return diffusion.q_sample(clean, torch.full((len(clean),), first, device=clean.device), noise(0)), first


def _one_step_back(diffusion: GaussianDiffusion, x: torch.Tensor, t: int, drawn: torch.Tensor) -> torch.Tensor:
    """RePaint (arXiv 2201.09865), algorithm 1, line 8: from x_{t-1} to x_t again."""
    beta = float(diffusion.betas[t])
    return (1 - beta) ** 0.5 * x + beta**0.5 * drawn


def _no_resampling(resample_steps: int, sampler: str) -> None:
    if resample_steps != 1:
        raise InputError(f"--resample_steps {resample_steps}: RePaint needs --sampler ancestral or ddim, not {sampler}")
