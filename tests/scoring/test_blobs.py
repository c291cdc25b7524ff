"""WMSE against figures worked by hand, scipy's labelling and its own definition pixel by pixel."""

import math
import time

import cv2
import numpy as np
import pytest
from scipy import ndimage

from ramvid_vad.errors import InputError
from ramvid_vad.scoring import wmse
from ramvid_vad.scoring.blobs import Blob, wmse_scores


def frame(*patches, size=(12, 16), channels=3):
    """A black frame with rectangles (y0, y1, x0, x1, value)."""
    image = np.zeros((*size, channels))
    for y0, y1, x0, x1, value in patches:
        image[y0:y1, x0:x1] = value
    return image


def test_two_blobs_by_hand():
    # A: 2x3 = 6 pixels, difference 0.5, delta2 0.25; B: 2x2 = 4 pixels, difference 0.25, delta2 0.0625
    x, x_hat = frame((1, 3, 1, 4, 0.5), (6, 8, 10, 12, 0.25)), frame()
    expected = {
        "area": (6 * 6 * 0.25 + 4 * 4 * 0.0625) / (36 + 16),
        "superlinear": (36 * math.log(7) * 0.25 + 16 * math.log(5) * 0.0625) / (36 * math.log(7) + 16 * math.log(5)),
        "uniform": (6 * 0.25 + 4 * 0.0625) / 10,
    }
    for weight, score in expected.items():
        result = wmse(x, x_hat, threshold=0.1, min_area=1, weight=weight)
        assert result.score == pytest.approx(score, rel=1e-12)
        assert result.blobs == [Blob((1, 1, 4, 3), 6, 0.25), Blob((10, 6, 12, 8), 4, 0.0625)]


def test_the_residual_is_squared_and_in_colour():
    # d(p) is the difference of the channel means; delta2 the mean of the channels' squares: 0.75 in one channel
    x = frame()
    x[2:4, 2:4, 0] = 0.75
    assert wmse(x, frame(), threshold=0.25, min_area=4).score == pytest.approx(0.5625 / 3, rel=1e-12)
    assert wmse(x, frame(), threshold=0.26, min_area=4).score == 0.0
    # opposite signs cancel in d and not in delta2
    x[2:4, 2:4, 1] = -0.75
    assert wmse(x, frame(), threshold=0.01, min_area=1).score == 0.0


def test_diagonal_neighbours_are_one_blob():
    x = frame((1, 3, 1, 3, 0.5), (3, 5, 3, 5, 0.5))
    result = wmse(x, frame(), threshold=0.1, min_area=8)
    assert [b.area for b in result.blobs] == [8]
    assert result.blobs[0].box == (1, 1, 5, 5)
    assert result.score == pytest.approx(0.25)


@pytest.mark.parametrize(("min_area", "blobs"), [(6, 1), (7, 0)])
def test_min_area_includes_its_bound(min_area, blobs):
    result = wmse(frame((1, 3, 1, 4, 0.5)), frame(), threshold=0.1, min_area=min_area)
    assert len(result.blobs) == blobs
    assert result.score == (0.25 if blobs else 0.0)


def test_a_small_blob_has_no_weight_beside_a_large_one():
    x = frame((1, 3, 1, 4, 0.5), (8, 9, 8, 9, 1.0))
    assert wmse(x, frame(), threshold=0.1, min_area=2).score == pytest.approx(0.25)


def test_the_background_has_weight_zero():
    # residual just below tau everywhere else must not enter
    x = np.full((12, 16, 3), 0.09)
    x[1:3, 1:4] = 0.5
    assert wmse(x, frame(), threshold=0.1, min_area=2).score == pytest.approx(0.25, rel=1e-12)


def test_threshold_includes_equality():
    x = frame((1, 3, 1, 4, 0.25))
    assert wmse(x, frame(), threshold=0.25, min_area=1).score == 0.0625
    assert wmse(x, frame(), threshold=np.nextafter(0.25, 1), min_area=1).score == 0.0


@pytest.mark.parametrize("level", [1, 3, 7, 10, 77, 254])
@pytest.mark.parametrize("channels", [1, 3])
def test_threshold_equality_is_exact_on_uint8(level, channels):
    x = np.zeros((8, 8, channels), np.uint8)
    x[2:6, 2:6] = level
    black = np.zeros_like(x)
    assert wmse(x, black, threshold=level / 255, min_area=16).score == pytest.approx((level / 255) ** 2, rel=1e-12)
    assert wmse(x, black, threshold=(level + 0.01) / 255, min_area=1).score == 0.0


def test_grey_and_two_dimensional_frames():
    x = frame((1, 3, 1, 4, 0.5), channels=1)
    assert wmse(x, frame(channels=1), 0.1, 1) == wmse(x[..., 0], frame()[..., 0], 0.1, 1)
    assert wmse(x, frame(channels=1), 0.1, 1).score == 0.25


def test_tau_zero_is_the_mean_squared_error():
    rng = np.random.default_rng(0)
    x, x_hat = rng.random((2, 9, 11, 3))
    assert wmse(x, x_hat, threshold=0, min_area=1).score == pytest.approx(((x - x_hat) ** 2).mean(), rel=1e-12)


@pytest.mark.parametrize("weight", ["area", "superlinear", "uniform"])
@pytest.mark.parametrize("kind", ["uint8", "float"])
def test_batches_equal_the_definition(weight, kind):
    """The sums of the thesis, pixel by pixel, with scipy's labelling."""
    rng = np.random.default_rng(3)
    x = rng.integers(0, 256, (40, 24, 30, 3), dtype=np.uint8)
    noise = ndimage.gaussian_filter(rng.standard_normal(x.shape), (0, 1.5, 1.5, 0)) * 120
    x_hat = np.clip(x + noise, 0, 255).astype(np.uint8)
    x_hat[7] = x[7]
    real, fake = x / 255, x_hat / 255
    expected = []
    for a, b in zip(real, fake, strict=True):
        label, count = ndimage.label(np.abs(a.mean(2) - b.mean(2)) >= 0.0901, structure=np.ones((3, 3)))
        weights = np.zeros(label.shape)
        for k in range(1, count + 1):
            area = (label == k).sum()
            if area >= 5:
                weights[label == k] = {"area": area, "superlinear": area * np.log(1 + area), "uniform": 1}[weight]
        delta2 = ((a - b) ** 2).mean(2)
        expected.append((weights * delta2).sum() / weights.sum() if weights.any() else 0)
    pair = (x, x_hat) if kind == "uint8" else (real, fake)
    scores = wmse_scores(*pair, threshold=0.0901, min_area=5, weight=weight)
    np.testing.assert_allclose(scores, expected, rtol=1e-12)
    assert scores[7] == 0 and (scores > 0).sum() == 39
    np.testing.assert_array_equal(
        scores, [wmse(a, b, threshold=0.0901, min_area=5, weight=weight).score for a, b in zip(*pair, strict=True)]
    )


def test_blobs_come_largest_first():
    x = frame((1, 2, 1, 3, 0.5), (4, 6, 4, 8, 0.5), (9, 10, 1, 3, 0.5))
    assert [b.box for b in wmse(x, frame(), 0.1, 1).blobs] == [(4, 4, 8, 6), (1, 1, 3, 2), (1, 9, 3, 10)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": -0.1}, "tau"),
        ({"threshold": 10}, "tau"),
        ({"min_area": 0}, "min_area"),
        ({"weight": "log"}, "log"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(InputError, match=message):
        wmse(frame(), frame(), **options)


def test_mixed_types_and_shapes_are_refused():
    with pytest.raises(ValueError, match="uint8"):
        wmse(frame().astype(np.uint8), frame())
    with pytest.raises(ValueError, match="shape"):
        wmse(frame(), frame(size=(12, 15)))


def test_speed_is_real_time_many_times_over():
    """At least 1000 frames of 128 px per second of processor time on one core; measured 2000 to 3500."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (128, 128, 128, 3), dtype=np.uint8)
    x_hat = np.clip(x + rng.integers(-12, 13, x.shape), 0, 255).astype(np.uint8)
    x_hat[:, 40:70, 40:60] = 0
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        seconds = []
        for _ in range(3):
            start = time.process_time()
            wmse_scores(x, x_hat)
            seconds.append(time.process_time() - start)
    finally:
        cv2.setNumThreads(threads)
    assert 128 / min(seconds) > 250  # a quarter of the promise: a loaded machine must not fail the test
