"""The synthetic street: its files, labels that mark exactly what does not belong, and no way to solve it trivially."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d
from sklearn.metrics import roc_auc_score

from ramvid_vad.demo import street as synthetic
from ramvid_vad.demo.canvas import metre
from ramvid_vad.demo.clips import balanced_phase, script
from ramvid_vad.demo.street import SceneOptions, generate, render
from ramvid_vad.errors import InputError
from ramvid_vad.video.truth.masks import load_masks

TINY = SceneOptions(size=(48, 64), num_train=1, num_test=2, frames=12, test_frames=100)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def decode(path: Path) -> np.ndarray:
    import av

    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scene")
    generate(str(folder), TINY)
    return folder


def test_the_files_hold_the_rendered_frames_labels_and_masks(tiny):
    assert sorted(digests(tiny)) == [
        "labels/01.npy", "labels/02.npy", "masks/01.npz", "masks/02.npz",
        "scene.json", "testing/01.mp4", "testing/02.mp4", "training/01.mp4",
    ]  # fmt: skip
    assert decode(tiny / "training" / "01.mp4").shape == (12, 48, 64, 3)
    for index in range(2):
        frames, masks = render(TINY, "testing", index)
        video = decode(tiny / "testing" / f"{index + 1:02d}.mp4")
        assert video.shape == frames.shape
        # the codec halves the colour's resolution, so compare brightness
        assert np.abs(video.mean(-1) - frames.mean(-1)).mean() < 4.0
        labels = np.load(tiny / "labels" / f"{index + 1:02d}.npy")
        assert labels.dtype == np.uint8
        assert 0 < labels.sum() < len(labels)
        assert np.array_equal(labels, masks.any(axis=(1, 2)))
        assert np.array_equal(load_masks(tiny / "masks" / f"{index + 1:02d}.npz"), masks)


def test_the_same_options_give_the_same_bytes_and_another_seed_others(tiny, tmp_path):
    generate(str(tmp_path / "again"), TINY)
    assert digests(tmp_path / "again") == digests(tiny)
    generate(str(tmp_path / "other"), TINY, seed=1)
    ours, others = digests(tiny), digests(tmp_path / "other")
    assert all(ours[name] != others[name] for name in ours if name.endswith(".mp4"))


def test_a_finished_scene_is_kept_and_an_interrupted_or_different_one_is_drawn_anew(tmp_path):
    def stamps() -> dict[str, int]:
        return {str(path.name): path.stat().st_mtime_ns for path in (tmp_path / "training").iterdir()}

    generate(str(tmp_path), TINY, num_train=2, num_test=1)
    before = stamps()
    generate(str(tmp_path), TINY, num_train=2, num_test=1)
    assert stamps() == before

    content = json.loads((tmp_path / "scene.json").read_text())
    (tmp_path / "scene.json").write_text(json.dumps({**content, "complete": False}))
    (tmp_path / "training" / "02.mp4").unlink()
    generate(str(tmp_path), TINY, num_train=2, num_test=1)
    assert set(stamps()) == {"01.mp4", "02.mp4"}

    generate(str(tmp_path), TINY, num_train=1, num_test=1)  # a clip left over would be trained on
    assert set(stamps()) == {"01.mp4"}


def test_somebody_elses_directory_is_left_alone(tmp_path):
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "mine.mp4").write_bytes(b"precious")
    with pytest.raises(InputError, match="holds files but no synthetic scene"):
        generate(str(tmp_path), TINY)
    assert (tmp_path / "training" / "mine.mp4").read_bytes() == b"precious"


@pytest.mark.parametrize("change", [{"size": (47, 64)}, {"size": (16, 16)}, {"num_test": 0}, {"frames": 0}])
def test_impossible_options_are_refused(tmp_path, change):
    with pytest.raises(InputError, match="scene"):
        generate(str(tmp_path / "scene"), TINY, **change)
    assert not (tmp_path / "scene").exists()


def test_training_clips_hold_walkers_of_the_usual_direction_only():
    options = SceneOptions()
    for index in range(options.num_train):
        actors = script(options, "training", index).actors
        assert {actor.kind for actor in actors} == {"walker"}
        assert all(actor.speed > 0 for actor in actors)


def test_test_clips_hold_every_anomaly_at_its_own_speed():
    options = SceneOptions()
    actors = [actor for index in range(6) for actor in script(options, "testing", index).actors]

    def speeds(kind: str) -> np.ndarray:  # metres per second
        return np.array([a.speed * synthetic.FPS / metre(a.depth) for a in actors if a.kind == kind])

    assert {actor.kind for actor in actors} == {"walker", "runner", "wrong_way", "vehicle", "thrown"}
    assert (np.abs(speeds("walker") - 1.1) < 0.2).all()
    assert (speeds("wrong_way") < -0.9).all()
    assert (np.abs(speeds("runner")) > 3.5).all()


def test_masks_mark_exactly_the_pixels_that_the_anomaly_changes():
    options = SceneOptions(size=(96, 128))
    street = synthetic._Street(options)
    for index, t in ((0, 60), (1, 100), (2, 12), (4, 110)):
        clip = script(options, "testing", index)
        normal = replace(clip, actors=[actor for actor in clip.actors if not actor.abnormal])
        (image, mask), (empty, nothing) = street.picture(clip, t), street.picture(normal, t)
        changed = np.abs(image - empty).max(axis=-1) > 0.04
        assert not nothing.any()
        assert mask.sum() > 60
        assert changed[mask].mean() > 0.8  # the rest has by chance the colour of what is behind
        near = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3))) > 0  # half-covered pixels of the outline
        shadow = np.zeros_like(mask)
        columns = np.nonzero(mask)[1]
        shadow[60:, max(0, columns.min() - 8) : columns.max() + 32] = True
        assert not (changed & ~near & ~shadow).any()


def test_what_a_nearer_walker_covers_is_not_marked():
    options = SceneOptions()
    street = synthetic._Street(options)
    clip = script(options, "testing", 0)
    van = next(actor for actor in clip.actors if actor.kind == "vehicle")
    walker = next(actor for actor in clip.actors if actor.kind == "walker")
    van, walker = replace(van, depth=78.0), replace(walker, depth=90.0, passes=van.passes)
    t = round(van.passes)
    alone = street.picture(replace(clip, actors=[van]), t)[1]
    behind = street.picture(replace(clip, actors=[van, walker]), t)[1]
    in_front = street.picture(replace(clip, actors=[replace(walker, depth=70.0), van]), t)[1]
    assert np.array_equal(in_front, alone)
    assert (alone & ~behind).sum() > 60
    assert not (behind & ~alone).any()


def test_noise_grows_with_the_signal():
    options = SceneOptions(size=(96, 128))
    clip = script(options, "training", 0)
    street = synthetic._Street(options)
    frames, _ = render(options, "training", 0)
    light = np.stack([street.picture(clip, t)[0] * clip.gain[t] for t in range(0, 150, 30)])
    error = frames[::30] / 255 - light
    for low, high in ((0.05, 0.2), (0.5, 0.7)):
        inside = (light > low) & (light < high)
        expected = synthetic.READ_NOISE**2 + synthetic.SHOT_NOISE * light[inside].mean() + 1 / (12 * 255**2)
        assert error[inside].var() == pytest.approx(expected, rel=0.05)


def test_balanced_phase_shows_the_periodic_thing_equally_often():
    on = np.arange(96) < 60
    odd = np.zeros(120, bool)
    odd[40:90] = True
    phase = balanced_phase(np.random.default_rng(0), on, odd)
    shown = on[(phase + np.arange(120)) % 96]
    assert shown[odd].mean() == pytest.approx(shown[~odd].mean(), abs=0.03)


def linear_blend(frames: np.ndarray) -> np.ndarray:
    """Mean squared residual (n,) of blending the frames before and after each gap of ten, the anchors of the method."""
    scores = np.zeros(len(frames))
    for offset in (0, 5):  # every frame lies inside a gap of one of the two grids
        for t in range(len(frames)):
            step = (t - offset) % 10
            before, after = max(t - max(step - 1, 0), 0), min(t + 10 - step, len(frames) - 1)
            if step < 2 or after == before:
                continue
            weight = (t - before) / (after - before)
            blend = frames[before] * (1 - weight) + frames[after] * weight
            scores[t] = max(scores[t], ((frames[t] - blend) ** 2).mean())
    return scores


def test_trivial_scores_do_not_solve_the_default_scene():
    options = SceneOptions()
    scores, labels = {}, []
    for index in range(options.num_test):
        frames, masks = render(options, "testing", index)
        small = np.stack([cv2.resize(f, (64, 48), interpolation=cv2.INTER_AREA) for f in frames]).astype(np.float32)
        n = len(small)
        labels.append(masks.any(axis=(1, 2)))
        step = ((small[1:] - small[:-1]) ** 2).mean(-1)
        step = np.concatenate([step[:1], step])
        rows = {
            "difference": step.mean((1, 2)),
            "difference, largest box": np.array([cv2.blur(image, (5, 5)).max() for image in step]),
            "linear blend": linear_blend(small),
            "brightness": small.mean((1, 2, 3)),
            "ramp": np.arange(n) / n,
            "triangle": -np.abs(np.arange(n) / n - 0.5),
        }
        for name, row in rows.items():
            scores.setdefault(name, []).append(row)
    truth = np.concatenate(labels)
    assert 0.25 < truth.mean() < 0.45
    for name, rows in scores.items():
        for sigma in (0, 3):
            smooth = [gaussian_filter1d(row, sigma, mode="reflect") if sigma else row for row in rows]
            assert 0.30 < roc_auc_score(truth, np.concatenate(smooth)) < 0.70, name
