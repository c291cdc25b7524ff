"""Pixel AUC and AUPRO against scikit-learn and a threshold-by-threshold implementation."""

import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from ramvid_vad.errors import InputError
from ramvid_vad.evaluation.pixels import PixelCurve, pixel_metrics


def random_case(seed, ties):
    rng = np.random.default_rng(seed)
    videos = []
    for _ in range(3):
        masks = ndimage.binary_opening(rng.random((4, 12, 15)) < 0.45, np.ones((1, 2, 2)))
        maps = rng.normal(size=masks.shape).astype(np.float32) + 1.5 * masks
        videos.append((np.round(maps) if ties else maps, masks))
    return videos


def brute_force_aupro(videos, limit):
    """PRO and FPR at every distinct threshold; area by small trapezoids, cut by interpolation at the limit."""
    regions = []
    for maps, masks in videos:
        for frame_map, mask in zip(maps, masks, strict=True):
            labels, count = ndimage.label(mask, np.ones((3, 3)))
            regions += [frame_map[labels == k] for k in range(1, count + 1)]
    normal = np.concatenate([maps[~masks] for maps, masks in videos])
    everything = np.concatenate([maps.ravel() for maps, _ in videos])
    fpr, pro = [0.0], [0.0]
    for threshold in sorted(set(everything.tolist()), reverse=True):
        fpr.append(float((normal >= threshold).mean()))
        pro.append(float(np.mean([(region >= threshold).mean() for region in regions])))
    area = 0.0
    for x0, x1, y0, y1 in zip(fpr[:-1], fpr[1:], pro[:-1], pro[1:], strict=True):
        end = min(x1, limit)
        if end > x0:
            area += (end - x0) * (y0 + y0 + (y1 - y0) * (end - x0) / (x1 - x0)) / 2
    return area / limit, len(regions)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("limit", [0.3, 0.05, 1.0])
def test_equals_brute_force(seed, ties, limit):
    videos = random_case(seed, ties)
    result = pixel_metrics(videos, limit)
    labels = np.concatenate([masks.ravel() for _, masks in videos])
    scores = np.concatenate([maps.ravel() for maps, _ in videos])
    aupro, regions = brute_force_aupro(videos, limit)
    assert result.pixel_auc == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert result.aupro == pytest.approx(aupro, abs=1e-12)
    assert 0.05 < aupro < 0.99  # the comparison is not one of trivial values
    assert (result.regions, result.pixels, result.anomalous_pixels) == (regions, labels.size, labels.sum())
    assert result.error_bound == 0


def test_perfect_reversed_and_constant_maps():
    mask = np.zeros((2, 6, 6), bool)
    mask[0, 1:3, 1:3] = mask[1, 4:, 4:] = True
    assert pixel_metrics([(mask * 2.0, mask)])[:2] == (1.0, 1.0)
    assert pixel_metrics([(-1.0 * mask, mask)])[:2] == (0.0, 0.0)
    constant = pixel_metrics([(np.zeros(mask.shape), mask)])
    assert constant.pixel_auc == 0.5
    assert constant.aupro == pytest.approx(0.15)  # the diagonal up to 0.3


def test_a_small_region_counts_as_much_as_a_large_one():
    mask = np.zeros((1, 10, 10), bool)
    mask[0, :5, :5] = mask[0, 9, 9] = True
    maps = np.zeros(mask.shape)
    maps[0, :5, :5] = 1  # finds 25 of 26 pixels, but one of two regions; the other lies among the normal pixels
    result = pixel_metrics([(maps, mask)], 1.0)
    assert result.aupro == pytest.approx(0.75)
    assert result.pixel_auc == pytest.approx(25 / 26 + 0.5 / 26)


def test_few_distinct_values_are_kept_and_the_error_is_bounded():
    videos = random_case(1, ties=False)
    exact = pixel_metrics(videos)
    coarse = PixelCurve(max_values=40)
    for maps, masks in videos:
        coarse.add(maps, masks)
    result = coarse.metrics()
    assert 0 < abs(result.pixel_auc - exact.pixel_auc) <= result.error_bound < 0.1


def test_frames_in_pieces_are_the_same_as_at_once(monkeypatch):
    videos = random_case(2, ties=False)
    whole = pixel_metrics(videos)
    monkeypatch.setattr("ramvid_vad.evaluation.pixels._BUFFER", 100)
    assert pixel_metrics((m[i : i + 1], k[i : i + 1]) for m, k in videos for i in range(4)) == pytest.approx(whole)


def test_undefined_and_refused():
    maps, mask = np.zeros((1, 3, 3)), np.zeros((1, 3, 3), bool)
    assert np.isnan(pixel_metrics([(maps, mask)])[:2]).all()
    assert np.isnan(pixel_metrics([(maps, ~mask)])[:2]).all()
    with pytest.raises(InputError, match="not finite"):
        pixel_metrics([(maps * np.nan, mask)])
    with pytest.raises(InputError, match="one shape"):
        pixel_metrics([(maps, mask[:, :2])])
