"""Loss on normal windows that training never sees: it tells when more training only learns them by heart."""

import numpy as np
import torch

from ramvid_vad.diffusion.anchors import AnchorPattern, batch_of
from ramvid_vad.diffusion.gaussian import GaussianDiffusion, Model
from ramvid_vad.runtime.randomness import standard_normal
from ramvid_vad.video.datasets import VideoWindows
from ramvid_vad.video.finding import evenly_spread

WINDOWS = 8  # evenly spread over the held-out videos


def some_windows(dataset: VideoWindows) -> torch.Tensor:
    """At most WINDOWS windows of a data set, float (N, C, T, h, w)."""
    return torch.stack([dataset[i][0] for i in evenly_spread(range(len(dataset)), WINDOWS)])


class HeldOut:
    """Mean loss of each pattern over WINDOWS windows, at noise levels spread evenly over the schedule.

    windows: (N, C, T, h, w).  channels: of each group.  Windows, levels and noise are the same every time, so that two
    figures differ by what was learned between them alone.
    """

    def __init__(self, windows: torch.Tensor, pattern: AnchorPattern, channels: tuple[int, ...], seed: int):
        self.windows, self.pattern, self.channels, self.seed = windows, pattern, channels, seed

    @torch.no_grad()
    def losses(self, model: Model, diffusion: GaussianDiffusion) -> dict[str, float]:
        """Pattern's name -> mean squared error of what the network predicts at hidden entries."""
        count = len(self.windows)
        t = torch.from_numpy(((np.arange(count) + 0.5) / count * diffusion.num_timesteps).astype(np.int64))
        losses = {}
        for kind in self.pattern.kinds:
            total = 0.0
            for i in range(count):
                window = self.windows[i : i + 1]
                anchors = batch_of([self.pattern.of(kind, 0, i)], self.channels)
                noise = standard_normal(tuple(window.shape[1:]), self.seed, "held out", i)[None]
                place = [each.to(window.device) for each in (t[i : i + 1], anchors, noise)]
                total += float(diffusion.training_losses(model, window, *place)["mse"])
            losses[kind] = total / count
        return losses
