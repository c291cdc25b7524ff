"""What an alarm threshold does on labelled video: accuracy, false alarms per hour, detection delay."""

from collections.abc import Sequence

import numpy as np


def spans(flags: np.ndarray) -> list[tuple[int, int]]:
    """Runs of true values in (n,): (first, end) each, end exclusive."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], np.asarray(flags).astype(bool), [False]]).astype(np.int8)))
    return [(int(first), int(end)) for first, end in edges.reshape(-1, 2)]


def merged(runs: Sequence[tuple[int, int]], gap: int) -> list[tuple[int, int]]:
    """Runs in order, joined where at most ``gap`` frames lie between one and the next."""
    joined: list[tuple[int, int]] = []
    for first, end in runs:
        if joined and first - joined[-1][1] <= gap:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((first, end))
    return joined


def alarm_figures(
    scores: Sequence[np.ndarray], labels: Sequence[np.ndarray], threshold: float, merge_gap: int = 0, fps: float = 0
) -> dict[str, float | int | None]:
    """Figures at a fixed threshold; a frame is called abnormal if its score lies strictly above it.

    scores, labels: one array (n_i,) per video.  merge_gap: frames.  fps: frames per second; 0: not known.

    Frames: accuracy, precision, recall, f1, false_positive_rate.
    Alarms: an *alarm* is a run of frames above the threshold, runs at most ``merge_gap`` frames apart being one; it is
    false if no frame from its first to its last is abnormal. alarms, false_alarms; false_alarms_per_hour of *normal*
    video (frames labelled 0), false_alarms_per_1000_normal_frames.
    Events: an *event* is a run of abnormal frames in one video, detected if a frame of it lies above the threshold;
    its delay is the number of frames from its first to the first such frame (merging, which needs the future, plays no
    part). events, missed_events; mean_ and median_delay_frames, mean_ and median_delay_seconds over detected events:
    missed ones are counted apart and do not shorten or lengthen it.
    None: undefined, as recall without an abnormal frame, or a figure in seconds without ``fps``.
    """
    above = [np.asarray(s) > threshold for s in scores]
    truth = [np.asarray(y).astype(bool) for y in labels]
    flat, abnormal = np.concatenate(above), np.concatenate(truth)
    tp, fp = int((flat & abnormal).sum()), int((flat & ~abnormal).sum())
    positives, frames = int(abnormal.sum()), len(flat)
    negatives = frames - positives
    alarms = [merged(spans(a), merge_gap) for a in above]
    false = sum(not y[first:end].any() for runs, y in zip(alarms, truth, strict=True) for first, end in runs)
    events = [a[first:end] for a, y in zip(above, truth, strict=True) for first, end in spans(y)]
    delays = [int(event.argmax()) for event in events if event.any()]
    mean, median = (float(f(delays)) if delays else None for f in (np.mean, np.median))
    return {
        "accuracy": (tp + negatives - fp) / frames,
        "precision": _ratio(tp, tp + fp),
        "recall": _ratio(tp, positives),
        "f1": _ratio(2 * tp, tp + fp + positives) if positives else None,
        "false_positive_rate": _ratio(fp, negatives),
        "alarms": sum(map(len, alarms)),
        "false_alarms": false,
        "false_alarms_per_hour": false * 3600 * fps / negatives if negatives and fps else None,
        "false_alarms_per_1000_normal_frames": 1000 * false / negatives if negatives else None,
        "events": len(events),
        "missed_events": len(events) - len(delays),
        "mean_delay_frames": mean,
        "median_delay_frames": median,
        "mean_delay_seconds": mean / fps if fps and mean is not None else None,
        "median_delay_seconds": median / fps if fps and median is not None else None,
    }


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
