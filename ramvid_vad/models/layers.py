"""Building blocks of the U-Net. Module names are RaMViD's, so that its checkpoints load."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from ramvid_vad.ops import group_norm


class GroupNorm32(nn.GroupNorm):
    """Group norm over 32 groups, computed in float32 whatever the input's type; with ``silu``, SiLU behind it."""

    def __init__(self, channels: int, silu: bool = False):
        super().__init__(32, channels)
        self.silu = silu

    def forward(
        self, x: torch.Tensor, scale: torch.Tensor | None = None, shift: torch.Tensor | None = None
    ) -> torch.Tensor:
        """x (B,C,...); scale, shift (B,C): modulate what is normalised, norm(x) * (1 + scale) + shift."""
        return group_norm(x, self.num_groups, self.weight, self.bias, scale, shift, self.eps, self.silu)


class Fused(nn.Identity):
    """Stands where RaMViD's sequence has a layer that the one before it does here, so that the keys stay."""


class PointwiseConv(nn.Conv3d):
    """A 1x1x1 convolution as one matrix product over all positions, which is faster on CPU, backward above all."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(in_channels, out_channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.movedim(1, -1)  # (B,T,H,W,C)
        # as one matrix, whose strides stay plain with one window too: nothing after it then mistakes the layout
        y = F.linear(rows.flatten(0, -2), self.weight.flatten(1), self.bias)
        return y.unflatten(0, rows.shape[:-1]).movedim(-1, 1)


def channels_last_gradient(x: torch.Tensor) -> torch.Tensor:
    """x, whose gradient is brought into the layout of x: that of a concatenation is a slice, that of an interpolation
    contiguous, and what comes after would copy either more than once."""
    if x.requires_grad:
        x.register_hook(lambda gradient: gradient.contiguous(memory_format=torch.channels_last_3d))
    return x


def zero_module(module: nn.Module) -> nn.Module:
    """Set all parameters of a module to zero: the block then starts as the identity."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def timestep_embedding(timesteps: torch.Tensor, dim: int) -> torch.Tensor:
    """Sinusoids of the timesteps: (B,) -> (B, dim), cosines first, then sines; frequencies 1 ... 1/10000."""
    half = dim // 2
    frequency = torch.exp(-math.log(10000.0) * torch.arange(half, device=timesteps.device) / half)
    angle = timesteps[:, None].float() * frequency[None]
    return F.pad(torch.cat([angle.cos(), angle.sin()], dim=1), (0, dim % 2))


class TimeConv(nn.Conv3d):
    """A 3x1x1 convolution as one matrix product: PyTorch has no fast kernel for it on CPU, and leaves the layout."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(in_channels, out_channels, (3, 1, 1), padding=(1, 0, 0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        frames = x.shape[2]
        padded = F.pad(x.movedim(1, -1), (0, 0, 0, 0, 0, 0, 1, 1))  # (B,T+2,H,W,C)
        rows = torch.cat([padded[:, k : k + frames] for k in range(3)], dim=-1)  # (B,T,H,W,3C)
        weight = self.weight[..., 0, 0].transpose(1, 2).flatten(1)  # (C_out,3C)
        return F.linear(rows.flatten(0, -2), weight, self.bias).unflatten(0, rows.shape[:-1]).movedim(-1, 1)


class SpaceConv(nn.Conv3d):
    """A 1x3x3 convolution as one of images: PyTorch 2.13's own, of large frames, writes past its memory in the gradient
    of bfloat16 on a processor with AMX, and the process dies (docs/performance.md)."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(in_channels, out_channels, (1, 3, 3), padding=(0, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        frames = x.transpose(1, 2)  # (B,T,C,H,W): laid out channels-last, one batch of images without a copy
        y = F.conv2d(frames.flatten(0, 1), self.weight[:, :, 0], self.bias, padding=1)
        return y.unflatten(0, frames.shape[:2]).transpose(1, 2)


class FactorizedConv(nn.Sequential):
    """A 3x3x3 convolution as space (1x3x3), then time (3x1x1)."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(SpaceConv(in_channels, out_channels), TimeConv(out_channels, out_channels))


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


class ResBlock(nn.Module):
    """Norm, SiLU, conv twice, modulated between: (B,C,T,H,W), ``emb_layers(emb)`` -> (B,C_out,T,H,W).

    The modulation comes from outside, (B, 2 C_out) or (B, C_out): it depends on the timestep alone.
    """

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
        self.in_layers = nn.Sequential(
            GroupNorm32(channels, silu=True), Fused(), conv3(channels, out_channels, factorized)
        )
        self.emb_layers = nn.Sequential(
            nn.SiLU(), nn.Linear(emb_channels, 2 * out_channels if scale_shift_norm else out_channels)
        )
        self.out_layers = nn.Sequential(
            GroupNorm32(out_channels, silu=True),
            Fused(),
            nn.Dropout(dropout),
            zero_conv3(out_channels, out_channels, factorized),
        )
        same = out_channels == channels
        self.skip_connection = nn.Identity() if same else PointwiseConv(channels, out_channels)

    def forward(self, x: torch.Tensor, modulation: torch.Tensor) -> torch.Tensor:
        h = self.in_layers(x)
        if self.scale_shift_norm:
            scale, shift = modulation.chunk(2, dim=1)
            h = self.out_layers[1:](self.out_layers[0](h, scale, shift))
        else:
            h = self.out_layers(h + modulation[:, :, None, None, None].to(h.dtype))
        return self.skip_connection(x) + h
