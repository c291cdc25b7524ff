"""The feature space: whitening against scikit-learn, motion by plain loops, mirrors, and what it refuses."""

import cv2
import numpy as np
import pytest
import torch
from clips import write_video
from PIL import Image
from sklearn.decomposition import PCA
from stand_ins import PooledColours, texture

from ramvid_vad.errors import InputError
from ramvid_vad.spaces import features as features_module
from ramvid_vad.spaces.features import DAMPING, FeatureSpace
from ramvid_vad.spaces.frame_size import reduced
from ramvid_vad.spaces.motion import flow_between, motion_cells
from ramvid_vad.spaces.stored import load_space, save_space


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    monkeypatch.setattr(features_module, "load_backbone", lambda name, weights="": PooledColours())


@pytest.fixture
def videos(tmp_path):
    clips = (texture(9, 52, 68, seed=0), texture(12, 52, 68, speed=3, seed=1))
    return [str(write_video(tmp_path / f"{i}.mkv", frames)) for i, frames in enumerate(clips)]


@pytest.fixture
def space(videos):
    return FeatureSpace.fit(videos, kept=4)


def raw_features() -> np.ndarray:
    """What the statistics are taken from: every frame but the first of each clip, (n, h, w, 6)."""
    network = PooledColours()
    clips = (texture(9, 52, 68, seed=0), texture(12, 52, 68, speed=3, seed=1))
    return torch.cat([network(clip[1:]) for clip in clips]).double().numpy()


@pytest.mark.parametrize("centre", ["place", "all"])
def test_appearance_is_pca_of_the_standardised_features_with_damped_whitening(videos, centre):
    space = FeatureSpace.fit(videos, kept=4, centre=centre)
    raw = raw_features()
    centred = (raw - raw.mean(0 if centre == "place" else (0, 1, 2))).reshape(-1, 6)
    standardised = centred / centred.std(0)
    pca = PCA(4).fit(standardised)
    eigenvalues = pca.explained_variance_ * (len(centred) - 1) / len(centred)
    # the mean eigenvalue of a correlation matrix is 1
    expected = pca.transform(standardised) / np.sqrt(eigenvalues + DAMPING)
    maps = space.appearance(torch.from_numpy(raw).float()).double()
    ours = maps.flatten(0, 2).numpy()
    signs = np.sign((ours * expected).sum(0))
    np.testing.assert_allclose(ours * signs, expected, atol=3e-4)
    np.testing.assert_allclose(ours.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(np.cov(ours.T, bias=True), np.diag(eigenvalues / (eigenvalues + DAMPING)), atol=1e-4)
    at_each_place = maps.mean(0).abs().max()
    assert at_each_place < 1e-3 if centre == "place" else at_each_place > 0.1


def test_each_group_has_the_means_it_is_asked_for(videos):
    spaces = {centre: FeatureSpace.fit(videos, kept=4, centre=centre) for centre in ("all", "place", "appearance")}
    torch.testing.assert_close(spaces["appearance"].place, spaces["place"].place, atol=0, rtol=0)
    torch.testing.assert_close(spaces["appearance"].motion_place, spaces["all"].motion_place, atol=0, rtol=0)
    assert not torch.equal(spaces["all"].place, spaces["place"].place)
    assert not torch.equal(spaces["all"].motion_place, spaces["place"].motion_place)


def network_channels(space: FeatureSpace, appearance: torch.Tensor) -> torch.Tensor:
    """The inverse, (..., h, w, K) -> (..., h, w, D), but for what lies across the axes kept."""
    return (appearance + space.place.permute(1, 2, 0)) * space.variance.sqrt() @ space.axes.T * space.sd


def test_the_inverse_gives_the_features_back(videos):
    raw = torch.from_numpy(raw_features()).float()
    whole = FeatureSpace.fit(videos, kept=6)
    torch.testing.assert_close(network_channels(whole, whole.appearance(raw)), raw, atol=1e-2, rtol=1e-4)
    part = FeatureSpace.fit(videos, kept=3)
    nearest = network_channels(part, part.appearance(raw))
    # what is lost lies across the axes kept: seen again, nothing changes
    torch.testing.assert_close(part.appearance(nearest), part.appearance(raw), atol=1e-3, rtol=1e-3)
    assert (nearest - raw).abs().max() > 1


def test_absolute_maps_do_not_depend_on_what_is_subtracted(videos):
    """Motion has them in its own units over the standard deviation."""
    clip = texture(5, 52, 68, speed=3)
    for centre in ("place", "all", "appearance"):
        space = FeatureSpace.fit(videos, kept=4, centre=centre)
        maps = space.absolute(np.stack(list(space.encode(clip))).astype(np.float16))
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in clip]
        for t in range(1, 5):
            cells = motion_cells(grey[t], grey[t - 1])
            np.testing.assert_allclose(maps[t, 4:] * space.motion_sd.numpy()[:, None, None], cells, atol=0.02)
        looks = PooledColours()(clip) / space.sd @ space.axes / space.variance.sqrt()
        np.testing.assert_allclose(maps[:, :4], looks.permute(0, 3, 1, 2), atol=0.02)


def test_motion_cells_by_plain_loops():
    """20 x 28 pixels: 3 x 4 cells, those at the right and below with their last row and column repeated."""
    clip = texture(2, 20, 28, speed=3)
    before, now = clip[0, ..., 0], clip[1, ..., 0]
    flow, cells = flow_between(now, before), motion_cells(now, before)
    assert cells.shape == (5, 3, 4) and cells.dtype == np.float32
    for row in range(3):
        for column in range(4):
            ys = np.minimum(np.arange(8 * row, 8 * row + 8), 19)
            xs = np.minimum(np.arange(8 * column, 8 * column + 8), 27)
            u, v = (flow[np.ix_(ys, xs)][..., axis].astype(np.float64) for axis in (0, 1))
            change = np.abs(now[np.ix_(ys, xs)].astype(float) - before[np.ix_(ys, xs)])
            length = np.sqrt(u**2 + v**2)
            by_hand = [u.mean(), v.mean(), np.log(0.3 + length.max())]
            by_hand += [np.log(0.5 + change.mean()), np.log(0.1 + length.std())]
            np.testing.assert_allclose(cells[:, row, column], by_hand, atol=1e-4)


def test_flow_points_back_to_where_the_texture_was():
    clip = texture(2, 64, 96, speed=3)
    u, v = motion_cells(clip[1, ..., 0], clip[0, ..., 0])[:2, 2:-2, 2:-2]
    np.testing.assert_allclose(u, -3, atol=0.3)
    np.testing.assert_allclose(v, 0, atol=0.3)


def test_groups_and_grid_and_frames_one_by_one(videos, space):
    assert space.groups == {"appearance": 4, "motion": 5} and space.channels == 9
    assert space.grid == (7, 9)  # 52 x 68 pixels, rounded up
    clip = texture(9, 52, 68, seed=0)
    maps = np.stack(list(space.encode(clip)))
    assert maps.shape == (9, 9, 7, 9) and maps.dtype == np.float32
    np.testing.assert_allclose(maps[:, :4], space.appearance(PooledColours()(clip)).permute(0, 3, 1, 2), atol=1e-5)
    np.testing.assert_allclose(space.looks(clip[5]).permute(2, 0, 1), maps[5, :4], atol=1e-5)
    sd = space.motion_sd.numpy()[:, None, None]
    for t in range(1, 9):
        grey = [np.asarray(Image.fromarray(clip[s]).convert("L")) for s in (t, t - 1)]
        cells = motion_cells(*grey) / sd - space.motion_place.numpy()
        assert np.abs(maps[t, 4:] - cells).mean() < 0.05  # Pillow rounds luma otherwise than OpenCV
    np.testing.assert_array_equal(maps[0, 4:], maps[1, 4:])
    # whatever comes later changes nothing
    np.testing.assert_allclose(np.stack(list(space.encode(clip[:6]))), maps[:6], atol=1e-6)


def test_motion_is_standardised_on_normal_video(tmp_path):
    clip = texture(20, 64, 96, speed=2)
    space = FeatureSpace.fit([str(write_video(tmp_path / "v.mkv", clip))], kept=4, centre="place")
    motion = np.stack(list(space.encode(clip)))[1:, 4:]
    np.testing.assert_allclose(motion.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(motion.std((0, 2, 3)), 1, atol=1e-3)


def test_a_single_frame_and_a_still_video_have_no_motion(space):
    clip = texture(1, 52, 68)
    (single,) = space.encode(clip)
    still = np.stack(list(space.encode([clip[0]] * 5)))
    calm = np.array([0, 0, np.log(0.3), np.log(0.5), np.log(0.1)])[:, None, None]
    calm = calm / space.motion_sd.numpy()[:, None, None] - space.motion_place.numpy()
    np.testing.assert_allclose(single[4:], calm, atol=1e-4)
    np.testing.assert_allclose(still, np.broadcast_to(single, still.shape), atol=1e-5)


def test_grey_frames_are_seen_as_colour_ones_and_other_sizes_are_brought_to_the_space(space):
    grey = texture(3, 52, 68)[..., :1]
    ours = np.stack(list(space.encode(grey)))
    np.testing.assert_array_equal(ours, np.stack(list(space.encode(np.repeat(grey, 3, axis=-1)))))
    assert np.stack(list(space.encode(texture(3, 104, 136)))).shape == (3, 9, 7, 9)


def test_reduced_frames():
    assert reduced(np.zeros((480, 720, 3), np.uint8)).shape == (240, 360, 3)
    assert reduced(np.zeros((480, 720, 1), np.uint8), lines=0).shape == (480, 720, 1)
    assert reduced(np.zeros((720, 480, 3), np.uint8), lines=120).shape == (180, 120, 3)
    assert reduced(np.zeros((100, 8, 3), np.uint8)).shape == (200, 16, 3)
    board = np.indices((480, 480)).sum(0)[..., None] % 2 * np.uint8(200)
    np.testing.assert_array_equal(reduced(board.astype(np.uint8)), 100)  # each pixel counts


def test_seen_in_a_mirror_u_changes_its_sign(space):
    """The maps of a camera that sees everything in a mirror, and whose places were fitted so."""
    space.size = (56, 72)  # whole cells: else the mirror's cells lie elsewhere
    clip = texture(6, 56, 72, speed=3)
    maps = torch.from_numpy(np.stack(list(space.encode(clip)))).movedim(0, 1)  # (C, T, h, w)
    before = maps.clone()
    seen = space.mirrored(maps)
    torch.testing.assert_close(maps, before, atol=0, rtol=0)  # in place would spoil the caller's
    mirror = FeatureSpace(**space.settings(), **space.tensors(), network=PooledColours())
    sign = torch.tensor([-1.0, 1, 1, 1, 1])[:, None, None]
    mirror.place, mirror.motion_place = space.place.flip(-1), space.motion_place.flip(-1) * sign
    mirror._shift = mirror.place.permute(1, 2, 0)
    real = torch.from_numpy(np.stack(list(mirror.encode(clip[:, :, ::-1])))).movedim(0, 1)
    torch.testing.assert_close(seen[:4], real[:4], atol=1e-4, rtol=1e-4)
    u = (seen[4] + mirror.motion_place[0]) * space.motion_sd[0]
    inside = (slice(None), slice(2, -2), slice(2, -2))
    assert 2.5 < u[inside].mean() < 3.5  # to the right before, to the left now; towards where it came from
    real_u = (real[4] + mirror.motion_place[0]) * space.motion_sd[0]
    np.testing.assert_allclose(u[inside], real_u[inside], atol=0.2)
    torch.testing.assert_close(seen[5:], maps[5:].flip(-1), atol=0, rtol=0)
    torch.testing.assert_close(space.mirrored(seen), maps, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(space.mirrored(maps[None])[0], seen, atol=0, rtol=0)


def test_fitted_again_it_is_byte_equal(videos, space, tmp_path):
    again = FeatureSpace.fit(videos, kept=4)
    for name, each in (("a", space), ("b", again)):
        save_space(each, str(tmp_path / name))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert again.fingerprint == space.fingerprint
    others = [FeatureSpace.fit(videos, kept=3), FeatureSpace.fit(videos[:1], kept=4)]
    others += [FeatureSpace.fit(videos, kept=4, lines=40), FeatureSpace.fit(videos, kept=4, centre="place")]
    assert len({space.fingerprint, *(other.fingerprint for other in others)}) == 5


def test_stored_and_loaded_it_is_the_same(space, tmp_path):
    path = str(tmp_path / "space.safetensors")
    save_space(space, path)
    loaded = load_space(path)
    assert loaded.fingerprint == space.fingerprint and loaded.groups == space.groups
    clip = texture(5, 52, 68)
    np.testing.assert_array_equal(list(loaded.encode(clip)), list(space.encode(clip)))


def test_what_is_no_space_is_refused_by_name(space, tmp_path):
    path = tmp_path / "space.safetensors"
    with pytest.raises(InputError, match=r"space.safetensors: no such file"):
        load_space(str(path))
    save_space(space, str(path))
    whole = path.read_bytes()
    for damaged in (b"", b"no space", whole[:-7], whole.replace(b"features", b"fixtures")):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"space.safetensors: not a space of this version, or damaged"):
            load_space(str(path))


def test_a_backbone_with_other_weights_is_refused(space, tmp_path, monkeypatch):
    path = str(tmp_path / "space.safetensors")
    save_space(space, path)
    monkeypatch.setattr(PooledColours, "digest", "others")
    with pytest.raises(InputError, match=r"--backbone efficientnet_lite0: its weights are not those"):
        list(load_space(path).encode(texture(2, 52, 68)))


def test_more_axes_than_channels_are_refused(videos):
    for kept in (0, 7):
        with pytest.raises(InputError, match=rf"--space_channels {kept}: must be 1 to 6"):
            FeatureSpace.fit(videos, kept=kept)


def test_features_that_never_vary_stay_finite(tmp_path):
    frames = np.full((5, 32, 40, 3), 90, np.uint8)
    space = FeatureSpace.fit([str(write_video(tmp_path / "still.mkv", frames))], kept=6)
    maps = np.stack(list(space.encode(frames)))
    assert np.isfinite(maps).all()
    np.testing.assert_allclose(maps, 0, atol=1e-3)
