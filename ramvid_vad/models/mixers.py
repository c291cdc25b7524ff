"""Token mixers: every position of every frame sees every other. (B,C,T,H,W) -> (B,C,T,H,W).

Each is a residual on its un-normalised input.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from ramvid_vad.models.layers import GroupNorm32, zero_module
from ramvid_vad.ops import causal_conv1d, selective_scan


class AttentionMixer(nn.Module):
    """RaMViD's self-attention over all T*H*W tokens; cost O(S^2)."""

    def __init__(self, channels: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.norm = GroupNorm32(channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = zero_module(nn.Conv1d(channels, channels, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = self.norm(x).movedim(1, -1)  # (B,T,H,W,C)
        # convolutions of width 1 as matrix products: tokens then stand as fused attention wants them, channel stride 1
        qkv = F.linear(rows.flatten(1, 3), self.qkv.weight[..., 0], self.qkv.bias)  # (B, S, 3C)
        # each head's q, k and v lie together: (B, S, heads, 3, C/heads) -> 3 x (B, heads, S, C/heads)
        q, k, v = qkv.unflatten(2, (self.num_heads, 3, -1)).transpose(1, 2).unbind(3)
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)  # (B, S, C)
        h = F.linear(h, self.proj_out.weight[..., 0], self.proj_out.bias)
        return x + h.reshape(rows.shape).movedim(-1, 1).to(x.dtype)


class BiMamba(nn.Module):
    """Bidirectional Mamba as in VideoMamba (arXiv 2403.06977): (B,S,C) -> (B,S,C), cost O(S).

    in_proj and out_proj are shared; each direction has its own convolution, projections, A and D (suffix _b, and
    A_b_log). Both directions are gated by z and then summed (``merge`` "mean" halves the sum).
    """

    def __init__(self, d_model: int, d_state: int = 16, d_conv: int = 4, expand: int = 2, merge: str = "sum"):
        super().__init__()
        if merge not in ("sum", "mean"):
            raise ValueError(f"BiMamba: unknown merge {merge!r}: choose sum or mean")
        d_inner, dt_rank = expand * d_model, math.ceil(d_model / 16)
        self.d_state, self.dt_rank, self.merge = d_state, dt_rank, merge
        self.in_proj = nn.Linear(d_model, 2 * d_inner, bias=False)
        for suffix in ("", "_b"):
            self.add_module("conv1d" + suffix, nn.Conv1d(d_inner, d_inner, d_conv, groups=d_inner, padding=d_conv - 1))
            self.add_module("x_proj" + suffix, nn.Linear(d_inner, dt_rank + 2 * d_state, bias=False))
            self.add_module("dt_proj" + suffix, nn.Linear(dt_rank, d_inner))
            self.register_parameter("D" + suffix, nn.Parameter(torch.ones(d_inner)))
        a_log = torch.log(torch.arange(1.0, d_state + 1)).repeat(d_inner, 1)  # A = -1 ... -N in every channel
        self.A_log, self.A_b_log = nn.Parameter(a_log.clone()), nn.Parameter(a_log.clone())
        self.out_proj = nn.Linear(d_inner, d_model, bias=False)
        # Steps dt = softplus(bias) start log-uniform in [1e-3, 1e-1] (Gu and Dao 2023, section 3.6); VideoMamba leaves
        # the backward direction's at nn.Linear's default, where dt is about 0.7 and the scan forgets within a few
        # tokens.
        for projection in (self.dt_proj, self.dt_proj_b):
            nn.init.uniform_(projection.weight, -(dt_rank**-0.5), dt_rank**-0.5)
            dt = torch.exp(torch.empty(d_inner).uniform_(math.log(1e-3), math.log(1e-1))).clamp(min=1e-4)
            with torch.no_grad():
                projection.bias.copy_(dt + torch.log(-torch.expm1(-dt)))  # softplus(bias) = dt

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        u, z = self.in_proj(x).transpose(1, 2).chunk(2, dim=1)  # each (B, D, S), a view whose channels are contiguous
        y = self._direction(u, z, "", self.A_log, reverse=False) + self._direction(
            u, z, "_b", self.A_b_log, reverse=True
        )
        y = self.out_proj(y.transpose(1, 2))  # (B, S, C)
        return y / 2 if self.merge == "mean" else y

    def _direction(
        self, u: torch.Tensor, z: torch.Tensor, suffix: str, a_log: torch.Tensor, reverse: bool
    ) -> torch.Tensor:
        conv, x_proj, dt_proj = (self.get_submodule(name + suffix) for name in ("conv1d", "x_proj", "dt_proj"))
        u = causal_conv1d(u, conv.weight[:, 0], conv.bias, reverse=reverse)  # (B, D, S)
        dt, b, c = x_proj(u.transpose(1, 2)).split([self.dt_rank, self.d_state, self.d_state], dim=-1)
        dt = F.linear(dt, dt_proj.weight).transpose(1, 2)  # (B, D, S); its bias goes into the scan
        return selective_scan(
            u,
            dt,
            -torch.exp(a_log.float()),
            b.transpose(1, 2),
            c.transpose(1, 2),
            self.get_parameter("D" + suffix),
            z=z,
            delta_bias=dt_proj.bias,
            delta_softplus=True,
            reverse=reverse,
        )


class MambaMixer(nn.Module):
    """y = x + unflatten(BiMamba(flatten(GroupNorm(x)))); a fresh block is the identity.

    time_fast False: tokens in the order (T, H, W), T slowest; True: (H, W, T), each position's frames in a row.
    """

    def __init__(self, channels: int, d_state: int = 16, merge: str = "sum", time_fast: bool = False):
        super().__init__()
        self.time_fast = time_fast
        self.norm = GroupNorm32(channels)
        self.mamba = BiMamba(channels, d_state=d_state, merge=merge)
        zero_module(self.mamba.out_proj)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        order = (0, 3, 4, 2, 1) if self.time_fast else (0, 2, 3, 4, 1)
        tokens = self.norm(x).permute(order)  # (B,T,H,W,C) or (B,H,W,T,C)
        mixed = self.mamba(tokens.flatten(1, 3)).reshape(tokens.shape)
        return x + mixed.permute([order.index(axis) for axis in range(5)]).to(x.dtype)
