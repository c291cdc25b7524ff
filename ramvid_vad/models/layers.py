"""Building blocks of the U-Net. Module names are RaMViD's, so that its checkpoints load."""

import math

import torch
import torch.nn.functional as F
from torch import nn


class GroupNorm32(nn.GroupNorm):
    """Group norm over 32 groups, computed in float32 whatever the input's type."""

    def __init__(self, channels: int):
        super().__init__(32, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(x.device.type, enabled=False):
            if x.device.type == "cpu":  # takes half-precision input with float32 weights, and computes in float32
                return F.group_norm(x, 32, self.weight, self.bias, self.eps)
            return F.group_norm(x.float(), 32, self.weight, self.bias, self.eps).to(x.dtype)


def zero_module(module: nn.Module) -> nn.Module:
    """Set all parameters of a module to zero: the block then starts as the identity."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def timestep_embedding(timesteps: torch.Tensor, dim: int, max_period: float = 10000.0) -> torch.Tensor:
    """Sinusoids of the timesteps: (B,) -> (B, dim), cosines first, then sines; frequencies 1 ... 1/max_period."""
    half = dim // 2
    frequency = torch.exp(-math.log(max_period) * torch.arange(half, device=timesteps.device) / half)
    angle = timesteps[:, None].float() * frequency[None]
    return F.pad(torch.cat([angle.cos(), angle.sin()], dim=1), (0, dim % 2))


class FactorizedConv(nn.Sequential):
    """A 3x3x3 convolution as space (1x3x3), then time (3x1x1)."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(
            nn.Conv3d(in_channels, out_channels, (1, 3, 3), padding=(0, 1, 1)),
            nn.Conv3d(out_channels, out_channels, (3, 1, 1), padding=(1, 0, 0)),
        )


def zero_conv3(in_channels: int, out_channels: int, factorized: bool = False) -> nn.Module:
    """``conv3`` that starts at zero; of a factorised one only the second half: two zeros in a row never learn."""
    conv = conv3(in_channels, out_channels, factorized)
    zero_module(conv[1] if isinstance(conv, FactorizedConv) else conv)
    return conv


def conv3(in_channels: int, out_channels: int, factorized: bool = False) -> nn.Module:
    """3x3x3 convolution that keeps the size."""
    return (
        FactorizedConv(in_channels, out_channels) if factorized else nn.Conv3d(in_channels, out_channels, 3, padding=1)
    )


class Downsample(nn.Module):
    """Strided convolution: halves height and width, and time if asked. (B,C,T,H,W) -> (B,C,T',H/2,W/2)."""

    def __init__(self, channels: int, halve_time: bool):
        super().__init__()
        self.op = nn.Conv3d(channels, channels, 3, stride=(2 if halve_time else 1, 2, 2), padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.op(x)


class Upsample(nn.Module):
    """Nearest neighbour to twice the height and width and to ``frames`` frames (None: no change), then a conv."""

    def __init__(self, channels: int, frames: int | None):
        super().__init__()
        self.frames = frames
        self.conv = nn.Conv3d(channels, channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        t, h, w = x.shape[2:]
        return self.conv(F.interpolate(x, (self.frames or t, 2 * h, 2 * w), mode="nearest"))


class ResBlock(nn.Module):
    """Norm, SiLU, conv twice, with the timestep embedding between: (B,C,T,H,W), (B,E) -> (B,C_out,T,H,W)."""

    def __init__(
        self,
        channels: int,
        emb_channels: int,
        out_channels: int,
        *,
        dropout: float = 0.0,
        scale_shift_norm: bool = True,
        factorized: bool = False,
    ):
        super().__init__()
        self.scale_shift_norm = scale_shift_norm
        self.in_layers = nn.Sequential(GroupNorm32(channels), nn.SiLU(), conv3(channels, out_channels, factorized))
        self.emb_layers = nn.Sequential(
            nn.SiLU(), nn.Linear(emb_channels, 2 * out_channels if scale_shift_norm else out_channels)
        )
        self.out_layers = nn.Sequential(
            GroupNorm32(out_channels),
            nn.SiLU(),
            nn.Dropout(dropout),
            zero_conv3(out_channels, out_channels, factorized),
        )
        same = out_channels == channels
        self.skip_connection = nn.Identity() if same else nn.Conv3d(channels, out_channels, 1)

    def forward(self, x: torch.Tensor, emb: torch.Tensor) -> torch.Tensor:
        h = self.in_layers(x)
        emb = self.emb_layers(emb)[:, :, None, None, None].to(h.dtype)
        if self.scale_shift_norm:
            scale, shift = emb.chunk(2, dim=1)
            h = torch.addcmul(shift, self.out_layers[0](h), 1 + scale)
            h = self.out_layers[1:](h)
        else:
            h = self.out_layers(h + emb)
        return self.skip_connection(x) + h
