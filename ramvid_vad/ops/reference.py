"""The operations in plain PyTorch: the oracle of every other backend, and the one that runs anywhere.

The sequence is walked in chunks. A chunk is a checkpoint of autograd, so neither forward nor backward ever holds the
(B, D, L, N) products of the whole sequence: the memory is O(B D (L + N L / CHUNK + N CHUNK)).
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

CHUNK = 64


def unavailable(operation: str, device: torch.device, dtype: torch.dtype) -> str | None:
    """Never: this backend runs every operation everywhere."""
    return None


# A compiler would unroll the loop over L; left alone it costs one graph break. It is what torch.compiler.disable does,
# without its import of the whole compiler with this module: seconds of every command.
@torch._disable_dynamo
def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    reverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """(y, last_state) of `ramvid_vad.ops.selective_scan`."""
    dtype = torch.float64 if u.dtype == torch.float64 else torch.float32
    A, D, delta_bias = (None if x is None else x.to(dtype) for x in (A, D, delta_bias))
    # split, not slices: the backward of split is one concatenation, that of n slices is n tensors of full length.
    pieces = [[None] * -(-u.shape[2] // CHUNK) if x is None else x.split(CHUNK, 2) for x in (u, delta, B, C, z)]
    chunks = list(zip(*pieces, strict=True))
    h = u.new_zeros(u.shape[0], u.shape[1], A.shape[1], dtype=dtype)
    outputs = []
    # autocast would run the contraction with C in half precision
    with torch.autocast(u.device.type, enabled=False):
        for chunk in reversed(chunks) if reverse else chunks:
            arguments = (h, *chunk, A, D, delta_bias, delta_softplus, reverse)
            if torch.is_grad_enabled():
                y, h = checkpoint(_scan_chunk, *arguments, use_reentrant=False, preserve_rng_state=False)
            else:
                y, h = _scan_chunk(*arguments)
            outputs.append(y)
    return torch.cat(outputs[::-1] if reverse else outputs, 2), h.detach()


def _scan_chunk(
    h: Tensor,
    u: Tensor,
    delta: Tensor,
    B: Tensor,
    C: Tensor,
    z: Tensor | None,
    A: Tensor,
    D: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    reverse: bool,
) -> tuple[Tensor, Tensor]:
    """One chunk from the state h (B, D, N): (its part of y (B, D, l), the state after it)."""
    dtype = h.dtype
    x, d, B, C = (tensor.to(dtype) for tensor in (u, delta, B, C))
    if delta_bias is not None:
        d = d + delta_bias[:, None]
    if delta_softplus:
        d = F.softplus(d)
    d = d.permute(2, 0, 1)[..., None]  # (l, B, D, 1)
    decay = torch.exp(d * A)  # (l, B, D, N)
    drive = d * x.permute(2, 0, 1)[..., None] * B.permute(2, 0, 1)[:, :, None]  # (l, B, D, N)
    steps = list(zip(decay.unbind(0), drive.unbind(0), strict=True))
    states = []
    for a_t, b_t in reversed(steps) if reverse else steps:
        h = torch.addcmul(b_t, a_t, h)
        states.append(h)
    y = torch.einsum("lbdn,bnl->bdl", torch.stack(states[::-1] if reverse else states), C)
    if D is not None:
        y = y + D[:, None] * x
    if z is not None:
        y = y * F.silu(z.to(dtype))
    return y.to(u.dtype), h


def causal_conv1d(x: Tensor, weight: Tensor, bias: Tensor | None = None, reverse: bool = False) -> Tensor:
    """`ramvid_vad.ops.causal_conv1d`; computes in float32 (float64 for float64 input)."""
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    width = weight.shape[1]
    padded = F.pad(x.to(dtype), (0, width - 1) if reverse else (width - 1, 0))
    taps = weight.to(dtype).unbind(1)
    y = sum(
        padded[:, :, k : k + x.shape[2]] * tap[:, None] for k, tap in enumerate(reversed(taps) if reverse else taps)
    )
    if bias is not None:
        y = y + bias.to(dtype)[:, None]
    return F.silu(y).to(x.dtype)


def group_norm(x: Tensor, groups: int, gain: Tensor, offset: Tensor, eps: float, silu: bool) -> Tensor:
    """y = act(gain x^ + offset), x^ normalised over each group: x (B, C, ...); gain, offset (B or 1, C)."""
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    gain, offset = gain.to(dtype), offset.to(dtype)
    # group_norm and addcmul would run in half precision under some autocasts
    with torch.autocast(x.device.type, enabled=False):
        if gain.shape[0] == 1:
            y = F.group_norm(x.to(dtype), groups, gain[0], offset[0], eps)
        else:
            gain, offset = (values[(...,) + (None,) * (x.dim() - 2)] for values in (gain, offset))
            y = torch.addcmul(offset, F.group_norm(x.to(dtype), groups, None, None, eps), gain)
        return (F.silu(y) if silu else y).to(x.dtype)
