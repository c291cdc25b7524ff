"""The linear multistep sampler of k-diffusion, over levels that may begin anywhere (a partial start)."""

from collections.abc import Callable

import numpy as np
import torch

ORDER = 4
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(ORDER)  # exact for the cubics that four slopes make


def sample_lms(
    denoised: Callable[[torch.Tensor, float], torch.Tensor], x: torch.Tensor, levels: np.ndarray
) -> torch.Tensor:
    """From x at noise level levels[0] down to levels[-1] (0: clean): one call of ``denoised(x, sigma)`` for each step.

    The slope dx/dsigma = (x - D(x)) / sigma is taken as the polynomial through the last ORDER of them (Adams and
    Bashforth), as far as there are so many.
    """
    slopes: list[torch.Tensor] = []
    for step, sigma in enumerate(levels[:-1]):
        slopes = [(x - denoised(x, float(sigma))) / float(sigma), *slopes[: ORDER - 1]]
        weights = step_weights(levels[step - len(slopes) + 1 : step + 1][::-1], levels[step], levels[step + 1])
        for weight, slope in zip(weights, slopes, strict=True):
            x = x + float(weight) * slope
    return x


def step_weights(known: np.ndarray, start: float, end: float) -> np.ndarray:
    """Integrals from ``start`` to ``end`` of the Lagrange polynomials over the levels ``known`` (k <= ORDER,)."""
    half, middle = (end - start) / 2, (end + start) / 2
    at = middle + half * _NODES
    polynomials = [
        np.prod([(at - other) / (own - other) for other in np.delete(known, j)], axis=0) * np.ones_like(at)
        for j, own in enumerate(known)
    ]
    return half * np.array([polynomial @ _WEIGHTS for polynomial in polynomials])
