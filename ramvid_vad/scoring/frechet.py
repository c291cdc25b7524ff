"""Frechet distance between generated and real videos, in the features of a frozen network.

It is computed as FVD is (Unterthiner et al. 2018, arXiv 1812.01717), but the network is EfficientNet-Lite0, trained on
photographs, whose features are pooled over place and time; published FVD takes I3D's. The two are not comparable.
"""

from collections.abc import Callable, Iterable

import numpy as np
import torch

from ramvid_vad.spaces.frame_size import reduced

NETWORK = "EfficientNet-Lite0, blocks 4 and 7, mean over place; mean and mean |change| over time"


def video_features(videos: Iterable[np.ndarray], network: Callable[[np.ndarray], torch.Tensor]) -> np.ndarray:
    """Videos uint8 (T, H, W, 1 or 3), T at least 2 -> float64 (N, 2 D).

    D features of each frame, their mean over place; of these the mean over time, and the mean absolute change from
    frame to frame, without which the order of the frames would not count.
    """
    found = []
    for video in videos:
        frames = np.stack([reduced(np.broadcast_to(frame, (*frame.shape[:2], 3))) for frame in video])
        looks = network(frames).double().mean((1, 2))  # (T, D)
        found.append(torch.cat([looks.mean(0), looks.diff(dim=0).abs().mean(0)]).numpy())
    return np.stack(found)


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Of the Gaussians fitted to (n, D) and (m, D), n and m at least 2:

    |mu_a - mu_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)), with tr (S_a S_b)^(1/2) = tr (R S_b R)^(1/2), R = S_a^(1/2).
    """
    (mean_a, cov_a), (mean_b, cov_b) = ((each.mean(0), np.atleast_2d(np.cov(each, rowvar=False))) for each in (a, b))
    values, vectors = np.linalg.eigh(cov_a)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    both = np.sqrt(np.linalg.eigvalsh(root @ cov_b @ root).clip(0)).sum()
    return float(np.square(mean_a - mean_b).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * both)
