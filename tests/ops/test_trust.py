"""A kernel that is unproven on a device is chosen there only where it equals the reference, gradients and all."""

import importlib.util
import os
import subprocess
import sys
from types import ModuleType

import pytest
import torch

from ramvid_vad.ops import backends, reference, selective_scan, triton
from ramvid_vad.ops.backends import choose_backend

CPU = torch.device("cpu")
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def kernel(scan):
    """A backend that nobody has proven, with this scan."""
    module = ModuleType("kernel")
    module.UNPROVEN = triton.UNPROVEN
    module.unavailable = lambda operation, device, dtype: None
    module.selective_scan = scan
    return module


@pytest.fixture
def chosen(monkeypatch, capsys):
    """Installs a scan as the best backend for the CPU: which one is chosen, and what is said."""

    def choose(scan, dtype=torch.float32, wish=None):
        monkeypatch.delenv(backends.BACKEND_VARIABLE, raising=False)
        monkeypatch.setattr(backends, "BACKENDS", {"kernel": kernel(scan), "reference": reference})
        for _ in range(3):
            module = choose_backend("selective_scan", torch.ones(1, 2, 3, dtype=dtype), wish)
        return module.__name__.split(".")[-1], capsys.readouterr().err.splitlines()

    return choose


class Scaled(torch.autograd.Function):
    """The identity with a wrong slope."""

    @staticmethod
    def forward(ctx, x, factor):
        ctx.factor = factor
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.factor, None


def wrong_gradient(name, factor=1.001):
    """The reference with the gradient of one input a thousandth too large."""

    def scan(u, delta, A, B, C, D, z, delta_bias, softplus, reverse):
        inputs = {"u": u, "delta": delta, "A": A, "B": B, "C": C, "D": D, "z": z, "delta_bias": delta_bias}
        if inputs[name] is not None:
            inputs[name] = Scaled.apply(inputs[name], factor)
        return reference.selective_scan(**inputs, delta_softplus=softplus, reverse=reverse)

    return scan


def only_forwards(*arguments):
    return reference.selective_scan(*arguments[:-1], False)


def forgets_at_block(*arguments):
    """Right up to 64 tokens, where a block ends."""
    y, last = reference.selective_scan(*arguments)
    return torch.cat([y[:, :, :64], y[:, :, 64:] * 0.99], 2), last


def loses_the_state(*arguments):
    y, last = reference.selective_scan(*arguments)
    return y, torch.zeros_like(last)


def not_a_number(*arguments):
    y, last = reference.selective_scan(*arguments)
    return y * float("nan"), last


def does_not_compile(*arguments):
    raise RuntimeError("ptxas fatal: no such architecture\nand more lines")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_an_equal_kernel_is_chosen_in_silence(chosen, dtype):
    assert chosen(lambda *arguments: reference.selective_scan(*arguments), dtype) == ("kernel", [])


@pytest.mark.parametrize(
    ("scan", "said"),
    [
        (only_forwards, "differs from the reference there (y: "),
        (forgets_at_block, "differs from the reference there (y: "),
        (loses_the_state, "differs from the reference there (last state: 1 of"),
        (not_a_number, "differs from the reference there (y: nan"),
        (does_not_compile, "cannot run there (RuntimeError: ptxas fatal: no such architecture)"),
        *(
            (wrong_gradient(name), f"differs from the reference there (gradient of {name}: 0.001 of")
            for name in ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")
        ),
    ],
)
def test_a_wrong_kernel_is_not_chosen_and_one_line_says_so(chosen, scan, said):
    name, lines = chosen(scan)
    assert name == "reference"
    (line,) = lines  # though it was asked for three times
    assert line.startswith("WARNING: on cpu in torch.float32 the kernel kernel ") and said in line
    assert "RAMVID_VAD_BACKEND=kernel" in line


@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
def test_half_precision_excuses_rounding_alone(chosen, dtype):
    assert chosen(wrong_gradient("u", 1.1), dtype)[0] == "reference"


def test_who_asks_for_it_gets_it_unasked(chosen):
    assert chosen(does_not_compile, wish="kernel") == ("kernel", [])


def test_the_comparison_leaves_no_trace(chosen):
    """Under inference mode and autocast, and with the global stream of random numbers as it was."""
    torch.manual_seed(5)
    before = torch.get_rng_state()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert chosen(lambda *arguments: reference.selective_scan(*arguments)) == ("kernel", [])
    assert torch.equal(torch.get_rng_state(), before)


INTERPRETED = """
import torch
from ramvid_vad.ops import backends, reference, triton, triton_kernels
backends.BACKENDS = {"triton": triton, "reference": reference}  # as on a GPU without mamba-ssm
if WRONG:
    right = triton_kernels.backward
    triton_kernels.backward = lambda *a: (*right(*a)[:2], right(*a)[2] * 1.01, *right(*a)[3:])
print(backends.choose_backend("selective_scan", torch.ones(1, 2, 3)).__name__)
"""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed (pip install triton)")
@pytest.mark.parametrize("wrong", [False, True], ids=["as it is", "made wrong"])
def test_the_triton_kernel_in_the_interpreter(wrong):
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    environment.pop(backends.BACKEND_VARIABLE, None)
    command = [sys.executable, "-c", INTERPRETED.replace("WRONG", str(wrong))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "ramvid_vad.ops." + ("reference" if wrong else "triton"), done.stderr
    assert done.stderr.count("gradient of A: 0.01 of") == len(done.stderr.splitlines()) == wrong


def test_compiled_code_chooses_too(chosen, monkeypatch):
    pytest.importorskip("torch._dynamo", reason="no torch.compile")
    chosen(lambda *arguments: reference.selective_scan(*arguments))
    backends._trusted.cache_clear()
    x = torch.rand(1, 2, 3)
    arguments = (x, x, -torch.ones(2, 1), x[:, :1], x[:, :1])
    compiled = torch.compile(selective_scan, backend="eager")
    assert torch.equal(compiled(*arguments), selective_scan(*arguments, backend="reference"))
