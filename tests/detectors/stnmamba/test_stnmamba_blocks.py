"""The blocks, restated from the equations; memory on items made by hand."""

import math

import pytest
import torch
import torch.nn.functional as F

from ramvid_vad.detectors.stnmamba.blocks import (
    ChannelAwareBlock,
    MultiScaleBlock,
    PatchEmbedding,
    PatchExpanding,
    PatchMerging,
    VSSBlock,
)
from ramvid_vad.detectors.stnmamba.interaction import ChannelWeights, FusionBlock
from ramvid_vad.detectors.stnmamba.memory import MARGIN, SHARPNESS, MemoryBank, distances, memory_losses, read


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def near(found, expected):
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5), (found - expected).abs().max()


def depth_wise(conv, x):
    return F.conv2d(x.movedim(-1, 1), conv.weight, conv.bias, padding=conv.weight.shape[-1] // 2, groups=x.shape[-1])


def test_the_vision_state_space_block():
    block, x = VSSBlock(8), torch.randn(2, 4, 6, 8)
    into, gate = F.linear(F.layer_norm(x, (8,)), block.in_proj.weight).split(16, -1)
    scanned = block.scan(F.silu(depth_wise(block.conv, into)).movedim(1, -1))
    near(block(x), x + F.linear(F.layer_norm(scanned, (16,)) * F.silu(gate), block.out_proj.weight))


def test_the_multi_scale_block_adds_convolutions_of_three_sizes():
    block, x = MultiScaleBlock(8), torch.randn(1, 8, 8, 8)
    h = F.gelu(F.linear(x, block.expand.weight, block.expand.bias))
    total = sum(depth_wise(conv, h) for conv in block.scales).movedim(1, -1)
    assert [conv.weight.shape for conv in block.scales] == [(16, 1, k, k) for k in (3, 5, 7)]
    near(block(x), block.block(x + F.linear(total, block.reduce.weight, block.reduce.bias)))


def test_channels_are_weighed_by_their_mean_and_their_maximum():
    block, x = ChannelAwareBlock(8), torch.randn(2, 3, 5, 8)
    y = block.block(x)
    first, _, second = block.attention

    def hidden(pooled):
        return F.linear(F.relu(F.linear(pooled, first.weight, first.bias)), second.weight, second.bias)

    flat = y.reshape(2, 15, 8)
    weight = 1 / (1 + torch.exp(-(hidden(flat.mean(1)) + hidden(flat.max(1).values))))
    near(block(x), y * weight[:, None, None])


def test_merging_and_expanding_lay_neighbours_side_by_side():
    x = torch.randn(1, 4, 6, 3)
    merge = PatchMerging(3)
    four = torch.cat([x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)], -1)
    near(merge(x), F.linear(F.layer_norm(four, (12,)), merge.project.weight))
    expand = PatchExpanding(3, 5, factor=4)
    wide = F.linear(x, expand.project.weight)
    found = expand(x)
    assert found.shape == (1, 16, 24, 5)
    for i in range(4):
        for j in range(4):
            part = wide[..., 5 * (4 * i + j) : 5 * (4 * i + j + 1)]
            near(found[:, i::4, j::4], F.layer_norm(part, (5,)))


@pytest.mark.parametrize(("channels", "width"), [(8, 3), (32, 3), (64, 3), (128, 5), (256, 5)])
def test_eca_is_a_convolution_over_channel_means(channels, width):
    layer, x = ChannelWeights(channels), torch.randn(2, 3, 4, channels)
    weight = layer.conv.weight[0, 0]
    assert len(weight) == width  # |log2(C) / 2 + 1/2|, odd
    means = F.pad(x.mean((1, 2)), (width // 2, width // 2))
    summed = sum(weight[k] * means[:, k : k + channels] for k in range(width))
    near(layer(x), x * torch.sigmoid(summed)[:, None, None])


def test_the_fusion_block():
    block = FusionBlock(8)
    spatial, temporal = torch.randn(2, 1, 4, 5, 8)

    def given(x, kind):
        linear = getattr(block, f"{kind}_in")[1]
        h = F.linear(F.layer_norm(x, (8,)), linear.weight, linear.bias)
        return depth_wise(getattr(block, f"{kind}_conv"), h).movedim(1, -1)

    s, t = given(spatial, "spatial"), given(temporal, "temporal")
    h = F.layer_norm(block.scan(s * t), (8,))
    near(
        block(spatial, temporal),
        block.weights(spatial + temporal + block.spatial_out(h * F.silu(s)) + block.temporal_out(h * F.silu(t))),
    )


def test_reading_takes_the_nearest_three_of_five_by_hand():
    turns = [0, 60, 90, 150, 180]
    items = torch.tensor([[math.cos(math.radians(a)), math.sin(math.radians(a))] for a in turns])
    e, half, none = math.e, math.exp(0.5), 1.0  # exp of the cosines of 0, 60 and 90 degrees
    total = e + half + none
    found = read(torch.tensor([[1.0, 0.0]]), items)[0]  # 150 and 180 degrees are left out
    assert found.tolist() == pytest.approx(
        [(e + half * 0.5) / total, (half * math.sqrt(0.75) + none) / total], abs=1e-6
    )


def test_ten_items_are_read_six_at_a_time():
    items = torch.eye(10)
    query = F.normalize(torch.arange(10.0)[None], dim=-1)
    weights = read(query, items)[0]
    assert torch.equal(weights > 0, torch.arange(10) >= 4)
    near(weights[4:], torch.softmax(query[0, 4:], 0))


def test_writing_moves_items_to_the_queries_like_them():
    bank = MemoryBank(2, 2)
    bank.items.copy_(torch.eye(2))
    queries = torch.tensor([[[0.8, 0.6], [0.6, -0.8]]])
    bank.write(queries)
    for row, own in enumerate(torch.eye(2)):
        weights = torch.softmax(SHARPNESS * queries[0] @ own, 0)
        moved = own + weights[0] * queries[0, 0] + weights[1] * queries[0, 1]
        near(bank.items[row], moved / moved.norm())
    near(bank.items.norm(dim=1), torch.ones(2))


def test_writing_in_training_only_and_after_reading():
    bank, x = MemoryBank(5, 4), torch.randn(1, 2, 3, 4)
    before = bank.items.clone()
    queries = F.normalize(x.reshape(1, 6, 4), dim=-1)
    expected = 1.5 * x + read(queries, before).reshape(x.shape)
    bank.balance.fill_(1.5)
    bank.eval()
    near(bank(x)[0], expected)
    assert torch.equal(bank.items, before)
    bank.train()
    near(bank(x)[0], expected)
    assert not torch.equal(bank.items, before)
    near(bank(x)[1], queries)


def test_gradients_pass_a_memory_that_is_written():
    bank = MemoryBank(5, 4).train()
    with torch.enable_grad():
        x = torch.randn(1, 2, 3, 4, requires_grad=True)
        items = bank.items.clone()
        bank(x)[0].square().sum().backward()
        other = x.detach().clone().requires_grad_()
        flat = F.normalize(other.flatten(1, 2), dim=-1)
        (other + read(flat, items).view_as(other)).square().sum().backward()
    near(x.grad, other.grad)


def test_losses_and_distance_by_hand():
    items = torch.eye(3)
    queries = torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0]])
    first, second = distances(queries, items)
    assert first.tolist() == pytest.approx([0, 0.4], abs=1e-6)  # 2 - 2 cos
    assert second.tolist() == pytest.approx([2, 0.8], abs=1e-6)
    near(first[1], (queries[1] - items[1]).square().sum())
    compactness, sparsity = memory_losses(queries, items)
    assert compactness.item() == pytest.approx(0.2 / 3)  # torch's mean squared error, as in MNAD
    near(compactness, F.mse_loss(queries, items[:2]))
    near(sparsity, F.triplet_margin_loss(queries, items[:2], items[[1, 0]], margin=MARGIN, eps=0))
    assert sparsity.item() == pytest.approx((max(0, 0 - 2**0.5 + MARGIN) + 0.4**0.5 - 0.8**0.5 + MARGIN) / 2, abs=1e-6)


def test_brightness_is_not_normed_away_on_the_way_of_a_pixel():
    """What enters and what leaves the network is linear in brightness; a norm would leave hardly more than its sign."""
    flat = torch.full((1, 8, 8, 3), 0.1)
    for way in (PatchEmbedding(3, 16), PatchExpanding(3, 4, factor=4, normed=False)):
        dark, bright, black = way(flat), way(8 * flat), way(0 * flat)
        near(bright - black, 8 * (dark - black))
        assert (bright - dark).abs().max() > 0.01
