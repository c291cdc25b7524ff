"""Upsampling and convolution in one against the two one after the other, in float64."""

import pytest
import torch
import torch.nn.functional as F

from ramvid_vad.models.precision import network_autocast
from ramvid_vad.models.upsample import Upsample, upsampled_conv


def one_after_the_other(x, weight, bias):
    return F.conv3d(F.interpolate(x, scale_factor=(1, 2, 2), mode="nearest"), weight, bias, padding=1)


def case(shape, out_channels, dtype=torch.float64):
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=dtype).contiguous(memory_format=torch.channels_last_3d)
    weight = torch.randn(out_channels, shape[1], 3, 3, 3, dtype=dtype)
    return [x.requires_grad_(), weight.requires_grad_(), torch.randn(out_channels, dtype=dtype).requires_grad_()]


@pytest.mark.parametrize("shape", [(1, 1, 1, 1, 1), (2, 3, 4, 5, 7), (1, 6, 2, 1, 4)], ids=str)
def test_same_result_and_gradients(shape):
    inputs = case(shape, 5)
    expected, actual = one_after_the_other(*inputs), upsampled_conv(*inputs)
    assert torch.allclose(actual, expected, rtol=1e-12, atol=1e-12)
    assert actual.is_contiguous(memory_format=torch.channels_last_3d)
    loss_weight = torch.randn_like(expected)
    gradients = [torch.autograd.grad(y, inputs, loss_weight) for y in (actual, expected)]
    for mine, other in zip(*gradients, strict=True):
        assert torch.allclose(mine, other, rtol=1e-12, atol=1e-12)


def test_a_second_derivative_is_refused_in_plain_words():
    inputs = case((1, 2, 2, 2, 2), 1)
    gradients = torch.autograd.grad(upsampled_conv(*inputs).square().sum(), inputs, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradients[0].sum().backward()


def test_bfloat16_is_as_near_to_the_truth_as_one_after_the_other():
    inputs = case((1, 32, 4, 6, 6), 32, torch.float32)
    truth = one_after_the_other(*(tensor.double() for tensor in inputs))
    with network_autocast("bf16", torch.device("cpu")):
        errors = [(f(*inputs).double() - truth).pow(2).mean() for f in (upsampled_conv, one_after_the_other)]
    assert errors[0] <= 1.2 * errors[1]


@pytest.mark.parametrize("frames", [None, 3, 5, 6])
def test_module_takes_either_way(frames):
    torch.manual_seed(0)
    layer, x = Upsample(4, frames).double(), torch.randn(2, 4, 3, 2, 3, dtype=torch.float64)
    expected = layer.conv(F.interpolate(x, (frames or 3, 4, 6), mode="nearest"))
    assert torch.allclose(layer(x), expected, rtol=1e-12, atol=1e-12)
