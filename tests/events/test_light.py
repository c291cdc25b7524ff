"""Day and night: told apart on videos whose brightness is known, and a street that is dark in one half."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest

from ramvid_vad.detectors.motion import OpticalFlow
from ramvid_vad.events.calibration import threshold_of
from ramvid_vad.events.camera import Camera
from ramvid_vad.events.health import learn
from ramvid_vad.events.light import DAY, FLOOR, NIGHT, Light, two_lights
from ramvid_vad.video.writer import write_video

FPS = 25


def grey(top, name, values, colour=0) -> str:
    """A video of flat frames; the red channel is brighter by ``colour``."""
    frames = np.empty((len(values), 48, 64, 3), np.uint8)
    frames[:] = np.asarray(values, np.uint8)[:, None, None, None]
    frames[..., 0] += colour
    write_video(str(top / name), frames, FPS, crf=0)
    return str(top / name)


def test_videos_with_two_lights_are_parted_where_the_gap_is(tmp_path):
    day = [grey(tmp_path, f"day{i}.mp4", 100 + 20 * i + np.arange(60) % 5) for i in range(3)]
    night = [grey(tmp_path, f"night{i}.mp4", 30 + 5 * i + np.arange(40) % 3) for i in range(2)]
    light, dark = two_lights([night[1], *day, night[0]], progress=False)
    assert light.measure == "brightness" and dark == [night[1], night[0]]
    # thirds of the way from 37 to 100 on a scale of ratios, as both are seen above the floor
    low, high = 37 + FLOOR, 100 + FLOOR
    assert light.night == pytest.approx(low * (high / low) ** (1 / 3) - FLOOR, abs=1.5)
    assert light.day == pytest.approx(low * (high / low) ** (2 / 3) - FLOOR, abs=1.5)
    assert light.of_video(night[0]) == NIGHT and light.of_video(day[0]) == DAY


@pytest.mark.parametrize(
    "values",
    [
        [np.full(60, 100)] * 3,
        [np.full(60, 100), np.linspace(35, 105, 60), np.full(60, 35)],  # a dusk lies between
        [np.full(60, 100), np.full(60, 80)],  # less than half as bright again
        [np.full(60, 100), np.full(49, 30)],  # too few frames of the night
        [np.full(200, 100)],
    ],
)
def test_one_light_stays_one(tmp_path, values):
    paths = [grey(tmp_path, f"{i}.mp4", each) for i, each in enumerate(values)]
    assert two_lights(paths, progress=False) is None


def test_infra_red_is_a_night_as_bright_as_the_day(tmp_path):
    paths = [grey(tmp_path, "0.mp4", np.full(60, 100), colour=40), grey(tmp_path, "1.mp4", np.full(60, 110))]
    light, dark = two_lights(paths, progress=False)
    assert light.measure == "colour" and dark == paths[1:]


def test_the_light_stays_what_it_was_between_its_two_ends():
    light = Light("brightness", 50, 80)
    values = [70, 60, 51, 50, 60, 79, 80, 60, 49, 90]
    frames = [(0.0, np.full((8, 8, 3), value, np.uint8)) for value in values]
    found = [name for name, _ in light.of_each(iter(frames))]
    assert found == [DAY, DAY, DAY, NIGHT, NIGHT, NIGHT, DAY, DAY, NIGHT, DAY]
    assert light.of(frames[1][1]) == NIGHT  # the first frame: the nearer end


def at_night(clip: np.ndarray, seed: int) -> np.ndarray:
    """A third as bright, and noisier."""
    noise = np.random.default_rng(seed).normal(0, 3, clip.shape)
    return np.clip(clip * 0.33 + noise, 0, 255).astype(np.uint8)


def knowing(clips) -> Camera:
    curves = [OpticalFlow().score(clip, maps=False).frames for clip in clips]
    return Camera("street", OpticalFlow(), threshold_of(curves, FPS, 0.5, 0.5), learn(clips), curves, FPS)


@pytest.fixture(scope="module")
def street(street_clips):
    """Two cameras, one that knows the day alone and one that knows the night too, and a clip of each light."""
    *clips, other = street_clips
    by_day = knowing(clips)
    by_night = knowing([at_night(clip, i) for i, clip in enumerate(clips)])
    both = replace(by_day, night=by_night, light=Light("brightness", 58, 82))
    return by_day, both, other, at_night(other, 9)


def flown_through(clip: np.ndarray, level: int) -> np.ndarray:
    """Something flies by from frame 60 to 99, several times as fast as anybody walks."""
    odd = clip.copy()
    patch = np.random.default_rng(0).integers(0, level, (8, 8, 3), dtype=np.uint8).repeat(5, axis=0).repeat(5, axis=1)
    for t in range(60, 100):
        left = 12 * (t - 60) % 88
        odd[t, 30:70, left : left + 40] = patch
    return odd


def watched(camera, frames):
    moments = list(camera.stream((t / FPS, frame) for t, frame in enumerate(frames)))
    assert [m.number for m in moments] == list(range(len(frames)))
    changes = [change for m in moments for change in m.changes]
    told = [event for kind, event in changes if kind == "new"]
    ended = [event.id for kind, event in changes if kind == "end"]
    assert sorted(event.id for event in told) == sorted(ended) == list(range(len(told)))
    return moments, told


def test_a_normal_day_and_a_normal_night_with_the_switch_between_them_are_quiet(street):
    _, both, day, night = street
    moments, told = watched(both, np.concatenate([day, night, day]))
    assert told == []
    assert [m.light for m in moments] == [DAY] * len(day) + [NIGHT] * len(night) + [DAY] * len(day)
    assert all(m.level == 0 for m in moments[len(day) : len(day) + FPS])  # it settles


def test_what_is_unusual_is_found_in_both_lights(street):
    _, both, day, night = street
    moments, told = watched(both, np.concatenate([flown_through(day, 255), flown_through(night, 110)]))
    assert [event.fault for event in told] == ["", ""]
    starts = [event.start for event in told]
    assert 60 <= starts[0] <= 80 and len(day) + 60 <= starts[1] <= len(day) + 80
    assert all(event.start_seconds == pytest.approx(event.start / FPS) for event in told)
    assert [moments[event.peak].light for event in told] == [DAY, NIGHT]


@pytest.mark.parametrize("begins_at_night", [False, True])
def test_a_camera_that_knows_the_day_alone_takes_the_night_for_a_fault(street, begins_at_night):
    by_day, _, day, night = street
    frames = flown_through(night, 110)
    moments, told = watched(by_day, frames if begins_at_night else np.concatenate([day, frames]))
    assert {event.fault for event in told} == {"light switched"}
    assert all(m.health for m in moments[-len(night) + FPS :])


def test_one_light_is_streamed_as_before(street):
    by_day, both, day, _ = street
    both_moments, _ = watched(both, flown_through(day, 255))
    day_moments, _ = watched(by_day, flown_through(day, 255))
    for one, other in zip(day_moments, both_moments, strict=True):
        assert one.light == "" and one._replace(light=DAY, map=0, frame=0) == other._replace(map=0, frame=0)


def test_a_camera_that_was_fitted_before_there_were_two_lights_and_examples_is_still_read(tmp_path, street):
    by_day, *_ = street
    detector = OpticalFlow()
    detector.card = {}
    detector.save(str(tmp_path))
    replace(by_day, detector=detector).save(str(tmp_path))  # it has no examples, as those had none
    about = json.loads((tmp_path / "alarm.json").read_text())
    assert about.pop("light") is None
    (tmp_path / "alarm.json").write_text(json.dumps(about))
    again = Camera.load(str(tmp_path))
    assert again.light is again.night is None and again.examples.jpegs == [] and again.threshold == by_day.threshold


def test_a_camera_of_two_lights_comes_back(tmp_path, street):
    _, both, *_ = street
    for folder in ("street", os.path.join("street", NIGHT)):
        detector = OpticalFlow()
        detector.card = {}
        detector.save(str(tmp_path / folder))
    both.save(str(tmp_path / "street"))
    again = Camera.load(str(tmp_path / "street"))
    assert again.light == both.light and again.night.threshold == both.night.threshold
    assert again.night.name == "street" and again.under(NIGHT) is again.night and again.under(DAY) is again
    assert again.sentence().count("held-out normal video") >= 2
