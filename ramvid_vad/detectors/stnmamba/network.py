"""STNMamba (arXiv 2412.20084): two encoders, their interaction at four levels, one decoder; the next frame.

There is no public code. The widths are not in the text as we have it: 32-64-128-256 come nearest to its 7.2 million
parameters and 1.5 G multiply-adds.
"""

import torch
from torch import nn

from ramvid_vad.detectors.stnmamba.blocks import (
    ChannelAwareBlock,
    MultiScaleBlock,
    PatchEmbedding,
    PatchExpanding,
    PatchMerging,
    VSSBlock,
)
from ramvid_vad.detectors.stnmamba.interaction import Concatenation, FusionBlock
from ramvid_vad.detectors.stnmamba.memory import MemoryBank

FRAMES = 4  # that the next one is predicted from
WIDTHS = (32, 64, 128, 256)
ITEMS = 10  # of each memory; the text's four numbers are lost, this is MNAD's
BLOCKS = 2  # of each stage

LADDER = ("baseline", "multi_scale", "channel_aware", "fusion", "memory", "multi_level")
"""The text's models 1 to 6: each adds what it is named for. Up to "memory" the encoders meet at the deepest level."""


class Encoder(nn.Module):
    """(B, H, W, C) -> features (B, H/4, W/4, widths[0]) to (B, H/32, W/32, widths[3])."""

    def __init__(self, given: int, widths: tuple[int, ...], block: type[nn.Module]):
        super().__init__()
        entries = [PatchEmbedding(given, widths[0]), *(PatchMerging(width) for width in widths[:-1])]
        self.stages = nn.ModuleList(
            nn.Sequential(entry, *(block(width) for _ in range(BLOCKS)))
            for entry, width in zip(entries, widths, strict=True)
        )

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


class Decoder(nn.Module):
    """Fused features, the deepest last, None where a level has none -> (B, H, W, 3).

    A level's features are added to what comes from below; how they join is lost.
    """

    def __init__(self, widths: tuple[int, ...]):
        super().__init__()
        self.stages = nn.ModuleList(nn.Sequential(*(VSSBlock(width) for _ in range(BLOCKS))) for width in widths)
        self.expand = nn.ModuleList(PatchExpanding(2 * width, width) for width in widths[:-1])  # from the level below
        self.picture = nn.Sequential(
            PatchExpanding(widths[0], widths[0], factor=4, normed=False), nn.Linear(widths[0], 3)
        )
        nn.init.zeros_(self.picture[1].weight)  # a grey picture, not noise that has to be unlearnt first

    def forward(self, features: list[torch.Tensor | None]) -> torch.Tensor:
        x = self.stages[-1](features[-1])
        for level in reversed(range(len(features) - 1)):
            x = self.expand[level](x)
            x = self.stages[level](x if features[level] is None else x + features[level])
        return self.picture(x)


class STNMamba(nn.Module):
    """Frames (B, 4, H, W, 3) in [-1, 1], sides multiples of 32 -> the next one and each memory's queries.

    rung: of LADDER. ValueError: it is none.
    """

    def __init__(self, rung: str = LADDER[-1]):
        super().__init__()
        if rung not in LADDER:
            raise ValueError(f"rung {rung!r}: choose one of {', '.join(LADDER)}")
        height, widths = LADDER.index(rung), WIDTHS
        self.spatial = Encoder(3 * FRAMES, widths, MultiScaleBlock if height >= 1 else VSSBlock)
        self.temporal = Encoder(3 * (FRAMES - 1), widths, ChannelAwareBlock if height >= 2 else VSSBlock)
        self.first = 0 if height >= 5 else len(widths) - 1  # the level from which on the encoders meet
        meeting = widths[self.first :]
        self.fusions = nn.ModuleList((FusionBlock if height >= 3 else Concatenation)(width) for width in meeting)
        self.memories = nn.ModuleList(MemoryBank(ITEMS, width) for width in (meeting if height >= 4 else ()))
        self.decoder = Decoder(widths)

    def forward(self, frames: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """The next frame (B, H, W, 3), and for each memory, the deepest last, the queries (B, h w, C)."""
        seen = self.spatial(frames.permute(0, 2, 3, 1, 4).flatten(3))
        moved = self.temporal(frames.diff(dim=1).permute(0, 2, 3, 1, 4).flatten(3))
        features: list[torch.Tensor | None] = [None] * self.first
        queries = []
        for number, fuse in enumerate(self.fusions):
            fused = fuse(seen[self.first + number], moved[self.first + number])
            if self.memories:
                fused, asked = self.memories[number](fused)
                queries.append(asked)
            features.append(fused)
        return self.decoder(features), queries
