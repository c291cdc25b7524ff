"""CW-SSIM: the pyramid against closed forms, the index against its definition and its invariances."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.ndimage import shift as translate

from ramvid_vad.scoring.cw_ssim import ORIENTATIONS, bands, cw_ssim, pyramid
from ramvid_vad.scoring.residuals import ssim_distance

ALPHA = 2**7 * math.factorial(7) / math.sqrt(8 * math.factorial(14))


def scene(seed=0, side=96):
    rng = np.random.default_rng(seed)
    image = gaussian_filter(rng.random((side, side)), 1.5)
    image = (image - image.min()) / (image.max() - image.min())
    image[30:60, 40:55] = 0.9
    return image


def batch(image):
    return image[None, :, :, None].astype(np.float32)


@pytest.mark.parametrize("size", [(64, 64), (48, 80), (45, 51)])
def test_the_masks_tile_the_spectrum(size):
    """Squares of all bands at w and -w, of the high and of the low residual, sum to one at every frequency."""
    h, w = size
    fy, fx = np.fft.fftfreq(h)[:, None] * 2 * np.pi, np.fft.fftfreq(w)[None] * 2 * np.pi
    r = np.maximum(np.hypot(fx, fy), 1e-12)

    def low(radius):
        return np.cos(np.pi / 2 * np.clip(np.log2(4 * radius / np.pi), 0, 1))

    scales = pyramid(h, w)
    total = 1 - low(r / 2) ** 2  # the high residual
    residual = low(r / 2)
    for s, scale in enumerate(scales):
        full = np.zeros((ORIENTATIONS, h, w))
        full[:, scale.rows.numpy(), scale.columns.numpy()] = scale.masks.numpy() * (
            h * w / math.prod(scale.masks.shape[1:])
        )
        mirrored = np.roll(full[:, ::-1, ::-1], (1, 1), (1, 2))
        total += (full**2 + mirrored**2).sum(0)
        residual = residual * low(r * 2**s)
    total += residual**2
    inside = (np.abs(fy) < np.pi - 1e-9) & (np.abs(fx) < np.pi - 1e-9)  # at Nyquist w and -w are one frequency
    inside[0, 0] = False  # no orientation
    np.testing.assert_allclose(total[inside], 1, atol=1e-5)


def test_a_wave_has_constant_magnitude_in_its_bands():
    """cos(pi/2 x): the one-sided bands of scale 0 hold 1/2 alpha cos^7(pi k / 8) everywhere; the phase moves with x."""
    x = np.cos(np.pi / 2 * np.arange(64))[None].repeat(64, 0)
    c = bands(torch.fft.fft2(torch.from_numpy(x[None]).float()), pyramid(64, 64)[0])[0].numpy()
    for k in range(ORIENTATIONS):
        expected = 0.5 * ALPHA * max(math.cos(math.pi * k / 8), 0) ** 7
        other_half = 0.5 * ALPHA * max(-math.cos(math.pi * k / 8), 0) ** 7
        np.testing.assert_allclose(np.abs(c[k]), expected + other_half, atol=1e-5)
    np.testing.assert_allclose(np.angle(c[0, 5, 1:] / c[0, 5, :-1]), np.pi / 2, atol=1e-4)


def test_the_index_equals_its_definition():
    x, y = scene(0, 40), scene(1, 40)
    per_scale = []
    for scale in pyramid(40, 40):
        c, d = (bands(torch.fft.fft2(torch.from_numpy(a[None]).float()), scale)[0].numpy() for a in (x, y))
        local = []
        for k in range(ORIENTATIONS):
            for i in range(c.shape[1] - 6):
                for j in range(c.shape[2] - 6):
                    p, q = c[k, i : i + 7, j : j + 7], d[k, i : i + 7, j : j + 7]
                    energy = (np.abs(p) ** 2).sum() + (np.abs(q) ** 2).sum()
                    local.append((2 * abs((p * q.conj()).sum()) + 0.01) / (energy + 0.01))
        per_scale.append(np.mean(local))
    assert len(per_scale) == 3  # 40, 20, 10 samples a side hold a 7 x 7 window; 5 do not
    assert cw_ssim(batch(x), batch(y))[0] == pytest.approx(np.mean(per_scale), abs=1e-5)


def test_identity_symmetry_range_and_brightness():
    x, y = batch(scene(0)), batch(scene(1))
    assert cw_ssim(x, x)[0] == pytest.approx(1, abs=1e-6)
    assert cw_ssim(x, y)[0] == pytest.approx(cw_ssim(y, x)[0], abs=1e-7)
    assert 0 <= cw_ssim(x, y)[0] < 0.9
    assert cw_ssim(x, x * 0.5 + 0.3)[0] > cw_ssim(x, x * 0.3)[0] > cw_ssim(x, 1 - y)[0]
    assert cw_ssim(x, x + np.float32(0.1))[0] == pytest.approx(1, abs=1e-5)  # the mean grey is in no band


@pytest.mark.parametrize("offset", [(0, 1), (1, 1), (0.5, -0.7)])
def test_a_small_translation_hardly_matters_while_ssim_drops(offset):
    x = scene()
    x, moved = batch(x), batch(np.clip(translate(x, offset, mode="reflect"), 0, 1))
    loss, ssim_loss = 1 - cw_ssim(x, moved)[0], ssim_distance(x, moved)[0]
    assert loss < 0.05
    assert ssim_loss > 4 * loss


def test_noise_of_equal_energy_costs_more_than_translation():
    x = scene()
    moved = translate(x, (0, 1), mode="reflect")
    noise = np.random.default_rng(0).standard_normal(x.shape)
    noise *= np.sqrt(((moved - x) ** 2).mean() / (noise**2).mean())
    assert cw_ssim(batch(x), batch(x + noise))[0] < cw_ssim(batch(x), batch(moved))[0]


def test_no_frames_no_scores():
    assert cw_ssim(np.zeros((0, 32, 32, 3)), np.zeros((0, 32, 32, 3))).shape == (0,)


def test_colour_enters_as_the_mean_of_the_channels():
    rng = np.random.default_rng(0)
    x, y = rng.random((2, 1, 32, 32, 3))
    grey = cw_ssim(x.mean(3, keepdims=True), y.mean(3, keepdims=True))
    np.testing.assert_allclose(cw_ssim(x, y), grey, atol=1e-6)
