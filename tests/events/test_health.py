"""Each fault is provoked on a moving synthetic street: it is named, and no event is told; a slow change of light is no
fault, and what is unusual meanwhile is still found."""

import itertools

import cv2
import numpy as np
import pytest

from ramvid_vad.detectors.motion import OpticalFlow
from ramvid_vad.errors import InputError
from ramvid_vad.events.calibration import threshold_of
from ramvid_vad.events.camera import Camera
from ramvid_vad.events.health import Monitor, learn

FPS, AT = 25, 60


@pytest.fixture(scope="module")
def street(street_clips):
    """A camera that knows the street's motion, and frames of another normal clip."""
    *clips, other = street_clips
    curves = [OpticalFlow().score(clip, maps=False).frames for clip in clips]
    threshold = threshold_of(curves, FPS, 0.5, 0.5)
    return Camera("street", OpticalFlow(), threshold, learn(clips), curves, FPS), other


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
    assert all(m.held for m in moments if m.level >= 1)  # until it is named
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


def faults_of(normal, frames, seconds, missed):
    monitor = Monitor(normal, FPS)
    seen = [monitor.step(frame, at, gap) for frame, at, gap in zip(frames, seconds, missed, strict=True)]
    return {health.fault for health in seen} - {""}, [health.paused for health in seen]


def test_frames_that_were_dropped_are_no_fault(street):
    """Of a slower stream most frames are dropped, now and then for seconds."""
    camera, frames = street
    rng, at, kept = np.random.default_rng(0), 0.0, []
    for t in range(600):
        at += 0.1 if t % 150 else 2.5
        if not t or rng.random() < 0.4:
            kept.append((t, at))
    gap = [False] + [now - before > 0.15 for (_, before), (_, now) in itertools.pairwise(kept)]
    pictures = [frames[t % len(frames)] for t, _ in kept]
    found, paused = faults_of(camera.normal, pictures, [at for _, at in kept], gap)
    assert found == set() and 0.05 < np.mean(paused) < 0.3
    # the same, as if the source itself had jumped
    assert faults_of(camera.normal, pictures, [at for _, at in kept], [False] * len(kept))[0] == {"cut"}


def test_a_steady_slow_stream_is_neither_cut_nor_frozen(street):
    """One frame in 1.5 s, all the time: after the first of these nothing jumps."""
    camera, frames = street
    pictures = frames[np.arange(0, 1200, 12) % len(frames)]
    found, paused = faults_of(camera.normal, pictures, 1.5 * np.arange(100), [True] * 100)
    assert found == set() and not any(paused[6:])


@pytest.mark.parametrize("every", [1, 5])
def test_a_frozen_or_covered_picture_is_found_as_soon_in_seconds_with_fewer_frames(street, every):
    camera, frames = street
    for fault in ("frozen", "covered"):
        broken = frames.copy()
        broken[AT:] = FAULTS[fault](frames[AT:])
        moments, _, _ = run(camera, broken[::every], [t / FPS for t in range(0, len(frames), every)])
        first = min(m.seconds for m in moments if m.health == fault)
        assert AT / FPS + 0.7 <= first <= AT / FPS + 1.4


def test_what_is_learned_later_only_widens_what_is_healthy(street):
    camera, frames = street
    before = camera.normal
    again = learn([frames], before)
    assert again.alike <= before.alike and (again.sharp <= before.sharp).all()
    moved = learn([shifted(frames, 30, 14)], before)  # the camera was turned, and that is normal from now on
    kept = len(before.references)
    assert len(moved.references) > kept and (moved.references[:kept] == before.references).all()
    for normal, fault in ((before, {"moved"}), (moved, set())):
        other = Camera("street", camera.detector, camera.threshold, normal, camera.curves, FPS)
        assert set(run(other, shifted(frames, 30, 14))[2]) == fault
    assert set(run(Camera("s", camera.detector, camera.threshold, moved, camera.curves, FPS), frames)[2]) == set()
    with pytest.raises(InputError, match="of one camera"):
        learn([frames[:, :, :64]], before)


def test_nothing_counts_until_a_camera_has_settled(street):
    camera, frames = street
    jumps = np.where(np.arange(len(frames)) // 5 % 2, 1.0, 0.3)[:, None, None, None]
    moments = list(camera.stream(((t / FPS, f) for t, f in enumerate((frames * jumps).astype(np.uint8))), settle=1.0))
    assert all(m.level == 0 and not m.changes and not m.health for m in moments[:25])
    assert any(m.health for m in moments[25:])
