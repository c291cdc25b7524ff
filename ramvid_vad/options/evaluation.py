"""Evaluation of frame scores."""

from dataclasses import dataclass

from ramvid_vad.options.option import option


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
    detector: str = option(
        "", "folder of a fitted detector (ramvid-vad fit --out): it scores the videos of --data_dir, its parts too"
    )
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
    tau: float = option(
        0.04, "wmse: a pixel is active from this difference of the channel means on, 0 to 1", at_least=0, at_most=1
    )
    min_area: int = option(12, "wmse: smaller blobs are dropped", unit="pixels", at_least=1)
    weight: str = option("area", "wmse: weight of a blob", choices=("area", "superlinear", "uniform"))
    protocol: str = option(
        "default",
        "post-processing of frame scores; default: smoothing per video with mirrored borders, nothing dropped. The "
        "others re-run a published setting with its faults, so that its null rows can be seen",
        choices=("default", "thesis", "mnad", "ma-pdm", "aed-mae-avenue", "aed-mae-shanghaitech", "memae"),
    )
    sigma: float = option(
        4.0, "default protocol: Gaussian smoothing over time; 0: none", unit="frames", at_least=0, at_most=1e4
    )
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
    noise_seeds: int = option(20, "draws of the noise baseline, whose spread is shown", at_least=2, at_most=10_000)
    bootstrap: int = option(
        1000, "draws of videos behind the 95 % intervals; 0: no intervals", at_least=100, at_most=1_000_000, also=(0,)
    )
    seed: int = option(0, "seed of the draws", at_least=0)
    normal_scores: str = option(
        "", "scores of normal training video, files as --scores: they set the alarm thresholds, no test label does"
    )
    normal_reconstructions: str = option(
        "", "the same from reconstructions of the normal training videos in --normal_dir"
    )
    quantile: float = option(
        0.99, "alarm threshold: this quantile of the normal scores", unit="share of frames", above=0, below=1
    )
    alarm_period: float = option(
        10000, "extreme-value threshold: normal frames in which one false alarm is expected", unit="frames", at_least=1
    )
    merge_gap: int = option(10, "alarms with at most so many frames between them are one", unit="frames", at_least=0)
    fps: float = option(
        0.0,
        "frame rate of the test videos, for false alarms per hour and delays in seconds; 0: the benchmark's (ped1 and "
        "ped2 10, avenue 25), else these figures are left out",
        unit="frames per second",
        at_least=0,
        at_most=100_000,
    )
    videos: int = option(
        0,
        "side-by-side mp4 of so many videos, those with the lowest AUC first: input, infilled, residual with the "
        "blobs' boxes, and below them the score up to that frame; -1: of all; needs --reconstructions",
        at_least=0,
        also=(-1,),
    )
    plots: bool = option(True, "one picture per video: the score curve over the ground truth")
    full_table: bool = option(False, "print every row and figure, as in table.txt; False: what matters, 80 columns")


@dataclass
class CompareOptions:
    """Several detectors on one benchmark under one budget of time."""

    benchmark: str = option(
        "",
        "data set that --labels is of; the frame rate and the scenes of its protocol follow",
        choices=("", "ped1", "ped2", "avenue", "shanghaitech", "ubnormal", "own"),
    )
    data_dir: str = option("", "folder of the test videos")
    labels: str = option("", "labels of the test videos, as ramvid-vad evaluate takes them; the evaluation alone reads")
    label_set: str = option("", "which labels, where there are several: liu2018 or vollabel (Avenue)")
    normal_dir: str = option("", "folder of normal training videos: all that the detectors learn from")
    detectors: str = option("full", "detectors beside fast, comma-separated, as ramvid-vad fit --detector names them")
    minutes: float = option(30.0, "training time of each detector that is trained", unit="minutes", above=0)
    curve: bool = option(
        False, "evaluate the stored checkpoints of each training too: AUC over steps, after the fact; it chooses none"
    )
    out_dir: str = option("", "where everything goes; the same command goes on from what is finished there")
    sigma: float = option(4.0, "Gaussian smoothing over time; 0: none", unit="frames", at_least=0, at_most=1e4)
    bootstrap: int = option(
        1000, "draws of videos behind the 95 % intervals; 0: none", at_least=100, at_most=1_000_000, also=(0,)
    )
    seed: int = option(123, "seed of what is trained", at_least=0)
