"""The Triton kernels behind ramvid_vad.ops.triton; importing this module needs triton.

One program walks one channel of one batch element, CHUNK tokens at a time: tiles of (CHUNK, STATES), a parallel scan
over the tokens of a chunk, one state carried from chunk to chunk. Forward stores the state in front of every chunk,
backward recomputes from it; nothing of size B*D*L*N is held. Everything is computed in float32 whatever is loaded.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

CHUNK = 64


@triton.jit
def _compose(a, b, later_a, later_b):
    """h -> a h + b, then h -> later_a h + later_b."""
    return a * later_a, later_a * b + later_b


@triton.jit
def _sigmoid(x):
    e = tl.exp(-tl.abs(x))
    return tl.where(x < 0, e, 1.0) / (1.0 + e)


@triton.jit
def _softplus(x):
    """log(1 + e^x) = max(x, 0) + 2 artanh(s), s = e / (2 + e), e = e^-|x|: relatively exact where x << 0."""
    e = tl.exp(-tl.abs(x))
    s = e / (2.0 + e)
    q = s * s
    p = 1.0 + q * (0.33333208 + q * (0.20010763 + q * (0.14000904 + q * 0.14005995)))
    return tl.maximum(x, 0.0) + 2.0 * s * p


@triton.jit
def _load(pointer, t, inside, L, REVERSE: tl.constexpr):
    """Tokens t, in walking order, of a row of L; 0 outside."""
    place = L - 1 - t if REVERSE else t
    return tl.load(pointer + place, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _store(pointer, value, t, inside, L, REVERSE: tl.constexpr):
    place = L - 1 - t if REVERSE else t
    tl.store(pointer + place, value.to(pointer.dtype.element_ty), mask=inside)


@triton.jit
def _load_states(pointer, t, inside, n, N, L, REVERSE: tl.constexpr):
    """(tokens, states) tile of a (N, L) matrix; 0 outside."""
    place = L - 1 - t if REVERSE else t
    mask = inside[:, None] & (n < N)[None, :]
    return tl.load(pointer + n[None, :] * L + place[:, None], mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _step(delta, t, inside, bias, L, SOFTPLUS: tl.constexpr, REVERSE: tl.constexpr):
    """Step sizes of tokens t; 0, which leaves the state as it is, outside."""
    raw = _load(delta, t, inside, L, REVERSE) + bias
    return tl.where(inside, _softplus(raw) if SOFTPLUS else raw, 0.0)


@triton.jit
def _forward(
    u, delta, A, B, C, D, z, bias, y, last, checkpoints, dim, L, N, chunks,
    HAS_D: tl.constexpr, HAS_Z: tl.constexpr, HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr, REVERSE: tl.constexpr,
    CHUNK: tl.constexpr, STATES: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)  # batch * dim + channel
    batch, channel = row // dim, row % dim
    u, delta, z, y = u + row * L, delta + row * L, z + row * L, y + row * L
    B, C, checkpoints = B + batch * N * L, C + batch * N * L, checkpoints + row * chunks * N
    n = tl.arange(0, STATES)
    a = tl.load(A + channel * N + n, mask=n < N, other=0.0)
    b = tl.load(bias + channel) if HAS_BIAS else 0.0
    h = tl.zeros([STATES], dtype=tl.float32)
    for k in range(chunks):
        t = k * CHUNK + tl.arange(0, CHUNK)
        inside = t < L
        tl.store(checkpoints + k * N + n, h, mask=n < N)
        dt = _step(delta, t, inside, b, L, SOFTPLUS, REVERSE)
        x = _load(u, t, inside, L, REVERSE)
        decay = tl.exp(dt[:, None] * a[None, :])
        drive = (dt * x)[:, None] * _load_states(B, t, inside, n, N, L, REVERSE)
        decay, drive = tl.associative_scan((decay, drive), 0, _compose)
        states = decay * h[None, :] + drive
        out = tl.sum(states * _load_states(C, t, inside, n, N, L, REVERSE), axis=1)
        if HAS_D:
            out += tl.load(D + channel) * x
        if HAS_Z:
            gate = _load(z, t, inside, L, REVERSE)
            out *= gate * _sigmoid(gate)
        _store(y, out, t, inside, L, REVERSE)
        h = tl.sum(tl.where((tl.arange(0, CHUNK) == CHUNK - 1)[:, None], states, 0.0), axis=0)
    tl.store(last + row * N + n, h, mask=n < N)


@triton.jit
def _backward(
    dy, u, delta, A, B, C, D, z, bias, checkpoints, du, ddelta, dA, dB, dC, dD, dz, dbias, dim, L, N, chunks,
    HAS_D: tl.constexpr, HAS_Z: tl.constexpr, HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr, REVERSE: tl.constexpr,
    CHUNK: tl.constexpr, STATES: tl.constexpr,
):  # fmt: skip
    """With e_t = exp(dt_t A), x_t = dt_t u_t and lambda_t the gradient of h_t:
    lambda_t = e_{t+1} lambda_{t+1} + g_t C_t,  dC_t = g_t h_t,  dB_t = lambda_t x_t,  dx_t = lambda_t . B_t,
    and e_t de_t = lambda_t e_t h_{t-1}, of which dt and A take their parts."""
    row = tl.program_id(0).to(tl.int64)
    batch, channel = row // dim, row % dim
    dy, u, delta, z = dy + row * L, u + row * L, delta + row * L, z + row * L
    du, ddelta, dz = du + row * L, ddelta + row * L, dz + row * L
    B, C, dB, dC = B + batch * N * L, C + batch * N * L, dB + batch * N * L, dC + batch * N * L
    checkpoints += row * chunks * N
    n = tl.arange(0, STATES)
    a = tl.load(A + channel * N + n, mask=n < N, other=0.0)
    b = tl.load(bias + channel) if HAS_BIAS else 0.0
    carry = tl.zeros([STATES], dtype=tl.float32)  # lambda of the first token of the next chunk
    sum_A = tl.zeros([STATES], dtype=tl.float32)
    sum_D = 0.0
    sum_bias = 0.0
    for back in range(chunks):
        k = chunks - 1 - back
        i = tl.arange(0, CHUNK)
        t = k * CHUNK + i
        inside = t < L
        h0 = tl.load(checkpoints + k * N + n, mask=n < N, other=0.0)
        raw = _load(delta, t, inside, L, REVERSE) + b
        dt = _step(delta, t, inside, b, L, SOFTPLUS, REVERSE)
        x = _load(u, t, inside, L, REVERSE)
        tile_B, tile_C = _load_states(B, t, inside, n, N, L, REVERSE), _load_states(C, t, inside, n, N, L, REVERSE)
        decay = tl.exp(dt[:, None] * a[None, :])
        drive = (dt * x)[:, None] * tile_B
        # h_{t-1}: the scan of the chunk moved by one token, nothing in front of its first
        moved = i > 0
        dt_before = _step(delta, t - 1, inside & moved, b, L, SOFTPLUS, REVERSE)
        drive_before = (dt_before * _load(u, t - 1, inside & moved, L, REVERSE))[:, None]
        drive_before *= _load_states(B, t - 1, inside & moved, n, N, L, REVERSE)
        decay_before, drive_before = tl.associative_scan(
            (tl.exp(dt_before[:, None] * a[None, :]), drive_before), 0, _compose
        )
        before = decay_before * h0[None, :] + drive_before
        states = decay * before + drive
        out = tl.sum(states * tile_C, axis=1)
        skip = tl.load(D + channel) if HAS_D else 0.0
        out += skip * x
        g = _load(dy, t, inside, L, REVERSE)
        if HAS_Z:
            gate = _load(z, t, inside, L, REVERSE)
            open_ = _sigmoid(gate)
            _store(dz, g * out * open_ * (1.0 + gate * (1.0 - open_)), t, inside, L, REVERSE)
            g *= gate * open_
        dt_after = _step(delta, t + 1, t + 1 < L, b, L, SOFTPLUS, REVERSE)
        decay_after, from_y = tl.associative_scan(
            (tl.exp(dt_after[:, None] * a[None, :]), g[:, None] * tile_C), 0, _compose, reverse=True
        )
        lam = decay_after * carry[None, :] + from_y
        carry = tl.sum(tl.where((i == 0)[:, None], lam, 0.0), axis=0)
        dx = tl.sum(lam * tile_B, axis=1)
        q = lam * decay * before
        slope = dx * x + tl.sum(q * a[None, :], axis=1)
        if SOFTPLUS:
            slope *= _sigmoid(raw)
        _store(ddelta, slope, t, inside, L, REVERSE)
        _store(du, dx * dt + skip * g, t, inside, L, REVERSE)
        place = L - 1 - t if REVERSE else t
        tile = n[None, :] * L + place[:, None]
        mask = inside[:, None] & (n < N)[None, :]
        tl.atomic_add(dB + tile, lam * (dt * x)[:, None], mask=mask)
        tl.atomic_add(dC + tile, g[:, None] * states, mask=mask)
        sum_A += tl.sum(q * dt[:, None], axis=0)
        sum_D += tl.sum(g * x, axis=0)
        sum_bias += tl.sum(tl.where(inside, slope, 0.0), axis=0)
    tl.store(dA + row * N + n, sum_A, mask=n < N)
    tl.store(dD + row, sum_D)
    tl.store(dbias + row, sum_bias)


def forward(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    bias: Tensor | None,
    softplus: bool,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """(y in u's dtype, last state, checkpoints (B, D, chunks, N)) of contiguous tensors."""
    batch, dim, length = u.shape
    y, last = torch.empty_like(u), A.new_empty((batch, *A.shape))
    checkpoints = A.new_empty((batch, dim, triton.cdiv(length, CHUNK), A.shape[1]))
    arguments, options = _launch(u, A, D, z, bias, softplus, reverse)
    _forward[(batch * dim,)](
        u, delta, A, B, C, _or(D, u), _or(z, u), _or(bias, u), y, last, checkpoints, *arguments, **options
    )
    return y, last, checkpoints


def backward(
    dy: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    bias: Tensor | None,
    checkpoints: Tensor,
    softplus: bool,
    reverse: bool,
) -> tuple[Tensor | None, ...]:
    """Gradients of u, delta, A, B, C, D, z and bias, None of a z that is None; those of B and C in float32, summed by
    atomic additions."""
    batch, dim, _ = u.shape
    du, ddelta, dz = (None if x is None else torch.empty_like(x) for x in (u, delta, z))
    dB, dC = (torch.zeros(x.shape, dtype=torch.float32, device=x.device) for x in (B, C))
    dA, dD, dbias = A.new_empty((batch, *A.shape)), A.new_empty((batch, dim)), A.new_empty((batch, dim))
    arguments, options = _launch(u, A, D, z, bias, softplus, reverse)
    _backward[(batch * dim,)](
        dy, u, delta, A, B, C, _or(D, u), _or(z, u), _or(bias, u), checkpoints,
        du, ddelta, dA, dB, dC, dD, _or(dz, u), dbias, *arguments, **options,
    )  # fmt: skip
    return du, ddelta, dA.sum(0), dB, dC, dD.sum(0), dz, dbias.sum(0)


def _launch(
    u: Tensor, A: Tensor, D: Tensor | None, z: Tensor | None, bias: Tensor | None, softplus: bool, reverse: bool
) -> tuple[tuple[int, ...], dict[str, bool | int]]:
    dim, length = u.shape[1:]
    options = {"HAS_D": D is not None, "HAS_Z": z is not None, "HAS_BIAS": bias is not None}
    options |= {"SOFTPLUS": softplus, "REVERSE": reverse, "CHUNK": CHUNK, "STATES": triton.next_power_of_2(A.shape[1])}
    return (dim, length, A.shape[1], triton.cdiv(length, CHUNK)), options


def _or(x: Tensor | None, stand_in: Tensor) -> Tensor:
    """A pointer for an argument that the kernel will not read."""
    return stand_in if x is None else x
