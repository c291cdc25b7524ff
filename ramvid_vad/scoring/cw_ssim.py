"""CW-SSIM: similarity of local phase in a complex steerable pyramid (Sampat et al., IEEE TIP 18(11), 2009).

The pyramid is that of Portilla and Simoncelli (IJCV 40(1), 2000), written in the frequency domain: a band is the
inverse transform of the image's spectrum times one mask, sampled as coarsely as its radius allows. No privileged
centre: positions, orientations and scales are averaged with equal weight.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import torch

from ramvid_vad.errors import InputError

ORIENTATIONS = 8
MAX_SCALES = 4
WINDOW = 7  # side of the sliding window, in samples of the band
K = 0.01  # the paper's constant, for frames in [0, 1]: quiets windows that hold only sensor noise


class Scale(NamedTuple):
    """One scale: the frequencies kept (rows, columns of the spectrum) and its masks (ORIENTATIONS, h, w), float32."""

    rows: torch.Tensor
    columns: torch.Tensor
    masks: torch.Tensor


def _low(r: np.ndarray) -> np.ndarray:
    """L(r) / 2: 1 below pi/4, a raised cosine in log frequency, 0 from pi/2 on."""
    return np.cos(math.pi / 2 * np.clip(np.log2(np.maximum(r, 1e-12) * 4 / math.pi), 0, 1))


def _high(r: np.ndarray) -> np.ndarray:
    """H(r): the complement of L, (L/2)^2 + H^2 = 1."""
    return np.sqrt(np.clip(1 - _low(r) ** 2, 0, None))


@lru_cache(maxsize=4)
def pyramid(height: int, width: int) -> tuple[Scale, ...]:
    """Masks of every scale whose band still holds a window, at most MAX_SCALES, the finest first.

    They tile the spectrum: with the high and the low residual, the squares of all masks at w and -w sum to 1.
    """
    fy, fx = np.fft.fftfreq(height)[:, None] * 2 * math.pi, np.fft.fftfreq(width)[None] * 2 * math.pi
    r, theta = np.hypot(fx, fy), np.arctan2(fy, fx)
    alpha = 2 ** (ORIENTATIONS - 1) * math.factorial(ORIENTATIONS - 1)
    alpha /= math.sqrt(ORIENTATIONS * math.factorial(2 * (ORIENTATIONS - 1)))
    angular = []
    for k in range(ORIENTATIONS):
        cosine = np.cos(theta - math.pi * k / ORIENTATIONS)
        angular.append(alpha * np.where(cosine > 0, cosine, 0) ** (ORIENTATIONS - 1))  # one half plane: analytic
    scales, passed = [], _low(r / 2)
    for s in range(MAX_SCALES):
        h, w = math.ceil(height / 2**s), math.ceil(width / 2**s)
        if min(h, w) < WINDOW:
            break
        rows, columns = (np.rint(np.fft.fftfreq(m) * m).astype(int) % n for m, n in ((h, height), (w, width)))
        radial = passed * _high(r * 2**s)
        masks = np.stack([(radial * g)[np.ix_(rows, columns)] for g in angular]) * (h * w / (height * width))
        scales.append(
            Scale(torch.from_numpy(rows)[:, None], torch.from_numpy(columns), torch.from_numpy(masks).float())
        )
        passed = passed * _low(r * 2**s)
    return tuple(scales)


def bands(spectra: torch.Tensor, scale: Scale) -> torch.Tensor:
    """Complex sub-bands (n, ORIENTATIONS, h, w) of one scale, from the spectra (n, H, W) of the images."""
    return torch.fft.ifft2(spectra[:, scale.rows, scale.columns][:, None] * scale.masks)


def _window_sums(maps: np.ndarray) -> np.ndarray:
    """Sums (k, h - 6, w - 6) over every WINDOW x WINDOW patch of float32 (k, h, w)."""
    inside = slice(WINDOW // 2, -(WINDOW // 2))
    return np.stack([cv2.boxFilter(m, -1, (WINDOW, WINDOW), normalize=False)[inside, inside] for m in maps])


def cw_ssim(x: np.ndarray, x_hat: np.ndarray) -> np.ndarray:
    """CW-SSIM index in [0, 1] of each pair of frames (n, H, W, C) in [0, 1] -> float64 (n,); 1 = same structure.

    S = (2 |sum_i c_i d_i*| + K) / (sum_i |c_i|^2 + sum_i |d_i|^2 + K) over each window of each band of the channel
    means (eq. 5 of the paper); averaged over positions and orientations, then over scales.
    """
    if min(x.shape[1:3]) < WINDOW:
        raise InputError(f"CW-SSIM needs frames of at least {WINDOW} pixels a side, not {x.shape[1]}x{x.shape[2]}")
    pairs = zip(*(np.asarray(frames).mean(axis=3, dtype=np.float32) for frames in (x, x_hat)), strict=True)
    return np.array([_cw_ssim(torch.from_numpy(np.stack(pair))) for pair in pairs], dtype=np.float64)


def _cw_ssim(pair: torch.Tensor) -> float:
    """The index of two grey frames (2, H, W)."""
    spectra = torch.fft.fft2(pair)
    scales = pyramid(*pair.shape[1:])
    total = 0.0
    for scale in scales:
        c, d = bands(spectra, scale).numpy()
        product = c * d.conj()
        real, imaginary = _window_sums(product.real.copy()), _window_sums(product.imag.copy())
        energy = _window_sums(c.real**2 + c.imag**2 + d.real**2 + d.imag**2)
        total += ((2 * np.sqrt(real**2 + imaginary**2) + K) / (energy + K)).mean(dtype=np.float64)
    return min(total / len(scales), 1.0)
