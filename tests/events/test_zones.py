"""What is watched: pictures and polygons."""

import cv2
import numpy as np
import pytest

from ramvid_vad.detectors.motion import FrameDifference
from ramvid_vad.errors import InputError
from ramvid_vad.events.camera import Camera
from ramvid_vad.events.health import learn
from ramvid_vad.events.threshold import Threshold
from ramvid_vad.events.zones import zone_mask


def test_a_polygon_in_fractions_or_pixels_and_a_mask_picture_are_the_same(tmp_path):
    left = zone_mask("0,0 0.5,0 0.5,1 0,1", (48, 64), (6, 8))
    assert left[:, :4].all() and not left[:, 5:].any()
    np.testing.assert_array_equal(zone_mask("0,0 32,0 32,48 0,48", (48, 64), (6, 8)), left)
    mask = np.zeros((24, 32), np.uint8)
    mask[:, :16] = 255
    cv2.imwrite(str(tmp_path / "zone.png"), mask)
    painted = zone_mask(str(tmp_path / "zone.png"), (48, 64), (6, 8))
    assert painted[:, :4].all() and not painted[:, 4:].any()


@pytest.mark.parametrize("text", ["a", "0,0 1,1", "0,0 1,0 1", "0,0 nan,1 1,1", "0,0 99,0 99,20", "0,0 0,0 0,0.01"])
def test_a_bad_zone_is_refused_in_one_line(text):
    with pytest.raises(InputError, match="--zone") as error:
        zone_mask(text, (48, 64), (6, 8))
    assert "\n" not in str(error.value)


def test_a_black_mask_leaves_nothing(tmp_path):
    cv2.imwrite(str(tmp_path / "zone.png"), np.zeros((8, 8), np.uint8))
    with pytest.raises(InputError, match="nothing is left"):
        zone_mask(str(tmp_path / "zone.png"), (48, 64), (6, 8))


def test_nothing_outside_of_the_zone_is_shown():
    frames = np.random.default_rng(0).integers(90, 110, (8, 48, 64, 3), dtype=np.uint8)
    frames[4:, :, 40:56] = 255  # a jump outside, all of it brighter than what jumps inside
    frames[4:, 8:24, 8:24] = 160
    threshold = Threshold(0.01, 0.05, "margin", 0.5, 0.0, 1.0)
    watched = np.zeros((6, 8), bool)
    watched[:, :4] = True
    camera = Camera("door", FrameDifference(), threshold, learn([frames]), [], 10.0, zone="x", watched=watched)
    moments = list(camera.stream((n / 10, frame) for n, frame in enumerate(frames)))
    for moment in moments:
        assert (moment.map[:, 4:] == np.float32(threshold.usual)).all()
    y, x = np.unravel_index(moments[4].map.argmax(), (6, 8))
    assert 1 <= y < 3 and 1 <= x < 3
