"""The selective scan (Gu and Dao 2023, arXiv 2312.00752) and its causal convolution: the public functions."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ramvid_vad.ops.backends import check_kinds, choose_backend


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
    reverse: bool | Sequence[bool] = False,
    backend: str | None = None,
    return_last_state: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Selective scan, equation (2) of arXiv 2312.00752 with the discretisation of mamba-ssm: for every channel

        d_t = delta_t + delta_bias, through softplus if `delta_softplus`
        h_t = exp(d_t A) h_{t-1} + d_t B_t u_t,   h before the first token = 0
        y_t = (C_t . h_t + D u_t) * silu(z_t)

    Args:
        u, delta, z: (B, D, L) input, step size and gate, float32, bfloat16, float16 or float64. The fastest layout
            on CPU is channels-last: a transposed contiguous (B, L, D), as a linear layer returns it.
        A: (D, N), negative for a decaying state. B, C: (B, N, L), or (B, G, N, L): G sets, of which each D / G
            channels in turn have one. D, delta_bias: (D,).
        reverse: walk from the last token to the first; equals flipping the inputs and the result along L. A sequence:
            each set by its own.
        backend: a name from `available_backends`; None takes the environment variable RAMVID_VAD_BACKEND, or else the
            best backend for the tensor. The state is float32 on each of them (float64 for float64 input).
        return_last_state: also return the state after the last token walked, (B, D, N); no gradient flows through it.

    Returns:
        y: (B, D, L) in u's dtype, or (y, last_state).

    Raises:
        ValueError: shapes, dtypes or devices that do not fit. InputError: an unknown backend, or one that cannot run
            here.
    """
    batch, dim, length = _shape("u", u, "(B, D, L)")
    states = _shape("A", A, "(D, N)")[1]
    sets = B.shape[1:2] if B.dim() == 4 else ()
    expected = {
        "delta": (delta, (batch, dim, length)),
        "A": (A, (dim, states)),
        "B": (B, (batch, *sets, states, length)),
        "C": (C, (batch, *sets, states, length)),
        "D": (D, (dim,)),
        "z": (z, (batch, dim, length)),
        "delta_bias": (delta_bias, (dim,)),
    }
    for name, (tensor, shape) in expected.items():
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ValueError(
                f"selective_scan: {name} has shape {tuple(tensor.shape)}, expected {shape} "
                f"for u {tuple(u.shape)} and A {tuple(A.shape)}"
            )
    tensors = (u, delta, A, B, C, D, z, delta_bias)
    check_kinds("selective_scan", u=u, **{name: tensor for name, (tensor, _) in expected.items()})
    count = sets[0] if sets else 1
    ways = [bool(way) for way in reverse] if isinstance(reverse, Sequence) else [bool(reverse)] * count
    if not 0 < count == len(ways) or dim % count:
        raise ValueError(f"selective_scan: {dim} channels and {len(ways)} directions for {count} sets of B and C")
    scan = choose_backend("selective_scan", u, backend)
    if count > 1 and hasattr(scan, "takes_sets") and scan.takes_sets(count, dim // count):
        y, last_state = scan.selective_scan(*tensors, delta_softplus, ways)
    elif sets:
        # where the channels of the sets lie; None: the sets have a dimension of their own, the second
        along = (1, 1, 0, None, None, 0, 1, 0)
        parts = (
            [None] * count if x is None else x.unbind(1) if dim is None else x.chunk(count, dim)
            for x, dim in zip(tensors, along, strict=True)
        )
        of_sets = zip(*parts, strict=True)
        each = [scan.selective_scan(*own, delta_softplus, way) for own, way in zip(of_sets, ways, strict=True)]
        y, last_state = (torch.cat(results, 1) for results in zip(*each, strict=True))
    else:
        y, last_state = scan.selective_scan(*tensors, delta_softplus, ways[0])
    return (y, last_state) if return_last_state else y


def causal_conv1d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, reverse: bool = False, backend: str | None = None
) -> Tensor:
    """Depthwise causal convolution followed by SiLU: y_t = silu(bias + sum_k weight_k x_{t-W+1+k}), zeros before the
    first token.

    Args:
        x: (B, D, L). weight: (D, W). bias: (D,). Layouts and dtypes as in `selective_scan`.
        reverse: the mirrored operation (token t sees t ... t+W-1); equals flipping x and the result along L.
        backend: as in `selective_scan`.

    Returns:
        (B, D, L) in x's dtype.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit. InputError: an unknown backend, or one that cannot run
            here.
    """
    dim = _shape("x", x, "(B, D, L)")[1]
    width = _shape("weight", weight, "(D, W)")[1]
    for name, tensor, shape in (("weight", weight, (dim, width)), ("bias", bias, (dim,))):
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ValueError(
                f"causal_conv1d: {name} has shape {tuple(tensor.shape)}, expected {shape} for x {tuple(x.shape)}"
            )
    check_kinds("causal_conv1d", x=x, weight=weight, bias=bias)
    return choose_backend("causal_conv1d", x, backend).causal_conv1d(x, weight, bias, reverse)


def _shape(name: str, tensor: Tensor, meaning: str) -> tuple[int, ...]:
    if tensor.dim() != meaning.count(",") + 1 or 0 in tensor.shape:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected a non-empty {meaning}")
    return tuple(tensor.shape)
