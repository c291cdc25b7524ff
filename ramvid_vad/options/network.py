"""The network, its diffusion process, and which frames it is given."""

from dataclasses import dataclass

from ramvid_vad.options.option import MOST_FRAMES, option


@dataclass
class ModelOptions:
    """The U-Net."""

    image_size: str = option("64", "frame size the network sees: 128, or 128x192 for height x width", unit="pixels")
    num_channels: int = option(128, "channels of the first level", at_least=1, at_most=8192)
    num_res_blocks: int = option(2, "residual blocks per level", at_least=1, at_most=64)
    channel_mult: str = option("", "channels of each level over --num_channels, e.g. 1,2,3,4; empty: RaMViD's")
    num_heads: int = option(4, "attention heads", at_least=1, at_most=1024)
    num_heads_upsample: int = option(
        -1, "attention heads on the way up; -1: as --num_heads", at_least=1, at_most=1024, also=(-1,)
    )
    attention_resolutions: str = option(
        "16,8",
        "where the U-Net gets a token mixer: resolutions of the shorter side, 16,8, or shares of the full one, /2,/4",
        unit="pixels",
    )
    mixer: str = option("mamba", "token mixer of the U-Net", choices=("mamba", "attention", "none"))
    scan_order: str = option(
        "space", "token order of the Mamba scan: space or time runs fastest", choices=("space", "time", "alternate")
    )
    scan_merge: str = option("sum", "how the two scan directions are joined", choices=("sum", "mean"))
    d_state: int = option(16, "states per channel of the Mamba scan (N)", at_least=1, at_most=1024)
    patch_size: int = option(
        1, "space-to-depth before the U-Net and back behind it; 1: RaMViD", unit="pixels", at_least=1, at_most=64
    )
    factorized_conv: bool = option(False, "3x3x3 convolutions as 1x3x3 then 3x1x1")
    dropout: float = option(0.0, "dropout in the residual blocks", unit="probability", at_least=0, at_most=1)
    class_cond: bool = option(False, "condition on the class in the file name's prefix (NAME_...)")
    use_checkpoint: bool = option(False, "gradient checkpointing: recompute activations, less memory")
    use_scale_shift_norm: bool = option(True, "timestep embedding as scale and shift of the norm")
    scale_time_dim: int = option(
        0,
        "halve time on the way down too; then it must equal --seq_len; 0: time is kept",
        unit="frames",
        at_least=0,
        at_most=MOST_FRAMES,
    )
    rgb: bool = option(True, "colour frames; False: grey")
    mask_channel: bool = option(False, "an input channel (one for each group of channels) that says what is given")


@dataclass
class DiffusionOptions:
    """Noise schedule, prediction target and loss."""

    diffusion_steps: int = option(1000, "steps of the noise schedule", unit="steps", at_least=1, at_most=100_000)
    noise_schedule: str = option("linear", "betas", choices=("linear", "cosine"))
    timestep_respacing: str = option("", "steps kept for sampling: 200, ddim50, logsnr10 or 10,15,20; empty: all")
    prediction: str = option("epsilon", "what the network predicts", choices=("epsilon", "xstart", "v"))
    predict_xstart: bool = option(False, "RaMViD's name for --prediction xstart")
    learn_sigma: bool = option(False, "learn the reverse variance")
    sigma_small: bool = option(False, "the smaller of the two fixed reverse variances")
    min_snr_gamma: float = option(0.0, "min-SNR loss weight (arXiv 2303.09556); 0: off, 5: usual", at_least=0)
    use_kl: bool = option(False, "train on the variational bound instead of the squared error")
    rescale_timesteps: bool = option(True, "show the network timesteps on a scale of 0 to 1000")
    rescale_learned_sigmas: bool = option(True, "scale the bound beside the squared error (with --learn_sigma)")


@dataclass
class AnchorOptions:
    """Which frames of a window the model is given clean."""

    anchors: str = option(
        "",
        "what is given clean: selective, random, prediction, explicit, infill (first and last frame), none, tube (all "
        "but a box), motion_given_appearance, appearance_given_motion; or a mixture with shares, none:2,tube:1; empty: "
        "random if a RaMViD mask flag is given, else selective",
    )
    cond_frames: str = option("", "explicit anchors: frame indices of a window, e.g. 0,1,2")
    num_prediction_anchors: int = option(
        5, "prediction: the first K frames are given", unit="frames", at_least=0, at_most=MOST_FRAMES
    )
    max_num_mask_frames: int = option(
        4, "random: at most this many frames are given (RaMViD's K)", unit="frames", at_least=0, at_most=MOST_FRAMES
    )
    mask_range: str = option("", "random: given frames are drawn from FIRST,END; empty: the whole window")
    uncondition_rate: float = option(
        0.0, "random: share of samples with no frame given", unit="probability", at_least=0, at_most=1
    )
    exclude_conditional: bool = option(True, "loss on the generated frames only")
