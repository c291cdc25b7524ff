"""RaMViD's 3-D U-Net (arXiv 2206.07696) with a choice of token mixer; state-dict keys are RaMViD's."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from ramvid_vad.diffusion.anchors import over_entries
from ramvid_vad.errors import InputError
from ramvid_vad.models.layers import (
    Downsample,
    Fused,
    GroupNorm32,
    ResBlock,
    channels_last_gradient,
    conv3,
    timestep_embedding,
    zero_conv3,
)
from ramvid_vad.models.mixers import AttentionMixer, MambaMixer
from ramvid_vad.models.upsample import Upsample

CHANNEL_MULT = {256: (1, 1, 2, 2, 4, 4), 128: (1, 2, 3, 4), 64: (1, 2, 3, 4), 32: (1, 2, 2, 2)}


def default_channel_mult(side: int) -> tuple[int, ...]:
    """RaMViD's channel multipliers for the shorter side of the grid in pixels. InputError: a side it does not know."""
    if side not in CHANNEL_MULT:
        known = ", ".join(str(size) for size in sorted(CHANNEL_MULT))
        raise InputError(
            f"--image_size with a shorter side of {side} (over --patch_size): give --channel_mult, or use {known}"
        )
    return CHANNEL_MULT[side]


class Stage(nn.Sequential):
    """Layers in a row, of which the residual blocks take a modulation each."""

    def forward(self, x: torch.Tensor, *modulations: torch.Tensor) -> torch.Tensor:
        each = iter(modulations)
        for layer in self:
            x = layer(x, next(each)) if isinstance(layer, ResBlock) else layer(x)
        return x


class UNet(nn.Module):
    """Frames at a noise level -> prediction: (B,C,T,H,W), (B,) -> (B,C_out,T,H,W).

    in_channels, out_channels: after space-to-depth (frame channels * patch_size^2).  mixer_downsamplings: the factors
    of spatial downsampling at which a token mixer follows each residual block.  scale_time_dim: the window's frames if
    time is halved too, else 0.  mask_channel: one more input channel for each group of channels, 1 at
    anchors.  groups: channels of each, in order; empty: all are one.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        model_channels: int,
        num_res_blocks: int,
        mixer_downsamplings: tuple[int, ...],
        channel_mult: tuple[int, ...],
        *,
        mixer: str = "mamba",
        num_heads: int = 4,
        num_heads_upsample: int = 4,
        scan_order: str = "space",
        scan_merge: str = "sum",
        d_state: int = 16,
        patch_size: int = 1,
        factorized_conv: bool = False,
        dropout: float = 0.0,
        num_classes: int | None = None,
        use_checkpoint: bool = False,
        use_scale_shift_norm: bool = True,
        scale_time_dim: int = 0,
        mask_channel: bool = False,
        groups: tuple[int, ...] = (),
    ):
        super().__init__()
        for name, value, known in (
            ("mixer", mixer, ("mamba", "attention", "none")),
            ("scan_order", scan_order, ("space", "time", "alternate")),
        ):
            if value not in known:
                raise ValueError(f"UNet: unknown {name} {value!r}: choose one of {', '.join(known)}")
        self.model_channels = model_channels
        self.patch_size = patch_size
        self.use_checkpoint = use_checkpoint
        self.mask_channels = max(len(groups), 1) if mask_channel else 0
        self.first_of_groups = [sum(groups[:i]) for i in range(max(len(groups), 1))]
        self.multiple = 2 ** (len(channel_mult) - 1)  # of which the sides must be
        self.scale_time_dim = scale_time_dim
        self.num_classes = num_classes
        emb_channels = 4 * model_channels
        self.time_embed = nn.Sequential(
            nn.Linear(model_channels, emb_channels), nn.SiLU(), nn.Linear(emb_channels, emb_channels)
        )
        if num_classes is not None:
            self.label_emb = nn.Embedding(num_classes, emb_channels)
        self.num_mixers = 0

        def residual(channels: int, out: int) -> ResBlock:
            return ResBlock(
                channels,
                emb_channels,
                out,
                dropout=dropout,
                scale_shift_norm=use_scale_shift_norm,
                factorized=factorized_conv,
            )

        def mix(channels: int, heads: int) -> nn.Module:
            if mixer == "none":
                return nn.Identity()
            if mixer == "attention":
                if channels % heads:
                    raise InputError(f"--num_heads {heads} does not divide {channels} channels")
                return AttentionMixer(channels, heads)
            time_fast = scan_order == "time" or (scan_order == "alternate" and self.num_mixers % 2 == 1)
            self.num_mixers += 1
            return MambaMixer(channels, d_state, scan_merge, time_fast)

        # frames on each level if time is halved: a strided convolution leaves the larger half of an odd number
        frames = [scale_time_dim]
        channels, factor = model_channels, 1
        self.input_blocks = nn.ModuleList([Stage(conv3(in_channels + self.mask_channels, channels, factorized_conv))])
        skips = [channels]
        for level, mult in enumerate(channel_mult):
            for _ in range(num_res_blocks):
                layers: list[nn.Module] = [residual(channels, mult * model_channels)]
                channels = mult * model_channels
                if factor in mixer_downsamplings:
                    layers.append(mix(channels, num_heads))
                self.input_blocks.append(Stage(*layers))
                skips.append(channels)
            if level < len(channel_mult) - 1:
                self.input_blocks.append(Stage(Downsample(channels, halve_time=frames[-1] > 1)))
                frames.append((frames[-1] + 1) // 2)
                skips.append(channels)
                factor *= 2

        self.fewest_frames = min(frames)  # on any level; 0: as many as the window has

        self.middle_block = Stage(residual(channels, channels), mix(channels, num_heads), residual(channels, channels))

        self.output_blocks = nn.ModuleList()
        for level, mult in reversed(list(enumerate(channel_mult))):
            for block in range(num_res_blocks + 1):
                layers = [residual(channels + skips.pop(), mult * model_channels)]
                channels = mult * model_channels
                if factor in mixer_downsamplings:
                    layers.append(mix(channels, num_heads_upsample))
                if level and block == num_res_blocks:
                    layers.append(Upsample(channels, frames[level - 1] or None))
                    factor //= 2
                self.output_blocks.append(Stage(*layers))
        # the first half of a factorised head is random until the zeros of the second have moved: where it has few
        # channels, most features do not get through, and the network learns the noise very slowly
        head = zero_conv3(channels, out_channels, factorized_conv and 2 * out_channels > channels)
        self.out = nn.Sequential(GroupNorm32(channels, silu=True), Fused(), head)
        self.to(memory_format=torch.channels_last_3d)  # the layout that convolutions and the scan kernel are fastest in

    def forward(
        self,
        x: torch.Tensor,
        timesteps: torch.Tensor,
        y: torch.Tensor | None = None,
        anchors: torch.Tensor | None = None,
        modulations: list[torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """x (B,C,T,H,W); timesteps (B,) on a scale of 0 to 1000.

        y: class (B,), of a class-conditional model.  anchors: bool (B,T) or over (B,C,T,H,W), for mask_channel.
        modulations: what ``modulations(timesteps, y)`` returned, for a caller that has them already.
        """
        if self.scale_time_dim and x.shape[2] != self.scale_time_dim:
            raise InputError(f"--scale_time_dim {self.scale_time_dim} must equal the window, --seq_len {x.shape[2]}")
        given = iter(self.modulations(timesteps, y) if modulations is None else modulations)
        h = space_to_depth(x, self.patch_size)
        if self.mask_channels:
            if anchors is None:
                raise ValueError("a model with a mask channel needs the anchors")
            shown = over_entries(anchors)
            shown = (
                shown if shown.shape[1] == 1 else torch.cat([shown[:, i : i + 1] for i in self.first_of_groups], dim=1)
            )
            shown = shown.to(h.dtype).expand(-1, self.mask_channels, *h.shape[2:])
            h = torch.cat([h, shown], dim=1)
        below, beside = (-side % self.multiple for side in h.shape[3:])
        if below or beside:  # the border is repeated, and cut off again at the end
            h = F.pad(h, (0, beside, 0, below, 0, 0), mode="replicate")
        h = h.contiguous(memory_format=torch.channels_last_3d)
        skips = []
        for stage in self.input_blocks:
            h = self._run(stage, h, given)
            skips.append(h)
        h = self._run(self.middle_block, h, given)
        for stage in self.output_blocks:
            h = self._run(stage, torch.cat([h, skips.pop()], dim=1), given)
        return depth_to_space(self.out(h), self.patch_size)[..., : x.shape[3], : x.shape[4]]

    def modulations(self, timesteps: torch.Tensor, y: torch.Tensor | None = None) -> list[torch.Tensor]:
        """What residual blocks learn of timestep and class, (B, 2 C_out) or (B, C_out) each, in the order of use."""
        if (y is not None) != (self.num_classes is not None):
            raise ValueError("the class y is for class-conditional models, and they need it")
        embedding = timestep_embedding(timesteps, self.model_channels)
        emb = self.time_embed(embedding.to(self.time_embed[0].weight.dtype))  # (B, 4 * model_channels)
        if y is not None:
            emb = emb + self.label_emb(y)
        return [block.emb_layers(emb) for block in self.modules() if isinstance(block, ResBlock)]

    def _run(self, stage: Stage, h: torch.Tensor, given: Iterator[torch.Tensor]) -> torch.Tensor:
        own = [next(given) for layer in stage if isinstance(layer, ResBlock)]
        if self.use_checkpoint and torch.is_grad_enabled():
            return channels_last_gradient(checkpoint(stage, h, *own, use_reentrant=False))
        return channels_last_gradient(stage(h, *own))


def space_to_depth(x: torch.Tensor, patch: int) -> torch.Tensor:
    """(B,C,T,H,W) -> (B,C*p*p,T,H/p,W/p)."""
    return x if patch == 1 else F.pixel_unshuffle(x.transpose(1, 2), patch).transpose(1, 2)


def depth_to_space(x: torch.Tensor, patch: int) -> torch.Tensor:
    """The inverse of ``space_to_depth``."""
    return x if patch == 1 else F.pixel_shuffle(x.transpose(1, 2), patch).transpose(1, 2)
