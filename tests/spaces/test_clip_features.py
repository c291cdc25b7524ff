"""Vectors of clips: windows and means by hand, files of other programs, networks of torchvision."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from stand_ins import texture

from ramvid_vad.errors import InputError
from ramvid_vad.spaces.clip_features import GRID, VideoBackbone, pooled, spread, windows
from ramvid_vad.spaces.clip_files import read_clip_features


@pytest.mark.parametrize(
    ("count", "stride", "firsts"),
    [
        (16, 16, [0]),
        (32, 16, [0, 16]),
        (33, 16, [0, 16, 17]),
        (40, 16, [0, 16, 24]),
        (22, 4, [0, 4, 6]),
        (17, 1, [0, 1]),
    ],
)
def test_windows_reach_the_last_item(count, stride, firsts):
    found = list(windows(range(count), 16, stride))
    assert [first for first, _ in found] == firsts
    assert all(held == list(range(first, first + 16)) for first, held in found)


def test_few_items_make_one_window():
    assert list(windows(range(3), 5, 5)) == [(0, [0, 1, 2, 2, 2])]
    assert list(windows([], 5, 5)) == []
    assert list(windows(range(3), 1, 2)) == [(0, [0]), (2, [2])]


def test_spreading_by_hand():
    """Frames in two clips take their mean; what a short video lacks is cut off."""
    assert spread([1.0, 3.0], [0, 2], 4, 6).tolist() == [1, 1, 2, 2, 3, 3]
    assert spread([5.0], [0], 4, 2).tolist() == [5, 5]


def test_pooling_by_hand():
    """One channel that is 3 and -3 in turn in the first part of the picture, and 2 in the last, over two frames."""
    maps = np.zeros((2, 1, 4, 6), np.float32)
    maps[:, 0, :2, :2] = np.array([[3, -3], [3, -3]])
    maps[:, 0, 2:, 4:] = 2
    maps[1] *= 2
    vector = pooled(maps)
    assert vector.shape == (2 * GRID[0] * GRID[1],)
    np.testing.assert_allclose(vector[:6], [0, 0, 0, 0, 0, 3])
    np.testing.assert_allclose(vector[6:], [22.5**0.5, 0, 0, 0, 0, 10**0.5], rtol=1e-6)


def test_a_folder_of_arrays(tmp_path):
    np.save(tmp_path / "b.npy", np.ones((3, 5)))
    np.save(tmp_path / "a.npy", np.stack([np.zeros((2, 5)), np.ones((2, 5))], axis=1))  # two crops of each clip
    (tmp_path / "notes.txt").write_text("of r3d_18")
    found = read_clip_features(str(tmp_path))
    assert list(found) == ["a", "b"] and found["b"].dtype == np.float32
    np.testing.assert_array_equal(found["a"], np.full((2, 5), 0.5))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones(5), "expected numbers"),
        (np.ones((0, 5)), "expected numbers"),
        (np.array([[object()]]), "cannot be read"),
        (np.full((2, 4), np.nan), "not finite"),
        (np.ones((2, 3)), r"vectors of \[3, 4\] numbers"),
    ],
)
def test_what_is_no_array_of_clips_is_one_line(tmp_path, array, message):
    np.save(tmp_path / "fine.npy", np.ones((2, 4)))
    np.save(tmp_path / "odd.npy", array, allow_pickle=True)
    with pytest.raises(InputError, match=message):
        read_clip_features(str(tmp_path))


def test_no_features_are_one_line(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="no features in it"):
        read_clip_features(str(tmp_path))
    with pytest.raises(InputError, match="no such folder of features"):
        read_clip_features(str(tmp_path / "other"))
    (tmp_path / "cut.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(InputError, match=r"cut\.npy: cannot be read"):
        read_clip_features(str(tmp_path))
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match="HDF5 needs h5py: pip install h5py"):
        read_clip_features(str(tmp_path / "features.h5"))


def test_an_hdf5_file(tmp_path):
    h5py = pytest.importorskip("h5py", reason="h5py is an optional package")
    path = tmp_path / "features.hdf5"
    with h5py.File(path, "w") as file:
        file["01"] = np.ones((2, 3))
        file["scene/02"] = np.zeros((1, 3))
    assert {name: each.shape for name, each in read_clip_features(str(path)).items()} == {
        "01": (2, 3),
        "scene/02": (1, 3),
    }
    path.write_bytes(b"no HDF5")
    with pytest.raises(InputError, match="cannot be read as HDF5"):
        read_clip_features(str(path))


class Small(torch.nn.Module):
    """In the place of a 3-D ResNet: the mean of each colour, then a classifier that is to be left out."""

    def __init__(self, weights=None):
        super().__init__()
        assert weights is None
        self.gain = torch.nn.Parameter(torch.ones(3))
        self.fc = torch.nn.Linear(3, 400)

    def forward(self, x):
        assert x.shape[1:] == (3, 16, 112, 112)
        return self.fc(self.gain * x.mean((2, 3, 4)))


@pytest.fixture
def torchvision(monkeypatch):
    video = SimpleNamespace(r3d_18=Small)
    models = SimpleNamespace(video=video)
    for name, module in (
        ("torchvision", SimpleNamespace(models=models)),
        ("torchvision.models", models),
        ("torchvision.models.video", video),
    ):
        monkeypatch.setitem(sys.modules, name, module)


def test_a_video_backbone(torchvision, tmp_path):
    """It sees colours standardised as Kinetics' were, and gives what stands before its classifier."""
    torch.save(Small().state_dict(), tmp_path / "weights.pth")
    frames = np.full((20, 40, 60, 3), 100, np.uint8)
    found = list(VideoBackbone("r3d_18", str(tmp_path / "weights.pth")).clips(frames))
    assert [first for first, _ in found] == [0, 4]
    mean, sd = np.array([0.43216, 0.394666, 0.37645]), np.array([0.22803, 0.22145, 0.216989])
    np.testing.assert_allclose(found[0][1], (100 / 255 - mean) / sd, rtol=1e-4)


def test_what_a_video_backbone_lacks_is_one_line(torchvision, monkeypatch, tmp_path):
    with pytest.raises(InputError, match="choose one of r3d_18"):
        VideoBackbone("s3d", "")
    with pytest.raises(InputError, match="no such file; give the local file"):
        VideoBackbone("r3d_18", str(tmp_path / "none.pth"))
    (tmp_path / "other.pth").write_bytes(b"other")
    with pytest.raises(InputError, match="not the weights of torchvision's r3d_18"):
        VideoBackbone("r3d_18", str(tmp_path / "other.pth"))
    torch.save({"fc.bias": torch.zeros(400)}, tmp_path / "part.pth")
    with pytest.raises(InputError, match="not the weights of torchvision's r3d_18"):
        VideoBackbone("r3d_18", str(tmp_path / "part.pth"))
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    with pytest.raises(InputError, match=r"needs torchvision \(.*\): pip install torchvision"):
        VideoBackbone("r3d_18", "")


def test_torchvisions_own_network(tmp_path):
    try:
        from torchvision.models import video
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"torchvision is an optional package ({error})")
    torch.manual_seed(0)
    network = video.r3d_18(weights=None)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    [(_, vector)] = VideoBackbone("r3d_18", str(tmp_path / "weights.pth")).clips(texture(16, 112, 112))
    assert vector.shape == (512,)
