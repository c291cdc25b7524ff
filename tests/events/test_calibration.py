"""The alarm's normal video, held out by turns: what a fold leaves out, by hand; no frame is scored by itself."""

import numpy as np
import pytest
import torch

from ramvid_vad.detectors import fusion
from ramvid_vad.detectors.appearance import normal_frames, normal_patches
from ramvid_vad.detectors.fusion import CalibratedSum
from ramvid_vad.events.calibration import camera_of, threshold_of
from ramvid_vad.video.reader import Clip
from ramvid_vad.video.writer import write_video

FPS = 10.0


class Means:
    """Stands in for the network: the mean of each cell, and its square."""

    def __call__(self, frames):
        x = torch.from_numpy(np.ascontiguousarray(frames)).float().mean(dim=3, keepdim=True)
        x = torch.nn.functional.avg_pool2d(x.permute(0, 3, 1, 2), 8).permute(0, 2, 3, 1)
        return torch.cat([x, x.square() / 256], dim=3)


def clip(folder, name: str, grey: int, frames: int = 60) -> str:
    """A plain grey scene whose frames are one, two, three ... levels brighter."""
    path = str(folder / f"{name}.mkv")
    levels = np.clip(grey + np.arange(frames), 0, 255).astype(np.uint8)
    write_video(path, (np.full((32, 48, 3), level, np.uint8) for level in levels), fps=FPS, crf=0)
    return path


def looks_of(patches, kept) -> set[tuple[float, float]]:
    return {tuple(row) for row in patches.features[torch.from_numpy(kept)].tolist()}


@pytest.mark.parametrize(
    ("clips", "groups"),
    [
        (5, [[(0, 0, 60), (4, 0, 60)], [(1, 0, 60)], [(2, 0, 60)], [(3, 0, 60)]]),
        (2, [[(0, 15 * k, 15 * k + 15), (1, 15 * k, 15 * k + 15)] for k in range(4)]),
    ],
)
def test_a_fold_knows_all_patches_but_its_own(tmp_path, clips, groups):
    paths = [clip(tmp_path, str(number), 40 * number) for number in range(clips)]
    patches = normal_patches(normal_frames([Clip(path) for path in paths]), Means())
    assert patches.lengths == [60] * clips and patches.folds() == groups
    # each patch stands where it says: its level is that of its clip and frame
    levels = np.abs(patches.features[:, 0].numpy() - (40 * patches.clip + patches.frame))
    assert levels.max() < 3 and len(patches.clip) == len(patches.features)
    for group in groups:
        out = np.zeros(len(patches.clip), bool)
        for number, first, end in group:
            out |= (patches.clip == number) & (patches.frame >= first) & (patches.frame < end)
        memory = patches.without(group)
        # fewer differ than there are centres: each is its own
        expected = looks_of(patches, ~out)
        assert out.any() and len(memory) == len(expected)
        np.testing.assert_allclose(
            sorted((memory.centres * memory.scale).tolist()), sorted(map(list, expected)), rtol=1e-4, atol=1e-3
        )


def test_a_scene_seen_once_is_strange_when_it_is_held_out(tmp_path, monkeypatch):
    """Clip 1 alone is bright. The detector knows it; the alarm must not be set as if it had always known it."""
    monkeypatch.setattr(fusion, "FrozenFeatures", Means)
    paths = [clip(tmp_path, str(number), 150 if number == 1 else 20, 80) for number in range(6)]
    detector = CalibratedSum.fit(paths, progress=False)
    camera = camera_of(detector, paths, "door", 0.5, progress=False)
    assert [len(curve) for curve in camera.curves] == [80] * 6  # two held out, four by turns
    known = detector.score(paths[1], maps=False).frames
    (strange,) = (curve for curve in camera.curves if curve.max() > known.max() + 2)
    assert (strange > known + 1).all()
    assert camera.threshold.value > threshold_of(detector.normal, FPS, 0.5, 0.5).value
    assert camera.threshold.hours == pytest.approx(480 / FPS / 3600)


def test_no_more_is_held_out_than_the_rate_needs(tmp_path, monkeypatch):
    """Three alarms at 180 an hour need 600 frames: 160 are held out, 440 of the other 320 are more than there are; at
    450 an hour 240, of which 80 by turns, a fourth of each; at 700 an hour none."""
    monkeypatch.setattr(fusion, "FrozenFeatures", Means)
    paths = [clip(tmp_path, str(number), 20 + 9 * number, 80) for number in range(6)]
    detector = CalibratedSum.fit(paths, progress=False)
    for rate, lengths in ((180, [80] * 6), (450, [80, 80] + [20] * 4), (700, [80, 80])):
        camera = camera_of(detector, paths, "door", rate, progress=False)
        assert [len(curve) for curve in camera.curves] == lengths
    camera.detector.save(str(tmp_path / "cam"))
    camera.save(str(tmp_path / "cam"))
    assert type(camera).load(str(tmp_path / "cam")).detector.cross_fitted(1000) == []  # its patches are not kept
