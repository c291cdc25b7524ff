"""What is above the threshold, what is worst, and where."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from ramvid_vad.camera_report.moments import picture, severity


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


@pytest.mark.parametrize(
    ("multiple", "words"),
    [(0.5, "below the threshold"), (1.0, "slightly unusual"), (1.6, "unusual"), (30, "very unusual")],
)
def test_severity_in_words(multiple, words):
    assert severity(multiple) == words
