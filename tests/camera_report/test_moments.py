"""What is above the threshold, what is worst, and where."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from ramvid_vad.camera_report.moments import frames_before, picture, severity, worst_moments


def test_worst_moments_lie_apart():
    scores = np.random.default_rng(0).random(300)
    scores[100:103] = 2.0, 3.0, 2.5
    peaks = [m.peak for m in worst_moments(scores, 4, 20)]
    assert peaks[0] == 101 and len(peaks) == 4
    assert all(abs(a - b) >= 20 for i, a in enumerate(peaks) for b in peaks[:i])
    assert scores[peaks].tolist() == sorted(scores[peaks], reverse=True)
    assert len(worst_moments(np.zeros(5), 4, 20)) == 1
    assert worst_moments(np.full(5, np.nan), 4, 20) == []


def test_the_mark_is_in_true_pixels_where_the_map_is_highest():
    frame = np.full((120, 200, 3), 90, np.uint8)
    heat = np.full((12, 20), -4.0, np.float32)
    heat[8, 15], heat[2, 3] = 6.0, 5.0
    shown = picture(frame, heat, 0.0, 6.0)
    assert shown.size == (120, 200) and shown.box == [150, 80, 160, 90]
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(shown.jpeg)))).astype(int)
    assert image.shape == (120, 200, 3)
    difference = np.abs(image - 90).sum(axis=2)
    y, x = np.unravel_index(difference.argmax(), difference.shape)
    assert 75 <= y < 95 and 145 <= x < 165
    assert difference[100:, :100].max() < 12  # cold cells leave the picture as it is
    assert picture(frame, heat - 10, 0.0, 6.0).box is None


def test_frames_are_kept_with_those_before_them_in_one_pass():
    frames = (np.full(1, i) for i in range(10_000))
    found = frames_before(frames, [0, 5, 6], 2)
    assert {k: [int(f[0]) for f in v] for k, v in found.items()} == {0: [0], 5: [3, 4, 5], 6: [4, 5, 6]}
    assert int(next(frames)[0]) == 7  # nothing is decoded beyond the last one wanted


@pytest.mark.parametrize(
    ("multiple", "words"),
    [(0.5, "below the threshold"), (1.0, "slightly unusual"), (1.6, "unusual"), (30, "very unusual")],
)
def test_severity_in_words(multiple, words):
    assert severity(multiple) == words
