"""Token mixers: VideoMamba's block in figures, and the way of a token through flatten, mix and back."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden_figures import DATA, fill_by_name, named_normal
from torch import nn

from ramvid_vad.models.mixers import AttentionMixer, BiMamba, MambaMixer
from ramvid_vad.ops import available_backends

MAMBA = np.load(DATA / "mamba.npz")
SHAPE = (2, 32, 2, 3, 5)  # B, C, T, H, W: all different, so that no transpose goes unseen
BACKWARD = [
    "conv1d_b.weight",
    "conv1d_b.bias",
    "x_proj_b.weight",
    "dt_proj_b.weight",
    "dt_proj_b.bias",
    "A_b_log",
    "D_b",
]
FORWARD = ["conv1d.weight", "conv1d.bias", "x_proj.weight", "dt_proj.weight", "dt_proj.bias", "A_log", "D"]


@pytest.fixture(params=available_backends())
def backend(request, monkeypatch):
    """Each way to compute the scan that this machine has."""
    monkeypatch.setenv("RAMVID_VAD_BACKEND", request.param)
    return request.param


def golden_block() -> BiMamba:
    block = BiMamba(32, d_state=16, d_conv=4, expand=2)
    fill_by_name(block, 0.3)
    return block


def random_mixer(mixer: nn.Module) -> nn.Module:
    fill_by_name(mixer, 0.3)
    return mixer


def assert_close(found: torch.Tensor, expected, tolerance: float = 1e-5) -> None:
    expected = torch.as_tensor(expected)
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


# --- VideoMamba's block -----------------------------------------------------------------------------------------------


def test_bimamba_is_videomambas(backend):
    assert_close(golden_block()(named_normal("x", (2, 24, 32))), MAMBA["bimamba_y"])


def test_bimamba_forward_direction_alone(backend):
    """With B, C and D of the backward scan at zero only the forward direction is left."""
    block = golden_block()
    nn.init.zeros_(block.x_proj_b.weight)
    nn.init.zeros_(block.D_b)
    assert_close(block(named_normal("x", (2, 24, 32))), MAMBA["bimamba_forward_only"])


def test_exchanged_directions_on_the_mirrored_sequence_give_the_mirrored_result(backend):
    block, mirrored = golden_block(), golden_block()
    state = block.state_dict()
    for ahead, back in zip(FORWARD, BACKWARD, strict=True):
        state[ahead], state[back] = state[back], state[ahead]
    mirrored.load_state_dict(state)
    x = named_normal("x", (2, 24, 32))
    assert_close(mirrored(x.flip(1)).flip(1), block(x).detach())


@pytest.mark.parametrize("name", BACKWARD + FORWARD)
def test_every_parameter_of_both_directions_matters(backend, name):
    block, x = golden_block(), named_normal("x", (2, 24, 32))
    before = block(x)
    (gradient,) = torch.autograd.grad((before * named_normal("w", before.shape)).sum(), block.get_parameter(name))
    assert gradient.abs().max() > 1e-3
    with torch.no_grad():
        block.get_parameter(name).mul_(1.5)
    assert (block(x) - before).abs().max() > 1e-3 * before.abs().max()


def test_first_token_sees_the_last_and_the_last_the_first(backend):
    x = named_normal("x", (1, 24, 32)).requires_grad_()
    for token, other in ((0, 23), (23, 0)):
        (gradient,) = torch.autograd.grad(golden_block()(x)[0, token].sum(), x)
        assert gradient[0, other].abs().max() > 0


def test_mean_is_half_the_sum():
    summed, mean = golden_block(), BiMamba(32, merge="mean")
    fill_by_name(mean, 0.3)
    x = named_normal("x", (2, 24, 32))
    assert torch.equal(mean(x), summed(x) / 2)


def test_initial_values():
    """A = -1 ... -N, D = 1, steps log-uniform in [1e-3, 1e-1], in both directions (arXiv 2312.00752, section 3.6)."""
    torch.manual_seed(0)
    block = BiMamba(256, d_state=16)
    assert block.dt_rank == math.ceil(256 / 16)
    for a_log, d, dt_proj in ((block.A_log, block.D, block.dt_proj), (block.A_b_log, block.D_b, block.dt_proj_b)):
        assert torch.allclose(a_log.exp(), torch.arange(1.0, 17.0).expand(512, 16))
        assert (d == 1).all()
        step = F.softplus(dt_proj.bias.detach().double())
        assert 0.99e-3 <= step.min() < 2e-3
        assert 5e-2 < step.max() <= 1.01e-1
        assert abs(step.log().mean() - math.log(1e-2)) < 4 * math.log(100) / math.sqrt(12 * 512)
        assert 0.2 < dt_proj.weight.abs().max() <= block.dt_rank**-0.5
    assert not torch.equal(block.dt_proj.bias, block.dt_proj_b.bias)


# --- from frames to tokens and back -----------------------------------------------------------------------------------


class Probe(nn.Module):
    """Stands for BiMamba: keeps the tokens it is shown, answers with what it is told (nothing: the tokens)."""

    def __init__(self, answer: torch.Tensor | None = None):
        super().__init__()
        self.answer = answer

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        self.tokens = tokens
        return tokens if self.answer is None else self.answer


@pytest.mark.parametrize("time_fast", [False, True])
def test_token_t_of_channel_c_comes_back_to_itself(time_fast):
    """An identity in place of the scan: what is added at (c, t, h, w) is the norm's value at (c, t, h, w)."""
    mixer = MambaMixer(32, time_fast=time_fast)
    mixer.mamba = Probe()
    x = named_normal("x", SHAPE)
    assert torch.allclose(mixer(x), x + mixer.norm(x), atol=1e-6)


@pytest.mark.parametrize("time_fast", [False, True])
def test_order_of_the_tokens(time_fast):
    """Time is slowest, width fastest, as in method.md; or time fastest. The answer goes back by the same order."""
    b, c, t, h, w = SHAPE
    answer = torch.arange(float(b * t * h * w * c)).view(b, t * h * w, c)
    mixer = MambaMixer(c, time_fast=time_fast)
    mixer.mamba = Probe(answer)
    x = named_normal("x", SHAPE)
    with torch.no_grad():
        added = mixer(x) - x
        norm = mixer.norm(x)
    for ti, hi, wi in np.ndindex(t, h, w):
        token = (hi * w + wi) * t + ti if time_fast else (ti * h + hi) * w + wi
        assert torch.equal(mixer.mamba.tokens[:, token], norm[:, :, ti, hi, wi])
        assert torch.allclose(added[:, :, ti, hi, wi], answer[:, token], atol=1e-3)


@pytest.mark.parametrize("time_fast", [False, True])
def test_a_fresh_mamba_block_is_the_identity_and_learns(time_fast):
    x = named_normal("x", SHAPE)
    mixer = MambaMixer(32, time_fast=time_fast)
    y = mixer(x)
    assert torch.equal(y, x)
    (y * named_normal("w", SHAPE)).sum().backward()
    assert mixer.mamba.out_proj.weight.grad.abs().max() > 0


def test_a_fresh_attention_block_is_the_identity_and_learns():
    x = named_normal("x", SHAPE)
    mixer = AttentionMixer(32, 4)
    y = mixer(x)
    assert torch.equal(y, x)
    (y * named_normal("w", SHAPE)).sum().backward()
    assert mixer.proj_out.weight.grad.abs().max() > 0


@pytest.mark.parametrize("make", [lambda: MambaMixer(32), lambda: AttentionMixer(32, 4)], ids=["mamba", "attention"])
def test_the_residual_is_on_the_unnormalised_input(make):
    """Scale and offset vanish in the norm, so they may only come through the residual."""
    mixer, x = random_mixer(make()), named_normal("x", SHAPE)
    with torch.no_grad():
        mixed = mixer(x) - x
        moved = mixer(50 * x + 7) - (50 * x + 7)
    assert mixed.abs().max() > 0.1
    assert_close(moved, mixed, 1e-3)


def test_attention_against_its_formula():
    """softmax(q k^T / sqrt(d)) v per head in float64, with each head's q, k, v in a row of the projection."""
    heads = 4
    mixer, x = random_mixer(AttentionMixer(32, heads)), named_normal("x", SHAPE)
    with torch.no_grad():
        y, normed = mixer(x), mixer.norm(x).double().flatten(2)
    qkv = torch.einsum("oc,bcs->bos", mixer.qkv.weight[..., 0].double(), normed) + mixer.qkv.bias[:, None].double()
    heads_out = []
    for head in range(heads):
        q, k, v = qkv[:, 3 * 8 * head : 3 * 8 * (head + 1)].split(8, dim=1)
        weights = torch.softmax(torch.einsum("bcs,bcr->bsr", q, k) / math.sqrt(8), dim=-1)
        heads_out.append(torch.einsum("bsr,bcr->bcs", weights, v))
    projected = torch.einsum("oc,bcs->bos", mixer.proj_out.weight[..., 0].double(), torch.cat(heads_out, 1))
    expected = x.double().flatten(2) + projected + mixer.proj_out.bias[:, None].double()
    assert_close(y.double().flatten(2), expected.detach())


@pytest.mark.parametrize("make", [lambda: MambaMixer(32), lambda: AttentionMixer(32, 4)], ids=["mamba", "attention"])
def test_mixers_in_bfloat16_autocast_stay_near_float32(make):
    mixer, x = random_mixer(make()), named_normal("x", SHAPE)
    with torch.no_grad():
        exact = mixer(x)
        with torch.autocast("cpu", torch.bfloat16):
            half = mixer(x)
    assert half.dtype == torch.float32
    assert 0 < (half - exact).abs().max() < 0.05 * (exact - x).abs().max()
