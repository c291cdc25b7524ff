"""Two finished runs, compared by paired difference: the same videos, the same draws of videos, B minus A.

Two intervals that overlap say little about two methods judged on the same videos, because what makes a video hard
moves both. The difference is therefore formed within every draw of whole videos (``statistics.bootstrap``).
"""

import os
from dataclasses import dataclass, replace

import numpy as np

from ramvid_vad.errors import InputError
from ramvid_vad.evaluation.inputs.finished_runs import FinishedRun
from ramvid_vad.evaluation.statistics.bootstrap import (
    bootstrap,
    check_draws,
    intervals_of,
    no_interval,
    rests_on,
)
from ramvid_vad.evaluation.statistics.metrics import frame_metrics, video_auc

METRICS = {"micro_auc": "micro AUC", "macro_auc": "macro", "ap": "AP", "eer": "EER (lower is better)"}


@dataclass(frozen=True)
class VideoDifference:
    """AUC of one video in both runs, fractions; None where the video has one class only."""

    name: str
    frames: int
    abnormal: int
    auc_a: float | None
    auc_b: float | None

    @property
    def difference(self) -> float | None:
        """B minus A."""
        return None if self.auc_a is None or self.auc_b is None else self.auc_b - self.auc_a


@dataclass(frozen=True)
class Difference:
    """One metric in both runs, and B minus A with its 95 % interval; None where undefined."""

    a: float | None
    b: float | None
    interval: tuple[float, float] | None

    @property
    def difference(self) -> float | None:
        """B minus A."""
        return None if self.a is None or self.b is None else self.b - self.a


@dataclass(frozen=True)
class Comparison:
    """Two runs side by side. videos: by largest loss of B against A, those of one class last.  metrics: of METRICS.
    no_interval: why there is none, in words, "" where there is."""

    a: FinishedRun
    b: FinishedRun
    videos: list[VideoDifference]
    metrics: dict[str, Difference]
    resamples: int
    seed: int
    no_interval: str = ""

    @property
    def folders(self) -> tuple[str, str]:
        """Names of the two folders: of each path's end as much as tells them apart."""
        parts = [os.path.abspath(run.folder).split(os.sep) for run in (self.a, self.b)]
        kept = next((k for k in range(1, len(parts[0])) if parts[0][-k:] != parts[1][-k:]), 1)
        return "/".join(parts[0][-kept:]), "/".join(parts[1][-kept:])


def compare(a: FinishedRun, b: FinishedRun, resamples: int = 1000, seed: int = 0) -> Comparison:
    """B minus A, per video and over all; videos are paired by name, whatever their order.

    InputError: runs of other videos, other frames or other labels.

    resamples, seed: draws of videos behind the intervals, 0: none.
    """
    check_draws(resamples, seed)
    b = check_comparable(a, b)
    videos = []
    for name, y, sa, sb in zip(a.names, a.labels, a.scores, b.scores, strict=True):
        videos.append(VideoDifference(name, len(y), int(np.count_nonzero(y)), video_auc(sa, y), video_auc(sb, y)))
    whole_a, whole_b = (frame_metrics(run.scores, run.labels, run.names) for run in (a, b))
    metrics = {key: Difference(whole_a[key], whole_b[key], None) for key in METRICS}
    why_none = no_interval(a.labels, resamples)
    if not why_none:
        # one seed, so each draw has the same videos in both runs
        of_a, of_b = (bootstrap(run.scores, run.labels, resamples, seed) for run in (a, b))
        drawn = {key: of_b[key] - of_a[key] for key in METRICS}
        found = intervals_of({k: d.difference for k, d in metrics.items()}, drawn, rests_on(a.labels), differences=True)
        metrics = {key: replace(d, interval=found.get(key)) for key, d in metrics.items()}
    return Comparison(a, b, sorted(videos, key=_place), metrics, resamples, seed, why_none)


def check_comparable(a: FinishedRun, b: FinishedRun) -> FinishedRun:
    """``b`` with its videos in the order of ``a``.

    InputError unless both runs scored the same frames of the same videos against the same labels.
    """
    both = f"--compare {a.folder},{b.folder}"
    alone = [(name, a, b) for name in a.names if name not in b.names]
    alone += [(name, b, a) for name in b.names if name not in a.names]
    if alone:
        name, has, lacks = alone[0]
        raise InputError(f"{both}: video {name!r} is in {has.folder} only, not in {lacks.folder}: evaluate both alike")
    if a.labels_sha256 != b.labels_sha256:
        raise InputError(
            f"{both}: made with other label files (SHA-256 {a.labels_sha256[:12]} and {b.labels_sha256[:12]}): "
            "evaluate both with the same --labels and --label_set"
        )
    order = [b.names.index(name) for name in a.names]
    b = replace(b, names=a.names, labels=[b.labels[i] for i in order], scores=[b.scores[i] for i in order])
    for name, ya, yb in zip(a.names, a.labels, b.labels, strict=True):
        if len(ya) != len(yb) or a.first != b.first:
            raise InputError(
                f"{both}: video {name!r} is scored in frames {a.first} to {a.first + len(ya) - 1} of the one and "
                f"{b.first} to {b.first + len(yb) - 1} of the other: evaluate both with one --protocol"
            )
        if (ya != yb).any():
            raise InputError(f"{both}: the labels of video {name!r} are not the same in both scores.npz")
    return b


def reading(comparison: Comparison) -> list[str]:
    """What it says, in words."""
    micro = comparison.metrics["micro_auc"]
    change = micro.difference
    if change is None:
        return ["All frames are of one class: nothing can be compared."]
    points = f"{abs(100 * change):.1f} points of micro AUC"
    place = f"{points} {'above' if change > 0 else 'below'} A" if change else "level with A in micro AUC (difference 0)"
    text = f"B is {place}"
    if micro.interval is None:
        text += f"; {comparison.no_interval}: without an interval nothing is said of chance."
    else:
        low, high = micro.interval
        text += f"; the 95 % interval of the difference, {100 * low:+.1f} to {100 * high:+.1f},"
        if low <= 0 <= high:
            text += " contains 0: these videos do not tell the two apart."
        else:
            text += " does not contain 0: more than the draw of the videos explains."
    defined = [v.difference for v in comparison.videos if v.difference is not None]
    better, worse = sum(d > 0 for d in defined), sum(d < 0 for d in defined)
    videos = f"{len(defined)} {'video' if len(defined) == 1 else 'videos'}"
    lines = [text, f"Of {videos} with both classes, B is better in {better} and worse in {worse}."]
    if comparison.a.protocol_line != comparison.b.protocol_line:
        lines.append("The two protocols differ: the difference is of method and post-processing together.")
    return lines


def _place(video: VideoDifference) -> tuple[float, str]:
    """Largest loss first, then by name; one-class videos last."""
    return (np.inf if video.difference is None else video.difference, video.name)
