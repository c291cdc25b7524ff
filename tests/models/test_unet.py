"""The U-Net's switches: each does what its help says, and sizes that do not fit are refused with a remedy."""

import math
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from golden_figures import fill_by_name, named_normal
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from ramvid_vad.errors import InputError
from ramvid_vad.models.layers import GroupNorm32, SpaceConv, TimeConv, timestep_embedding
from ramvid_vad.models.mixers import MambaMixer
from ramvid_vad.models.unet import UNet, depth_to_space, space_to_depth
from ramvid_vad.script_util import create_model_and_diffusion

SMALL = {
    "image_size": 8,
    "num_channels": 32,
    "channel_mult": "1,2",
    "num_res_blocks": 1,
    "attention_resolutions": "4",
    "d_state": 4,
}


def small_unet(filled: bool = True, **options) -> UNet:
    """A small network; ``filled`` gives every parameter a value, so that no branch is silent."""
    torch.manual_seed(0)
    model = create_model_and_diffusion(**SMALL | options)[0]
    if filled:
        fill_by_name(model, 0.05)
    return model.eval()


def window(*shape: int) -> torch.Tensor:
    return named_normal("window", shape or (2, 3, 3, 8, 8))


TIMES = torch.tensor([3, 700])


# --- the timestep -----------------------------------------------------------------------------------------------------


def test_timestep_embedding_is_cosines_then_sines():
    t, dim = [0, 1, 250, 999.5], 8
    embedded = timestep_embedding(torch.tensor(t), dim)
    for row, step in zip(embedded, t, strict=True):
        for i in range(dim // 2):
            angle = step * 10000 ** (-i / (dim // 2))
            assert row[i].item() == pytest.approx(math.cos(angle), abs=1e-4)
            assert row[dim // 2 + i].item() == pytest.approx(math.sin(angle), abs=1e-4)


def test_each_sample_has_its_own_timestep_and_no_sample_sees_another():
    model, x = small_unet(), window()
    with torch.no_grad():
        both = model(x, TIMES)
        alone = torch.cat([model(x[i : i + 1], TIMES[i : i + 1]) for i in range(2)])
        swapped = model(x, TIMES.flip(0))
    assert torch.allclose(both, alone, atol=1e-5)
    assert (both - swapped).abs().max() > 1e-3


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-5), (torch.bfloat16, 0.1)], ids=str)
@pytest.mark.parametrize("mixer", ["mamba", "attention"])
def test_a_network_of_another_dtype_computes_the_same(dtype, tolerance, mixer):
    model, x = small_unet(mixer=mixer), window()
    with torch.no_grad():
        expected = model(x, TIMES)
        y = model.to(dtype)(x.to(dtype), TIMES)
    assert y.dtype == dtype
    assert (y.float() - expected).norm() <= tolerance * expected.norm()


# --- memory: checkpointing, patches, factors --------------------------------------------------------------------------


@pytest.mark.parametrize("mixer", ["mamba", "attention"])
def test_checkpointing_changes_no_number(mixer):
    """Outputs and all gradients, with dropout on: the second forward must draw the same zeros."""
    results = []
    for use_checkpoint in (False, True):
        model = small_unet(mixer=mixer, use_checkpoint=use_checkpoint, dropout=0.3).train()
        x = window().requires_grad_()
        torch.manual_seed(1)
        y = model(x, TIMES)
        (y * named_normal("w", y.shape)).sum().backward()
        results.append([y.detach(), x.grad, *(p.grad for p in model.parameters())])
    for plain, checkpointed in zip(*results, strict=True):
        assert torch.equal(plain, checkpointed)
        assert plain.abs().max() > 0


def test_checkpointing_keeps_fewer_activations():
    kept = []
    for use_checkpoint in (False, True):
        model, total = small_unet(use_checkpoint=use_checkpoint).train(), 0

        def pack(tensor):
            nonlocal total
            total += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model(window(), TIMES)
        kept.append(total)
    assert kept[1] < kept[0] / 2


@given(
    patch=st.integers(1, 4),
    channels=st.integers(1, 3),
    frames=st.integers(1, 3),
    h=st.integers(1, 3),
    w=st.integers(1, 3),
)
@settings(max_examples=30, deadline=None)
def test_depth_to_space_is_the_inverse_of_space_to_depth(patch, channels, frames, h, w):
    x = torch.arange(2.0 * channels * frames * h * w * patch**2).view(2, channels, frames, h * patch, w * patch)
    deep = space_to_depth(x, patch)
    assert deep.shape == (2, channels * patch**2, frames, h, w)
    assert torch.equal(depth_to_space(deep, patch), x)
    for row in range(h):  # a patch of one frame becomes the channels of one pixel of the same frame
        for column in range(w):
            pixels = x[:, :, :, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch]
            found = deep[..., row, column].sort(dim=1).values
            assert torch.equal(found, pixels.permute(0, 1, 3, 4, 2).flatten(1, 3).sort(dim=1).values)


def test_patches_let_the_network_see_and_give_whole_frames():
    model = small_unet(image_size=16, patch_size=2)
    assert model.input_blocks[0][0].in_channels == 3 * 4
    x = window(1, 3, 2, 16, 16)
    with torch.no_grad():
        y = model(x, TIMES[:1])
        moved = model(torch.roll(x, 1, 4), TIMES[:1])
    assert y.shape == x.shape
    assert (moved - y).abs().max() > 1e-3


@pytest.mark.parametrize("factorized", [False, True])
@pytest.mark.parametrize("mixer", ["mamba", "attention"])
def test_every_parameter_learns(factorized, mixer):
    """From a fresh network: three plain gradient steps, then nothing may be stuck behind a pair of zeros."""
    model = small_unet(filled=False, factorized_conv=factorized, mixer=mixer).train()
    x, target = window(), named_normal("target", (2, 3, 3, 8, 8))
    assert (model(x, TIMES) == 0).all()  # the last convolution starts at zero
    for _ in range(4):
        model.zero_grad()
        ((model(x, TIMES) - target) ** 2).mean().backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.1 * parameter.grad
    assert [name for name, parameter in model.named_parameters() if parameter.grad.abs().max() == 0] == []


@pytest.mark.parametrize("kind", [SpaceConv, TimeConv])
@pytest.mark.parametrize("batch", [1, 2])
def test_the_halves_of_a_factorised_convolution_are_pytorchs_and_keep_the_layout(kind, batch):
    torch.manual_seed(0)
    ours = kind(5, 7).double()
    x = torch.randn(batch, 5, 4, 3, 6, dtype=torch.float64).contiguous(memory_format=torch.channels_last_3d)
    alike = [each.detach().clone().requires_grad_() for each in (x, ours.weight, ours.bias)]
    theirs = F.conv3d(*alike, padding=ours.padding)
    x.requires_grad_()
    out = ours(x)
    torch.testing.assert_close(out, theirs)
    assert out.is_contiguous(memory_format=torch.channels_last_3d)
    gradient = torch.randn_like(out)
    torch.testing.assert_close(
        torch.autograd.grad(out, [x, ours.weight, ours.bias], gradient),
        torch.autograd.grad(theirs, alike, gradient),
    )


class Convolutions(TorchDispatchMode):
    """The sides of every kernel that PyTorch convolves with."""

    def __init__(self):
        super().__init__()
        self.kernels = set()

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        if op is torch.ops.aten.convolution.default:
            self.kernels.add(tuple(args[1].shape[2:]))
        return op(*args, **kwargs or {})


def test_pytorch_never_convolves_in_3d_by_the_kernel_whose_gradient_can_kill_the_process():
    """(1, 3, 3) in bfloat16 on a processor with AMX: the next test sees it there alone."""
    with torch.no_grad(), Convolutions() as seen:
        small_unet(factorized_conv=True)(window(), TIMES)
    assert seen.kernels == {(3, 3), (3, 3, 3), (3, 2, 2)}


def test_a_training_step_on_many_cells_in_bf16_leaves_the_process_alive():
    step = """
import torch
from ramvid_vad.script_util import create_model_and_diffusion
torch.set_num_threads(1)
torch.manual_seed(0)
options = dict(num_channels=32, channel_mult="1,2", num_res_blocks=1, mixer="none", attention_resolutions="2")
model, _ = create_model_and_diffusion(**options, image_size=90, factorized_conv=True)
for parameter in model.parameters():
    torch.nn.init.normal_(parameter, std=0.02)
with torch.autocast("cpu", dtype=torch.bfloat16):
    out = model(torch.randn(1, 3, 6, 60, 90), torch.tensor([500.0]))
out.float().square().mean().backward()
print(all(parameter.grad.isfinite().all() for parameter in model.parameters()))
"""
    done = subprocess.run([sys.executable, "-c", step], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout.strip()) == (0, "True"), done.stderr


def test_factorized_convolutions_are_space_then_time():
    plain, factorized = small_unet(), small_unet(factorized_conv=True)
    kernels = {tuple(m.kernel_size) for m in factorized.modules() if isinstance(m, torch.nn.Conv3d)}
    assert kernels == {(1, 3, 3), (3, 1, 1), (1, 1, 1), (3, 3, 3)}  # 3x3x3 is left where the size changes
    count = [sum(p.numel() for p in model.parameters()) for model in (plain, factorized)]
    assert count[1] < 0.7 * count[0]
    with torch.no_grad():
        assert factorized(window(), TIMES).shape == window().shape


@pytest.mark.parametrize("factorized", [False, True])
def test_all_features_reach_the_output_from_the_first_step_on(factorized):
    """Also where a factorised head would have to squeeze them through a few random channels."""
    model = small_unet(filled=False, factorized_conv=factorized)
    assert model.out[0].weight.numel() > 2 * 3
    F.mse_loss(model(window(), TIMES), torch.randn(window().shape)).backward()
    learning = [p.grad for p in model.out[2].parameters() if p.ndim == 5 and p.grad.abs().max() > 0]
    assert [each.shape[:2] for each in learning] == [(3, model.out[0].weight.numel())]
    assert (learning[0].abs().amax((0, 2, 3, 4)) > 0).all()


# --- what else the network is shown -----------------------------------------------------------------------------------


def test_mask_channel_shows_the_anchors():
    model, x = small_unet(mask_channel=True), window()
    anchors = torch.tensor([[True, False, False], [True, False, False]])
    assert model.input_blocks[0][0].in_channels == 4
    with torch.no_grad():
        y = model(x, TIMES, anchors=anchors)
        other = model(x, TIMES, anchors=~anchors)
        second = model(x, TIMES, anchors=torch.stack([anchors[0], ~anchors[0]]))
    assert (y - other).abs().max() > 1e-3
    assert torch.equal(second[0], y[0])  # each sample has its own mask
    assert torch.allclose(second[1], other[1], atol=1e-6)
    with pytest.raises(ValueError, match="anchors"):
        model(x, TIMES)


def test_mask_channel_is_one_at_anchor_frames():
    seen = []
    model = small_unet(mask_channel=True)
    model.input_blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model(window(), TIMES, anchors=torch.tensor([[True, False, True]] * 2))
    assert torch.equal(seen[0][:, :3], window())
    expected = torch.tensor([1.0, 0.0, 1.0]).view(3, 1, 1).expand(2, 3, 8, 8)
    assert torch.equal(seen[0][:, 3], expected)


def test_each_group_of_channels_has_its_mask():
    seen = []
    groups = UNet(5, 5, 32, 1, (), (1, 2), mixer="none", mask_channel=True, groups=(3, 2))
    groups.input_blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x = torch.randn(2, 5, 3, 8, 8)
    given = torch.zeros(2, 5, 3, 8, 8, dtype=torch.bool)
    given[0, :3, 1] = True  # the first group in one frame
    given[1, 3:, :, 2:4, 5] = True  # the second in a few cells
    with torch.no_grad():
        groups(x, TIMES, anchors=given)
        groups(x, TIMES, anchors=given[:, :, :, :1, :1])
        groups(x, TIMES, anchors=torch.tensor([[True, False, False]] * 2))
    assert seen[0].shape[1] == 7
    assert torch.equal(seen[0][:, 5:], given[:, [0, 3]].float())
    assert torch.equal(seen[1][:, 5:], given[:, [0, 3], :, :1, :1].float().expand(2, 2, 3, 8, 8))
    assert torch.equal(seen[2][:, 5:], torch.tensor([1.0, 0, 0]).view(1, 1, 3, 1, 1).expand(2, 2, 3, 8, 8))


def test_sides_that_are_no_multiple_are_padded_and_cut_off_again():
    torch.manual_seed(0)
    model = UNet(5, 4, 32, 1, (1,), (1, 2, 2), mixer="mamba", mask_channel=True)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    x, given = torch.randn(2, 5, 3, 6, 9), torch.rand(2, 1, 3, 6, 9) < 0.5
    with torch.no_grad():
        y = model(x, TIMES, anchors=given)
        rows, columns = torch.arange(8).clamp(max=5)[:, None], torch.arange(12).clamp(max=8)
        whole = model(x[..., rows, columns], TIMES, anchors=given[..., rows, columns])
    assert y.shape == (2, 4, 3, 6, 9)
    assert torch.equal(y, whole[..., :6, :9])


def test_without_a_mixer_the_network_sees_its_neighbourhood_alone():
    model = UNet(3, 3, 32, 1, (1, 2), (1, 2), mixer="none")
    assert not any("mamba" in name or "qkv" in name for name in model.state_dict())
    with_mamba = UNet(3, 3, 32, 1, (1, 2), (1, 2), mixer="mamba")
    assert set(model.state_dict()) < set(with_mamba.state_dict())


def test_without_a_mask_channel_the_anchors_are_not_shown():
    model, x = small_unet(), window()
    with torch.no_grad():
        assert torch.equal(model(x, TIMES, anchors=torch.ones(2, 3, dtype=torch.bool)), model(x, TIMES))


def test_classes():
    model, x = small_unet(class_cond=True), window()
    with torch.no_grad():
        first, second = (model(x, TIMES, y=torch.tensor([c, c])) for c in (0, 1))
    assert (first - second).abs().max() > 1e-3
    with pytest.raises(ValueError, match="class"):
        model(x, TIMES)
    with pytest.raises(ValueError, match="class"):
        small_unet()(x, TIMES, y=torch.tensor([0, 1]))


def test_dropout_works_in_training_only():
    model, x = small_unet(dropout=0.5), window()
    with torch.no_grad():
        assert torch.equal(model(x, TIMES), model(x, TIMES))
        model.train()
        assert not torch.equal(model(x, TIMES), model(x, TIMES))


def test_norms_keep_their_parameters_in_float32():
    """A gain that bfloat16 would round away, and a mean far above the spread."""
    norm = GroupNorm32(32)
    torch.nn.init.constant_(norm.weight, 1 + 2**-10)
    x = (10 + named_normal("x", (1, 32, 4, 4, 4))).bfloat16()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        y, unrounded = norm(x), norm(x.float())
    assert y.dtype == torch.bfloat16
    double = x.double().flatten(2)
    expected = (double - double.mean(2, keepdim=True)) / (double.var(2, keepdim=True, correction=0) + 1e-5).sqrt()
    expected = (expected * (1 + 2**-10)).view(x.shape)
    assert torch.allclose(y.double(), expected, rtol=2**-8, atol=1e-5)
    assert torch.allclose(unrounded.double(), expected, atol=1e-5)


# --- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "order, expected", [("space", [0, 0, 0, 0]), ("time", [1, 1, 1, 1]), ("alternate", [0, 1, 0, 1])]
)
def test_scan_order_of_each_mixer(order, expected):
    with torch.device("meta"):
        model = create_model_and_diffusion(**SMALL, scan_order=order)[0]
    assert [m.time_fast for m in model.modules() if isinstance(m, MambaMixer)] == expected


@pytest.mark.parametrize("frames", [1, 2, 3, 5, 6, 7, 8, 30])
def test_time_halved_too_for_any_window(frames):
    """Odd numbers of frames on the way down are met again on the way up."""
    model = small_unet(channel_mult="1,1,1", attention_resolutions="", scale_time_dim=frames)
    shapes = []
    model.middle_block.register_forward_pre_hook(lambda _, inputs: shapes.append(inputs[0].shape))
    with torch.no_grad():
        assert model(window(1, 3, frames, 8, 8), TIMES[:1]).shape == (1, 3, frames, 8, 8)
    assert shapes == [(1, 32, -(-frames // 4), 2, 2)]
    with pytest.raises(InputError, match=f"--scale_time_dim {frames} .*--seq_len {frames + 1}"):
        model(window(1, 3, frames + 1, 8, 8), TIMES[:1])


def test_frames_that_are_not_square():
    model = small_unet(image_size="8x12")
    resolutions = []
    for module in model.modules():
        if isinstance(module, MambaMixer):
            module.register_forward_pre_hook(lambda _, inputs: resolutions.append(tuple(inputs[0].shape[3:])))
    with torch.no_grad():
        assert model(window(1, 3, 2, 8, 12), TIMES[:1]).shape == (1, 3, 2, 8, 12)
    assert resolutions == [(4, 6)] * 4  # --attention_resolutions 4 means the shorter side


def test_thesis_size_that_is_not_square():
    """128x192 takes the levels of 128 and, as there, has its mixers on the coarsest level of four."""
    with torch.device("meta"):
        square, wide = (create_model_and_diffusion(image_size=size, num_res_blocks=3)[0] for size in (128, "128x192"))
    assert list(wide.state_dict()) == list(square.state_dict())


@pytest.mark.parametrize(
    "options, message",
    [
        ({"image_size": 48, "channel_mult": ""}, "--image_size.*48.*--channel_mult"),
        ({"image_size": "8x9"}, "--image_size 8x9.*multiples of 2"),
        ({"image_size": 12, "patch_size": 3, "channel_mult": "1,2,2,2"}, "--image_size 12.*multiples of 24"),
        ({"image_size": 9, "patch_size": 2}, "--patch_size 2 does not divide --image_size 9"),
        ({"patch_size": 0}, "--patch_size 0"),
        ({"num_channels": 48}, "--num_channels 48 x 1.*32"),
        ({"num_channels": 0}, "--num_channels 0"),
        ({"num_heads": 5, "mixer": "attention"}, "--num_heads 5 does not divide 64"),
        ({"num_heads_upsample": 0, "mixer": "attention"}, "--num_heads_upsample 0"),
        ({"num_res_blocks": 0}, "--num_res_blocks 0"),
        ({"d_state": 0}, "--d_state 0"),
        ({"dropout": 1.5}, "--dropout 1.5"),
        ({"scale_time_dim": -1}, "--scale_time_dim -1"),
        ({"channel_mult": "1,-1"}, "--channel_mult '1,-1'"),
        ({"channel_mult": "1;2"}, "--channel_mult '1;2'.*comma"),
        ({"attention_resolutions": "x"}, "--attention_resolutions 'x'.*comma"),
        ({"image_size": "8x"}, "--image_size '8x'.*HEIGHTxWIDTH"),
        ({"image_size": "0"}, "--image_size '0'.*HEIGHTxWIDTH"),
        ({"image_size": "8x8x8"}, "--image_size '8x8x8'.*HEIGHTxWIDTH"),
        ({"mixer": "mamba2"}, "--mixer 'mamba2': choose one of mamba, attention"),
        ({"scan_order": "hilbert"}, "--scan_order 'hilbert'"),
        ({"num_head": 4}, "'num_head': did you mean 'num_heads'"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with torch.device("meta"), pytest.raises(InputError, match=message):
        create_model_and_diffusion(**SMALL | options)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"mixer": "mambda"}, "UNet: unknown mixer 'mambda': choose one of mamba, attention, none"),
        ({"scan_order": "tiem"}, "UNet: unknown scan_order 'tiem': choose one of space, time, alternate"),
        ({"scan_merge": "men"}, "BiMamba: unknown merge 'men': choose sum or mean"),
    ],
)
def test_a_misspelt_word_is_not_taken_for_another(options, message):
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        UNet(3, 3, 32, 1, (1,), (1, 2), **options)
