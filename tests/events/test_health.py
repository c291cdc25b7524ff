"""Each fault is provoked on a moving synthetic street: it is named, and no event is told; a slow change of light is no
fault, and what is unusual meanwhile is still found."""

import cv2
import numpy as np
import pytest

from ramvid_vad.demo.street import generate
from ramvid_vad.detectors.motion import OpticalFlow
from ramvid_vad.events.calibration import threshold_of
from ramvid_vad.events.camera import Camera
from ramvid_vad.events.health import learn
from ramvid_vad.video.reader import read_frames

FPS, AT = 25, 60


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    """A camera that knows the street's motion, and frames of another normal clip."""
    folder = tmp_path_factory.mktemp("street")
    generate(str(folder / "data"), num_train=4, num_test=1, frames=125, test_frames=30)
    clips = [list(read_frames(str(folder / "data" / "training" / f"{i:02d}.mp4"))) for i in range(1, 5)]
    curves = [OpticalFlow().score(clip, maps=False).frames for clip in clips[:3]]
    threshold = threshold_of(curves, FPS, 0.5, 0.5)
    return Camera("street", OpticalFlow(), threshold, learn(clips[:3]), curves, FPS), np.stack(clips[3])


def run(camera, frames, seconds=None):
    seconds = [t / FPS for t in range(len(frames))] if seconds is None else seconds
    moments = list(camera.stream(zip(seconds, frames, strict=True)))
    assert [m.number for m in moments] == list(range(len(frames)))
    events = [event for m in moments for kind, event in m.changes if kind == "new"]
    return moments, [e for e in events if not e.fault], [e.fault for e in events if e.fault]


def shifted(frames, x, y):
    return np.stack(
        [cv2.warpAffine(f, np.float32([[1, 0, x], [0, 1, y]]), f.shape[1::-1], borderMode=2) for f in frames]
    )


def test_a_normal_clip_is_healthy_and_quiet(street):
    camera, frames = street
    moments, unusual, faults = run(camera, frames)
    assert not faults and not unusual and all(m.health == "" for m in moments)


FAULTS = {
    "black": lambda f: np.zeros_like(f),
    "frozen": lambda f: np.stack([f[0]] * len(f)),
    "covered": lambda f: np.stack([cv2.GaussianBlur(each, (0, 0), 6) for each in f]),
    "moved": lambda f: shifted(f, 30, 14),
    "light switched": lambda f: (f * 0.45).astype(np.uint8),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_and_is_no_event(street, fault):
    camera, frames = street
    broken = frames.copy()
    broken[AT:110] = FAULTS[fault](frames[AT:110])
    moments, unusual, faults = run(camera, broken)
    assert fault in faults and not unusual
    named = [m.number for m in moments if m.health == fault]
    assert AT <= named[0] <= AT + 30
    assert all(m.level == 0 for m in moments if m.health)


def test_another_scene_is_not_the_known_one(street):
    camera, frames = street
    broken = np.concatenate([frames[:AT], frames[AT:, ::-1, ::-1]])
    moments, _, faults = run(camera, broken)
    assert faults == ["moved"] and moments[-1].health == "moved"


def test_paint_on_half_of_the_lens_is_covered(street):
    camera, frames = street
    broken = frames.copy()
    broken[AT:, :, :90] = 70
    _, unusual, faults = run(camera, broken)
    assert "covered" in faults and not unusual


def test_a_jump_of_time_is_a_cut(street):
    camera, frames = street
    seconds = [t / FPS + (20 if t >= AT else 0) for t in range(len(frames))]
    _, unusual, faults = run(camera, frames, seconds)
    assert faults == ["cut"] and not unusual


def test_what_is_unusual_during_a_slow_change_of_light_is_found(street):
    camera, frames = street
    light = np.linspace(1.0, 0.8, len(frames))[:, None, None, None]
    dimmed = (frames * light).astype(np.uint8)
    _, unusual, faults = run(camera, dimmed)
    assert not faults and not unusual
    rng = np.random.default_rng(0)
    patch = cv2.resize(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8), (40, 40))
    for t in range(AT, 100):  # something flies by, several times as fast as anybody walks
        left = 12 * (t - AT) % 88
        dimmed[t, 30:70, left : left + 40] = patch
    _, unusual, faults = run(camera, dimmed)
    assert not faults and len(unusual) == 1
    assert AT <= unusual[0].start <= AT + 20
    x0, y0, x1, y1 = unusual[0].box
    assert y0 < 70 and y1 > 30 and 0 <= x0 < x1 <= 128
