"""How the network is trained: to predict the frame after four, and to keep its features near its memory."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from ramvid_vad.detectors.network_training import train_network
from ramvid_vad.detectors.stnmamba.memory import memory_losses
from ramvid_vad.detectors.stnmamba.network import FRAMES, STNMamba
from ramvid_vad.runtime.randomness import stream

BATCH = 4  # these numbers are lost from the text; they are MNAD's, whose losses it takes over, but the rate:
RATE = 3e-3  # with its 2e-4, which is for 60 epochs, no weight comes far in the steps of an hour (docs/stnmamba.md)
COMPACTNESS = SPARSITY = 0.1  # weights of the losses
CHECKED = 8  # held-out windows whose loss is logged


def as_input(frames: np.ndarray) -> torch.Tensor:
    """uint8 frames -> float32 in [-1, 1], of the same shape."""
    return torch.from_numpy(frames.astype(np.float32)) / 127.5 - 1


def loss_of(network: STNMamba, windows: torch.Tensor) -> torch.Tensor:
    """Equation (12) on windows (B, 5, H, W, 3) in [-1, 1]: squared error of the last frame, and the memories' losses,
    summed over the levels. In training mode the memories are written."""
    items = [memory.items.clone() for memory in network.memories]  # as they are read
    predicted, queries = network(windows[:, :FRAMES])
    total = F.mse_loss(predicted, windows[:, FRAMES])
    for asked, held in zip(queries, items, strict=True):
        compactness, sparsity = memory_losses(asked, held)
        total = total + COMPACTNESS * compactness + SPARSITY * sparsity
    return total


def train_stnmamba(
    videos: Sequence[np.ndarray],
    held_out: Sequence[np.ndarray],
    rung: str,
    *,
    work: str,
    minutes: float,
    seed: int,
    progress: bool = True,
) -> STNMamba:
    """On videos uint8 (n, H, W, 3) of more than FRAMES frames. held_out: whose prediction error is logged, and once
    that of repeating the last frame.  See ``train_network``."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = STNMamba(rung)
    checked = as_input(np.stack([drawn_window(held_out, stream(seed, "held out", i)) for i in range(CHECKED)]))

    def step(rng: np.random.Generator) -> torch.Tensor:
        return loss_of(network, as_input(np.stack([drawn_window(videos, rng) for _ in range(BATCH)])))

    def check() -> float:
        return float(
            np.mean([F.mse_loss(network(each[None, :FRAMES])[0], each[None, FRAMES]).item() for each in checked])
        )

    train_network(
        network,
        step,
        minutes=minutes,
        folder=work,
        lr=RATE,
        weight_decay=0,
        held_out=check,
        compared={"last_frame_repeated": F.mse_loss(checked[:, FRAMES - 1], checked[:, FRAMES]).item()},
        seed=seed,
        progress=progress,
    )
    return network


def drawn_window(videos: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """FRAMES + 1 frames in a row, each window of all videos as likely."""
    windows = np.array([len(video) - FRAMES for video in videos])
    at = int(rng.integers(windows.sum()))
    number = int(np.searchsorted(windows.cumsum(), at, side="right"))
    first = at - int(windows[:number].sum())
    return np.asarray(videos[number][first : first + FRAMES + 1])
