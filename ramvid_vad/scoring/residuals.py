"""Whole-frame measures between real and reconstructed frames. All grow with the difference.

Each takes x, x_hat float (n, H, W, C) in [0, 1] and returns float64 (n,).
"""

from collections.abc import Callable

import numpy as np
from scipy.ndimage import uniform_filter

from ramvid_vad.errors import InputError
from ramvid_vad.scoring.blobs import wmse_scores
from ramvid_vad.scoring.cw_ssim import cw_ssim

PSNR_CAP = 100.0  # dB; PSNR of identical frames, and of any pair whose MSE is below 1e-10
BOX = 9  # pixels; about one small person at 128 x 128
SSIM_WINDOW = 11  # taps of the Gaussian window, sigma 1.5 (Wang et al., 2004)
MS_SSIM_BETAS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al., 2003, table 1

Measure = Callable[[np.ndarray, np.ndarray], np.ndarray]


def mse(x: np.ndarray, x_hat: np.ndarray) -> np.ndarray:
    """Mean squared error over pixels and channels."""
    return np.square(x - x_hat, dtype=np.float64).mean(axis=(1, 2, 3))


def l1(x: np.ndarray, x_hat: np.ndarray) -> np.ndarray:
    """Mean absolute error over pixels and channels."""
    return np.abs(x - x_hat, dtype=np.float64).mean(axis=(1, 2, 3))


def negative_psnr(x: np.ndarray, x_hat: np.ndarray) -> np.ndarray:
    """-PSNR in dB, 10 log10(MSE), never below -PSNR_CAP (identical frames would give minus infinity)."""
    return 10 * np.log10(np.maximum(mse(x, x_hat), 10 ** (-PSNR_CAP / 10)))


def box_map(x: np.ndarray, x_hat: np.ndarray) -> np.ndarray:
    """Mean squared error of the box of BOX x BOX pixels around each pixel, float64 (n, H, W); borders are mirrored."""
    box = tuple(min(BOX, side) for side in x.shape[1:3])
    error = np.square(x - x_hat, dtype=np.float64).mean(axis=3)
    return uniform_filter(error, (0, *box), mode="mirror")


def box_mse(x: np.ndarray, x_hat: np.ndarray) -> np.ndarray:
    """The highest value of :func:`box_map`."""
    return box_map(x, x_hat).max(axis=(1, 2))


def ssim_distance(x: np.ndarray, x_hat: np.ndarray) -> np.ndarray:
    """1 - SSIM (scikit-image) with the published window: 11-tap Gaussian of sigma 1.5, no border, channels averaged."""
    _check_side(x)
    return 1 - np.array([_ssim(a, b) for a, b in zip(x, x_hat, strict=True)], dtype=np.float64)


def ms_ssim_scales(side: int) -> int:
    """Number of MS-SSIM scales for frames whose shorter side is ``side`` pixels: 5 from 176 pixels on (as published).

    Smaller frames drop the coarsest scales until the 11-tap window fits: 4 from 88, 3 from 44, 2 from 22, 1 from 11.
    The weights of the scales kept are divided by their sum.
    """
    return sum(side >= least for least in (11, 22, 44, 88, 176))


def ms_ssim_distance(x: np.ndarray, x_hat: np.ndarray) -> np.ndarray:
    """1 - MS-SSIM over :func:`ms_ssim_scales` scales, each half the size of the one before (means of 2 x 2 pixels).

    Product over scales of (contrast and structure) ** beta, at the coarsest scale with luminance; negative terms are 0.
    """
    _check_side(x)
    betas = np.array(MS_SSIM_BETAS[: ms_ssim_scales(min(x.shape[1:3]))])
    index = np.ones(len(x))
    for scale, beta in enumerate(betas / betas.sum()):
        last = scale == len(betas) - 1
        terms = [_ssim(a, b, luminance=last) for a, b in zip(x, x_hat, strict=True)]
        index *= np.maximum(terms, 0) ** beta
        if not last:
            x, x_hat = _halved(x), _halved(x_hat)
    return 1 - index


def cw_ssim_distance(x: np.ndarray, x_hat: np.ndarray) -> np.ndarray:
    """1 - CW-SSIM."""
    return 1 - cw_ssim(x, x_hat)


MEASURES: dict[str, Measure] = {
    "wmse": wmse_scores,
    "mse": mse,
    "l1": l1,
    "box": box_mse,
    "psnr": negative_psnr,
    "ssim": ssim_distance,
    "ms_ssim": ms_ssim_distance,
    "cw_ssim": cw_ssim_distance,
}
PERFECT = {name: -PSNR_CAP if name == "psnr" else 0.0 for name in MEASURES}  # the score of identical frames


def _ssim(x: np.ndarray, x_hat: np.ndarray, luminance: bool = True) -> float:
    """Mean SSIM of one pair of frames (H, W, C); luminance=False: its contrast and structure terms alone."""
    from skimage.metrics import structural_similarity

    return structural_similarity(
        x,
        x_hat,
        data_range=1.0,
        channel_axis=2,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        K1=0.01 if luminance else 1e6,  # so large a constant makes the luminance term 1
    )


def _halved(frames: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels of (n, H, W, C); an odd last row or column is left out."""
    n, height, width, channels = frames.shape
    even = frames[:, : height // 2 * 2, : width // 2 * 2]
    return even.reshape(n, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))


def _check_side(x: np.ndarray) -> None:
    if min(x.shape[1:3]) < SSIM_WINDOW:
        raise InputError(f"SSIM needs frames of at least {SSIM_WINDOW} pixels a side, not {x.shape[1]}x{x.shape[2]}")
