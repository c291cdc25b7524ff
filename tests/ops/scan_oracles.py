"""Oracles of the operations: mamba-ssm's golden figures, and the definition written as a loop in float64."""

import zlib

import numpy as np
import torch
import torch.nn.functional as F


def named_normal(name, shape):
    """The normals of golden/README.md: seeded by their name."""
    return torch.from_numpy(np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32))


def golden_scan(folder):
    """(inputs, weight w of the loss, golden figures) of mamba-ssm's reference scan."""
    batch, dim, length, states = 2, 12, 37, 16
    inputs = {
        "u": named_normal("u", (batch, dim, length)),
        "delta": named_normal("delta", (batch, dim, length)) * 0.5 - 1,
        "A": -torch.exp(named_normal("A", (dim, states)) * 0.5),
        "B": named_normal("B", (batch, states, length)),
        "C": named_normal("C", (batch, states, length)),
        "D": named_normal("D", (dim,)),
        "z": named_normal("z", (batch, dim, length)),
        "delta_bias": named_normal("delta_bias", (dim,)) * 0.1,
    }
    file = np.load(folder / "mamba.npz")
    figures = {name: torch.from_numpy(file[name]) for name in file if name.startswith("scan_")}
    return inputs, named_normal("w", (batch, dim, length)), figures


def scan_case(batch, dim, length, states, seed=0, dtype=torch.float32, channels_last=False, fewer=False):
    """Random inputs of a scan as keyword arguments; `fewer` leaves out D, z and delta_bias."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    case = {
        "u": normal(batch, dim, length).to(dtype),
        "delta": (normal(batch, dim, length) * 0.7 - 1.5).to(dtype),
        "A": -torch.exp(normal(dim, states) * 0.7).float(),
        "B": normal(batch, states, length).to(dtype),
        "C": normal(batch, states, length).to(dtype),
        "D": normal(dim).float(),
        "z": normal(batch, dim, length).to(dtype),
        "delta_bias": (normal(dim) * 0.1).float(),
    }
    if channels_last:
        for name in ("u", "delta", "B", "C", "z"):
            case[name] = case[name].transpose(1, 2).contiguous().transpose(1, 2)
    if fewer:
        case.update(D=None, z=None, delta_bias=None)
    return case


def sets_case(batch, sets, width, length, states):
    """Random inputs of a scan of several sets of B and C, (batch, sets, states, length), as keyword arguments."""
    each = [scan_case(batch, width, length, states, seed=seed) for seed in range(sets)]
    along = {"u": 1, "delta": 1, "A": 0, "D": 0, "z": 1, "delta_bias": 0}
    return {
        name: torch.cat([case[name] for case in each], along[name])
        if name in along
        else torch.stack([case[name] for case in each], 1)
        for name in each[0]
    }


def naive_scan(u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False, reverse=False):
    """The definition, token by token, in the inputs' dtype: (y, last_state)."""
    if delta_bias is not None:
        delta = delta + delta_bias[:, None]
    if delta_softplus:
        delta = F.softplus(delta)
    h = torch.zeros(u.shape[0], u.shape[1], A.shape[1], dtype=u.dtype)
    y = [None] * u.shape[2]
    for t in reversed(range(len(y))) if reverse else range(len(y)):
        h = torch.exp(delta[:, :, t, None] * A) * h + (delta[:, :, t] * u[:, :, t])[..., None] * B[:, None, :, t]
        y[t] = (h * C[:, None, :, t]).sum(-1)
    y = torch.stack(y, 2)
    if D is not None:
        y = y + D[:, None] * u
    return (y if z is None else y * F.silu(z)), h


def naive_conv(x, weight, bias=None, reverse=False):
    """The definition, token by token and tap by tap, in x's dtype."""
    length, width = x.shape[2], weight.shape[1]
    columns = []
    for t in range(length):
        column = torch.zeros_like(x[:, :, 0])
        for k in range(width):
            source = t + (width - 1 - k) * (1 if reverse else -1)
            if 0 <= source < length:
                column = column + weight[:, k] * x[:, :, source]
        columns.append(column if bias is None else column + bias)
    return F.silu(torch.stack(columns, 2))


def double(case):
    """The case in float64 with gradients on."""
    return {
        name: x.detach().double().requires_grad_() if isinstance(x, torch.Tensor) else x for name, x in case.items()
    }


def with_gradients(function, case, weight=None, **keywords):
    """(y, last state or None, {name: gradient}) of sum(y * weight), where `function` returns y or (y, last state)."""
    case = {name: x.detach().requires_grad_() if isinstance(x, torch.Tensor) else x for name, x in case.items()}
    result = function(**case, **keywords)
    y, last = result if isinstance(result, tuple) else (result, None)
    weight = torch.sin(torch.arange(y.numel(), dtype=torch.float64)).view(y.shape) if weight is None else weight
    (y * weight.to(y.dtype)).sum().backward()
    return y.detach(), last, {name: x.grad for name, x in case.items() if isinstance(x, torch.Tensor)}


def assert_near(actual, expected, relative, name=""):
    """|actual - expected| <= relative * max |expected|: the error of a tensor against its scale."""
    error = (actual.double() - expected.double()).abs().max() / expected.double().abs().max().clamp_min(1e-30)
    assert actual.shape == expected.shape
    assert error <= relative, f"{name}: relative error {error:.2e} > {relative:.0e}"
