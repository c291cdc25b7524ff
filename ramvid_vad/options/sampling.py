"""Sampling, and the demonstration that runs every command."""

from dataclasses import dataclass

from ramvid_vad.options.option import MOST_FRAMES, option


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
    sampler: str = option(
        "ancestral", "how the reverse process is walked", choices=("ancestral", "ddim", "dpmpp_2m", "heun")
    )
    use_ddim: bool = option(False, "RaMViD's name for --sampler ddim")
    eta: float = option(0.0, "noise of the DDIM sampler; 0: none, 1: as much as ancestral", at_least=0, at_most=1)
    clip_denoised: bool = option(True, "clip the predicted frames to [-1, 1] at each step")
    resample_steps: int = option(1, "RePaint: draws per timestep; 1: plain", at_least=1, at_most=1000)
    stride: int = option(15, "distance of the windows", unit="frames", at_least=1, at_most=MOST_FRAMES)
    extra_windows: bool = option(True, "add shifted windows, so that every frame is reconstructed at least once")
    batch_size: int = option(4, "windows per network call", unit="windows", at_least=1, at_most=65_536)
    num_samples: int = option(10, "generation: number of samples", at_least=1, at_most=1_000_000)
    cond_generation: bool = option(True, "generation: frames of real windows are given (needs --data_dir)")
    num_frames: int = option(
        0,
        "generation: frames of each sample; above --seq_len the video is predicted on: the last --max_cond_frames are "
        "given to the next window, and so on; 0: one window",
        unit="frames",
        at_least=0,
        at_most=MOST_FRAMES,
    )
    max_cond_frames: int = option(
        5, "--num_frames: frames that each window after the first is given", unit="frames", at_least=1
    )
    prediction_step: int = option(
        0, "--num_frames: new frames that are taken from each of these; 0: all", unit="frames", at_least=0
    )
    frechet: bool = option(
        False,
        "generation: also the Frechet distance between features of the samples and of as many real windows (needs "
        "--data_dir); features: EfficientNet-Lite0's, pooled over place and time; not the I3D of published FVD",
    )
    save_gt: bool = option(False, "generation: save the real windows too")
    save_gif: bool = option(False, "generation: also write each sample as a gif")
    save_mp4: bool = option(False, "generation: also write each sample as an mp4")
    precision: str = option(
        "",
        "arithmetic of the network; empty: fp32; auto: bf16 where the processor computes in it, else fp32",
        choices=("", "auto", "fp32", "bf16", "fp16"),
    )
    seed: int = option(0, "seed of the sampling noise", at_least=0)


@dataclass
class DemoOptions:
    """The demonstration on a synthetic street."""

    out_dir: str = option("runs/demo", "where the scene, the model, the reconstructions and the figures go")
    recipe: str = option("demo", "options of the three commands")
    scene_seed: int = option(0, "seed of the scene", at_least=0)
