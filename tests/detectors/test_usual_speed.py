"""Speed in units of what is usual where a thing stands: what is near the camera crosses more pixels."""

import cv2
import numpy as np
import pytest
import torch

from ramvid_vad.detectors.appearance import normal_frames
from ramvid_vad.detectors.detector import load
from ramvid_vad.detectors.fusion import CalibratedSum, LogScale, usual_speed
from ramvid_vad.detectors.motion import MOVING, PRIOR, OpticalFlow, UsualByRow, coarse
from ramvid_vad.detectors.registry import FITTED
from ramvid_vad.errors import InputError
from ramvid_vad.video.reader import Clip
from ramvid_vad.video.writer import write_video


def scene(*things: tuple[int, int, int, float]) -> np.ndarray:
    """Speeds over 20 x 30 cells: of each (top, bottom, left, speed) a thing two cells wide, bottom exclusive."""
    field = np.full((20, 30), 0.1, np.float32)  # noise, too slow to be a thing
    for top, bottom, left, speed in things:
        field[top:bottom, left : left + 2] = speed
    return field


def test_rows_are_mean_speeds_of_what_stands_in_them(monkeypatch):
    """No smoothing: row 4 has 4 cells at 1 and 8 at 3, row 15 has 20 at 6; the others know but the mean of all."""
    monkeypatch.setattr("ramvid_vad.detectors.motion.SMOOTH", 1e-6)
    usual = UsualByRow.of_speeds([scene((3, 5, 2, 1.0), (5, 16, 20, 6.0)), scene((1, 5, 8, 3.0))])
    total, cells = {4: 4 * 1 + 8 * 3, 15: 22 * 6}, {4: 12, 15: 22}
    everywhere = sum(total.values()) / sum(cells.values())
    for row in range(20):
        share, part = total.get(row, 0) / 60, cells.get(row, 0) / 60  # of the 30 cells of that row in two frames
        assert usual.rows[row] == pytest.approx((share + PRIOR * everywhere) / (part + PRIOR), rel=1e-5)


def test_a_near_thing_is_measured_at_its_feet():
    usual = UsualByRow(np.linspace(1, 20, 20, dtype=np.float32))
    field = scene((2, 18, 4, 9.0), (2, 4, 12, 9.0))
    relative = usual.relative(field, field)
    np.testing.assert_allclose(relative[2:18, 4:6], 9 / 18)  # its head, too
    np.testing.assert_allclose(relative[2:4, 12:14], 9 / 4)  # as fast, far away
    np.testing.assert_allclose(relative[:, 20], 0.1 / usual.rows, rtol=1e-6)  # of no thing: where it is
    # things that touch by a corner alone are two
    field = scene((2, 4, 4, 9.0), (4, 10, 6, 9.0))
    np.testing.assert_allclose(usual.relative(field, field)[2:4, 4:6], 9 / 4)


def test_pixels_are_divided_as_their_cells_are():
    pixels = np.kron(scene((2, 18, 4, 9.0)), np.ones((4, 4), np.float32))
    np.testing.assert_array_equal(coarse(pixels), scene((2, 18, 4, 9.0)))
    usual = UsualByRow(np.linspace(1, 20, 20, dtype=np.float32))
    fine = usual.relative(pixels, coarse(pixels))
    np.testing.assert_array_equal(coarse(fine), usual.relative(coarse(pixels), coarse(pixels)))
    assert coarse(np.ones((9, 10), np.float32)).shape == (3, 3)


def test_other_sizes_share_the_rows():
    """Of a picture of half the size each row stands for two."""
    usual = UsualByRow(np.repeat(np.arange(1, 11, dtype=np.float32), 2))
    field = np.ones((10, 4), np.float32) * 0.1
    np.testing.assert_allclose(usual.relative(field, field), 0.1 / np.arange(1, 11)[:, None].repeat(4, 1), rtol=1e-6)
    both = UsualByRow.of_speeds([scene((4, 8, 2, 4.0)), scene((4, 8, 2, 4.0))[::2, ::2]])
    assert len(both.rows) == 20 and both.rows[7] == pytest.approx(4)


def test_where_nothing_moves_any_motion_is_much():
    np.testing.assert_allclose(UsualByRow.of_speeds([scene()]).rows, MOVING, rtol=1e-6)


def street(far: float, near: float, frames: int = 60) -> np.ndarray:
    """A textured square of 14 pixels that stands high in the picture and one of 60 that stands low, at these speeds in
    pixels per frame, uint8 (n, 160, 320, 3)."""
    rng = np.random.default_rng(0)

    def texture(side: int) -> np.ndarray:
        return cv2.resize(rng.integers(0, 256, (side // 4, side // 4)).astype(np.uint8), (side, side))

    wall = cv2.GaussianBlur(rng.integers(0, 256, (160, 320)).astype(np.uint8), (0, 0), 2) // 4 + 100
    squares = (texture(14), 20, far), (texture(60), 90, near)
    made = np.repeat(wall[None], frames, axis=0)
    for t in range(frames):
        for patch, top, speed in squares:
            side = len(patch)
            left = round(10 + speed * t) % (320 - side)
            made[t, top : top + side, left : left + side] = patch
    return made[..., None].repeat(3, axis=3)


def test_far_and_fast_stands_out_from_near_and_usual(tmp_path):
    """In pixels the far runner is slower than what is near; beside the usual it is twice as fast."""
    path = str(tmp_path / "normal.mkv")
    write_video(path, street(1, 4), fps=25, crf=0)
    usual = usual_speed(normal_frames([Clip(path)]))
    scales = {part: LogScale(0.0, 1.0, 1e-3) for part in ("frame_difference", "relative_flow")}
    detector = CalibratedSum(None, usual, scales, [], [])
    normal, odd = (street(far, 4)[:30] for far in (1, 3))
    pixels = [np.median(OpticalFlow().score(video).frames) for video in (normal, odd)]
    relative = [np.median(detector.score(video).parts["relative_flow"]) for video in (normal, odd)]
    assert pixels[1] == pytest.approx(pixels[0], rel=0.05)  # the near square's, in both
    assert relative[1] > 1.3 * relative[0]
    row, _ = np.unravel_index(detector.score(odd).maps[20].argmax(), detector.score(odd).maps[20].shape)
    assert row * 8 < 90


@pytest.mark.parametrize("rows", [None, np.zeros(3, np.float32), np.ones(3), np.ones((2, 2), np.float32)])
def test_a_damaged_usual_speed_is_refused(tmp_path, rows):
    scales = {part: LogScale(0.0, 1.0, 1e-3) for part in ("frame_difference", "relative_flow")}
    detector = CalibratedSum(None, UsualByRow(np.ones(3, np.float32)), scales, [], [])
    detector.save(str(tmp_path / "whole"))
    assert load(str(tmp_path / "whole"), FITTED).usual.rows.tolist() == [1, 1, 1]
    whole = detector.tensors()
    detector.tensors = lambda: {} if rows is None else whole | {"usual_speed": torch.from_numpy(rows)}
    detector.save(str(tmp_path / "odd"))
    with pytest.raises(InputError, match="not a whole detector"):
        load(str(tmp_path / "odd"), FITTED)


def test_a_detector_of_speeds_in_pixels_is_fitted_again(tmp_path):
    scales = {part: LogScale(0.0, 1.0, 1e-3) for part in ("frame_difference", "optical_flow")}
    CalibratedSum(None, UsualByRow(np.ones(3, np.float32)), scales, [], []).save(str(tmp_path))
    with pytest.raises(InputError, match=r"of an earlier version: it scores speeds in pixels.*: fit it again"):
        load(str(tmp_path), FITTED)
