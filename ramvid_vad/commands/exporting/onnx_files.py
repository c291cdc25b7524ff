"""The two networks of an infilling detector as ONNX files, for programs without PyTorch.

``features.onnx``: frames -> the appearance channels of the feature space. ``denoiser.onnx``: noisy maps of a window ->
what the U-Net predicts. Flow, noise schedule and scores stay in Python. Both are float32, whatever ``score`` takes.
"""

import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import nn

from ramvid_vad.detectors.infilling import Infilling
from ramvid_vad.errors import InputError, RunError
from ramvid_vad.ops.backends import BACKEND_VARIABLE
from ramvid_vad.options import ModelOptions
from ramvid_vad.runtime.files import replacing_together, write_text
from ramvid_vad.spaces.backbones import LITE0, FrozenFeatures
from ramvid_vad.spaces.features import FeatureSpace

OPSET = 18
TOLERANCE = 1e-4  # of the largest value that PyTorch gives
BATCHES = (1, 3)  # the sizes that are compared; the files take any
MIXERS = ("none", "attention")
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
EXTRA = f"pip install {' '.join(PACKAGES)}"
ABOUT_TORCHVISION = "torch.onnx._internal.exporter._registration"  # says that it is not there; nothing here needs it
FEATURES, DENOISER, ABOUT = "features.onnx", "denoiser.onnx", "onnx.json"


class Appearance(nn.Module):
    """Frames uint8 (n, H, W, 3) at the space's size -> float32 (n, K, h, w), group ``appearance`` of its maps."""

    def __init__(self, space: FeatureSpace) -> None:
        super().__init__()
        self.space, self.network = space, FrozenFeatures(torch.float32)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return self.space.appearance(self.network.of_tensor(frames)).permute(0, 3, 1, 2)


class Denoiser(nn.Module):
    """Maps (B,C,T,h,w) float32, timesteps (B,) float32 on a scale of 0 to 1000, anchors bool (B,C,T,h,w), True = given
    -> what the network predicts, (B,C,T,h,w). A network without a mask channel does not look at the anchors."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, maps: torch.Tensor, timesteps: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
        return self.model(maps, timesteps, anchors=anchors)


def write_onnx(detector: Infilling, folder: str) -> dict[str, Any]:
    """Write both networks and ``onnx.json`` (what goes in and comes out, and the differences found) into ``folder``.

    Returns what stands in onnx.json. Nothing is left if a file differs from PyTorch by more than TOLERANCE.
    InputError: a package is not installed; another backbone than the default, or other weights than it was fitted with;
    a mixer that cannot be written; a folder that cannot be written.  RunError: a file differs.
    """
    _check(detector)
    space, config = detector.space, detector.config
    height, width = space.size
    window = (space.channels, config["seq_len"], *space.grid)
    about: dict[str, Any] = {
        "opset": OPSET,
        "arithmetic": "float32; ramvid-vad score computes in bfloat16 where that is the processor's own",
        "frame_size": [height, width],
        "window": dict(zip(("channels", "frames", "height", "width"), window, strict=True)),
        "groups": space.groups,
        "prediction": config["diffusion"]["prediction"],
        "noise_schedule": config["diffusion"]["noise_schedule"],
        "diffusion_steps": config["diffusion"]["diffusion_steps"],
        "made_with": {name: import_module(name).__version__ for name in ("torch", *PACKAGES)},
        "largest_difference": {},
    }
    made: dict[str, tuple[nn.Module, Callable[[int], dict[str, torch.Tensor]], str]] = {
        FEATURES: (Appearance(space), lambda n: _frames(n, height, width), "appearance"),
        DENOISER: (Denoiser(detector.model), lambda n: _windows(n, window), "prediction"),
    }
    try:
        with replacing_together(folder, last=ABOUT) as place:
            for name, (network, inputs, output) in made.items():
                path = os.path.join(place, name)
                _export(network.eval(), inputs(BATCHES[-1]), output, path)
                difference = max(_difference(network, inputs(n), path) for n in BATCHES)
                if not difference <= TOLERANCE:
                    raise RunError(
                        f"{name} differs from PyTorch by {difference:.1g} of the largest value, more than "
                        f"{TOLERANCE:g}: nothing was written"
                    )
                about["largest_difference"][name] = difference
            write_text(os.path.join(place, ABOUT), json.dumps(about, indent=1) + "\n")
    except OSError as error:
        raise InputError(f"--out {folder}: cannot be written ({error.strerror}): give another folder") from None
    return about


def _check(detector: Infilling) -> None:
    try:
        for name in PACKAGES:
            import_module(name)
    except ImportError as error:
        raise InputError(f"--onnx: needs the package {error.name}: {EXTRA}") from None
    space, mixer = detector.space, detector.config["model"].get("mixer", ModelOptions.mixer)
    if space.backbone != LITE0:
        raise InputError(f"--onnx: the detector's backbone is {space.backbone}: only {LITE0} can be written")
    _ = space.network  # refuses other weights than the space was fitted with
    if mixer not in MIXERS:  # its scan becomes operators for each position: minutes for 120, and windows have thousands
        raise InputError(
            f"--onnx: the network's mixer is {mixer}, which ONNX has no operator for: only none, attention"
        )


def _frames(n: int, height: int, width: int) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(n)
    return {"frames": torch.randint(0, 256, (n, height, width, 3), generator=draw, dtype=torch.uint8)}


def _windows(n: int, window: Sequence[int]) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(n)
    maps = torch.randn((n, *window), generator=draw)
    timesteps = torch.rand(n, generator=draw) * 999
    return {"maps": maps, "timesteps": timesteps, "anchors": torch.rand(maps.shape, generator=draw) < 0.5}


@torch.no_grad()
def _export(network: nn.Module, inputs: dict[str, torch.Tensor], output: str, path: str) -> None:
    logging.getLogger(ABOUT_TORCHVISION).setLevel(logging.ERROR)
    with _plain_operators(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about its own insides
        torch.onnx.export(
            network,
            tuple(inputs.values()),
            path,
            input_names=list(inputs),
            output_names=[output],
            dynamic_shapes={name: {0: torch.export.Dim("batch")} for name in inputs},
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )


@torch.inference_mode()
def _difference(network: nn.Module, inputs: dict[str, torch.Tensor], path: str) -> float:
    """Largest difference between the file's result and PyTorch's, in units of PyTorch's largest value."""
    import onnxruntime

    expected = network(*inputs.values()).numpy()
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    known = {each.name for each in session.get_inputs()}  # what a network does not look at is not in its file
    (found,) = session.run(None, {name: value.numpy() for name, value in inputs.items() if name in known})
    if found.shape != expected.shape:
        raise RunError(f"{os.path.basename(path)} gives {found.shape} instead of {expected.shape}: nothing was written")
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@contextmanager
def _plain_operators() -> Iterator[None]:
    """PyTorch's own operators in place of our kernels, which ONNX does not know."""
    before = os.environ.get(BACKEND_VARIABLE)
    os.environ[BACKEND_VARIABLE] = "reference"
    try:
        yield
    finally:
        if before is None:
            del os.environ[BACKEND_VARIABLE]
        else:
            os.environ[BACKEND_VARIABLE] = before
