"""Every backend of this machine against mamba-ssm's golden figures and the definition in float64."""

import pytest
import torch
from scan_oracles import assert_near, double, golden_scan, naive_conv, naive_scan, scan_case, sets_case, with_gradients

from ramvid_vad.errors import InputError
from ramvid_vad.ops import available_backends, causal_conv1d, reference, selective_scan
from ramvid_vad.ops.backends import BACKEND_VARIABLE, choose_backend

ON_CPU = available_backends("cpu")
every_backend = pytest.mark.parametrize("backend", ON_CPU)
both_ways = pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])


@every_backend
def test_golden_output_state_and_gradients(golden, backend):
    inputs, weight, figures = golden_scan(golden)
    y, last, gradients = with_gradients(
        selective_scan, inputs, weight, delta_softplus=True, backend=backend, return_last_state=True
    )
    assert_near(y, figures["scan_y"], 1e-5, "y")
    assert_near(last, figures["scan_last"], 1e-5, "last state")
    assert len(gradients) == 8
    for name, gradient in gradients.items():
        assert_near(gradient, figures[f"scan_grad_{name}"], 1e-5, name)


@every_backend
@both_ways
@pytest.mark.parametrize("shape", [(1, 3, 1, 2), (2, 5, 63, 4), (3, 20, 65, 16), (1, 7, 131, 17)], ids=str)
@pytest.mark.parametrize("fewer", [False, True], ids=["full", "plain"])
def test_agrees_with_the_definition_in_float64(backend, reverse, shape, fewer):
    case = scan_case(*shape, fewer=fewer)
    softplus = not fewer
    if fewer:
        case["delta"] = torch.nn.functional.softplus(case["delta"])
    expected = with_gradients(naive_scan, double(case), delta_softplus=softplus, reverse=reverse)
    actual = with_gradients(
        selective_scan, case, delta_softplus=softplus, reverse=reverse, backend=backend, return_last_state=True
    )
    assert_near(actual[0], expected[0], 1e-5, "y")
    assert_near(actual[1], expected[1], 1e-5, "last state")
    assert actual[2].keys() == expected[2].keys()
    for name, gradient in actual[2].items():
        assert_near(gradient, expected[2][name], 1e-5, name)


@every_backend
@pytest.mark.parametrize("width", [3, 16, 48])  # the C++ kernel takes several sets at once where 16 divides it
@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels_last"])
def test_each_set_of_projections_is_a_scan_of_its_own(backend, width, channels_last):
    ways = [False, True, True]
    case = sets_case(2, 3, width, 45, 5)
    if channels_last:
        for name in ("u", "delta", "B", "C", "z"):
            case[name] = case[name].transpose(-1, -2).contiguous().transpose(-1, -2)

    def one_by_one(**case):
        parts = {name: x.chunk(3, 0 if name in ("A", "D", "delta_bias") else 1) for name, x in case.items()}
        parts |= {name: [x[:, 0] for x in parts[name]] for name in ("B", "C")}
        each = [
            naive_scan(**{name: x[i] for name, x in parts.items()}, delta_softplus=True, reverse=ways[i])
            for i in range(3)
        ]
        return tuple(torch.cat(results, 1) for results in zip(*each, strict=True))

    expected = with_gradients(one_by_one, double(case))
    actual = with_gradients(
        selective_scan, case, delta_softplus=True, reverse=ways, backend=backend, return_last_state=True
    )
    assert_near(actual[0], expected[0], 1e-5, "y")
    assert_near(actual[1], expected[1], 1e-5, "last state")
    for name, gradient in actual[2].items():
        assert_near(gradient, expected[2][name], 1e-5, name)


@every_backend
def test_reverse_is_forward_on_flipped_sequences(backend):
    case = scan_case(2, 6, 77, 16)
    flipped = {name: x.flip(2) if name in ("u", "delta", "B", "C", "z") else x for name, x in case.items()}
    y, last = selective_scan(**case, delta_softplus=True, reverse=True, backend=backend, return_last_state=True)
    y_flip, last_flip = selective_scan(**flipped, delta_softplus=True, backend=backend, return_last_state=True)
    assert_near(y, y_flip.flip(2), 1e-6, "y")
    assert_near(last, last_flip, 1e-6, "last state")
    x, weight, bias = case["u"], torch.randn(6, 4), torch.randn(6)
    y = causal_conv1d(x, weight, bias, reverse=True, backend=backend)
    assert_near(y, causal_conv1d(x.flip(2), weight, bias, backend=backend).flip(2), 1e-6, "convolution")


@every_backend
@both_ways
@pytest.mark.parametrize("width", [1, 2, 4, 7])
def test_convolution_agrees_with_the_definition_in_float64(backend, reverse, width):
    torch.manual_seed(width)
    for length in (1, 3, 41):
        case = {"x": torch.randn(2, 19, length), "weight": torch.randn(19, width), "bias": torch.randn(19)}
        expected = with_gradients(naive_conv, double(case), reverse=reverse)
        actual = with_gradients(causal_conv1d, case, reverse=reverse, backend=backend)
        assert_near(actual[0], expected[0], 1e-5, "y")
        for name, gradient in actual[2].items():
            assert_near(gradient, expected[2][name], 1e-5, name)
    without = {"x": case["x"], "weight": case["weight"]}
    assert_near(causal_conv1d(**without, backend=backend), naive_conv(**without, reverse=False), 1e-5, "no bias")


def test_convolution_is_pytorchs():
    x, weight, bias = torch.randn(2, 5, 30), torch.randn(5, 4), torch.randn(5)
    padded = torch.nn.functional.pad(x, (3, 0))
    expected = torch.nn.functional.silu(torch.nn.functional.conv1d(padded, weight[:, None], bias, groups=5))
    for backend in ON_CPU:
        assert_near(causal_conv1d(x, weight, bias, backend=backend), expected, 1e-5, backend)


@both_ways
def test_gradcheck_of_the_reference(reverse):
    case = double(scan_case(1, 2, 5, 3))
    names = list(case)
    assert torch.autograd.gradcheck(
        lambda *tensors: selective_scan(
            **dict(zip(names, tensors, strict=True)), delta_softplus=True, reverse=reverse, backend="reference"
        ),
        tuple(case.values()),
    )
    conv = tuple(torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in ((1, 2, 6), (2, 3), (2,)))
    assert torch.autograd.gradcheck(lambda *tensors: causal_conv1d(*tensors, reverse, "reference"), conv)


@every_backend
def test_half_precision_inputs_keep_a_float32_state(backend):
    case = scan_case(2, 9, 300, 16, dtype=torch.bfloat16)
    expected = with_gradients(naive_scan, double(case), delta_softplus=True)
    actual = with_gradients(selective_scan, case, delta_softplus=True, backend=backend, return_last_state=True)
    assert actual[0].dtype == torch.bfloat16 and actual[1].dtype == torch.float32
    assert_near(actual[1], expected[1], 1e-5, "last state: exact in float32 from the rounded inputs")
    assert_near(actual[0], expected[0], 2**-8, "y, rounded once")
    for name, gradient in actual[2].items():
        assert gradient.dtype == case[name].dtype
        # the weight of the loss is rounded to bfloat16 as well
        assert_near(gradient, expected[2][name], 2**-6, name)


@every_backend
def test_last_state_carries_no_gradient(backend):
    case = scan_case(1, 4, 9, 2)
    case["u"].requires_grad_()
    y, last = selective_scan(**case, backend=backend, return_last_state=True)
    assert y.requires_grad and not last.requires_grad


def test_reference_never_holds_a_state_per_token():
    batch, dim, length, states = 1, 64, 40 * reference.CHUNK, 32
    case = scan_case(batch, dim, length, states)
    case["u"].requires_grad_()
    held = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: held.append(x) or x, lambda x: x):
        y = selective_scan(**case, delta_softplus=True, backend="reference")
        y.sum().backward()
    assert max(x.numel() for x in held) <= batch * dim * reference.CHUNK * states * 2
    held.clear()
    with torch.autograd.graph.saved_tensors_hooks(lambda x: held.append(x) or x, lambda x: x):
        y = selective_scan(**case, delta_softplus=True, backend="reference")
    assert sum({x.data_ptr(): x.numel() for x in held}.values()) < batch * dim * length * states / 4


def test_shapes_that_do_not_fit_are_named():
    case = scan_case(2, 6, 10, 4)
    for name, wrong in {
        "delta": case["delta"][:, :, 1:],
        "A": case["A"][1:],
        "B": case["B"][:, 1:],
        "C": case["C"].transpose(1, 2),
        "D": case["D"][None],
        "z": case["z"][:1],
        "delta_bias": case["delta_bias"][1:],
    }.items():
        with pytest.raises(ValueError, match=rf"{name} has shape \({', '.join(map(str, wrong.shape))}") as error:
            selective_scan(**(case | {name: wrong}))
        assert not isinstance(error.value, InputError)
    of_sets = case | {"B": case["B"][:, None].repeat(1, 4, 1, 1), "C": case["C"][:, None].repeat(1, 4, 1, 1)}
    with pytest.raises(ValueError, match="6 channels and 4 directions for 4 sets"):
        selective_scan(**of_sets)
    with pytest.raises(ValueError, match="6 channels and 2 directions for 1 sets"):
        selective_scan(**case, reverse=(True, False))
    with pytest.raises(ValueError, match=r"u has shape \(2, 6, 0\)"):
        selective_scan(**(case | {"u": case["u"][:, :, :0]}))
    with pytest.raises(ValueError, match=r"weight has shape \(5, 4\), expected \(6, 4\)"):
        causal_conv1d(case["u"], torch.ones(5, 4))
    with pytest.raises(ValueError, match=r"bias has shape \(5,\)"):
        causal_conv1d(case["u"], torch.ones(6, 4), torch.ones(5))


@pytest.mark.parametrize("name", ["u", "delta", "A", "B", "C", "D", "z", "delta_bias"])
def test_numbers_that_are_not_real_and_other_devices_are_refused(name):
    case = scan_case(1, 6, 10, 4)
    for dtype in (torch.int64, torch.bool, torch.complex64):
        with pytest.raises(ValueError, match=f"selective_scan: {name} is {dtype}, expected real"):
            selective_scan(**(case | {name: case[name].to(dtype)}))
    with pytest.raises(ValueError, match=r"selective_scan: .* is on (meta|cpu), u on (meta|cpu)"):
        selective_scan(**(case | {name: case[name].to("meta")}))


def test_the_convolution_refuses_them_too():
    x, weight = torch.ones(1, 6, 10), torch.ones(6, 4)
    with pytest.raises(ValueError, match=r"causal_conv1d: x is torch.int64, expected real"):
        causal_conv1d(x.long(), weight)
    with pytest.raises(ValueError, match="causal_conv1d: bias is on meta, x on cpu"):
        causal_conv1d(x, weight, torch.ones(6, device="meta"))


def test_one_is_as_good_as_true_for_the_direction():
    case = scan_case(1, 6, 10, 4)
    assert torch.equal(selective_scan(**case, reverse=1), selective_scan(**case, reverse=True))


def test_choice_of_backend(monkeypatch):
    monkeypatch.delenv(BACKEND_VARIABLE, raising=False)
    x = torch.zeros(1, 1, 1)
    assert ON_CPU[-1] == "reference"
    assert choose_backend("selective_scan", x).__name__.endswith(ON_CPU[0])
    assert choose_backend("selective_scan", x, "reference") is reference
    assert choose_backend("selective_scan", x.double()) is reference
    monkeypatch.setenv(BACKEND_VARIABLE, "reference")
    assert choose_backend("selective_scan", x) is reference
    monkeypatch.setenv(BACKEND_VARIABLE, "fastest")
    with pytest.raises(InputError, match=r"unknown backend 'fastest'.*RAMVID_VAD_BACKEND.*choose one of.*reference"):
        selective_scan(**scan_case(1, 1, 1, 1))
    with pytest.raises(InputError, match=r"'cuda' cannot run causal_conv1d: the tensor is on cpu: move it"):
        causal_conv1d(x, torch.ones(1, 1), backend="cuda")
    with pytest.raises(ValueError, match="unknown operation 'scan': choose one of selective_scan, causal_conv1d"):
        available_backends(operation="scan")
