"""Nearest-neighbour upsampling and the convolution behind it, which would mostly add up equal pixels."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

from ramvid_vad.models.layers import channels_last_gradient


class Upsample(nn.Module):
    """Nearest neighbour to twice the height and width and to ``frames`` frames (None: no change), then a conv."""

    def __init__(self, channels: int, frames: int | None):
        super().__init__()
        self.frames = frames
        self.conv = nn.Conv3d(channels, channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        t, h, w = x.shape[2:]
        if self.frames in (None, t):
            return upsampled_conv(x, self.conv.weight, self.conv.bias)
        return self.conv(F.interpolate(channels_last_gradient(x), (self.frames, 2 * h, 2 * w), mode="nearest"))


def upsampled_conv(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """conv3d(x with every pixel as a 2 x 2 square, weight, bias, padding=1) in 12/27 of its products.

    x (B,C,T,H,W); weight (O,C,3,3,3); bias (O,) -> (B,O,T,2H,2W).  Of three neighbouring rows two are equal, so their
    weights may be added first; which two depends on whether the result's row is even or odd, and so for columns. One
    convolution by (3,2,2) computes the results of all four parities, as channels, around every corner of pixels.
    """
    even, odd = _pairs(weight, 3)
    folded = torch.cat([part for rows in (even, odd) for part in _pairs(rows, 4)])  # (4O,C,3,2,2)
    return _Interleave.apply(F.conv3d(x, folded, bias.repeat(4), padding=1))


def _pairs(weight: torch.Tensor, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Three weights along ``dim`` as two: for an even result (before | itself and after), and for an odd one."""
    a, b, c = weight.split(1, dim)
    return torch.cat([a, b + c], dim), torch.cat([a + b, c], dim)


class _Interleave(torch.autograd.Function):
    """(B,4O,T,H+1,W+1), parity (row, column) slowest in the channels -> (B,O,T,2H,2W), channels-last."""

    @staticmethod
    def forward(ctx, corners: torch.Tensor) -> torch.Tensor:
        b, c, t, h, w = ctx.shape = corners.shape
        pixels = corners.new_empty((b, t, 2 * (h - 1), 2 * (w - 1), c // 4)).movedim(-1, 1)
        for whole, part in _parities(pixels, corners):
            whole.copy_(part)
        return pixels

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        b, c, t, h, w = ctx.shape
        corners = gradient.new_zeros((b, t, h, w, c)).movedim(-1, 1)
        for whole, part in _parities(gradient, corners):
            part.copy_(whole)
        return corners


def _parities(pixels: torch.Tensor, corners: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The pixels of each parity, and the corners that hold them: an even row is told by the corner above it."""
    h, w = (size - 1 for size in corners.shape[3:])
    return [
        (pixels[..., i::2, j::2], part[..., i : i + h, j : j + w])
        for part, (i, j) in zip(corners.chunk(4, dim=1), ((0, 0), (0, 1), (1, 0), (1, 1)), strict=True)
    ]
