"""Every option of every command, once: name, default, unit and one line of help.

A field's name is its flag (``--name``) and its YAML key; ``script_util`` makes the parsers from these classes. Names
that RaMViD or improved-diffusion have keep their meaning.
"""

from dataclasses import Field, dataclass, field
from typing import Any


def option(default: Any, help: str, *, unit: str = "", choices: tuple[str, ...] = ()) -> Any:
    """A dataclass field that is also a command-line flag."""
    return field(default=default, metadata={"help": help, "unit": unit, "choices": choices})


def describe(spec: Field) -> str:
    """The help line of one option: what it is, its unit, its choices and its default."""
    parts = [spec.metadata["help"]]
    if spec.metadata["unit"]:
        parts.append(f"[{spec.metadata['unit']}]")
    if spec.metadata["choices"]:
        parts.append("one of " + ", ".join(repr(c) if c == "" else c for c in spec.metadata["choices"]) + ";")
    return " ".join(parts) + f" (default: {spec.default!r})"


@dataclass
class ModelOptions:
    """The U-Net."""

    image_size: str = option("64", "frame size the network sees: 128, or 128x192 for height x width", unit="pixels")
    num_channels: int = option(128, "channels of the first level")
    num_res_blocks: int = option(2, "residual blocks per level")
    channel_mult: str = option("", "channels of each level over --num_channels, e.g. 1,2,3,4; empty: RaMViD's")
    num_heads: int = option(4, "attention heads")
    num_heads_upsample: int = option(-1, "attention heads on the way up; -1: as --num_heads")
    attention_resolutions: str = option(
        "16,8", "resolutions of the shorter side that get a token mixer, e.g. 16,8", unit="pixels"
    )
    mixer: str = option("mamba", "token mixer of the U-Net", choices=("mamba", "attention"))
    scan_order: str = option(
        "space", "token order of the Mamba scan: space or time runs fastest", choices=("space", "time", "alternate")
    )
    scan_merge: str = option("sum", "how the two scan directions are joined", choices=("sum", "mean"))
    d_state: int = option(16, "states per channel of the Mamba scan (N)")
    patch_size: int = option(1, "space-to-depth before the U-Net and back behind it; 1: RaMViD", unit="pixels")
    factorized_conv: bool = option(False, "3x3x3 convolutions as 1x3x3 then 3x1x1")
    dropout: float = option(0.0, "dropout in the residual blocks", unit="probability")
    class_cond: bool = option(False, "condition on the class in the file name's prefix (NAME_...)")
    use_checkpoint: bool = option(False, "gradient checkpointing: recompute activations, less memory")
    use_scale_shift_norm: bool = option(True, "timestep embedding as scale and shift of the norm")
    scale_time_dim: int = option(
        0, "halve time on the way down too; then it must equal --seq_len; 0: time is kept", unit="frames"
    )
    rgb: bool = option(True, "colour frames; False: grey")
    mask_channel: bool = option(False, "an input channel that says which frames are anchors")


@dataclass
class DiffusionOptions:
    """Noise schedule, prediction target and loss."""

    diffusion_steps: int = option(1000, "steps of the noise schedule", unit="steps")
    noise_schedule: str = option("linear", "betas", choices=("linear", "cosine"))
    timestep_respacing: str = option("", "steps kept for sampling: 200, ddim50 or 10,15,20; empty: all")
    prediction: str = option("epsilon", "what the network predicts", choices=("epsilon", "xstart", "v"))
    predict_xstart: bool = option(False, "RaMViD's name for --prediction xstart")
    learn_sigma: bool = option(False, "learn the reverse variance")
    sigma_small: bool = option(False, "the smaller of the two fixed reverse variances")
    min_snr_gamma: float = option(0.0, "min-SNR loss weight (arXiv 2303.09556); 0: off, 5: usual")
    use_kl: bool = option(False, "train on the variational bound instead of the squared error")
    rescale_timesteps: bool = option(True, "show the network timesteps on a scale of 0 to 1000")
    rescale_learned_sigmas: bool = option(True, "scale the bound beside the squared error (with --learn_sigma)")


@dataclass
class VideoOptions:
    """Where the videos are and how they are read."""

    data_dir: str = option("", "folder of videos (mp4 avi mkv gif ...) or of folders of frames; local or remote")
    only: str = option("", "a part of the videos, by name: 01,cam2/*, or a text file with a name per line; empty: all")
    seq_len: int = option(30, "frames of one window (T)", unit="frames")
    keep_aspect: bool = option(False, "keep the aspect ratio and crop the centre; False: squeeze to --image_size")
    cache_dir: str = option("", "decoded frames; empty: $XDG_CACHE_HOME or ~/.cache, ramvid_vad/frames")
    num_workers: int = option(0, "processes that decode, threads that prepare batches; 0: all cores, and none")
    decode_timeout: float = option(
        120.0, "a decoder that gives no new frame for this long is cut off, its video is damaged", unit="seconds"
    )


@dataclass
class AnchorOptions:
    """Which frames of a window the model is given clean."""

    anchors: str = option(
        "",
        "pattern of given frames; empty: random if a RaMViD mask flag is given, else selective",
        choices=("", "selective", "random", "prediction", "explicit"),
    )
    cond_frames: str = option("", "explicit anchors: frame indices of a window, e.g. 0,1,2")
    num_prediction_anchors: int = option(5, "prediction: the first K frames are given", unit="frames")
    max_num_mask_frames: int = option(4, "random: at most this many frames are given (RaMViD's K)", unit="frames")
    mask_range: str = option("", "random: given frames are drawn from FIRST,END; empty: the whole window")
    uncondition_rate: float = option(0.0, "random: share of samples with no frame given", unit="probability")
    exclude_conditional: bool = option(True, "loss on the generated frames only")


@dataclass
class TrainOptions:
    """The training loop."""

    lr: float = option(1e-4, "learning rate")
    weight_decay: float = option(0.0, "AdamW's weight decay")
    anneal_type: str = option("", "learning-rate decay", choices=("", "None", "linear", "step", "time_based"))
    lr_anneal_steps: int = option(0, "linear: the rate reaches 0 here and training ends; 0: off", unit="steps")
    steps_drop: float = option(0.0, "step: the rate drops every so many steps", unit="steps")
    drop: float = option(0.0, "step: factor of each drop")
    decay: float = option(0.0, "time_based: lr / (1 + decay * step)", unit="1/step")
    lr_warmup: int = option(0, "linear warm-up of the rate", unit="steps")
    batch_size: int = option(1, "windows per step and rank", unit="windows")
    microbatch: int = option(-1, "windows per forward pass; -1: the whole batch", unit="windows")
    max_steps: int = option(0, "end after this many steps; 0: never", unit="steps")
    max_hours: float = option(0.0, "save and end after this long; 0: never", unit="hours")
    schedule_sampler: str = option("uniform", "how timesteps are drawn", choices=("uniform", "loss-second-moment"))
    ema_rate: str = option("0.9999", "rates of the averaged weights, comma-separated")
    clip: float = option(1.0, "largest gradient norm; 0: no clipping")
    precision: str = option("", "arithmetic of the network; empty: fp32", choices=("", "fp32", "bf16", "fp16"))
    use_fp16: bool = option(False, "RaMViD's name for --precision fp16")
    fp16_scale_growth: float = option(1e-3, "growth of the log2 loss scale per good step (fp16)")
    max_skipped_steps: int = option(20, "stop after this many non-finite steps in a row", unit="steps")
    log_interval: int = option(10, "steps between log lines", unit="steps")
    save_interval: int = option(2000, "steps between checkpoints", unit="steps")
    keep_checkpoints: int = option(0, "newest checkpoints that are kept, at least 2; 0: all")
    resume_checkpoint: str = option("", "model file to go on from; empty or auto: the newest in the log directory")
    log_dir: str = option("", "where logs and checkpoints go; empty: $OPENAI_LOGDIR, else a dated folder in runs/")
    tensorboard: bool = option(False, "write TensorBoard events too")
    max_damaged_share: float = option(
        0.05,
        "damaged videos are left out, and the run stops before training if they are more than this; 0: at the first",
        unit="share of the videos",
    )
    seed: int = option(123, "seed of data order, timesteps, anchors and noise")


@dataclass
class SampleOptions:
    """Sampling: windowed infilling of whole videos, or RaMViD's generation of single windows."""

    model_path: str = option("", "checkpoint: .safetensors of this project, or RaMViD's .pt")
    use_ema: bool = option(True, "take the averaged weights that lie beside a raw model file")
    sampling_type: str = option(
        "",
        "windows: infill whole videos; generation: RaMViD's samples; empty: generation if --num_samples or "
        "--cond_frames is given or no --data_dir, else windows",
        choices=("", "windows", "generation"),
    )
    out_dir: str = option("", "where the result goes; empty: $OPENAI_LOGDIR, else a dated folder in runs/")
    sampler: str = option("ancestral", "how the reverse process is walked", choices=("ancestral", "ddim"))
    use_ddim: bool = option(False, "RaMViD's name for --sampler ddim")
    eta: float = option(0.0, "noise of the DDIM sampler; 0: none, 1: as much as ancestral")
    clip_denoised: bool = option(True, "clip the predicted frames to [-1, 1] at each step")
    resample_steps: int = option(1, "RePaint: draws per timestep; 1: plain")
    stride: int = option(15, "distance of the windows", unit="frames")
    extra_windows: bool = option(True, "add shifted windows, so that every frame is reconstructed at least once")
    batch_size: int = option(4, "windows per network call", unit="windows")
    num_samples: int = option(10, "generation: number of samples")
    cond_generation: bool = option(True, "generation: frames of real windows are given (needs --data_dir)")
    save_gt: bool = option(False, "generation: save the real windows too")
    save_gif: bool = option(False, "generation: also write each sample as a gif")
    save_mp4: bool = option(False, "generation: also write each sample as an mp4")
    precision: str = option("", "arithmetic of the network; empty: fp32", choices=("", "fp32", "bf16", "fp16"))
    seed: int = option(0, "seed of the sampling noise")


@dataclass
class DemoOptions:
    """The demonstration on a synthetic street."""

    out_dir: str = option("runs/demo", "where the scene, the model, the reconstructions and the figures go")
    recipe: str = option("demo", "options of the three commands")
    scene_seed: int = option(0, "seed of the scene")


@dataclass
class PrepareOptions:
    """Bringing a public data set, or one's own, into the standard layout."""

    name: str = option(
        "",
        "the data set; may stand first, without --name",
        choices=("", "ped1", "ped2", "avenue", "shanghaitech", "ubnormal", "own"),
    )
    source: str = option("", "folder with the unpacked files, as the authors offer them or converted")
    out: str = option("", "folder to write; empty: only check")
    place: str = option("link", "how the videos get there", choices=("link", "copy"))
    partial: bool = option(
        False, "accept missing videos and totals that are not the published ones; dataset.json then says so"
    )


@dataclass
class EvalOptions:
    """Evaluating frame scores against labels: of reconstructions, of any method, or of baselines alone."""

    scores: str = option(
        "",
        "per-frame scores of any method, higher = more abnormal, instead of --reconstructions: .npz with one array per "
        "video, .npy or .txt with all videos end to end, .csv with columns video,frame,score, or a folder of one file "
        "per video",
    )
    method: str = option("", "name of the method of --scores in tables; in a scores.npz of ours, the one to take")
    lengths: str = option(
        "",
        "--scores end to end: frames of each video, 180,180,150, or with names in their order, 1=180,2=180,10=150, or "
        "a file of either; empty: those of the labels",
        unit="frames",
    )
    compare: str = option(
        "",
        "two finished evaluations, RUN_A,RUN_B (their --out_dir folders), compared video by video; --method names the "
        "row to take, or the rows ROW_A,ROW_B; the same run twice with two rows compares these",
    )
    benchmark: str = option(
        "",
        "data set that --labels is of, prepared or as its authors offer it; names the label set and checks it",
        choices=("", "ped1", "ped2", "avenue", "shanghaitech", "ubnormal", "own"),
    )
    label_set: str = option("", "which labels, where there are several: liu2018 or vollabel (Avenue)")
    reconstructions: str = option("", "folder that video_sample.py wrote, one NAME.npz per video")
    data_dir: str = option("", "folder of the test videos, those that were infilled; local or remote")
    labels: str = option(
        "",
        "folder with NAME.npy, NAME.txt or NAME.csv per video: 0 (normal) or 1 (abnormal) for every frame; or one file "
        "of all videos: .csv with columns video,label, .npz, or end to end",
    )
    only: str = option("", "a part of the videos, by name: 01,cam2/*, or a text file with a name per line; empty: all")
    out_dir: str = option("", "where the results go; empty: $OPENAI_LOGDIR, else a dated folder in runs/")
    cache_dir: str = option("", "decoded frames; empty: $XDG_CACHE_HOME or ~/.cache, ramvid_vad/frames")
    measures: str = option(
        "wmse,mse,l1,psnr,ssim,ms_ssim,cw_ssim,box",
        "frame scores, comma-separated; the first is plotted. wmse: blobs of residual; box: worst 9x9 box of the "
        "squared error; psnr is negated, the similarities are subtracted from 1",
    )
    tau: float = option(0.04, "wmse: a pixel is active from this difference of the channel means on, 0 to 1")
    min_area: int = option(12, "wmse: smaller blobs are dropped", unit="pixels")
    weight: str = option("area", "wmse: weight of a blob", choices=("area", "superlinear", "uniform"))
    protocol: str = option(
        "default",
        "post-processing of frame scores; default: smoothing per video with mirrored borders, nothing dropped. The "
        "others re-run a published setting with its faults, so that its null rows can be seen",
        choices=("default", "thesis", "mnad", "ma-pdm", "aed-mae-avenue", "aed-mae-shanghaitech", "memae"),
    )
    sigma: float = option(4.0, "default protocol: Gaussian smoothing over time; 0: none", unit="frames")
    per_video_min_max: bool = option(
        False, "default protocol: scale each video to 0..1. Offline: it needs the whole video and flatters normal ones"
    )
    trim: str = option(
        "0,0", "default protocol: frames dropped at the beginning and the end of each video, FIRST,LAST", unit="frames"
    )
    nulls: str = option(
        "all",
        "baselines without a model, through the same steps, comma-separated, of those listed above under NULLS; all: "
        "all that the input allows",
    )
    nulls_only: bool = option(
        False, "evaluate the baselines alone, from --data_dir and --labels: nothing is trained or infilled"
    )
    normal_dir: str = option(
        "",
        "folder of normal training videos, which the nulls features and calibrated compare with",
    )
    noise_seeds: int = option(20, "draws of the noise baseline")
    bootstrap: int = option(1000, "draws of videos behind the 95 % intervals; 0: no intervals")
    seed: int = option(0, "seed of the draws")
    normal_scores: str = option(
        "", "scores of normal training video, files as --scores: they set the alarm thresholds, no test label does"
    )
    normal_reconstructions: str = option(
        "", "the same from reconstructions of the normal training videos in --normal_dir"
    )
    quantile: float = option(0.99, "alarm threshold: this quantile of the normal scores", unit="share of frames")
    alarm_period: float = option(
        10000, "extreme-value threshold: normal frames in which one false alarm is expected", unit="frames"
    )
    merge_gap: int = option(10, "alarms with at most so many frames between them are one", unit="frames")
    fps: float = option(
        0.0,
        "frame rate of the test videos, for false alarms per hour and delays in seconds; 0: the benchmark's (ped1 and "
        "ped2 10, avenue 25), else these figures are left out",
        unit="frames per second",
    )
    videos: int = option(
        0,
        "side-by-side mp4 of so many videos, those with the lowest AUC first: input, infilled, residual with the "
        "blobs' boxes, and below them the score up to that frame; -1: of all; needs --reconstructions",
    )
    plots: bool = option(True, "one picture per video: the score curve over the ground truth")
    full_table: bool = option(False, "print every row and figure, as in table.txt; False: what matters, 80 columns")
