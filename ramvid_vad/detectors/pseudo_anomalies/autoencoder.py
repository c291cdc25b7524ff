"""The 3-D convolutional auto-encoder of the method, and what it is trained to do."""

from itertools import pairwise

import torch
from torch import nn

WIDTHS = (96, 128, 256, 256)  # of the nearest public code; the paper gives none
STRIDES = ((1, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2))


class AutoEncoder(nn.Module):
    """Clips (B, C, 16, H, W) in [-1, 1] -> the same shape; H and W are multiples of 16.

    channels: C.  width: share of WIDTHS. Convolutions of 3 x 3 x 3, batch normalisation and LeakyReLU 0.2; the decoder
    mirrors the encoder and ends in tanh.
    """

    def __init__(self, channels: int, width: float) -> None:
        super().__init__()
        widths = [channels, *(max(1, round(each * width)) for each in WIDTHS)]
        layers: list[nn.Module] = []
        for (narrow, wide), stride in zip(pairwise(widths), STRIDES, strict=True):
            layers += [nn.Conv3d(narrow, wide, 3, stride, padding=1), nn.BatchNorm3d(wide), nn.LeakyReLU(0.2)]
        for (wide, narrow), stride in zip(pairwise(reversed(widths)), reversed(STRIDES), strict=True):
            more = tuple(each - 1 for each in stride)  # so that each side is multiplied by its stride
            layers += [nn.ConvTranspose3d(wide, narrow, 3, stride, padding=1, output_padding=more)]
            layers += [nn.BatchNorm3d(narrow), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers[:-2], nn.Tanh())

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        return self.layers(clips)


def reconstruction_loss(network: nn.Module, shown: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """Mean squared error to the *clean* clips of what is made of ``shown``: these, or their pseudo-anomalies.

    A network that reproduces a pseudo-anomaly is punished for what was changed in it, and one that undoes the change is
    rewarded: the rule of the nearest public code (the paper says "trained not to reconstruct").
    """
    return (network(shown) - clean).square().mean()
