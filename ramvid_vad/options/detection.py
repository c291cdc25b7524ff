"""Fitting a detector on normal video, and scoring with it."""

from dataclasses import dataclass

from ramvid_vad.options.option import option


@dataclass
class FitOptions:
    """Learning what is usual from normal video, without labels."""

    normal: str = option("", "normal video: file or folder; several may stand first, without --normal")
    out: str = option("", "folder for the detector, e.g. camera/")
    recipe: str = option(
        "fast",
        "what to fit; fast: training-free, minutes; full: fast's scores and a diffusion model, trained for --minutes",
        choices=("fast", "full"),
    )
    detector: str = option(
        "",
        "in place of a recipe, one detector by name: frame_difference, optical_flow, features, or another paper's "
        "method; a wrong name lists all",
    )
    scenes: str = option(
        "",
        "data set whose videos' names tell the scene: a detector for each one, trained for --minutes, in a folder of "
        "--out; score and evaluate then choose by the video's name; empty: one detector for all",
        choices=("", "shanghaitech", "ubnormal"),
    )
    minutes: float = option(45.0, "how long to train what is trained", unit="minutes", above=0)
    seed: int = option(123, "seed of what is trained", at_least=0)
    alarms_per_hour: float = option(
        0.5, "alarms that you can bear; sets the threshold on held-out normal video", above=0
    )
    zone: str = option("", 'what is watched: a mask picture (white), or a polygon "x,y x,y x,y"; empty: all')
    min_seconds: float = option(
        0.5, "an alarm must be unusual for most of this time; 10: only what stays, loiters", unit="seconds", above=0
    )
    add: str = option("", "more normal video for the camera in --out, recipe fast, without fitting it again")


@dataclass
class ScoreOptions:
    """Scoring video with a fitted detector."""

    input: str = option("", "video: file or folder; several may stand first, without --input")
    model: str = option("", "folder that ramvid-vad fit wrote")
    out: str = option("", "folder for NAME.scores.csv, NAME.events.jsonl and NAME.events/, of each video; empty: here")
    overlay: bool = option(False, "write NAME.overlay.mp4 too, with heat and boxes")


@dataclass
class ExportOptions:
    """Handing the networks of a fitted detector to other programs."""

    model: str = option("", "folder that ramvid-vad fit --recipe full wrote; may stand first, without --model")
    onnx: bool = option(False, "as ONNX files, each checked against PyTorch; there is no other format yet")
    out: str = option("", "folder for features.onnx, denoiser.onnx and onnx.json; empty: onnx in the detector's folder")


@dataclass
class SelectOptions:
    """Choosing the parts of a recipe by pseudo-anomalies made from held-out normal video."""

    run: str = option("", "log directory of a training run with --space features and --held_out 2")
    normal: str = option("", "folder of the normal videos it was trained on; the last two were held out, and are used")
    inpainter: str = option(
        "",
        "folder of a fitted detector pseudo_anomalies, or of a diffusers inpainting pipeline; adds the infilled kind",
    )
    memory_videos: int = option(
        4, "videos, the first by name, that tell which looks, speeds and residuals are usual", at_least=1
    )
    backbone_weights: str = option("", "of a run that was given --backbone_weights: the same file")
    out_dir: str = option("", "where select_recipe.json goes; empty: $OPENAI_LOGDIR, else a dated folder in runs/")
    seed: int = option(0, "seed of the pseudo-anomalies", at_least=0)


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
    p_means: str = option("-1.5,-0.5,0.5", "means of log sigma, vectors having deviation 1; if below 0: --p_means=-1,0")
    p_stds: str = option("0.6,1.2", "deviations of log sigma in training")
    ks: str = option("0.1,0.3,0.5,0.7,1", "thresholds: mean + k standard deviations of the test errors")
    minutes: float = option(2.0, "training of each pair of mean and deviation", unit="minutes", above=0)
    out_dir: str = option("", "where the results go; empty: $OPENAI_LOGDIR, else a dated folder in runs/")
    seed: int = option(0, "seed of weights and noise", at_least=0)


@dataclass
class WatchOptions:
    """Watching a stream: events as they happen, on standard output and in a folder."""

    source: str = option(
        "", "webcam number, rtsp:// or http(s):// address, or a file; may stand first, without --source"
    )
    model: str = option("", "folder that ramvid-vad fit wrote")
    out: str = option("watch", "folder for events by day, their pictures and clips, and the state; one watch each")
    name: str = option("", "what events call the camera; empty: the host, the file's name or webcamN")
    loop: bool = option(False, "play a file over and over")
    keep: str = option("14d", "how many days of events, pictures and clips to keep, e.g. 14d; empty: all")
    before: float = option(5.0, "how much of a clip lies before its event", unit="seconds", at_least=0, at_most=30)
    queue: int = option(
        8,
        "frames that may wait for scoring; when more come, the oldest is dropped and counted",
        at_least=1,
        at_most=250,
    )
    timeout: float = option(
        10.0, "how long a source may take to open, and be silent, before it counts as lost", unit="seconds", above=0
    )
    page: str = option(
        "",
        "port of the local page on 127.0.0.1, or ADDRESS:PORT, which asks for a token; 0: a free port; empty: no page",
    )
    webhook: str = option("", "http(s):// address that gets each event by POST, as JSON")
    command: str = option(
        "", "program, with arguments, that is run for each event, with the JSON on its standard input"
    )
    mqtt: str = option("", "mqtt(s)://[USER:PASSWORD@]HOST[:PORT]/TOPIC that each event is published to")
