"""``study_features.py``: the study of the feature diffusion paper: range of noise, starting level, threshold."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import product

import numpy as np
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from ramvid_vad.detectors.feature_diffusion.detector import FEWEST_CLIPS, collected
from ramvid_vad.detectors.feature_diffusion.model import LEVELS, Noise, VectorDiffusion, flagged
from ramvid_vad.detectors.feature_diffusion.preconditioning import REACH, WIDEST, noise_range
from ramvid_vad.errors import InputError
from ramvid_vad.infill_videos import claim_folder, read_settings
from ramvid_vad.options import FeatureStudyOptions, RunOptions
from ramvid_vad.runtime.files import write_text
from ramvid_vad.runtime.logger import result_dir
from ramvid_vad.runtime.progress import counted, progress_bar
from ramvid_vad.spaces.clip_features import LENGTH, ClipFeatures, PooledSpace, VideoBackbone, spread
from ramvid_vad.spaces.clip_files import read_clip_features
from ramvid_vad.spaces.features import FeatureSpace
from ramvid_vad.video.reader import find_videos, read_frames, video_name
from ramvid_vad.video.truth.labels import read_labels

Clips = tuple[list[int], np.ndarray]  # first frame and vector of each clip of a video
FILE = "study_features.json"


def study_features(run: RunOptions) -> None:
    """Train a model for each pair of P_mean and P_std; score the test clips from every starting level; decide with
    every k.

    Prints and writes, of each, the AUC over frames and for each k the balanced accuracy of the decision, which is the
    AUC of a score of two values, and the share of frames it calls abnormal. All videos of ``train`` are learnt from,
    whatever is in them, and no label of theirs is read: normal video makes it the one-class protocol, mixed video the
    unsupervised one. Labels of the test videos make the figures alone. The same command goes on where it was stopped.
    InputError: nothing there, features of different lengths, one class in the labels, other results in the folder.
    """
    options = run.feature_study
    for name in ("train", "test", "labels"):
        if not getattr(options, name):
            raise InputError(f"--{name}: give the folder")
    p_means, p_stds, ks = (_numbers(getattr(options, name), name) for name in ("p_means", "p_stds", "ks"))
    if min(p_stds) <= 0:
        raise InputError(f"--p_stds {options.p_stds}: must be above 0")
    pairs = list(product(p_means, p_stds))
    for p_mean, p_std in pairs:
        if abs(p_mean) + REACH * p_std > WIDEST:
            raise InputError(
                f"--p_means {p_mean:g} with --p_stds {p_std:g}: too wide for 32-bit numbers: "
                f"|P_mean| + {REACH:g} P_std must be at most {WIDEST:.1f}"
            )
    out = result_dir(options.out_dir, flag="--out_dir")
    train, test, lengths = _clips(options)
    vectors = np.concatenate([each for _, each in train.values()])
    if len(vectors) < FEWEST_CLIPS:
        raise InputError(
            f"--train {options.train}: {len(vectors)} clips of {LENGTH} frames: give at least {FEWEST_CLIPS}"
        )
    widths = {each.shape[1] for clips in (train, test) for _, each in clips.values()}
    if len(widths) > 1:
        raise InputError(f"--train and --test: vectors of {sorted(widths)} numbers: both must be of one network")
    truth = read_labels(options.labels, list(test), [lengths[name] for name in test] if lengths else None).values
    labels = np.concatenate(truth)
    if len(np.unique(labels)) < 2:
        raise InputError(f"--labels {options.labels}: all frames are {'ab' if labels.all() else ''}normal: no AUC")
    known = {"train": {name: len(each) for name, (_, each) in train.items()}}
    known["train_vectors"] = _digest([vectors])
    claim_folder(out, known | {name: getattr(options, name) for name in ("features", "minutes", "seed")}, "a study")
    results = os.path.join(out, FILE)
    asked = {"p_means": p_means, "p_stds": p_stds, "ks": ks, "labels": _digest(truth)}
    asked["test"] = _digest([each for _, each in test.values()])
    earlier = read_settings(results) if os.path.exists(results) else asked
    if other := [name for name, value in asked.items() if earlier.get(name) != value]:
        raise InputError(
            f"{results}: holds results of another {', '.join(other)}: move it elsewhere, the networks serve again"
        )
    rows = []
    for p_mean, p_std in pairs:
        work = os.path.join(out, f"mean{p_mean:g}_std{p_std:g}")
        model = VectorDiffusion.fit(
            vectors, vectors[:0], work=work, minutes=options.minutes, seed=options.seed, noise=Noise(p_mean, p_std)
        )
        for start in range(LEVELS):
            noise = Noise(p_mean, p_std, start)
            errors = [
                _to_frames(model.errors(each, noise), firsts, name, len(y))
                for (name, (firsts, each)), y in zip(test.items(), truth, strict=True)
            ]
            rows.append(
                {"p_mean": p_mean, "p_std": p_std, "start": start} | _figures(np.concatenate(errors), labels, ks)
            )
    places = {"train": "", "test": "", "labels": "", "out_dir": "", "feature_weights": ""}
    about = {"options": asdict(options) | places, "train_videos": list(train), "test_videos": list(test)}
    write_text(results, json.dumps(about | asked | {"rows": rows}, indent=1) + "\n")
    print(f"{'P_mean':>7}{'P_std':>7}{'sigma_min':>11}{'sigma_max':>11}{'start':>7}{'AUC':>8}" + _head(ks))
    for row in rows:
        low, high = noise_range(row["p_mean"], row["p_std"])
        figures = "".join(f"{each['balanced_accuracy']:>8.3f}" for each in row["thresholds"])
        ends = f"{row['p_mean']:>7g}{row['p_std']:>7g}{low:>11.3g}{high:>11.3g}"
        print(f"{ends}{row['start']:>7}{row['auc']:>8.3f}{figures}")
    print(f"{FILE} is in {out}")


def _clips(options: FeatureStudyOptions) -> tuple[dict[str, Clips], dict[str, Clips], dict[str, int]]:
    """Clips of each training and test video, and frames of each test video where they were read."""
    if options.features == "files":
        files = (read_clip_features(place) for place in (options.train, options.test))
        train, test = (
            {name: ([LENGTH * i for i in range(len(each))], each) for name, each in found.items()} for found in files
        )
        return train, test, {}
    videos = find_videos(options.train)
    source: ClipFeatures
    if options.features == "space":
        source = PooledSpace(FeatureSpace.fit(videos))
    else:
        source = VideoBackbone(options.features, options.feature_weights)
    lengths: dict[str, int] = {}

    def of(paths: list[str], folder: str) -> dict[str, Clips]:
        found = {}
        with progress_bar("features", "video", len(paths)) as bar:
            for path in paths:
                seen: list[int] = []
                name = video_name(path, folder)
                found[name] = collected(source, counted(read_frames(path), seen.append))
                lengths[name] = len(seen)
                bar.update()
        return found

    return of(videos, options.train), of(find_videos(options.test), options.test), lengths


def _to_frames(errors: np.ndarray, firsts: list[int], name: str, count: int) -> np.ndarray:
    """Errors of clips -> of ``count`` frames. Other programs leave out the frames after the last whole clip, or fill it
    up: as long as the end is off by less than one clip, the last one stands for it. InputError: it is off by more."""
    whole = firsts[-1] + LENGTH
    if abs(whole - count) >= LENGTH:
        raise InputError(f"{name}: {len(errors)} clips of {LENGTH} frames, but {count} labels: of another video?")
    found = spread(list(errors), firsts, LENGTH, whole)
    return np.pad(found, (0, max(count - whole, 0)), mode="edge")[:count]


def _figures(errors: np.ndarray, labels: np.ndarray, ks: list[float]) -> Mapping[str, object]:
    decisions = {k: flagged(errors, k) for k in ks}
    thresholds = [
        {"k": k, "balanced_accuracy": float(balanced_accuracy_score(labels, each)), "flagged": float(each.mean())}
        for k, each in decisions.items()
    ]
    return {"auc": float(roc_auc_score(labels, errors)), "thresholds": thresholds}


def _head(ks: list[float]) -> str:
    return "".join(f"{f'k={k:g}':>8}" for k in ks)


def _digest(arrays: Sequence[np.ndarray]) -> str:
    return hashlib.sha256(np.concatenate(arrays).tobytes()).hexdigest()


def _numbers(text: str, flag: str) -> list[float]:
    """Comma-separated numbers, each once. InputError: others, or none."""
    try:
        numbers = list(dict.fromkeys(float(part) for part in text.split(",") if part.strip()))
    except ValueError:
        numbers = []
    if not numbers or not np.isfinite(numbers).all():
        raise InputError(f"--{flag} {text!r}: expected comma-separated numbers, e.g. 0.5,1")
    return numbers
