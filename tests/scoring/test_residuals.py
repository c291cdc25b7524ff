"""The whole-frame measures against closed forms and other libraries."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from ramvid_vad.errors import InputError
from ramvid_vad.scoring.residuals import (
    MEASURES,
    MS_SSIM_BETAS,
    PERFECT,
    ms_ssim_distance,
    ms_ssim_scales,
    ssim_distance,
)


def natural(n=3, height=48, width=56, channels=3, seed=0):
    """Smooth random frames in [0, 1] with edges."""
    rng = np.random.default_rng(seed)
    frames = gaussian_filter(rng.random((n, height, width, channels)), (0, 2, 2, 0))
    frames = (frames - frames.min()) / (frames.max() - frames.min())
    frames[:, 10:25, 12:20] *= 0.3
    return frames.astype(np.float32)


@pytest.fixture(scope="module")
def pair():
    x = natural()
    rng = np.random.default_rng(1)
    return x, np.clip(x + 0.05 * rng.standard_normal(x.shape), 0, 1).astype(np.float32)


def test_closed_forms(pair):
    x, x_hat = (a.astype(np.float64) for a in pair)
    error = x - x_hat
    np.testing.assert_allclose(MEASURES["mse"](*pair), (error**2).mean((1, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(MEASURES["l1"](*pair), np.abs(error).mean((1, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(MEASURES["psnr"](*pair), 10 * np.log10((error**2).mean((1, 2, 3))), rtol=1e-6)


def test_box_is_the_worst_place():
    x = np.zeros((2, 20, 24, 3), np.float32)
    x_hat = x.copy()
    x_hat[0, 6:15, 5:14] = 0.5  # fills one box
    x_hat[1, 9:12, 11:14] = 0.5  # 9 of its 81 pixels
    np.testing.assert_allclose(MEASURES["box"](x, x_hat), [0.25, 0.25 / 9], rtol=1e-6)
    small = np.full((1, 4, 6, 1), 0.5, np.float32)
    assert MEASURES["box"](small, 0 * small)[0] == pytest.approx(0.25)


@pytest.mark.parametrize("name", MEASURES)
def test_every_measure_scores_a_batch_and_knows_perfection(name, pair):
    x, x_hat = pair
    scores = MEASURES[name](x, x_hat)
    assert scores.shape == (3,) and scores.dtype == np.float64
    np.testing.assert_allclose(MEASURES[name](x, x), PERFECT[name], atol=1e-6)
    assert (scores >= PERFECT[name]).all()
    np.testing.assert_allclose(scores[1:2], MEASURES[name](x[1:2], x_hat[1:2]), rtol=1e-6)  # frames are independent


@pytest.mark.parametrize("name", MEASURES)
def test_every_measure_grows_with_the_damage(name):
    x = natural(n=1)
    damage = np.zeros_like(x)
    damage[:, 20:34, 20:34] = np.random.default_rng(5).random((14, 14, 3))
    scores = [MEASURES[name](x, (x + k * (damage - x) * (damage > 0)).astype(np.float32))[0] for k in (0.1, 0.3, 0.9)]
    assert scores[0] < scores[1] < scores[2]


def test_psnr_of_identical_frames_is_capped():
    x = natural(n=1)
    assert MEASURES["psnr"](x, x)[0] == -100.0
    assert MEASURES["psnr"](x, x + np.float32(1e-3))[0] == pytest.approx(-60, abs=1e-2)


def test_ssim_equals_torchmetrics_inside_the_border(pair):
    from torchmetrics.functional.image import structural_similarity_index_measure

    x, x_hat = (torch.from_numpy(a.transpose(0, 3, 1, 2)).double() for a in pair)
    _, full = structural_similarity_index_measure(x_hat, x, reduction="none", data_range=1.0, return_full_image=True)
    np.testing.assert_allclose(ssim_distance(*pair), 1 - full[..., 5:-5, 5:-5].mean((1, 2, 3)).numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("side", "scales"),
    [(11, 1), (21, 1), (22, 2), (43, 2), (44, 3), (87, 3), (88, 4), (128, 4), (175, 4), (176, 5), (256, 5)],
)
def test_ms_ssim_keeps_the_scales_that_hold_its_window(side, scales):
    assert ms_ssim_scales(side) == scales
    assert side // 2 ** (scales - 1) >= 11  # the coarsest scale holds the 11-tap window
    frames = natural(n=1, height=side, width=side + 3, channels=1)
    assert np.isfinite(ms_ssim_distance(frames, 1 - frames)).all()


def test_ms_ssim_equals_torchmetrics_inside_the_border(pair):
    """Its terms scale by scale: contrast of the finer ones, SSIM of the coarsest, all without the mirrored border."""
    from torchmetrics.functional.image import structural_similarity_index_measure as ssim

    x, x_hat = (torch.from_numpy(a.transpose(0, 3, 1, 2)).double() for a in pair)  # 48 x 56: three scales
    weights = np.array(MS_SSIM_BETAS[:3]) / sum(MS_SSIM_BETAS[:3])
    expected = np.ones(len(x))
    for scale, weight in enumerate(weights):
        if scale < 2:
            _, term = ssim(x_hat, x, reduction="none", data_range=1.0, return_contrast_sensitivity=True)
        else:
            _, full = ssim(x_hat, x, reduction="none", data_range=1.0, return_full_image=True)
            term = full[..., 5:-5, 5:-5].mean((1, 2, 3))
        expected *= term.numpy() ** weight
        x, x_hat = (torch.nn.functional.avg_pool2d(a, 2) for a in (x, x_hat))
    np.testing.assert_allclose(ms_ssim_distance(*pair), 1 - expected, atol=2e-6)


def test_ms_ssim_of_opposites_is_the_worst():
    x = natural(n=1)
    assert ms_ssim_distance(x, 1 - x)[0] == 1.0


@pytest.mark.parametrize("name", ["ssim", "ms_ssim", "cw_ssim"])
def test_tiny_frames_are_refused(name):
    frames = np.zeros((1, 6, 40, 1), np.float32)
    with pytest.raises(InputError, match="6x40"):
        MEASURES[name](frames, frames)
