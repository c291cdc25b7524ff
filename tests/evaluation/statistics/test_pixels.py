"""Pixel AUC and AUPRO against scikit-learn and a threshold-by-threshold implementation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from ramvid_vad.errors import InputError
from ramvid_vad.evaluation.statistics.pixels import PixelCurve


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


def pixel_metrics(videos, fpr_limit=0.3):
    curve = PixelCurve()
    for maps, masks in videos:
        curve.add(maps, masks)
    return curve.metrics(fpr_limit)


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


def test_joined_values_bound_their_error():
    videos = random_case(1, ties=False)
    exact = pixel_metrics(videos)
    coarse = PixelCurve(exact_cells=40, dropped_bits=21)
    for maps, masks in videos:
        coarse.add(maps, masks)
    result = coarse.metrics()
    assert 0 < abs(result.pixel_auc - exact.pixel_auc) <= result.error_bound < 0.1
    assert abs(result.aupro - exact.aupro) < 0.1


@pytest.mark.parametrize("exact_cells", [1 << 21, 40])
def test_frames_in_pieces_are_the_same_as_at_once(monkeypatch, exact_cells):
    videos = random_case(2, ties=False)
    whole = PixelCurve(exact_cells, dropped_bits=18)
    for maps, masks in videos:
        whole.add(maps, masks)
    monkeypatch.setattr("ramvid_vad.evaluation.statistics.pixels._BUFFER", 100)
    merged = PixelCurve(exact_cells, dropped_bits=18)
    for maps, masks in videos:
        part = PixelCurve(exact_cells, dropped_bits=18)
        for i in range(4):
            part.add(maps[i : i + 1], masks[i : i + 1])
        merged.merge(part)
    assert merged.metrics() == pytest.approx(whole.metrics())
    assert (whole.metrics().error_bound > 0) == (exact_cells == 40)


def test_a_coarse_curve_takes_an_exact_one_and_the_other_way_round():
    (first, second, _), expected = random_case(3, ties=False), pixel_metrics(random_case(3, ties=False)[:2])
    for order in ((first, second), (second, first)):
        merged, exact = PixelCurve(exact_cells=1), PixelCurve()
        merged.add(*order[0])
        exact.add(*order[1])
        merged.merge(exact)
        assert merged.metrics().pixel_auc == pytest.approx(expected.pixel_auc, abs=1e-4)
        exact.merge(merged)
        assert exact.metrics().pixels == expected.pixels + order[1][0].size


@settings(max_examples=40)
@given(
    size=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    more=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    seed=st.integers(0, 2**16),
)
def test_a_coarse_map_is_that_map_enlarged_to_the_mask(size, more, seed):
    """Each pixel centre, in units of the map's cells, says which cell it takes."""
    rng = np.random.default_rng(seed)
    target = size[0] + more[0], size[1] + more[1]
    maps, masks = rng.integers(0, 4, (2, *size)).astype(float), rng.random((2, *target)) < 0.4
    rows = [int((y + 0.5) * size[0] / target[0] + 1e-9) for y in range(target[0])]
    columns = [int((x + 0.5) * size[1] / target[1] + 1e-9) for x in range(target[1])]
    enlarged = maps[:, rows][:, :, columns]
    coarse, fine = pixel_metrics([(maps, masks)]), pixel_metrics([(enlarged, masks)])
    np.testing.assert_allclose(coarse[:2], fine[:2], atol=1e-12)
    assert coarse[2:] == fine[2:]


def test_what_the_crop_does_not_show_has_the_lowest_score():
    """A square map of a frame twice as wide as high shows its middle half."""
    mask = np.zeros((1, 4, 8), bool)
    mask[0, 1:3, 3:5] = True
    maps = np.full((1, 4, 4), -1.0)
    maps[0, 1:3, 1:3] = 1
    curve = PixelCurve()
    curve.add(maps, mask, keep_aspect=True)
    assert curve.metrics()[:4] == (1.0, 1.0, 32, 4)
    hidden = np.zeros((1, 4, 8), bool)
    hidden[0, :, 0] = True  # never seen, so never found
    curve = PixelCurve()
    curve.add(maps, hidden, keep_aspect=True)
    # 4 anomalous pixels tie with the 12 normal ones that are not shown either, the 16 shown are above them
    assert curve.metrics().pixel_auc == pytest.approx(4 * (12 / 2) / (4 * 28))


def test_undefined_and_refused():
    maps, mask = np.zeros((1, 3, 3)), np.zeros((1, 3, 3), bool)
    assert np.isnan(pixel_metrics([(maps, mask)])[:2]).all()
    assert np.isnan(pixel_metrics([(maps, ~mask)])[:2]).all()
    assert np.isnan(pixel_metrics([(maps[:0], mask[:0])])[:2]).all()
    with pytest.raises(InputError, match="not finite"):
        pixel_metrics([(maps * np.nan, mask)])
    for wrong in (mask[0], np.zeros((2, 3, 3), bool)):
        with pytest.raises(InputError, match="same frames"):
            pixel_metrics([(maps, wrong)])
