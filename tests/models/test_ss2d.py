"""The scan over a picture: against a loop over places, and against four scans of sequences laid out by hand."""

import pytest
import torch
import torch.nn.functional as F

from ramvid_vad.models.ss2d import SS2D
from ramvid_vad.ops import selective_scan

# places in the order that each direction walks them, as (row, column)
ORDERS = (
    lambda h, w: [(i, j) for i in range(h) for j in range(w)],
    lambda h, w: [(i, j) for i in range(h) for j in range(w)][::-1],
    lambda h, w: [(i, j) for j in range(w) for i in range(h)],
    lambda h, w: [(i, j) for j in range(w) for i in range(h)][::-1],
)


def made(dim, states=3, seed=0):
    torch.manual_seed(seed)
    module = SS2D(dim, d_state=states)
    with torch.no_grad():  # each direction its own
        for parameter in module.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return module.requires_grad_(False)


def projections(module, x, k):
    """Step size before the bias, B and C of direction k at each place (B, H, W, .)."""
    projected = x @ module.x_proj_weight[k].T
    dt, b, c = projected.split([module.dt_rank, module.d_state, module.d_state], -1)
    return dt @ module.dt_projs_weight[k].T, b, c


def own(module, k, dim):
    part = slice(k * dim, (k + 1) * dim)
    return -torch.exp(module.A_logs[part]), module.Ds[part], module.dt_projs_bias[k]


def by_hand(module, x):
    """Place by place, state by state, in float64."""
    batch, height, width, dim = x.shape
    total = torch.zeros_like(x)
    for k, order in enumerate(ORDERS):
        step, b, c = projections(module, x, k)
        A, skip, bias = own(module, k, dim)
        step = torch.log1p(torch.exp(step + bias))
        for n in range(batch):
            for d in range(dim):
                h = [0.0] * module.d_state
                for i, j in order(height, width):
                    u = x[n, i, j, d]
                    for s in range(module.d_state):
                        h[s] = torch.exp(step[n, i, j, d] * A[d, s]) * h[s] + step[n, i, j, d] * b[n, i, j, s] * u
                    total[n, i, j, d] += sum(h[s] * c[n, i, j, s] for s in range(module.d_state)) + skip[d] * u
    return total


@pytest.mark.parametrize("size", [(1, 1), (3, 4), (5, 2)], ids=str)
def test_equals_a_loop_over_places(size):
    module = made(3)
    x = torch.randn(2, *size, 3)
    expected = by_hand(module.double(), x.double())
    assert torch.allclose(made(3)(x).double(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dim", [5, 32])  # one call for all directions where 16 divides it
def test_equals_four_scans_each_put_back_in_place(dim):
    module = made(dim, states=16)
    x = torch.randn(2, 6, 7, dim)
    total = torch.zeros_like(x)
    for k, order in enumerate(ORDERS):
        rows, columns = (torch.tensor(index) for index in zip(*order(6, 7), strict=True))
        walked = [tensor[:, rows, columns].transpose(1, 2) for tensor in (x, *projections(module, x, k))]
        A, skip, bias = own(module, k, dim)
        y = selective_scan(walked[0], walked[1], A, *walked[2:], skip, delta_bias=bias, delta_softplus=True)
        total[:, rows, columns] += y.transpose(1, 2)
    assert torch.allclose(module(x), total, rtol=1e-4, atol=1e-4)


def test_one_call_scans_all_directions(monkeypatch):
    from ramvid_vad.ops import cpu

    if cpu.unavailable("selective_scan", torch.device("cpu"), torch.float32):
        pytest.skip("the C++ kernel was not built")
    calls = []
    call = cpu.call
    monkeypatch.setattr(cpu, "call", lambda *arguments: calls.append(arguments[0]) or call(*arguments))
    made(16)(torch.randn(1, 4, 4, 16))
    assert calls == ["scan_forward"]


def test_a_turned_picture_with_directions_exchanged_is_the_turned_result():
    """Transposing the picture makes its rows columns; flipping it exchanges the two ways."""
    module, turned = made(16), made(16)
    swap = [2, 3, 0, 1]
    for name in ("x_proj_weight", "dt_projs_weight", "dt_projs_bias"):
        setattr(turned, name, torch.nn.Parameter(getattr(module, name)[swap], requires_grad=False))
    for name in ("A_logs", "Ds"):
        parts = getattr(module, name).chunk(4)
        setattr(turned, name, torch.nn.Parameter(torch.cat([parts[i] for i in swap]), requires_grad=False))
    x = torch.randn(1, 4, 6, 16)
    assert torch.allclose(turned(x.transpose(1, 2)), module(x).transpose(1, 2), rtol=1e-4, atol=1e-5)


def test_gradients_are_those_of_the_reference(monkeypatch):
    found = []
    for backend in ("reference", ""):
        monkeypatch.setenv("RAMVID_VAD_BACKEND", backend)
        module = made(16, states=4).requires_grad_(True)
        torch.manual_seed(1)
        x = torch.randn(2, 5, 3, 16, requires_grad=True)
        module(x).square().sum().backward()
        found.append([x.grad, *(parameter.grad for parameter in module.parameters())])
    for reference, fused in zip(*found, strict=True):
        assert torch.allclose(fused, reference, rtol=1e-3, atol=1e-4 * reference.abs().max().item())


def test_steps_start_between_a_thousandth_and_a_tenth():
    torch.manual_seed(0)
    steps = F.softplus(SS2D(64).dt_projs_bias)
    assert 0.99e-3 <= steps.min() < 2e-3 and 0.05 < steps.max() <= 0.101
