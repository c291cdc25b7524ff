"""Studies of other papers' methods."""

from dataclasses import dataclass

from ramvid_vad.options.option import option


@dataclass
class FeatureStudyOptions:
    """What noise, starting level and threshold do to feature diffusion, against labels. Nothing is chosen by it."""

    train: str = option("", "what is learnt from: videos, or features as a folder of NAME.npy or one .h5 file")
    test: str = option("", "what is scored: videos, or features of the same kind")
    labels: str = option("", "frame labels of the test videos: a file or folder, as of ramvid-vad evaluate")
    features: str = option(
        "space",
        "what makes a clip's vector; files: --train and --test hold them; else a video backbone of torchvision",
        choices=("space", "files", "r3d_18", "mc3_18", "r2plus1d_18"),
    )
    feature_weights: str = option("", "local file of the video backbone's weights")
    p_means: str = option("-1.5,-0.5,0.5", "means of log sigma in training, vectors having deviation 1")
    p_stds: str = option("0.6,1.2", "deviations of log sigma in training")
    ks: str = option("0.1,0.3,0.5,0.7,1", "thresholds: mean + k standard deviations of the test errors")
    minutes: float = option(2.0, "training of each pair of mean and deviation", unit="minutes", above=0)
    out_dir: str = option("", "where the results go; empty: $OPENAI_LOGDIR, else a dated folder in runs/")
    seed: int = option(0, "seed of weights and noise", at_least=0)
