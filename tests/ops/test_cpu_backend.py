"""The C++ kernel: every instruction set of this machine forced in turn, against the definition in float64."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from scan_oracles import assert_near, double, golden_scan, naive_conv, naive_scan, scan_case, sets_case, with_gradients

from ramvid_vad.errors import InputError
from ramvid_vad.ops import available_backends, causal_conv1d, cpu, cpu_conv, cpu_library, selective_scan
from ramvid_vad.ops.cpu_library import ISA_VARIABLE, ISAS

pytestmark = pytest.mark.skipif("cpu" not in available_backends(), reason="the C++ kernel was not built")
USABLE = ISAS[: cpu_library.load().ramvid_vad_best_isa() + 1] if cpu_library.load() else ISAS

# batch, channels, tokens, states: odd lengths around the tile of 32, channels that leave lanes empty, states beside 16
SHAPES = [(1, 1, 1, 1), (2, 5, 31, 8), (3, 16, 33, 16), (1, 23, 97, 17), (2, 70, 64, 16), (1, 130, 45, 7)]


@pytest.fixture(params=USABLE)
def isa(request, monkeypatch):
    monkeypatch.setenv(ISA_VARIABLE, request.param)
    return request.param


def fused_scan(**case):
    return selective_scan(**case, backend="cpu", return_last_state=True)


def fused_conv(**case):
    return causal_conv1d(**case, backend="cpu")


def test_golden_figures_on_every_instruction_set(golden, isa):
    inputs, weight, figures = golden_scan(golden)
    y, last, gradients = with_gradients(fused_scan, inputs, weight, delta_softplus=True)
    assert_near(y, figures["scan_y"], 1e-5, "y")
    assert_near(last, figures["scan_last"], 1e-5, "last state")
    for name, gradient in gradients.items():
        assert_near(gradient, figures[f"scan_grad_{name}"], 1e-5, name)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels_last"])
def test_scan_and_all_gradients(isa, shape, reverse, channels_last):
    case = scan_case(*shape, channels_last=channels_last)
    expected = with_gradients(naive_scan, double(case), delta_softplus=True, reverse=reverse)
    actual = with_gradients(fused_scan, case, delta_softplus=True, reverse=reverse)
    assert_near(actual[0], expected[0], 1e-5, "y")
    assert_near(actual[1], expected[1], 1e-5, "last state")
    assert len(actual[2]) == 8
    for name, gradient in actual[2].items():
        assert_near(gradient, expected[2][name], 1e-5, name)


@pytest.mark.parametrize("missing", ["D", "z", "delta_bias", "all"])
def test_scan_without_its_optional_parts(isa, missing):
    case = scan_case(2, 21, 50, 16)
    case.update(dict.fromkeys(("D", "z", "delta_bias") if missing == "all" else (missing,)))
    case["delta"] = case["delta"].abs()
    for softplus in (False, True):
        expected = with_gradients(naive_scan, double(case), delta_softplus=softplus)
        actual = with_gradients(fused_scan, case, delta_softplus=softplus)
        assert_near(actual[0], expected[0], 1e-5, "y")
        for name, gradient in actual[2].items():
            assert_near(gradient, expected[2][name], 1e-5, name)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_bfloat16_is_rounded_only_on_the_way_in_and_out(isa, reverse):
    case = scan_case(2, 37, 75, 16, dtype=torch.bfloat16, channels_last=True)
    weight = torch.randn(2, 37, 75).bfloat16()
    expected = with_gradients(naive_scan, double(case), weight, delta_softplus=True, reverse=reverse)
    actual = with_gradients(fused_scan, case, weight, delta_softplus=True, reverse=reverse)
    assert_near(actual[1], expected[1], 1e-5, "last state")
    results = {"y": (actual[0], expected[0])} | {name: (actual[2][name], expected[2][name]) for name in actual[2]}
    for name, (result, exact) in results.items():
        assert result.dtype == (torch.float32 if name in ("A", "D", "delta_bias") else torch.bfloat16)
        half_unit = exact.abs() * 2**-8 if result.dtype == torch.bfloat16 else 0
        assert ((result.double() - exact).abs() <= half_unit + 1e-5 * exact.abs().max()).all(), name


def test_bfloat16_ties_go_to_even(isa):
    # y = D u with u = 1 and D half-way between two neighbouring bfloat16 numbers, the lower one even and odd in turn
    D = 1 + (2 * torch.arange(127) + 1) / 256
    ones = torch.ones(1, 127, 1, dtype=torch.bfloat16)
    zero = torch.zeros(1, 1, 1, dtype=torch.bfloat16)
    y = fused_scan(u=ones, delta=0 * ones, A=-torch.ones(127, 1), B=zero, C=zero, D=D)[0].flatten()
    assert torch.equal(y, D.bfloat16())
    assert (y < D)[::2].all() and (y > D)[1::2].all()


def test_mixed_and_half_precision_inputs(isa):
    case = scan_case(1, 9, 40, 16, dtype=torch.float16)
    case["delta"] = case["delta"].float()
    expected = with_gradients(naive_scan, double(case), delta_softplus=True)
    y, last, gradients = with_gradients(fused_scan, case, delta_softplus=True)
    assert y.dtype == gradients["u"].dtype == torch.float16 and gradients["delta"].dtype == torch.float32
    assert_near(last, expected[1], 1e-5, "last state")
    assert_near(y, expected[0], 2**-10, "y")
    assert_near(gradients["delta"], expected[2]["delta"], 2**-9, "delta, from a rounded loss weight")


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 19, 40), (1, 70, 270)], ids=str)
@pytest.mark.parametrize("width", [1, 2, 4, 5])
def test_convolution_and_its_gradients(isa, shape, width):
    batch, dim, length = shape
    torch.manual_seed(width)
    x = torch.randn(batch, length, dim).transpose(1, 2)
    case = {"x": x, "weight": torch.randn(dim, width), "bias": torch.randn(dim)}
    for reverse in (False, True):
        expected = with_gradients(naive_conv, double(case), reverse=reverse)
        actual = with_gradients(fused_conv, case, reverse=reverse)
        assert_near(actual[0], expected[0], 1e-5, "y")
        for name, gradient in actual[2].items():
            assert_near(gradient, expected[2][name], 1e-5, name)
    half = {"x": x.bfloat16(), "weight": case["weight"]}
    expected = naive_conv(half["x"].double(), half["weight"].double())
    result = fused_conv(**half)
    assert result.dtype == torch.bfloat16
    assert ((result.double() - expected).abs() <= expected.abs() * 2**-8 + 1e-5 * expected.abs().max()).all()


def test_error_of_the_exponential(isa):
    # h_1 = 1, h_2 = exp(A): the decay itself is the output.
    exponents = torch.linspace(-85, 85, 4096).view(256, 16)
    impulse = torch.zeros(1, 256, 2)
    impulse[:, :, 0] = 1
    ones = torch.ones(1, 256, 2)
    _, decay = fused_scan(u=impulse, delta=ones, A=exponents, B=torch.ones(1, 16, 2), C=torch.ones(1, 16, 2))
    error = (decay[0].double() / exponents.double().exp() - 1).abs()
    # 2.5e-7 of the polynomial, and the rounding of the exponent
    assert (error <= 2.5e-7 + exponents.abs() * 1.3e-7).all()
    assert error[exponents.abs() < 1].max() <= 3e-7
    far = torch.full((256, 16), -1e4)
    assert (fused_scan(u=impulse, delta=ones, A=far, B=torch.ones(1, 16, 2), C=torch.ones(1, 16, 2))[1] < 1e-37).all()


@pytest.mark.parametrize("slowness", [1e-2, 1e-4])
def test_states_that_decay_slowly_keep_their_digits(isa, slowness):
    # A state that sums up n tokens multiplies the error of its decay by n: a bias of 1e-7 near exp(0) would show.
    torch.manual_seed(0)
    case = {name: torch.randn(1, width, 3000) for name, width in (("u", 16), ("B", 16), ("C", 16))}
    case |= {"delta": torch.randn(1, 16, 3000) / 2 - 4, "A": -slowness * torch.arange(1.0, 17).repeat(16, 1)}
    expected = naive_scan(**{name: x.double() for name, x in case.items()}, delta_softplus=True)[0]
    error = fused_scan(**case, delta_softplus=True)[0].double() - expected
    assert error.abs().max() <= 5e-6 * expected.abs().max()


def test_error_of_softplus_and_gate(isa):
    # One token per batch element: y = softplus(delta) u B C, and y = D u silu(z).
    x = torch.cat([torch.linspace(-80, 80, 3001), torch.tensor([1e-6, -1e-6, 0.0, 500.0, -86.0])]).view(-1, 1, 1)
    ones = torch.ones_like(x)
    bound = 5e-7 + 1e-7 * x.abs()
    step = fused_scan(u=ones, delta=x, A=-torch.ones(1, 1), B=ones, C=ones, delta_softplus=True)[0]
    exact = torch.nn.functional.softplus(x.double(), threshold=1000)
    assert ((step.double() - exact).abs() <= bound * exact).all()
    gate = fused_scan(u=ones, delta=ones, A=-torch.ones(1, 1), B=0 * ones, C=ones, D=torch.ones(1), z=x)[0]
    exact = x.double() * torch.sigmoid(x.double())
    assert ((gate.double() - exact).abs() <= bound * exact.abs()).all()


def test_not_a_number_is_not_hidden(isa):
    for name in ("u", "delta", "B", "C", "z", "A", "D", "delta_bias"):
        case = scan_case(1, 20, 40, 16)
        case[name].view(-1)[0] = float("nan")
        y = fused_scan(**case, delta_softplus=True)[0]
        assert y[0, 0].isnan().any(), name


@pytest.fixture
def calls(monkeypatch):
    """What cpu.py hands to the kernel: a list of (function, fields, tensors)."""
    seen = []

    def call(name, structure, fields, tensors):
        seen.append((name, fields, tensors))
        return cpu_library.call(name, structure, fields, tensors)

    monkeypatch.setattr(cpu, "call", call)
    monkeypatch.setattr(cpu_conv, "call", call)
    return seen


def test_channels_last_tensors_reach_the_kernel_without_a_copy(calls):
    batch, length, dim, states = 2, 40, 24, 16
    x, z = torch.randn(batch, length, 2 * dim).transpose(1, 2).chunk(2, 1)  # as the input projection makes them
    dt, B, C = torch.randn(batch, length, dim + 2 * states).transpose(1, 2).split([dim, states, states], 1)
    A = -torch.rand(dim, states)
    y = selective_scan(x, dt, A, B, C, z=z, delta_softplus=True, backend="cpu")
    sequences = {"u": x, "delta": dt, "B": B, "C": C, "z": z, "A": A}
    assert all(calls[0][2][name].data_ptr() == tensor.data_ptr() for name, tensor in sequences.items())
    assert y.stride() == (length * dim, 1, dim)
    causal_conv1d(z, torch.randn(dim, 4), backend="cpu")
    assert calls[1][2]["x"].data_ptr() == z.data_ptr()
    contiguous = x.contiguous()
    selective_scan(contiguous, dt, A, B, C, backend="cpu")
    assert calls[2][2]["u"].data_ptr() == contiguous.data_ptr()
    every_other = torch.randn(batch, dim, 2 * length)[:, :, ::2]
    selective_scan(every_other, dt, A, B, C, backend="cpu")
    assert calls[3][2]["u"].stride() == (length * dim, dim, 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_either_layout_gives_the_same_bits(isa, reverse, dtype):
    sequences = ("u", "delta", "B", "C", "z")
    for shape in SHAPES:
        case = scan_case(*shape, dtype=dtype)
        rows = {k: x.transpose(1, 2).contiguous().transpose(1, 2) if k in sequences else x for k, x in case.items()}
        slices = {k: torch.cat([x, x], 2)[:, :, : shape[2]] if k in sequences else x for k, x in case.items()}
        weight = torch.randn(shape[0], shape[2], shape[1], dtype=dtype).transpose(1, 2)
        wanted = with_gradients(fused_scan, rows, weight, delta_softplus=True, reverse=reverse)
        for other in (case, slices):
            found = with_gradients(fused_scan, other, weight.contiguous(), delta_softplus=True, reverse=reverse)
            assert torch.equal(found[0], wanted[0]) and torch.equal(found[1], wanted[1])
            assert all(torch.equal(gradient, wanted[2][name]) for name, gradient in found[2].items())


def test_results_do_not_depend_on_the_number_of_threads(calls):
    case = scan_case(2, 150, 70, 16, channels_last=True)
    conv = {"x": scan_case(2, 150, 700, 1, channels_last=True)["u"], "weight": torch.randn(150, 4)}
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            y, last, gradients = with_gradients(fused_scan, case, delta_softplus=True)
            results.append([y, last, *gradients.values(), *with_gradients_of_conv(conv)])
            assert {fields["threads"] for _, fields, _ in calls} == {threads}
            calls.clear()
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def with_gradients_of_conv(case):
    case = {name: x.detach().requires_grad_() for name, x in case.items()}
    y = fused_conv(**case)
    y.square().sum().backward()
    return [y.detach(), *(x.grad for x in case.values())]


def test_no_tensor_of_a_state_per_token(calls):
    batch, dim, length, states = 2, 48, 10 * cpu.TILE, 64
    with_gradients(fused_scan, scan_case(batch, dim, length, states), delta_softplus=True)
    sizes = {name: x.numel() for _, _, tensors in calls for name, x in tensors.items() if x is not None}
    assert sizes["checkpoints"] == batch * dim * length * states // cpu.TILE
    assert sizes["dB"] == sizes["dC"] == 3 * batch * length * states  # one per 16 channels, fewer than 8 partial sums
    assert max(size for name, size in sizes.items() if name not in ("dB", "dC")) <= 2 * batch * dim * length
    calls.clear()
    wide = scan_case(3, 1000, 40, 16)
    with_gradients(fused_scan, wide, delta_softplus=True)
    assert calls[1][2]["dB"].shape == (1, 2, 3, 40, 16)  # 2 * 3 partial sums: at most 8
    calls.clear()
    with torch.no_grad():
        fused_scan(**scan_case(batch, dim, length, states))
    assert calls[0][2]["checkpoints"].numel() == 0


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_peak_memory_is_far_below_a_state_per_token():
    # 61440 tokens, 64 channels, 64 states: 1 GB if the states were kept; u is 16 MB.
    code = """
import re, torch
from ramvid_vad.ops import selective_scan
def run(length):
    case = {name: torch.rand(1, length, 64).transpose(1, 2).requires_grad_() for name in ("u", "delta", "B", "C", "z")}
    selective_scan(**case, A=-torch.rand(64, 64), backend="cpu").sum().backward()
def peak():  # of this program alone; getrusage would remember the process that started it
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
run(64)
before = peak()
run(61440)
print(peak() - before)
"""
    grown = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    # 80 MB of inputs, as much of gradients, and some copies of that size; never the states
    assert 50_000 < grown < 500_000, f"{grown} kB"


def test_forced_instruction_set_is_the_one_that_runs(monkeypatch, isa):
    names = []

    class Spy:
        def __getattr__(self, name):
            names.append(name)
            return getattr(library, name)

    library = cpu_library.load()
    monkeypatch.setattr(cpu_library, "load", Spy)
    with_gradients(fused_scan, scan_case(1, 4, 5, 2))
    assert [name for name in names if name.startswith("scan")] == [f"scan_forward_{isa}", f"scan_backward_{isa}"]


def test_best_instruction_set_is_the_default(monkeypatch):
    monkeypatch.delenv(ISA_VARIABLE, raising=False)
    assert cpu_library.instruction_set() == USABLE[-1]
    monkeypatch.setenv(ISA_VARIABLE, "sse9")
    with pytest.raises(InputError, match=r"RAMVID_VAD_ISA=sse9: this machine runs baseline.*unset it or choose"):
        fused_scan(**scan_case(1, 1, 1, 1))


def test_operators_are_registered_as_torch_expects():
    case = scan_case(2, 5, 40, 4)
    case["delta"] = case["delta"].abs()
    tensors = [x.requires_grad_() for x in case.values()]
    plain = [*tensors[:5], None, None, None]
    for arguments in ((*tensors, True, False, True), (*plain, False, True, True), (*plain, True, True, False)):
        if not arguments[-1]:
            arguments = tuple(x.detach() if isinstance(x, torch.Tensor) else x for x in arguments)
        torch.library.opcheck(torch.ops.ramvid_vad.selective_scan, arguments)
    sets = [x.requires_grad_() for x in sets_case(2, 2, 16, 40, 4).values()]
    torch.library.opcheck(torch.ops.ramvid_vad.selective_scan, (*sets, True, 0b10, True))
    x, weight, bias = case["u"], torch.randn(5, 4, requires_grad=True), torch.randn(5, requires_grad=True)
    for arguments in ((x, weight, bias, False), (x, weight, None, True)):
        torch.library.opcheck(torch.ops.ramvid_vad.causal_conv1d, arguments)


def mixer(x, weight, A, B):
    x = causal_conv1d(x * 2, weight, backend="cpu")
    return selective_scan(x, x, A, B, B, z=x, delta_softplus=True, backend="cpu").tanh()


def mixer_case():
    return {"x": torch.randn(1, 6, 20), "weight": torch.randn(6, 4), "A": -torch.rand(6, 4), "B": torch.randn(1, 4, 20)}


def test_traces_forward_and_backward_without_a_graph_break():
    case = mixer_case()
    y, _, gradients = with_gradients(mixer, case)
    y_traced, _, gradients_traced = with_gradients(torch.compile(mixer, backend="aot_eager", fullgraph=True), case)
    assert_near(y_traced, y, 1e-6, "y")
    for name, gradient in gradients_traced.items():
        assert_near(gradient, gradients[name], 1e-6, name)


@pytest.mark.timeout(900)
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("c++")), reason="torch.compile needs a C++ compiler")
def test_compiles():
    case = mixer_case()
    with torch.no_grad():
        assert_near(torch.compile(mixer, fullgraph=True)(**case), mixer(**case), 1e-5, "y")


@pytest.mark.parametrize("case", [scan_case(1, 8, 20, 4), scan_case(1, 8, 20, 4, fewer=True)], ids=["full", "plain"])
def test_backward_of_a_scan_that_kept_no_states_is_refused(case):
    tensors = [None if x is None else x.requires_grad_() for x in case.values()]
    y = torch.ops.ramvid_vad.selective_scan(*tensors, True, 0, False)[0]
    with pytest.raises(RuntimeError, match="no gradient after a scan with keep=False"):
        y.sum().backward()


def test_forward_mode_is_refused_instead_of_a_derivative_of_zero():
    case = scan_case(1, 8, 20, 4)
    weight = torch.ones(8, 4)
    with torch.autograd.forward_ad.dual_level():
        for name in case:
            dual = torch.autograd.forward_ad.make_dual(case[name], torch.ones_like(case[name]))
            with pytest.raises(RuntimeError, match=r"selective_scan: the C.. kernel has no forward-mode derivative"):
                fused_scan(**(case | {name: dual}))
        dual = torch.autograd.forward_ad.make_dual(case["u"], case["u"])
        with pytest.raises(RuntimeError, match=r"causal_conv1d: the C.. kernel has no forward-mode derivative"):
            fused_conv(x=dual, weight=weight)
    with pytest.raises(RuntimeError, match="forward-mode"):
        torch.func.jvp(lambda x: fused_conv(x=x, weight=weight), (case["u"],), (case["u"],))


def test_runs_under_autocast():
    case = scan_case(1, 8, 20, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = fused_scan(**case, delta_softplus=True)[0]
    assert y.dtype == torch.float32
    assert torch.equal(y, fused_scan(**case, delta_softplus=True)[0])
