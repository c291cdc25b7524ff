"""How what is seen and how it moves become one feature: the fusion block, equations (4) to (6)."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from ramvid_vad.detectors.stnmamba.blocks import DepthWise
from ramvid_vad.models.ss2d import SS2D


class ChannelWeights(nn.Module):
    """ECA (arXiv 1910.03151): each channel weighed by a convolution over the means of its neighbours, whose width is
    the odd number next to log2(C) / 2 + 1/2."""

    def __init__(self, channels: int):
        super().__init__()
        width = int(abs(math.log2(channels) / 2 + 0.5))
        width += 1 - width % 2
        self.conv = nn.Conv1d(1, 1, width, padding=width // 2, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = torch.sigmoid(self.conv(x.mean((1, 2))[:, None])[:, 0])
        return x * weights[:, None, None]


class FusionBlock(nn.Module):
    """STFB: spatial and temporal features (B, H, W, C) -> fused ones.

    s, t = DWConv(Linear(S)), DWConv(Linear(T)) (4); h = SS2D(s * t), s' = h * SiLU(s), t' = h * SiLU(t) (5);
    ECA(S + Linear(s') + T + Linear(t')) (6). The norms in front, without which a product of features grows from stage
    to stage, the norm after the scan, and the inner width, that of the features, are ours.
    """

    def __init__(self, channels: int):
        super().__init__()
        for kind in ("spatial", "temporal"):
            self.add_module(f"{kind}_in", nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, channels)))
            self.add_module(f"{kind}_conv", DepthWise(channels))
            self.add_module(f"{kind}_out", nn.Linear(channels, channels))
        self.scan = SS2D(channels, dt_rank=math.ceil(channels / 16))
        self.norm = nn.LayerNorm(channels)
        self.weights = ChannelWeights(channels)

    def forward(self, spatial: torch.Tensor, temporal: torch.Tensor) -> torch.Tensor:
        s = self.spatial_conv(self.spatial_in(spatial))
        t = self.temporal_conv(self.temporal_in(temporal))
        h = self.norm(self.scan(s * t))
        s, t = self.spatial_out(h * F.silu(s)), self.temporal_out(h * F.silu(t))
        return self.weights(spatial + s + temporal + t)


class Concatenation(nn.Module):
    """The baseline's fusion: side by side, then projected to the width that the decoder takes."""

    def __init__(self, channels: int):
        super().__init__()
        self.project = nn.Linear(2 * channels, channels)

    def forward(self, spatial: torch.Tensor, temporal: torch.Tensor) -> torch.Tensor:
        return self.project(torch.cat([spatial, temporal], -1))
