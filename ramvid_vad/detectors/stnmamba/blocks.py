"""The blocks of both encoders and the decoder. Everything is (B, H, W, C).

Equation numbers are those of arXiv 2412.20084, whose text has lost most of its symbols: what we chose for a lost one
stands with each block.
"""

import torch
import torch.nn.functional as F
from torch import nn

from ramvid_vad.models.ss2d import SS2D

KERNELS = (3, 5, 7)  # of the multi-scale block; ours, the text's are lost
EXPANSION = 2  # VMamba's; the text's is lost
REDUCTION = 4  # of the channel attention's hidden layer; ours


class DepthWise(nn.Conv2d):
    """A depth-wise convolution that keeps the size."""

    def __init__(self, channels: int, kernel: int = 3):
        super().__init__(channels, channels, kernel, padding=kernel // 2, groups=channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class VSSBlock(nn.Module):
    """Vision state space block, equation (1): x + Linear(LN(SS2D(SiLU(DWConv(Linear(x'))))) * SiLU(Linear(x'))), with
    x' = LN(x) as VMamba has it."""

    def __init__(self, channels: int):
        super().__init__()
        inner = EXPANSION * channels
        self.norm = nn.LayerNorm(channels)
        self.in_proj = nn.Linear(channels, 2 * inner, bias=False)
        self.conv = DepthWise(inner)
        self.scan = SS2D(inner)
        self.out_norm = nn.LayerNorm(inner)
        self.out_proj = nn.Linear(inner, channels, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h, gate = self.in_proj(self.norm(x)).chunk(2, -1)
        h = self.out_norm(self.scan(F.silu(self.conv(h))))
        return x + self.out_proj(h * F.silu(gate))


class MultiScaleBlock(nn.Module):
    """MS-VSSB, equation (2): VSSB(x + Linear(sum over k of DWConv_k(GELU(Linear(x))))). The sum with x is ours."""

    def __init__(self, channels: int):
        super().__init__()
        inner = EXPANSION * channels
        self.expand = nn.Linear(channels, inner)
        self.scales = nn.ModuleList(DepthWise(inner, kernel) for kernel in KERNELS)
        self.reduce = nn.Linear(inner, channels)
        self.block = VSSBlock(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = F.gelu(self.expand(x))
        h = torch.stack([scale(h) for scale in self.scales]).sum(0)
        return self.block(x + self.reduce(h))


class ChannelAwareBlock(nn.Module):
    """CA-VSSB, equation (3): y * sigmoid(MLP(mean of y) + MLP(max of y)), y = VSSB(x), over places, one MLP for both as
    in CBAM."""

    def __init__(self, channels: int):
        super().__init__()
        self.block = VSSBlock(channels)
        self.attention = nn.Sequential(
            nn.Linear(channels, channels // REDUCTION), nn.ReLU(), nn.Linear(channels // REDUCTION, channels)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.block(x)
        weight = torch.sigmoid(self.attention(y.mean((1, 2))) + self.attention(y.amax((1, 2))))
        return y * weight[:, None, None]


class PatchEmbedding(nn.Module):
    """(B, H, W, C) -> (B, H/4, W/4, channels): patches of 4 x 4 pixels, a size that the text lost, VMamba's.

    VMamba's norm does not follow: of an even patch it would leave the sign of its brightness.
    """

    def __init__(self, given: int, channels: int):
        super().__init__()
        self.project = nn.Conv2d(given, channels, 4, stride=4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.project(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class PatchMerging(nn.Module):
    """(B, H, W, C) -> (B, H/2, W/2, 2C), as in Swin: four neighbours side by side, normed and projected."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.project = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))  # (B, H/2, 2, W/2, 2, C)
        return self.project(self.norm(x.permute(0, 1, 3, 2, 4, 5).flatten(3)))


class PatchExpanding(nn.Module):
    """(B, H, W, C) -> (B, factor H, factor W, channels), as in Swin-Unet: projected, then laid out side by side.

    normed: whether each place's feature is, which the picture's must not be: it would lose how bright it is.
    """

    def __init__(self, given: int, channels: int, factor: int = 2, normed: bool = True):
        super().__init__()
        self.factor = factor
        self.project = nn.Linear(given, factor * factor * channels, bias=False)
        self.norm = nn.LayerNorm(channels) if normed else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.project(x).unflatten(-1, (self.factor, self.factor, -1))  # (B, H, W, f, f, C)
        return self.norm(x.permute(0, 1, 3, 2, 4, 5).flatten(3, 4).flatten(1, 2))
