"""The network of feature diffusion: an hourglass of linear layers that is told the noise level by FiLM."""

import math
from itertools import pairwise

import torch
from torch import nn

WIDTHS = (1024, 512, 256)  # of the encoder; the decoder has them the other way round


class FeatureDenoiser(nn.Module):
    """F(x; c_noise) on vectors: (B, D), (B,) -> (B, D).

    size: D.  Each half is modulated once, before its first layer: x * cos(2 pi c w) + sin(2 pi c w) with a fixed random
    w for each entry, as in the authors' code (the paper says only that FiLM stands in both halves). Batch normalisation
    and ReLU follow every layer but the last.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.encoder = _layers([size, *WIDTHS], last=False)
        self.decoder = _layers([*reversed(WIDTHS), size], last=True)
        self.register_buffer("encoder_frequencies", torch.randn(size))
        self.register_buffer("decoder_frequencies", torch.randn(WIDTHS[-1]))

    def forward(self, x: torch.Tensor, c_noise: torch.Tensor) -> torch.Tensor:
        x = self.encoder(film(x, c_noise, self.encoder_frequencies))
        return self.decoder(film(x, c_noise, self.decoder_frequencies))


def film(x: torch.Tensor, c_noise: torch.Tensor, frequencies: torch.Tensor) -> torch.Tensor:
    """x (B, D) scaled by the cosine and shifted by the sine of the Fourier embedding of c_noise (B,)."""
    angle = 2 * math.pi * c_noise[:, None] * frequencies
    return x * angle.cos() + angle.sin()


def _layers(widths: list[int], last: bool) -> nn.Sequential:
    """Linear layers through these widths. last: the final one is bare."""
    layers: list[nn.Module] = []
    for i, (narrow, wide) in enumerate(pairwise(widths)):
        layers.append(nn.Linear(narrow, wide))
        if not (last and i == len(widths) - 2):
            layers += [nn.BatchNorm1d(wide), nn.ReLU()]
    return nn.Sequential(*layers)
