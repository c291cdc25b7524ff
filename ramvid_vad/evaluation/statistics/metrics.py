"""Frame-level metrics of anomaly scores, exact also under ties; every figure a fraction, ``None`` where undefined.

Higher scores mean more abnormal. "Oracle" figures choose their threshold on the test labels: nobody has that
threshold in use, so they are upper bounds and stand beside the accuracy of answering the same thing everywhere.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ramvid_vad.errors import InputError

PerVideo = list[np.ndarray]  # scores or labels, one array (n_i,) per video


class Counts(NamedTuple):
    """Abnormal frames of a set of scores, cut at each distinct score from the highest down ("abnormal" = score >= cut).

    tp, fp: int64 (K + 1,), true and false positives; entry 0 is the cut above all scores, where all is called normal.
    """

    tp: np.ndarray
    fp: np.ndarray

    @property
    def positives(self) -> int:
        return int(self.tp[-1])

    @property
    def negatives(self) -> int:
        return int(self.fp[-1])

    @property
    def has_both(self) -> bool:
        return self.positives > 0 and self.negatives > 0


def counts(scores: np.ndarray, labels: np.ndarray) -> Counts:
    """Scores (n,) and labels (n,) of 0 and 1 -> the counts at every distinct cut."""
    order = np.argsort(-scores, kind="stable")
    scores, labels = scores[order], labels[order].astype(np.int64)
    last_of_ties = np.flatnonzero(np.append(scores[1:] != scores[:-1], True)) if len(scores) else np.zeros(0, int)
    tp = np.cumsum(labels)[last_of_ties]
    return Counts(np.concatenate([[0], tp]), np.concatenate([[0], last_of_ties + 1 - tp]))


def roc_auc(c: Counts) -> float:
    """Area under the ROC: the share of (abnormal, normal) pairs in the right order, ties counting one half."""
    return _pairs(c) / (c.positives * c.negatives)


def video_auc(scores: np.ndarray, labels: np.ndarray) -> float | None:
    """:func:`roc_auc` of scores (n,) and labels (n,); None where all are of one class."""
    c = counts(scores, labels)
    return roc_auc(c) if c.has_both else None


def padded_roc_auc(c: Counts) -> float:
    """ROC area after adding a normal frame below all scores and an abnormal frame above them.

    Convention "P" of AI-VAD, AED-MAE and SSPCAB: it gives one-class videos a value, 1, and lifts all others. Each new
    frame is in the right order with every frame of the other class, so no score needs to be made up.
    """
    p, n = c.positives, c.negatives
    return (_pairs(c) + p + n + 1) / ((p + 1) * (n + 1))


def average_precision(c: Counts) -> float:
    """Sum over cuts of precision times the growth of recall: the step-wise area, without interpolation."""
    precision = c.tp[1:] / (c.tp[1:] + c.fp[1:])
    return float((np.diff(c.tp) * precision).sum() / c.positives)


def equal_error_rate(c: Counts) -> float:
    """The rate where FPR = FNR, on the ROC with straight lines between its points."""
    fpr, fnr = c.fp / c.negatives, 1 - c.tp / c.positives
    return float(np.interp(0, fpr - fnr, fpr))


def best_f1(c: Counts) -> float:
    """Oracle: the highest F1 of all cuts."""
    return float((2 * c.tp / (c.tp + c.fp + c.positives)).max())


def best_accuracy(c: Counts) -> float:
    """Oracle: the highest accuracy of all cuts; calling everything normal, or abnormal, is among them."""
    return float((c.tp - c.fp + c.negatives).max() / (c.positives + c.negatives))


def frame_metrics(
    scores: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    names: Sequence[str] | None = None,
    scenes: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Metrics of per-frame scores of several videos.

    scores, labels: one array (n_i,) per video; higher = more abnormal; labels 0 normal, 1 abnormal. names: of the
    videos, for messages. scenes: scene of each video, for ``scene_auc``.

    micro_auc: all frames of all videos in one ROC.  macro_auc: mean of the videos' AUCs, one-class videos skipped.
    macro_auc_padded: mean over all videos of :func:`padded_roc_auc`.  scene_auc: mean over scenes of the AUC of the
    scene's frames, one-class scenes skipped.  ap, eer, best_f1, oracle_accuracy: over all frames.
    oracle_accuracy_per_video: mean over videos of each video's accuracy at its own best threshold (a one-class video
    gives 1).  accuracy_all_normal, accuracy_all_abnormal: of the constant answers; the ``_per_video`` one is the mean
    over videos of the better constant answer of each.
    Counts: videos, one_class_videos, frames, abnormal_frames.

    A set whose frames are all of one class has nothing to tell apart: every metric above is ``None``, never a number;
    the constant answers and the counts remain. InputError names the video with a NaN or infinite score, a label other
    than 0 and 1, or a number of scores that is not its number of labels.
    """
    scores, labels = _checked(scores, labels, names)
    per_video = [counts(s, y) for s, y in zip(scores, labels, strict=True)]
    pooled = counts(np.concatenate(scores), np.concatenate(labels))
    defined = [c for c in per_video if c.has_both]
    frames = pooled.positives + pooled.negatives
    result: dict[str, Any] = {
        "micro_auc": roc_auc(pooled) if pooled.has_both else None,
        "macro_auc": _mean([roc_auc(c) for c in defined]),
        "macro_auc_padded": _mean([padded_roc_auc(c) for c in per_video]) if pooled.has_both else None,
        "scene_auc": _scene_auc(scores, labels, scenes) if scenes is not None else None,
        "ap": average_precision(pooled) if pooled.has_both else None,
        "eer": equal_error_rate(pooled) if pooled.has_both else None,
        "best_f1": best_f1(pooled) if pooled.has_both else None,
        "oracle_accuracy": best_accuracy(pooled) if pooled.has_both else None,
        "oracle_accuracy_per_video": _mean([best_accuracy(c) for c in per_video]) if pooled.has_both else None,
        "accuracy_all_normal": pooled.negatives / frames,
        "accuracy_all_abnormal": pooled.positives / frames,
        "accuracy_best_constant_per_video": _mean(
            [max(c.positives, c.negatives) / (c.positives + c.negatives) for c in per_video]
        ),
        "videos": len(scores),
        "one_class_videos": len(per_video) - len(defined),
        "frames": frames,
        "abnormal_frames": pooled.positives,
    }
    return result


def undefined(metrics: dict[str, Any]) -> dict[str, str]:
    """Why each metric of ``frame_metrics`` that is None is undefined."""
    one_class = metrics["abnormal_frames"] in (0, metrics["frames"])
    causes = {"scene_auc": "no scenes are named, or none has both normal and abnormal frames"}
    if one_class:
        causes = dict.fromkeys(metrics, "all frames are " + ("abnormal" if metrics["abnormal_frames"] else "normal"))
    causes |= {} if one_class else {"macro_auc": "no video has both normal and abnormal frames"}
    return {name: causes[name] for name, value in metrics.items() if value is None}


def _pairs(c: Counts) -> float:
    """Pairs (abnormal, normal) in the right order, ties counting one half: the ROC's area in whole steps."""
    # Twice the trapezoids' area is a whole number; above 2^53 pairs float64 would round, int64 does not up to 2^63
    return float((np.diff(c.fp) * (c.tp[1:] + c.tp[:-1])).sum()) / 2


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _scene_auc(scores: list[np.ndarray], labels: list[np.ndarray], scenes: Sequence[str]) -> float | None:
    if len(scenes) != len(scores):
        raise InputError(f"{len(scenes)} scenes for {len(scores)} videos: give one per video")
    aucs = []
    for scene in sorted(set(scenes)):
        members = [i for i, name in enumerate(scenes) if name == scene]
        c = counts(np.concatenate([scores[i] for i in members]), np.concatenate([labels[i] for i in members]))
        if c.has_both:
            aucs.append(roc_auc(c))
    return _mean(aucs)


def _checked(
    scores: Sequence[np.ndarray], labels: Sequence[np.ndarray], names: Sequence[str] | None
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    if len(scores) != len(labels):
        raise InputError(f"scores of {len(scores)} videos, labels of {len(labels)}: give one array of each per video")
    if not len(scores):
        raise InputError("no video to evaluate: give scores and labels of at least one")
    checked: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for i, (s, y) in enumerate(zip(scores, labels, strict=True)):
        name = f"video {names[i]!r}" if names is not None else f"video number {i}"
        s, y = np.asarray(s, dtype=np.float64), np.asarray(y)
        if s.ndim != 1 or y.ndim != 1:
            raise InputError(f"{name}: scores and labels must be one-dimensional, not {s.shape} and {y.shape}")
        if len(s) != len(y):
            raise InputError(f"{name}: {len(s)} scores but {len(y)} labels: they must be of the same frames")
        if not len(s):
            raise InputError(f"{name}: no frame")
        if not np.isfinite(s).all():
            frame = int(np.flatnonzero(~np.isfinite(s))[0])
            raise InputError(f"{name}: the score of frame {frame} is {s[frame]}: scores must be finite numbers")
        if not np.isin(y, (0, 1)).all():
            raise InputError(f"{name}: labels must be 0 (normal) or 1 (abnormal), found {y[~np.isin(y, (0, 1))][0]}")
        checked[0].append(s)
        checked[1].append(y)
    return checked
