"""A small stand-in for the frozen network: means of colours over cells, and their products. Six channels."""

import numpy as np
import torch
import torch.nn.functional as F


class PooledColours:
    channels, digest = 6, "pooled colours"

    def __call__(self, frames: np.ndarray) -> torch.Tensor:
        x = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
        x = F.pad(x, (0, -x.shape[3] % 8, 0, -x.shape[2] % 8), mode="replicate")
        means = F.avg_pool2d(x, 8)
        return torch.cat([means, means.roll(1, 1) * means / 100], dim=1).permute(0, 2, 3, 1).contiguous()


class ManyColours(PooledColours):
    """The same with 24 channels, as many as a space keeps by default: powers of the six."""

    channels, digest = 24, "many colours"

    def __call__(self, frames: np.ndarray) -> torch.Tensor:
        x = super().__call__(frames) / 100
        return torch.cat([x, x**2, x**3, x**4], dim=-1)


def texture(frames: int, height: int, width: int, speed: int = 2, seed: int = 0) -> np.ndarray:
    """uint8 (n, h, w, 3): a smooth random texture that moves to the right by ``speed`` pixels a frame."""
    rng = np.random.default_rng(seed)
    wide = torch.from_numpy(rng.standard_normal((1, 3, height // 4 + 2, (width + speed * frames) // 4 + 2)))
    big = F.interpolate(wide, scale_factor=4, mode="bicubic", align_corners=False)[0].movedim(0, -1).numpy()
    big = np.clip(127 + 50 * big, 0, 255).astype(np.uint8)
    shifts = [speed * (frames - 1 - t) for t in range(frames)]
    return np.stack([big[:height, s : s + width] for s in shifts])
