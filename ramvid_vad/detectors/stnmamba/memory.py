"""The memory bank: prototypes of normal features, equations (7) to (11), its two losses and its distance."""

import torch
import torch.nn.functional as F
from torch import nn

SHARE = 0.6  # of the items, the nearest, that a reading takes: the text's best
SHARPNESS = 50.0  # of the softmax over queries in writing; see MemoryBank.write
TINY = 1e-12  # below it a root has no slope
MARGIN = 1.0  # of the sparsity loss: MNAD's, whose loss the text describes


class MemoryBank(nn.Module):
    """(B, H, W, C) -> (B, H, W, C): each place's feature with what memory holds of it added.

    ``items`` (M, C) have length 1, and so have the queries, which are the features of the places, as in MNAD. They are
    no parameter: in training mode each call writes, in evaluation mode nothing changes.
    """

    items: torch.Tensor

    def __init__(self, count: int, channels: int):
        super().__init__()
        self.register_buffer("items", F.normalize(torch.randn(count, channels), dim=1))
        self.balance = nn.Parameter(torch.ones(()))  # of the feature itself, in equation (11)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The enhanced features, and the queries (B, H W, C)."""
        queries = F.normalize(x.flatten(1, 2), dim=-1)
        items = self.items.clone()  # what is read, and what gradients are of: writing comes after it
        if self.training:
            self.write(queries.detach())
        return self.balance * x + read(queries, items).view_as(x), queries

    @torch.no_grad()
    def write(self, queries: torch.Tensor) -> None:
        """Equation (10): each item moves to the queries (..., C) that are like it, and keeps its length.

        The weights are a softmax over all queries of the cosine. At sharpness 1 it would be flat over the thousands of
        queries of a batch, and every item would move to their mean; ours is SHARPNESS.
        """
        queries = queries.flatten(0, -2)
        weights = torch.softmax(SHARPNESS * self.items @ queries.T, dim=1)
        self.items.copy_(F.normalize(self.items + weights @ queries, dim=1))


def read(queries: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
    """Equations (7) to (9): items (M, C) of length 1, weighted for each query (..., C) of length 1 by a softmax over
    the cosines of the SHARE of them that are nearest; the others weigh nothing."""
    similar = queries @ items.T
    nearest, which = similar.topk(max(1, round(SHARE * len(items))), dim=-1)
    weights = torch.zeros_like(similar).scatter(-1, which, torch.softmax(nearest, dim=-1))
    return weights @ items


def distances(queries: torch.Tensor, items: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Squared distance of each query (..., C) to its nearest and its second nearest item, all of length 1, (...)."""
    nearest = (queries @ items.T).topk(2, dim=-1).values
    return tuple((2 - 2 * nearest).clamp_min(0).unbind(-1))


def memory_losses(queries: torch.Tensor, items: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Compactness, equation (15): squared distance to the nearest item.  Sparsity, (14): to be nearer to it than to the
    next, by plain distances. As MNAD has them, whose mean is over the channels too: without that they drown the error.
    """
    first, second = distances(queries, items)
    nearer = first.clamp_min(TINY).sqrt() - second.clamp_min(TINY).sqrt()
    return first.mean() / items.shape[1], F.relu(nearer + MARGIN).mean()
