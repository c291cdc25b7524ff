"""SS2D (VMamba, arXiv 2401.10166): a selective scan over a picture, along its rows and its columns, both ways."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from ramvid_vad.ops import selective_scan

REVERSED = (False, True, False, True)  # rows, rows from the end, columns, columns from the end


class SS2D(nn.Module):
    """(B, H, W, D) -> (B, H, W, D): the sum of four scans, each with its own projections, A and D; cost O(H W).

    Parameters have VMamba's names and shapes. The projections are made where a token lies, so that the directions are
    an order of walking alone: rows and columns are laid out once each, and one call scans all four.
    """

    def __init__(self, dim: int, d_state: int = 16, dt_rank: int | None = None):
        super().__init__()
        self.d_state, self.dt_rank = d_state, dt_rank or math.ceil(dim / 32)  # d_model / 16 where dim is 2 d_model
        self.x_proj_weight = nn.Parameter(torch.empty(4, self.dt_rank + 2 * d_state, dim))
        self.dt_projs_weight = nn.Parameter(torch.empty(4, dim, self.dt_rank))
        dt = torch.exp(torch.empty(4, dim).uniform_(math.log(1e-3), math.log(1e-1))).clamp(min=1e-4)
        self.dt_projs_bias = nn.Parameter(dt + torch.log(-torch.expm1(-dt)))  # softplus(bias) = dt
        self.A_logs = nn.Parameter(torch.log(torch.arange(1.0, d_state + 1)).repeat(4 * dim, 1))
        self.Ds = nn.Parameter(torch.ones(4 * dim))
        nn.init.uniform_(self.x_proj_weight, -(dim**-0.5), dim**-0.5)
        nn.init.uniform_(self.dt_projs_weight, -(self.dt_rank**-0.5), self.dt_rank**-0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, columns = x.flatten(1, 2), x.transpose(1, 2).flatten(1, 2)  # (B, L, D) each
        steps, B, C = [], [], []
        for direction, tokens in enumerate((rows, rows, columns, columns)):
            projected = F.linear(tokens, self.x_proj_weight[direction])
            dt, b, c = projected.split([self.dt_rank, self.d_state, self.d_state], dim=-1)
            steps.append(F.linear(dt, self.dt_projs_weight[direction]))
            B.append(b)
            C.append(c)
        y = selective_scan(
            torch.cat([rows, rows, columns, columns], -1).transpose(1, 2),  # (B, 4D, L), channels-last
            torch.cat(steps, -1).transpose(1, 2),
            -torch.exp(self.A_logs),
            torch.stack(B, 1).transpose(2, 3),  # (B, 4, N, L)
            torch.stack(C, 1).transpose(2, 3),
            self.Ds,
            delta_bias=self.dt_projs_bias.flatten(),
            delta_softplus=True,
            reverse=REVERSED,
        )
        along_rows, back, along_columns, up = y.transpose(1, 2).chunk(4, -1)  # (B, L, D) each, where their tokens lie
        turned = (along_columns + up).unflatten(1, (x.shape[2], x.shape[1])).transpose(1, 2)
        return (along_rows + back).unflatten(1, x.shape[1:3]) + turned
