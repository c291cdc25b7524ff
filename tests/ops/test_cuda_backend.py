"""The CUDA backend without a GPU: stand-ins with the signatures of mamba-ssm and causal-conv1d take its calls."""

import sys
from types import ModuleType

import pytest
import torch
from scan_oracles import assert_near, double, naive_conv, naive_scan, scan_case, with_gradients

from ramvid_vad.errors import InputError
from ramvid_vad.ops import available_backends, cuda

GPU = torch.device("cuda")
both_ways = pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])


def selective_scan_fn(
    u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False, return_last_state=False
):
    """mamba-ssm's signature and its demands on the dtypes."""
    assert all(x is None or x.dtype == u.dtype for x in (delta, B, C, z))
    assert all(x is None or x.dtype == torch.float32 for x in (A, D, delta_bias))
    wide = [None if x is None else x.float() for x in (u, delta, A, B, C, D, z, delta_bias)]
    y, last = naive_scan(*wide, delta_softplus)
    return (y.to(u.dtype), last) if return_last_state else y.to(u.dtype)


def causal_conv1d_fn(
    x,
    weight,
    bias=None,
    seq_idx=None,
    initial_states=None,
    return_final_states=False,
    final_states_out=None,
    activation=None,
):
    """causal-conv1d's signature since 1.1."""
    assert activation == "silu" and seq_idx is None and initial_states is None and not return_final_states
    assert bias is None or bias.dtype == weight.dtype
    return naive_conv(x.float(), weight.float(), None if bias is None else bias.float()).to(x.dtype)


@pytest.fixture
def stand_ins(monkeypatch):
    modules = {name: ModuleType(name) for name in ("mamba_ssm", "mamba_ssm.ops", "causal_conv1d")}
    interface = modules["mamba_ssm.ops.selective_scan_interface"] = ModuleType("selective_scan_interface")
    interface.selective_scan_fn = selective_scan_fn
    modules["causal_conv1d"].causal_conv1d_fn = causal_conv1d_fn
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    cuda._import.cache_clear()
    yield interface
    cuda._import.cache_clear()


@both_ways
@pytest.mark.parametrize("fewer", [False, True], ids=["full", "plain"])
def test_scan_passes_every_argument_to_its_place(stand_ins, reverse, fewer):
    case = scan_case(2, 5, 33, 4, fewer=fewer)
    expected = with_gradients(naive_scan, double(case), delta_softplus=True, reverse=reverse)
    actual = with_gradients(cuda.selective_scan, case, delta_softplus=True, reverse=reverse)
    assert_near(actual[0], expected[0], 1e-5, "y")
    assert_near(actual[1], expected[1], 1e-5, "last state")
    assert not actual[1].requires_grad
    for name, gradient in actual[2].items():
        assert_near(gradient, expected[2][name], 1e-5, name)
    case["delta"] = case["delta"].abs()
    y, _ = cuda.selective_scan(**case, delta_softplus=False, reverse=reverse)
    assert_near(y, naive_scan(**case, reverse=reverse)[0], 1e-5, "without softplus")


@both_ways
def test_scan_brings_the_dtypes_into_the_kernels_form(stand_ins, reverse):
    case = scan_case(1, 5, 20, 4, dtype=torch.bfloat16)
    case["delta"], case["A"] = case["delta"].float(), case["A"].bfloat16()
    y, last = cuda.selective_scan(**case, delta_softplus=True, reverse=reverse)
    assert y.dtype == torch.bfloat16 and last.dtype == torch.float32


@both_ways
def test_convolution_asks_for_silu_by_keyword(stand_ins, reverse):
    case = {"x": torch.randn(2, 5, 21), "weight": torch.randn(5, 4), "bias": torch.randn(5)}
    expected = with_gradients(naive_conv, double(case), reverse=reverse)
    actual = with_gradients(cuda.causal_conv1d, case, reverse=reverse)
    assert_near(actual[0], expected[0], 1e-5, "y")
    for name, gradient in actual[2].items():
        assert_near(gradient, expected[2][name], 1e-5, name)
    with pytest.raises(InputError, match=r"width of 2, 3 or 4, not 5.*'reference'"):
        cuda.causal_conv1d(case["x"], torch.ones(5, 5))


def test_installed_packages_come_first_on_cuda(stand_ins):
    assert available_backends("cuda")[0] == "cuda"
    assert available_backends("cuda", torch.bfloat16, "causal_conv1d")[0] == "cuda"
    assert "cuda" not in available_backends("cuda", torch.float64)
    assert "cuda" not in available_backends("cpu")


def test_why_it_is_unavailable(stand_ins, monkeypatch):
    assert cuda.unavailable("selective_scan", GPU, torch.float32) is None
    stand_ins.selective_scan_cuda = None
    cuda._import.cache_clear()
    assert "MAMBA_KEEP_CUDA_BUILD=TRUE" in cuda.unavailable("selective_scan", GPU, torch.float32)
    monkeypatch.setitem(sys.modules, "causal_conv1d", None)
    cuda._import.cache_clear()
    assert "pip install causal-conv1d" in cuda.unavailable("causal_conv1d", GPU, torch.float32)
    assert "cuda" not in available_backends("cuda")
