"""The training loop."""

from dataclasses import dataclass

from ramvid_vad.options.option import option


@dataclass
class TrainOptions:
    """The training loop."""

    lr: float = option(1e-4, "learning rate", at_least=0)
    weight_decay: float = option(0.0, "AdamW's weight decay", at_least=0)
    anneal_type: str = option("", "learning-rate decay", choices=("", "None", "linear", "step", "time_based"))
    lr_anneal_steps: int = option(
        0, "linear: the rate reaches 0 here and training ends; 0: off", unit="steps", at_least=0
    )
    steps_drop: float = option(0.0, "step: the rate drops every so many steps", unit="steps", at_least=0)
    drop: float = option(0.0, "step: factor of each drop", at_least=0)
    decay: float = option(0.0, "time_based: lr / (1 + decay * step)", unit="1/step", at_least=0)
    lr_warmup: int = option(0, "linear warm-up of the rate", unit="steps", at_least=0)
    batch_size: int = option(1, "windows per step and rank", unit="windows", at_least=1, at_most=65_536)
    microbatch: int = option(
        -1, "windows per forward pass; -1: the whole batch", unit="windows", at_least=1, also=(-1,)
    )
    max_steps: int = option(0, "end after this many steps; 0: never", unit="steps", at_least=0)
    max_minutes: float = option(
        0.0,
        "end after so many minutes of training, over which the rate falls to 0 along half a cosine; 0: never",
        unit="minutes",
        at_least=0,
    )
    max_hours: float = option(0.0, "save and end after this long; 0: never", unit="hours", at_least=0)
    schedule_sampler: str = option("uniform", "how timesteps are drawn", choices=("uniform", "loss-second-moment"))
    mirror_windows: bool = option(
        False, "half of the windows are seen in a mirror; flow to the left is then to the right"
    )
    held_out: int = option(
        0, "normal videos, the last by name, kept back: their loss tells when more training does not help", at_least=0
    )
    held_out_interval: int = option(500, "steps between two looks at the held-out loss", unit="steps", at_least=1)
    ema_rate: str = option("0.9999", "rates of the averaged weights, comma-separated")
    ema_warmup: bool = option(
        True, "averages forget the random start: at step t the rate is at most (1+t)/(10+t); False: RaMViD's"
    )
    clip: float = option(1.0, "largest gradient norm; 0: no clipping", at_least=0)
    precision: str = option(
        "",
        "arithmetic of the network; empty: fp32; auto: bf16 where the processor computes in it, else fp32",
        choices=("", "auto", "fp32", "bf16", "fp16"),
    )
    use_fp16: bool = option(False, "RaMViD's name for --precision fp16")
    fp16_scale_growth: float = option(
        1e-3, "growth of the log2 loss scale per good step (fp16)", at_least=0, at_most=16
    )
    max_skipped_steps: int = option(20, "stop after this many non-finite steps in a row", unit="steps", at_least=1)
    log_interval: int = option(10, "steps between log lines", unit="steps", at_least=1)
    save_interval: int = option(2000, "steps between checkpoints", unit="steps", at_least=1)
    keep_checkpoints: int = option(0, "newest checkpoints that are kept, at least 2; 0: all", at_least=2, also=(0,))
    resume_checkpoint: str = option("", "model file to go on from; empty or auto: the newest in the log directory")
    log_dir: str = option("", "where logs and checkpoints go; empty: $OPENAI_LOGDIR, else a dated folder in runs/")
    tensorboard: bool = option(False, "write TensorBoard events too")
    max_damaged_share: float = option(
        0.05,
        "damaged videos are left out, and the run stops before training if they are more than this; 0: at the first",
        unit="share of the videos",
        at_least=0,
        at_most=1,
    )
    seed: int = option(123, "seed of data order, timesteps, anchors and noise", at_least=0)
