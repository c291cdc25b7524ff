"""Karras' frame around a denoising network, and the noise it is trained with (arXiv 2206.00364, table 1)."""

import math
from collections.abc import Callable

import numpy as np
import torch

RHO = 7.0  # bends the levels of sampling towards the small ones
REACH = 5.0  # standard deviations of log sigma between the mean and either end of the range
WIDEST = -math.log(torch.finfo(torch.float32).eps)  # |log sigma|: beyond it the noise or the vector is rounded off

Network = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def scalings(sigma: torch.Tensor, sigma_data: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """c_skip, c_out, c_in, c_noise of noise levels sigma, each of sigma's shape."""
    both = sigma**2 + sigma_data**2
    return sigma_data**2 / both, sigma * sigma_data / both.sqrt(), 1 / both.sqrt(), sigma.log() / 4


def denoise(network: Network, x: torch.Tensor, sigma: torch.Tensor, sigma_data: float) -> torch.Tensor:
    """D(x; sigma) = c_skip x + c_out F(c_in x; c_noise) (eq. 3 of the method's paper). x (B, D), sigma (B,)."""
    c_skip, c_out, c_in, c_noise = scalings(sigma, sigma_data)
    return c_skip[:, None] * x + c_out[:, None] * network(c_in[:, None] * x, c_noise)


def denoising_loss(
    network: Network, clean: torch.Tensor, sigma: torch.Tensor, noise: torch.Tensor, sigma_data: float
) -> torch.Tensor:
    """Mean squared error of the network against its target, (clean - c_skip x) / c_out with x = clean + sigma noise.

    Equal to |D(x) - clean|^2 with the paper's weight (sigma^2 + sigma_data^2) / (sigma sigma_data)^2 = 1 / c_out^2.
    """
    x = clean + sigma[:, None] * noise
    c_skip, c_out, c_in, c_noise = scalings(sigma, sigma_data)
    target = (clean - c_skip[:, None] * x) / c_out[:, None]
    return (network(c_in[:, None] * x, c_noise) - target).square().mean()


def noise_range(p_mean: float, p_std: float) -> tuple[float, float]:
    """(sigma_min, sigma_max) = exp(P_mean -+ 5 P_std): the paper's rule, two parameters for four."""
    return math.exp(p_mean - REACH * p_std), math.exp(p_mean + REACH * p_std)


def drawn_levels(count: int, p_mean: float, p_std: float, rng: np.random.Generator) -> torch.Tensor:
    """Noise levels of training, float32 (count,): log sigma is normal with P_mean and P_std."""
    return torch.from_numpy(np.exp(p_mean + p_std * rng.standard_normal(count)).astype(np.float32))


def karras_levels(count: int, sigma_min: float, sigma_max: float) -> np.ndarray:
    """Noise levels of sampling, float64 (count + 1,): from sigma_max down to sigma_min with RHO, then 0 (eq. 5)."""
    ramp = np.linspace(0, 1, count)
    low, high = sigma_min ** (1 / RHO), sigma_max ** (1 / RHO)
    return np.append((high + ramp * (low - high)) ** RHO, 0.0)
