"""Group norm with modulation and SiLU: each backend and instruction set against the definition in float64."""

import pytest
import torch
import torch.nn.functional as F
from scan_oracles import assert_near
from torch import Tensor

from ramvid_vad.errors import InputError
from ramvid_vad.ops import available_backends, cpu_library, cpu_norm, group_norm
from ramvid_vad.ops.cpu_library import ISA_VARIABLE, ISAS

USABLE = ISAS[: cpu_library.load().ramvid_vad_best_isa() + 1] if cpu_library.load() else ()
# batch, channels, (T, H, W), groups: channels that leave lanes empty, positions around the chunk of 256 rows
SHAPES = [
    (1, 1, (1, 1, 5), 1),
    (2, 6, (3, 5, 1), 3),
    (1, 32, (2, 4, 4), 32),
    (2, 40, (3, 7, 5), 8),
    (1, 96, (5, 11, 13), 32),
]


@pytest.fixture(params=["reference", *USABLE])
def backend(request, monkeypatch):
    if request.param == "reference":
        return "reference"
    monkeypatch.setenv(ISA_VARIABLE, request.param)
    return "cpu"


def case(batch: int, channels: int, positions: tuple[int, ...], modulated: bool, channels_last: bool = True) -> dict:
    torch.manual_seed(0)
    x = torch.randn(batch, channels, *positions) * 2 + torch.randn(channels)[:, None, None, None]
    tensors = {"x": x, "weight": torch.randn(channels), "bias": torch.randn(channels)}
    if channels_last:
        tensors["x"] = x.contiguous(memory_format=torch.channels_last_3d)
    if modulated:
        tensors |= {"scale": torch.randn(batch, channels), "shift": torch.randn(batch, channels)}
    return tensors


def definition(
    x: Tensor, groups: int, weight: Tensor, bias: Tensor, scale=None, shift=None, eps: float = 1e-5, silu: bool = False
) -> Tensor:
    """Written out over the flattened groups."""
    grouped = x.reshape(x.shape[0], groups, -1)
    deviation = grouped - grouped.mean(2, keepdim=True)
    x_hat = (deviation / ((deviation**2).mean(2, keepdim=True) + eps).sqrt()).reshape(x.shape)

    def per_channel(values: Tensor) -> Tensor:
        return values.reshape(-1, x.shape[1], *(1,) * (x.dim() - 2))

    y = x_hat * per_channel(weight) + per_channel(bias)
    if scale is not None:
        y = y * (1 + per_channel(scale)) + per_channel(shift)
    return y / (1 + torch.exp(-y)) if silu else y


def with_gradients(function, tensors: dict, upstream: Tensor, **keywords) -> tuple[Tensor, dict[str, Tensor]]:
    tensors = {name: tensor.detach().requires_grad_() for name, tensor in tensors.items()}
    y = function(**tensors, **keywords)
    return y, dict(zip(tensors, torch.autograd.grad(y, list(tensors.values()), upstream.to(y.dtype)), strict=True))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("modulated", [False, True], ids=["plain", "modulated"])
@pytest.mark.parametrize("silu", [False, True], ids=["linear", "silu"])
def test_result_and_all_gradients(backend, shape, modulated, silu):
    *sizes, groups = shape
    tensors = case(*sizes, modulated, channels_last=sizes[1] != 6)
    upstream = torch.randn(tensors["x"].shape)
    double = {name: tensor.double() for name, tensor in tensors.items()}
    y, gradients = with_gradients(group_norm, tensors, upstream, groups=groups, silu=silu, backend=backend)
    expected, wanted = with_gradients(definition, double, upstream, groups=groups, silu=silu)
    assert_near(y, expected, 1e-6, "y")
    for name, gradient in gradients.items():
        assert_near(gradient, wanted[name], 1e-5, name)


def test_bfloat16_is_rounded_only_on_the_way_in_and_out(backend):
    tensors = case(2, 48, (4, 9, 9), modulated=True)
    tensors["x"] = tensors["x"].bfloat16()
    upstream = torch.randn(tensors["x"].shape).bfloat16()
    double = {name: tensor.double() for name, tensor in tensors.items()}
    y, gradients = with_gradients(group_norm, tensors, upstream, groups=16, silu=True, backend=backend)
    expected, wanted = with_gradients(definition, double, upstream, groups=16, silu=True)
    assert y.dtype == gradients["x"].dtype == torch.bfloat16
    assert_near(y, expected, 4e-3, "y")
    assert_near(gradients["x"], wanted["x"], 4e-3, "x")
    for name in ("weight", "bias", "scale", "shift"):  # never rounded
        assert_near(gradients[name], wanted[name], 1e-5, name)


def test_a_mean_a_thousand_times_the_deviation_costs_the_kernel_no_digits(backend):
    if backend == "reference":
        pytest.skip("torch's group norm is a tenth off here")
    tensors = case(1, 32, (2, 8, 8), modulated=False)
    tensors["x"] = tensors["x"] / 2 + 1024
    double = {name: tensor.double() for name, tensor in tensors.items()}
    y = group_norm(**tensors, groups=4, silu=False, backend=backend)
    # float32 numbers near 1024 lie 1.2e-4 apart, and so may what is left of them
    assert_near(y, definition(**double, groups=4), 3e-4, "y")


@pytest.mark.parametrize(
    "count, of, tolerance", [(1, 12_000, 3e-6), (1, 256, 3e-6), (1, 16, 3e-6), (1, 9, 3e-6), (32, 256, 3e-5)], ids=str
)
def test_rows_unlike_the_rest_cost_the_kernel_few_digits(backend, count, of, tolerance):
    """The first row, borders of a picture, and at last all the rows that the kernel centers its sums on."""
    if backend == "reference":
        pytest.skip("a test of the kernel's own sums")
    torch.manual_seed(0)
    x = 0.37 + 0.01 * torch.randn(1, 12_000, 32)
    x[:, torch.arange(12_000) % of < count] = 10 ** (4 * torch.rand(32))
    tensors = {"x": x.transpose(1, 2), "weight": torch.ones(32), "bias": torch.zeros(32)}
    double = {name: tensor.double() for name, tensor in tensors.items()}
    upstream = torch.randn(tensors["x"].shape)
    y, gradients = with_gradients(group_norm, tensors, upstream, groups=32, backend=backend)
    expected, wanted = with_gradients(definition, double, upstream, groups=32)
    assert_near(y, expected, tolerance, "y")
    assert_near(gradients["x"], wanted["x"], tolerance, "x")


def test_one_bright_corner_of_a_flat_channel_has_the_value_of_the_formula(backend):
    # of n positions one differs: it is normalised to sqrt(n - 1), the others to -1 / sqrt(n - 1)
    n, corner = 300_000, torch.tensor([4.0, 30.0, 385.0, 1e4])
    x = torch.full((1, n, 4), 0.37)
    x[0, 0] = corner
    y = group_norm(x.transpose(1, 2), 4, torch.ones(4), torch.zeros(4), eps=0.0, backend=backend)
    assert_near(y[0, :, 0], torch.full((4,), (n - 1) ** 0.5), 2e-5)


def test_float64_stays_float64():
    tensors = {name: tensor.double() for name, tensor in case(1, 8, (2, 3, 3), modulated=True).items()}
    y = group_norm(**tensors, groups=4, silu=True)
    assert y.dtype == torch.float64
    assert_near(y, definition(**tensors, groups=4, silu=True), 1e-13, "y")


def test_equals_torch_where_torch_has_the_function(backend):
    tensors = case(2, 64, (3, 6, 6), modulated=False)
    expected = F.silu(F.group_norm(tensors["x"], 32, tensors["weight"], tensors["bias"], 1e-3))
    assert_near(group_norm(**tensors, groups=32, eps=1e-3, silu=True, backend=backend), expected, 1e-6, "y")


@pytest.mark.skipif(not USABLE, reason="the C++ kernel was not built")
def test_result_does_not_depend_on_the_number_of_threads():
    tensors = case(1, 96, (5, 16, 16), modulated=True)
    upstream = torch.randn(tensors["x"].shape)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(with_gradients(group_norm, tensors, upstream, groups=32, silu=True, backend="cpu"))
    finally:
        torch.set_num_threads(before)
    (y, gradients), (other, others) = results
    assert torch.equal(y, other)
    assert all(torch.equal(gradients[name], others[name]) for name in gradients)


@pytest.mark.skipif(not USABLE, reason="the C++ kernel was not built")
def test_the_result_is_channels_last_with_plain_strides():
    tensors = case(1, 32, (3, 4, 4), modulated=False)
    x = torch.as_strided(
        tensors["x"], tensors["x"].shape, (32, *tensors["x"].stride()[1:])
    )  # as a matrix product left it
    y = group_norm(x, 32, tensors["weight"], tensors["bias"], backend="cpu")
    assert y.stride() == (32 * 48, 1, 32 * 16, 32 * 4, 32)


@pytest.mark.skipif(not USABLE, reason="the C++ kernel was not built")
def test_operator_is_registered_as_torch_expects():
    tensors = case(2, 24, (2, 5, 3), modulated=False)
    gain, offset = torch.randn(2, 24, requires_grad=True), torch.randn(2, 24, requires_grad=True)
    torch.library.opcheck(cpu_norm._norm, (tensors["x"].requires_grad_(), gain, offset, 8, 1e-5, True))


def test_a_wish_for_a_backend_without_norms_does_not_stop_them(monkeypatch):
    monkeypatch.setenv("RAMVID_VAD_BACKEND", "triton")
    tensors = case(1, 32, (1, 2, 2), modulated=False)
    assert group_norm(**tensors, groups=32).isfinite().all()
    assert "triton" not in available_backends(operation="group_norm")
    with pytest.raises(InputError, match="'triton' cannot run group_norm: it has no group_norm"):
        group_norm(**tensors, groups=32, backend="triton")  # asked for here, not by the variable


@pytest.mark.parametrize("shape", [(1, 8, 0), (0, 8, 3), (0, 8), (2, 8)], ids=str)
def test_sizes_of_nothing_are_torchs(backend, shape):
    x, weight = torch.randn(shape), torch.ones(8)
    y, gradients = with_gradients(
        group_norm, {"x": x, "weight": weight, "bias": weight}, x, groups=4, silu=True, backend=backend
    )
    expected = F.silu(F.group_norm(x, 4, weight, weight))
    assert y.shape == gradients["x"].shape == x.shape and torch.allclose(y, expected, atol=1e-6)


def test_the_kernel_refuses_forward_mode_instead_of_a_derivative_of_zero():
    if not USABLE:
        pytest.skip("the C++ kernel was not built")
    with (
        torch.autograd.forward_ad.dual_level(),
        pytest.raises(RuntimeError, match=r"group_norm: the C.. kernel has no"),
    ):
        x = torch.autograd.forward_ad.make_dual(torch.randn(1, 8, 3), torch.ones(1, 8, 3))
        group_norm(x, 4, torch.ones(8), torch.zeros(8), backend="cpu")


@pytest.mark.parametrize(
    "change",
    [
        {"groups": 5},
        {"groups": 0},
        {"groups": -4},
        {"weight": torch.ones(3)},
        {"scale": torch.ones(1, 32)},
        {"bias": torch.ones(1, 32)},
        {"bias": torch.ones(32, device="meta")},
        {"x": torch.ones(32)},
        {"x": torch.ones(1, 32, 4, dtype=torch.int64)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_does_not_fit_is_refused(change):
    tensors = case(1, 32, (1, 2, 2), modulated=False) | {"groups": 8} | change
    with pytest.raises(ValueError, match="group_norm"):
        group_norm(**tensors)
