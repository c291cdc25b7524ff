"""Pictures of a page: true colours, heat where the map is high, the mark around the highest place."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from ramvid_vad.page.pictures import LONGEST, jpeg, with_heat, worst_place


def test_large_frames_are_reduced():
    frame = np.zeros((300, 600, 3), np.uint8)
    frame[..., 0] = 255
    image = Image.open(io.BytesIO(base64.b64decode(jpeg(frame))))
    assert image.size == (LONGEST, LONGEST // 2)
    red, green, blue = image.getpixel((100, 50))
    assert red > 240 and green < 15 and blue < 15


@pytest.mark.parametrize("channels", [1, 3])
def test_heat_changes_the_picture_where_it_is_and_nowhere_else(channels):
    frame = np.random.default_rng(0).integers(0, 256, (40, 60, channels), np.uint8)
    heat = np.zeros((40, 60), np.float32)
    heat[10:20, 30:50] = 1
    shown = with_heat(frame, heat)
    assert shown.shape == (40, 60, 3) and shown.dtype == np.uint8
    cold = heat == 0
    assert np.array_equal(shown[cold], np.broadcast_to(frame, (40, 60, 3))[cold])
    assert np.abs(shown[~cold].astype(int) - frame[~cold]).mean() > 20


def test_heat_of_cells_is_stretched_over_the_picture():
    frame = np.zeros((80, 120, 1), np.uint8)
    heat = np.zeros((4, 6), np.float32)
    heat[1, 4] = 1  # pixels 20..40, 80..100
    changed = with_heat(frame, heat).astype(int).sum(axis=2)
    y, x = np.unravel_index(changed.argmax(), changed.shape)
    assert 20 <= y < 40 and 80 <= x < 100
    assert changed[60:].sum() == 0 and changed[:, :60].sum() == 0


def test_the_worst_place_is_around_the_highest_cell_and_one():
    rng = np.random.default_rng(1)
    for _ in range(50):
        heat = rng.random((9, 13)).astype(np.float32) ** 4
        x0, y0, x1, y1 = worst_place(heat)
        y, x = np.unravel_index(heat.argmax(), heat.shape)
        assert x0 <= x < x1 and y0 <= y < y1
        inside = {(y, x)}  # the cells that reach half the height, one step after the other
        while (
            grown := {
                (r, c)
                for y, x in inside
                for r in range(max(0, y - 1), min(9, y + 2))
                for c in range(max(0, x - 1), min(13, x + 2))
                if heat[r, c] >= heat.max() / 2
            }
            - inside
        ):
            inside |= grown
        rows, columns = zip(*inside, strict=True)
        assert (x0, y0, x1, y1) == (min(columns), min(rows), max(columns) + 1, max(rows) + 1)


def test_two_hot_places_have_one_mark():
    heat = np.zeros((10, 10), np.float32)
    heat[1:3, 1:3], heat[6:9, 5:9] = 0.9, 1.0
    assert worst_place(heat) == [5, 6, 9, 9]
    assert worst_place(np.zeros((10, 10), np.float32)) is None
