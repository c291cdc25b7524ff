"""The peer of network.py and frames.py: RaMViD's network as plain PyTorch runs it, on the weights of one of ours.

float32, contiguous tensors, torch's own group norm, SiLU and convolutions one by one, and attention that forms the
whole matrix of S x S weights. Same parameters, same result as `UNet(mixer="attention")`; only the way there differs.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ramvid_vad.models.layers import Downsample, ResBlock, timestep_embedding
from ramvid_vad.models.mixers import AttentionMixer
from ramvid_vad.models.unet import UNet
from ramvid_vad.models.upsample import Upsample


def plain_forward(model: UNet, x: Tensor, timesteps: Tensor) -> Tensor:
    """As `model(x, timesteps)` of a network with attention, plain 3x3x3 convolutions and patch size 1."""
    emb = model.time_embed(timestep_embedding(timesteps, model.model_channels))
    h, skips = x, []
    for stage in model.input_blocks:
        h = _stage(stage, h, emb)
        skips.append(h)
    h = _stage(model.middle_block, h, emb)
    for stage in model.output_blocks:
        h = _stage(stage, torch.cat([h, skips.pop()], dim=1), emb)
    return _conv(model.out[2], F.silu(_norm(model.out[0], h)))


def _stage(stage: nn.Module, h: Tensor, emb: Tensor) -> Tensor:
    for layer in stage:
        if isinstance(layer, ResBlock):
            h = _residual(layer, h, emb)
        elif isinstance(layer, AttentionMixer):
            h = _attention(layer, h)
        elif isinstance(layer, Upsample):
            h = _conv(layer.conv, F.interpolate(h, scale_factor=(1, 2, 2), mode="nearest"))
        else:
            h = _conv(layer.op if isinstance(layer, Downsample) else layer, h)
    return h


def _conv(conv: nn.Conv3d, x: Tensor) -> Tensor:
    return F.conv3d(x, conv.weight.contiguous(), conv.bias, conv.stride, conv.padding)


def _norm(norm: nn.GroupNorm, x: Tensor) -> Tensor:
    return F.group_norm(x, norm.num_groups, norm.weight, norm.bias, norm.eps)


def _residual(block: ResBlock, x: Tensor, emb: Tensor) -> Tensor:
    h = _conv(block.in_layers[2], F.silu(_norm(block.in_layers[0], x)))
    scale, shift = block.emb_layers(emb)[:, :, None, None, None].chunk(2, dim=1)
    h = _conv(block.out_layers[3], F.silu(_norm(block.out_layers[0], h) * (1 + scale) + shift))
    return h + (x if isinstance(block.skip_connection, nn.Identity) else _conv(block.skip_connection, x))


def _attention(mixer: AttentionMixer, x: Tensor) -> Tensor:
    b, c = x.shape[:2]
    qkv = mixer.qkv(_norm(mixer.norm, x).reshape(b, c, -1))
    q, k, v = qkv.reshape(b * mixer.num_heads, 3 * c // mixer.num_heads, -1).chunk(3, dim=1)  # (B heads, C/heads, S)
    scale = 1 / math.sqrt(math.sqrt(q.shape[1]))
    weight = torch.softmax(torch.einsum("bct,bcs->bts", q * scale, k * scale), dim=-1)
    h = torch.einsum("bts,bcs->bct", weight, v).reshape(b, c, -1)
    return x + mixer.proj_out(h).reshape(x.shape)
