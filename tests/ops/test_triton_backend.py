"""The Triton kernel in Triton's interpreter, which must be chosen before triton is imported: in its own process."""

import importlib.util
import os
import subprocess
import sys

import pytest
import torch
from scan_oracles import assert_near, double, golden_scan, naive_scan, scan_case, with_gradients

from ramvid_vad.errors import InputError
from ramvid_vad.ops import available_backends, causal_conv1d, selective_scan

INSTALLED = importlib.util.find_spec("triton") is not None
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
needs_interpreter = pytest.mark.skipif(
    not (INSTALLED and INTERPRETED), reason="runs with TRITON_INTERPRET=1 and triton"
)


@pytest.mark.skipif(not INSTALLED, reason="triton is not installed (pip install triton)")
@pytest.mark.skipif(INTERPRETED, reason="this is the interpreter's process")
@pytest.mark.timeout(1200)
def test_in_the_interpreter():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0 and "passed" in result.stdout, result.stdout + result.stderr


def scan(**case):
    return selective_scan(**case, backend="triton", return_last_state=True)


@needs_interpreter
def test_golden_figures(golden):
    inputs, weight, figures = golden_scan(golden)
    y, last, gradients = with_gradients(scan, inputs, weight, delta_softplus=True)
    assert_near(y, figures["scan_y"], 1e-5, "y")
    assert_near(last, figures["scan_last"], 1e-5, "last state")
    for name, gradient in gradients.items():
        assert_near(gradient, figures[f"scan_grad_{name}"], 1e-5, name)


@needs_interpreter
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize(
    # batch, channels, tokens (in chunks of 64), states (filled up to a power of 2): the interpreter's time is their
    # product, so that one has two of each but few states, another many states but one sample
    "shape",
    [(1, 2, 1, 1), (2, 3, 64, 8), (2, 2, 133, 3), (1, 2, 70, 17)],
    ids=str,
)
def test_scan_and_all_gradients(shape, reverse):
    case = scan_case(*shape, channels_last=reverse)
    expected = with_gradients(naive_scan, double(case), delta_softplus=True, reverse=reverse)
    actual = with_gradients(scan, case, delta_softplus=True, reverse=reverse)
    assert_near(actual[0], expected[0], 1e-5, "y")
    assert_near(actual[1], expected[1], 1e-5, "last state")
    assert not actual[1].requires_grad
    for name, gradient in actual[2].items():
        assert_near(gradient, expected[2][name], 1e-5, name)


@needs_interpreter
@pytest.mark.parametrize("softplus", [False, True])
def test_scan_without_its_optional_parts(softplus):
    case = scan_case(1, 3, 40, 4, fewer=True)
    case["delta"] = case["delta"].abs()
    expected = with_gradients(naive_scan, double(case), delta_softplus=softplus)
    actual = with_gradients(scan, case, delta_softplus=softplus)
    assert_near(actual[0], expected[0], 1e-5, "y")
    for name, gradient in actual[2].items():
        assert_near(gradient, expected[2][name], 1e-5, name)


@needs_interpreter
def test_bfloat16_is_rounded_only_on_the_way_in_and_out():
    case = scan_case(1, 3, 70, 8, dtype=torch.bfloat16)
    weight = torch.randn(1, 3, 70).bfloat16()
    expected = with_gradients(naive_scan, double(case), weight, delta_softplus=True)
    y, last, gradients = with_gradients(scan, case, weight, delta_softplus=True)
    assert_near(last, expected[1], 1e-5, "last state")
    for name, result, exact in [("y", y, expected[0]), *((n, gradients[n], expected[2][n]) for n in gradients)]:
        unit = exact.abs() * 2**-7 if result.dtype == torch.bfloat16 else 0  # the interpreter rounds towards zero
        assert ((result.double() - exact).abs() <= unit + 1e-5 * exact.abs().max()).all(), name


@needs_interpreter
def test_a_second_derivative_is_refused_instead_of_dropped():
    case = scan_case(1, 2, 5, 2)
    case["u"].requires_grad_()
    y, _ = scan(**case)
    (gradient,) = torch.autograd.grad(y.square().sum(), case["u"], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@needs_interpreter
def test_convolution_is_the_references():
    x, weight = torch.randn(1, 3, 9), torch.randn(3, 4)
    assert torch.equal(causal_conv1d(x, weight, backend="triton"), causal_conv1d(x, weight, backend="reference"))


@pytest.mark.skipif(INTERPRETED, reason="the interpreter runs on the CPU")
def test_the_cpu_is_refused_and_cuda_wants_the_package(monkeypatch):
    assert "triton" not in available_backends("cpu")
    assert ("triton" in available_backends("cuda")) == INSTALLED
    assert "triton" not in available_backends("cuda", torch.float64)
    with pytest.raises(InputError, match="'triton' cannot run selective_scan: the tensor is on cpu"):
        scan(**scan_case(1, 1, 1, 1))
