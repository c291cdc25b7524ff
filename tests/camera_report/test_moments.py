"""What is above the threshold, what is worst, and where."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from ramvid_vad.camera_report.moments import Moment, picture, severity
from ramvid_vad.camera_report.page import camera_page, index_page


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


def data_of(page):
    return json.loads(page.split('id="data">', 1)[1].split("</script>", 1)[0])


@pytest.mark.parametrize(
    ("events", "worst", "says"),
    [
        ([1.2], [], "1 unusual event in 50 frames; the worst is slightly unusual, 1.2 times the alarm"),
        ([], [0.4, 0.3], "Nothing in 50 frames rose above the alarm threshold; the highest frame reached 0.40"),
        ([], [], "Of 50 frames no frame could be scored; scoring paused 1 times"),
    ],
)
def test_the_lead_says_what_the_cards_below_it_show(events, worst, says):
    shown = [[Moment(n, n + 1, n, level) for n, level in enumerate(found)] for found in (events, worst)]
    levels = np.full(50, 15.0 if events else np.nan)  # of an event that never was told
    page = camera_page("a", "door", levels, 0.0, *shown, np.array([0.1, 0.5]), health=[(20, 50, "moved")])
    assert data_of(page)["lead"].startswith(says)


def test_a_video_that_could_not_be_scored_comes_first_in_the_index():
    peaks = {"calm": 0.3, "busy": 2.0, "black": None}
    rows = [{"name": k, "report": k, "events": 0, "faults": v is None, "peak": v} for k, v in peaks.items()]
    listed = data_of(index_page("door", rows))["rows"]
    assert [row["name"] for row in listed] == ["black", "busy", "calm"]
    assert [row["severity"] for row in listed] == ["no frame could be scored", "unusual", "below the threshold"]
