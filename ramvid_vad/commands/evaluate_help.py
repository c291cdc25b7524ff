"""What ``vad_eval.py --help`` says before its flags."""

from ramvid_vad.evaluation.nulls.registry import NULLS
from ramvid_vad.evaluation.statistics.protocols import PROTOCOLS, choose
from ramvid_vad.options import EvalOptions

MANUAL = """\
Evaluate per-frame anomaly scores against frame labels, with intervals and null baselines beside them.

WHAT TO GIVE (one of five)
  --scores FILE_OR_FOLDER --labels DIR            scores of any method; no video, no model
  --reconstructions DIR --data_dir DIR --labels DIR    what video_sample.py wrote
  --detector DIR --data_dir DIR --labels DIR      a detector that ramvid-vad fit made, and each of its parts
  --nulls_only True --data_dir DIR --labels DIR   what the data set gives away before anything is trained
  --compare RUN_A,RUN_B                           two finished evaluations: paired difference per video and over all
  Scores: higher = more abnormal, one finite number per frame. .npz: one array per video. .npy, .txt: all videos end to
  end, in natural order of their names, 2 before 10 (--lengths where the labels do not say where to cut, or names have
  another order). .csv: columns video,frame,score. A folder: one file per video. Labels: a folder of NAME.npy, .txt or
  .csv (0 normal, 1 abnormal), one file of all videos (.csv with video,label, .npz), a data set that prepare_data.py
  wrote, or with --benchmark the files as the authors offer them. --only: a part of the videos.

EXAMPLES
  python scripts/vad_eval.py --scores scores.npz --labels data/ped2/labels
  python scripts/vad_eval.py --scores scores.csv --labels data/avenue --benchmark avenue --label_set liu2018
  python scripts/vad_eval.py --scores psnr.npy --labels data/ped2 --benchmark ped2 --protocol mnad
  python scripts/vad_eval.py --scores test.npz --normal_scores train.npz --labels data/ped2/labels --fps 10
  python scripts/vad_eval.py --reconstructions runs/rec --data_dir my/testing --labels my/labels --videos 3
  python scripts/vad_eval.py --detector camera --data_dir my/testing --labels my/labels --normal_dir my/training
  python scripts/vad_eval.py --compare runs/a,runs/b
  python scripts/vad_eval.py --compare runs/a,runs/a --method wmse,optical_flow

WHAT IS COMPUTED
  micro AUC   all frames of all videos in one ROC           raw     the same before the protocol
  macro       mean of the videos' AUCs, one-class videos skipped
  padded      mean over all videos, each with a normal frame added below and an abnormal one above its scores
  AP, EER     over all frames; per-scene AUC (metrics.json) for ShanghaiTech
  F1*, acc.*  oracle: the best threshold on these very labels, an upper bound that nobody has in use
  intervals   95 %, by t from the standard deviation of --bootstrap draws of whole videos; none below 5 videos; --seed
              names the draws
  thresholds  from normal training video only (--normal_scores, --normal_reconstructions): a quantile, and an
              extreme-value fit (generalised Pareto over the peaks above the 0.9 quantile). At each: accuracy, F1, false
              alarms per hour of normal video, missed events, delay. Without normal video: "not calibrated"
  compare     B minus A of every metric, 95 % interval from draws of videos that are the same for both; AUC difference
              of each video, largest loss first. Other label files, videos or frames are refused
  nulls       rows that have learnt nothing, through the same steps; see below
  A figure that cannot be defined is "-" here, null with its cause in metrics.json, never a number.
  Printed: what the result says, and the rows that matter. All rows: table.txt, or --full_table True.

NULLS (--nulls) and what each needs; a frame takes about 20 ms with optical_flow, 100 ms with features or calibrated
"""

PROTOCOLS_TITLE = "\nPROTOCOLS (--protocol; the line that says what was done is printed with every result)\n"
FILES = """
FILES in --out_dir: metrics.json, scores.npz, scores.csv, table.txt, report.html, plots/; with --videos N also
videos/NAME.mp4 of the N videos with the lowest AUC: input, infilled, residual with the blobs' boxes, running score;
with --compare comparison.json and comparison.html. Twice the same input: the same bytes, but for the mp4's encoding.
Exit code 2: something given does not fit, in one line that names it; 1: a fault at run time.
"""


def manual() -> str:
    """The manual, with every null and its needs, every protocol, its steps and source."""
    rows = (f"  {n.name:<17} {n.title}; {', '.join(n.needs) or 'labels alone'}\n" for n in NULLS.values())
    protocols = [choose(name, EvalOptions().sigma, False) for name in PROTOCOLS]
    presets = "\n".join(f"  {p.describe()}\n      source: {p.source}" for p in protocols)
    return MANUAL + "".join(rows) + PROTOCOLS_TITLE + presets + "\n" + FILES
