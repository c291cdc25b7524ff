"""ONNX files of a detector's networks: onnxruntime gives what PyTorch gives, and what does not is not left behind."""

import importlib.util
import json
import logging
import os
import sys
from importlib.machinery import ModuleSpec
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from stand_ins import texture
from torch import nn

from ramvid_vad.__main__ import main
from ramvid_vad.commands.exporting import onnx_files
from ramvid_vad.detectors.infilling import Infilling
from ramvid_vad.errors import InputError, RunError
from ramvid_vad.spaces.backbones import FrozenFeatures
from ramvid_vad.spaces.features import FeatureSpace
from ramvid_vad.spaces.motion import CHANNELS

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
MISSING = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
needs_onnx = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)} (an optional extra)")
SIZE = (50, 70)  # no multiple of anything: 7 x 9 cells


@pytest.fixture(scope="module")
def detector():
    """The default backbone and a small network whose weights are all random, uncalibrated."""
    torch.manual_seed(0)
    network = FrozenFeatures(torch.float32)
    features = network(texture(8, *SIZE)).flatten(0, 2)
    axes = torch.linalg.qr(torch.randn(network.channels, 4))[0]
    moments = (torch.rand(4) + 1, torch.randn(4, 7, 9), torch.ones(CHANNELS), torch.zeros(CHANNELS, 7, 9))
    known = ("efficientnet_lite0", network.digest, features.std(0), axes)
    space = FeatureSpace(SIZE, *known, *moments, network=network)  # float32 on every processor
    model = {"num_channels": 32, "num_res_blocks": 1, "channel_mult": "1,2", "mixer": "none", "mask_channel": True}
    config = {"model": model, "diffusion": {"prediction": "v", "noise_schedule": "cosine", "diffusion_steps": 100}}
    config |= {"anchors": {"anchors": "none"}, "space": {"space": "features", "space_channels": 4}, "seq_len": 6}
    from ramvid_vad.options import ModelOptions
    from ramvid_vad.script_util import create_model

    weights = create_model(ModelOptions(**model), groups=(4, CHANNELS))
    for parameter in weights.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    return Infilling(space, config, weights.state_dict())


@pytest.fixture(scope="module")
def files(detector, tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    said = []
    listener = logging.Handler()
    listener.emit = said.append
    logger = logging.getLogger(onnx_files.ABOUT_TORCHVISION)
    logger.addHandler(listener)
    about = onnx_files.write_onnx(detector, str(folder))
    logger.removeHandler(listener)
    assert not said, "lines of the exporter about its own insides"
    return folder, about


def run(path, **inputs):
    import onnxruntime

    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, inputs)[0]


@needs_onnx
def test_features_are_those_of_the_space(detector, files):
    """Against the space's own way from frames to maps, at another batch size than any that was compared."""
    folder, about = files
    frames = texture(4, *SIZE, seed=3)
    expected = np.stack(list(detector.space.encode(frames)))[:, :4]
    found = run(folder / "features.onnx", frames=frames)
    assert found.shape == (4, 4, 7, 9) and found.dtype == np.float32
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
    assert about == json.loads((folder / "onnx.json").read_text()) and about["frame_size"] == [*SIZE]
    assert about["arithmetic"].startswith("float32")


@needs_onnx
def test_the_denoiser_is_the_network_and_looks_at_all_it_is_given(detector, files):
    folder, about = files
    draw = torch.Generator().manual_seed(7)
    maps = torch.randn((2, 4 + CHANNELS, 6, 7, 9), generator=draw)
    timesteps, anchors = torch.tensor([3.0, 870.0]), torch.rand(maps.shape, generator=draw) < 0.3
    with torch.no_grad():
        expected = detector.model(maps, timesteps, anchors=anchors).numpy()
    inputs = {"maps": maps.numpy(), "timesteps": timesteps.numpy(), "anchors": anchors.numpy()}
    found = run(folder / "denoiser.onnx", **inputs)
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
    for other in ({"timesteps": inputs["timesteps"][::-1].copy()}, {"anchors": ~inputs["anchors"]}):
        assert np.abs(run(folder / "denoiser.onnx", **inputs | other) - expected).max() > 1e-2 * np.abs(expected).max()
    assert about["window"] == {"channels": 4 + CHANNELS, "frames": 6, "height": 7, "width": 9}
    assert set(os.listdir(folder)) == {"features.onnx", "denoiser.onnx", "onnx.json"}


@pytest.fixture
def stand_ins(monkeypatch):
    """No exporter: a file is its name, and its session answers as the test says."""

    def pretend(answer):
        session = SimpleNamespace(get_inputs=lambda: [], run=lambda *_: [answer])
        for name in PACKAGES:
            module = SimpleNamespace(__version__="0", InferenceSession=lambda *_, **__: session)
            module.__spec__ = ModuleSpec(name, None)  # which PyTorch may look for
            monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setattr(torch.onnx, "export", lambda network, inputs, path, **_: open(path, "w").close())

    return pretend


def test_a_file_that_differs_is_not_left(detector, stand_ins, tmp_path, monkeypatch):
    network = onnx_files.Appearance(detector.space)
    monkeypatch.setattr(onnx_files, "BATCHES", (2,))
    with torch.inference_mode():
        right = network(onnx_files._frames(2, *SIZE)["frames"]).numpy()
    wrong = right.copy()
    wrong[0, 0, 0, 0] += 2e-4 * np.abs(right).max()
    stand_ins(wrong)
    with pytest.raises(RunError, match=r"features.onnx differs from PyTorch by 0.0002"):
        onnx_files.write_onnx(detector, str(tmp_path))
    stand_ins(right[:1])
    with pytest.raises(RunError, match=r"features.onnx gives \(1, 4, 7, 9\) instead of \(2, 4, 7, 9\)"):
        onnx_files.write_onnx(detector, str(tmp_path))
    stand_ins(right + np.nan)
    with pytest.raises(RunError, match=r"features.onnx differs"):
        onnx_files.write_onnx(detector, str(tmp_path))
    stand_ins(right)
    with pytest.raises(RunError, match=r"denoiser.onnx gives"):  # the first file passes
        onnx_files.write_onnx(detector, str(tmp_path))
    assert os.listdir(tmp_path) == []


def test_what_cannot_be_exported_is_one_line(detector, stand_ins, tmp_path, monkeypatch):
    stand_ins(None)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"needs the package onnxruntime: pip install onnx"):
        onnx_files.write_onnx(detector, str(tmp_path))
    stand_ins(None)
    monkeypatch.setattr(detector.space, "backbone", "resnet18")
    with pytest.raises(InputError, match="backbone is resnet18: only efficientnet_lite0"):
        onnx_files.write_onnx(detector, str(tmp_path))
    monkeypatch.undo()
    stand_ins(None)
    monkeypatch.setitem(detector.config["model"], "mixer", "mamba")
    with pytest.raises(InputError, match="mixer is mamba, which ONNX has no operator for: only none, attention"):
        onnx_files.write_onnx(detector, str(tmp_path))
    monkeypatch.setattr(detector.space, "_network", None)
    monkeypatch.setattr(detector.space, "digest", "0" * 16)
    with pytest.raises(InputError, match="its weights are not those that the space was fitted with"):
        onnx_files.write_onnx(detector, str(tmp_path / "new"))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "which detector?"),
        (["CAMERA"], "add --onnx"),
        (["CAMERA", "--onnx"], "nearest frozen feature has no denoiser: fit with --recipe full"),
        (["nowhere", "--onnx"], "nowhere: no fitted detector there"),
    ],
)
def test_mistakes_are_one_line_and_code_2(words, message, tmp_path, capsys):
    from ramvid_vad.detectors.appearance import NearestFeature, PatchMemory

    detector = NearestFeature(None, PatchMemory.of(torch.randn(2000, 120, generator=torch.Generator().manual_seed(0))))
    detector.save(str(tmp_path / "camera"))
    with pytest.raises(SystemExit) as end:
        main(["export", *(str(tmp_path / "camera") if word == "CAMERA" else word for word in words)])
    said = capsys.readouterr().err
    assert end.value.code == 2 and message in said and said.count("\n") == 1
    assert not (tmp_path / "camera" / "onnx").exists()


@pytest.mark.parametrize("two_lights", [False, True])
def test_the_command_says_where_the_files_are(detector, two_lights, monkeypatch, tmp_path, capsys):
    """Of a camera with a day and a night, those of both."""
    written = []
    monkeypatch.setattr("ramvid_vad.api.load", lambda folder: detector)
    monkeypatch.setattr("ramvid_vad.commands.exporting.command.has_night", lambda folder: two_lights)
    monkeypatch.setattr(
        "ramvid_vad.commands.exporting.command.write_onnx",
        lambda _, folder: written.append(folder) or {"largest_difference": {"features.onnx": 1e-6, "denoiser.onnx": 1}},
    )
    main(["export", str(tmp_path), "--onnx"])
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{tmp_path}/onnx/features.onnx: differs from PyTorch by 1e-06 of the largest value"
    assert written == [f"{tmp_path}/onnx", f"{tmp_path}/onnx/night"][: 1 + two_lights] and len(said) == 2 * len(written)
    main(["export", str(tmp_path), "--onnx", "--out", str(tmp_path / "there"), "--dry_run"])
    assert "onnx: true" in capsys.readouterr().out and os.listdir(tmp_path) == []
