"""How the method's three networks are trained: on normal clips, now and then on a pseudo-anomaly made of one."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ramvid_vad.detectors.network_training import train_network
from ramvid_vad.detectors.pseudo_anomalies.autoencoder import AutoEncoder, reconstruction_loss
from ramvid_vad.runtime.randomness import stream
from ramvid_vad.spaces.clip_features import pooled
from ramvid_vad.spaces.features import FeatureSpace

LENGTH = 16  # frames of a clip
BATCH = 4
SHARE = 0.2  # of clips that are shown as pseudo-anomalies, as in the nearest public code; the paper's p_s, p_t are lost
RATE = 1e-3  # 1e-4 in the nearest public code, for 60 epochs; within minutes that comes nowhere
CHECKED = 8  # held-out clips whose loss is logged
HIDDEN = 128  # units of the discriminator
JITTER = 0.5  # deviations of the noise on its input: there are few clips, which it would learn by heart

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def train_autoencoder(
    videos: Sequence[np.ndarray],
    held_out: Sequence[np.ndarray],
    change: Change,
    width: float,
    *,
    work: str,
    minutes: float,
    seed: int,
    progress: bool,
) -> AutoEncoder:
    """On arrays (C, n, H, W) in [-1, 1], one for each video.

    change: a clip (C, LENGTH, H, W) -> its pseudo-anomaly.  width: see AutoEncoder. See ``train_network``.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = AutoEncoder(len(videos[0]), width)
    checked = torch.from_numpy(np.stack([drawn_clip(held_out, stream(seed, "held out", i)) for i in range(CHECKED)]))

    def step(rng: np.random.Generator) -> torch.Tensor:
        clean = [drawn_clip(videos, rng) for _ in range(BATCH)]
        shown = [change(clip, rng) if rng.random() < SHARE else clip for clip in clean]
        return reconstruction_loss(network, *(torch.from_numpy(np.stack(each)) for each in (shown, clean)))

    def check() -> float:
        return reconstruction_loss(network, checked, checked).item()

    train_network(network, step, minutes=minutes, folder=work, lr=RATE, held_out=check, seed=seed, progress=progress)
    return network


def semantics(maps: np.ndarray, space: FeatureSpace) -> np.ndarray:
    """Vector (D,) of a clip's maps (T, C, h, w): the appearance of its middle frame. From motion channels, or from what
    varies over the frames, the discriminator would learn that an infilled square stands still, which is no semantics;
    the paper's features are of single frames."""
    middle = len(maps) // 2
    return pooled(maps[middle : middle + 1, : space.groups["appearance"]])


class Discriminator(nn.Module):
    """Vectors of clips (n, D) -> logit (n,) that the clip is a pseudo-anomaly. mean, sd: (D,), of normal clips."""

    def __init__(self, mean: torch.Tensor, sd: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("sd", sd)
        self.layers = nn.Sequential(nn.Linear(len(mean), HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        return self.layers((vectors - self.mean) / self.sd)[:, 0]


Vectors = tuple[np.ndarray, np.ndarray]
"""(n, D) of normal clips, and of their pseudo-anomalies."""


def train_discriminator(
    known: Vectors, held_out: Vectors, *, work: str, minutes: float, seed: int, progress: bool
) -> Discriminator:
    """By cross-entropy. held_out: of normal video that is not trained on, for the log. See ``train_network``."""
    normal = known[0]
    mean, sd = torch.from_numpy(normal.mean(0)), torch.from_numpy(normal.std(0)).clamp_min(1e-3)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = Discriminator(mean, sd)
    (vectors, labels), (checked, answers) = map(_labelled, (known, held_out))

    def step(rng: np.random.Generator) -> torch.Tensor:
        noise = torch.from_numpy(rng.standard_normal(vectors.shape, dtype=np.float32))
        return F.binary_cross_entropy_with_logits(network(vectors + JITTER * sd * noise), labels)

    def check() -> float:
        return F.binary_cross_entropy_with_logits(network(checked), answers).item()

    train_network(network, step, minutes=minutes, folder=work, lr=1e-3, held_out=check, seed=seed, progress=progress)
    return network


def _labelled(vectors: Vectors) -> tuple[torch.Tensor, torch.Tensor]:
    labels = np.repeat(np.float32([0, 1]), [len(each) for each in vectors])
    return torch.from_numpy(np.concatenate(vectors)), torch.from_numpy(labels)


def drawn_clip(videos: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """float32 (C, LENGTH, H, W) from videos (C, n, H, W), each frame of them as likely to begin it; what a short video
    lacks is its last frame again."""
    starts = [max(video.shape[1] - LENGTH, 0) + 1 for video in videos]
    at = int(rng.integers(sum(starts)))
    number = int(np.searchsorted(np.cumsum(starts), at, side="right"))
    first = at - sum(starts[:number])
    clip = videos[number][:, first : first + LENGTH].astype(np.float32)
    return np.pad(clip, ((0, 0), (0, LENGTH - clip.shape[1]), (0, 0), (0, 0)), mode="edge")
