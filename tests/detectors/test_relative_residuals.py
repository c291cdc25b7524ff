"""Residuals of a model's parts in units of the usual ones of what stands there."""

import numpy as np
import pytest
from stand_ins import texture

from ramvid_vad.api import load
from ramvid_vad.detectors import fusion
from ramvid_vad.detectors.free_parts import FREE, usual_residuals
from ramvid_vad.detectors.infilling import RELATIVE, Infilling
from ramvid_vad.detectors.motion import UsualByRow, feet
from ramvid_vad.errors import InputError
from ramvid_vad.video.reader import Clip

PART = "motion_given_appearance motion"


@pytest.fixture
def beside(made):
    """A detector of one part, beside its usual residual, and the maps of the video that it compares with."""
    _, detector = made
    parts = [part for part in detector.parts if part.name == PART]
    found = Infilling(
        detector.space, detector.config, detector.model.state_dict(), parts=parts, boxes=[(RELATIVE + PART, 3)]
    )
    moving = texture(14, 36, 52, speed=2, seed=1)
    frames = np.repeat(moving[:1], len(moving), axis=0)
    frames[:, :16, :24], frames[:, 16:32, 32:] = moving[:, :16, :24], moving[:, 16:32, 32:]  # two things
    maps = np.stack(list(found.space.encode(frames))).astype(np.float16)
    found.compare_with([maps])
    found.calibrate({Clip("normal.mkv"): maps}, progress=False)
    found.card = {}
    return found, maps


def test_a_residual_is_compared_with_the_usual_one_where_its_thing_stands(beside):
    detector, maps = beside
    residuals, speeds = detector.residuals(maps), FREE["flow"](detector.space, detector.usual, maps)
    rows = detector.usual.residuals[PART].rows
    np.testing.assert_array_equal(rows, UsualByRow.of(zip(residuals[PART], speeds, strict=True), 8).rows)
    for plain, speed, relative in zip(residuals[PART], speeds, residuals[RELATIVE + PART], strict=True):
        np.testing.assert_allclose(relative, plain / rows[feet(speed)], rtol=1e-6)
    assert len(np.unique(rows)) == maps.shape[2] == len(rows)
    assert list(detector.score(texture(6, 36, 52), maps=False).parts) == [f"{RELATIVE}{PART} box 3"]


def test_the_usual_residual_is_sought_in_few_pieces_evenly_spread(beside, monkeypatch):
    detector, maps = beside
    monkeypatch.setattr("ramvid_vad.detectors.free_parts.PIECE", 4)
    monkeypatch.setattr("ramvid_vad.detectors.free_parts.PIECES", 3)
    asked = []

    def residuals(piece: np.ndarray, number: int, first: int) -> dict[str, np.ndarray]:
        asked.append((len(piece), number, first))
        return {name: np.full((len(piece), *piece.shape[2:]), value, np.float32) for name, value in TWO.items()}

    TWO = {"a": 2.0, "b": 3.0}
    found = usual_residuals(list(TWO), residuals, [maps[:9], maps[:7]], detector.space)  # pieces 4, 4, 1 and 4, 3
    assert asked == [(4, 0, 0), (1, 0, 8), (3, 1, 4)]
    for name, value in TWO.items():
        np.testing.assert_allclose(found[name].rows, value, rtol=1e-6)
    assert usual_residuals([], residuals, [maps], detector.space) == {} and len(asked) == 3


def test_it_is_kept_with_the_usual_residuals_that_it_compares_with_and_no_others(beside, tmp_path):
    detector, maps = beside
    detector.save(str(tmp_path / "whole"))
    loaded = load(str(tmp_path / "whole"))
    for name, residual in detector.residuals(maps).items():
        np.testing.assert_array_equal(loaded.residuals(maps)[name], residual)
    known = detector.usual
    usual, other = known.residuals[PART], UsualByRow(np.ones(3, np.float32))
    for number, residuals in enumerate(({}, {PART: usual, "none@0.7 motion": other}, {"none@0.7 motion": other})):
        detector.usual = known._replace(residuals=residuals)
        detector.save(str(tmp_path / str(number)))
        with pytest.raises(InputError, match="not a whole detector"):
            load(str(tmp_path / str(number)))


def test_an_earlier_step_is_compared_with_residuals_of_its_own(made, beside, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(fusion, "FEWEST", 3 * 14)
    folder, _ = made
    detector, _ = beside
    earlier = detector.at_step(str(folder / "run"), 2, [str(folder / "videos" / f"{i:02d}.mkv") for i in range(3)])
    assert earlier.usual.memory is detector.usual.memory and earlier.held_out == ["01.mkv", "02.mkv"]
    maps = earlier._maps().frames(Clip(str(folder / "videos" / "00.mkv")))
    again = Infilling.from_run(
        str(folder / "run" / "model000002.safetensors"), [], parts=earlier.parts, boxes=[(RELATIVE + PART, 3)]
    )
    again.compare_with([maps])
    np.testing.assert_array_equal(earlier.usual.residuals[PART].rows, again.usual.residuals[PART].rows)
    assert not np.allclose(earlier.usual.residuals[PART].rows, detector.usual.residuals[PART].rows)


def test_an_earlier_step_of_what_compares_with_nothing_does_neither(made, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(fusion, "FEWEST", 3 * 14)
    folder, detector = made
    earlier = detector.at_step(str(folder / "run"), 2, [str(folder / "videos" / f"{i:02d}.mkv") for i in range(3)])
    assert detector.usual is None and earlier.usual is None
    earlier.card = {}
    earlier.save(str(tmp_path / "earlier"))
    assert list(load(str(tmp_path / "earlier")).scales) == list(detector.scales)


def test_what_compares_with_normal_video_says_that_it_has_none_yet(made):
    folder, _ = made
    run, normal = str(folder / "run"), [str(folder / "videos" / "02.mkv")]
    for boxes in ([(RELATIVE + PART, 3)], [("nearest", 5)], [("relative_flow", 3)]):
        with pytest.raises(ValueError, match="compare with normal video: call compare_with before"):
            Infilling.from_run(run, normal, boxes=boxes, progress=False)
    assert Infilling.from_run(run, normal, boxes=[("difference", 3)], progress=False).usual is None
