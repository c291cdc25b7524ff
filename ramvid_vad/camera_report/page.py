"""The page of one scored video, and the index of several."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from typing import Any

import numpy as np

from ramvid_vad.camera_report.moments import Moment, severity
from ramvid_vad.events.recording import PICTURED
from ramvid_vad.page.curves import thinned
from ramvid_vad.page.render import render

BARS = 30  # of the histogram of normal scores


def camera_page(
    name: str,
    camera: str,
    levels: np.ndarray,
    fps: float,
    events: Sequence[Moment],
    worst: Sequence[Moment],
    normal: np.ndarray,
    normal_pictures: Sequence[str] = (),
    health: Sequence[tuple[int, int, str]] = (),
    stands_on: str = "",
    provenance: dict[str, Any] | None = None,
) -> str:
    """HTML of one video, with today's date.

    name, camera: as the owner calls them.  levels: (n,), 0 = usual, 1 = threshold, NaN where scoring paused.
    fps: 0: not known.  events: in order.  worst: shown where there is no event.  normal: levels (m,) of held-out
    normal video, and JPEGs in base64 of some of it.  health: begin, end and what was wrong with the
    picture.  stands_on: a sentence on what the threshold follows from.  At most some thousand points and PICTURED
    events, however long the video is.
    """
    step, peaks = thinned(levels)
    points = [None if np.isnan(levels[peak]) else float(f"{levels[peak]:.4g}") for peak in peaks]
    shown = sorted(events, key=lambda e: (-e.score, e.begin))[:PICTURED]
    data = {
        "title": f"{camera}: {name}",
        "made": date.today().isoformat(),
        "lead": _lead(len(levels), fps, events, worst, len(health)),
        "video": {
            "name": name,
            "first": 0,
            "frames": len(levels),
            "step": step,
            "peaks": peaks.tolist(),
            "scores": points,
            "fps": fps,
            "spans": [*([e.begin, e.end, "event"] for e in events), *([b, e, "health"] for b, e, _ in health)],
        },
        "health": [{"begin": begin, "end": end, "what": what} for begin, end, what in health],
        "events": [_moment(moment) for moment in shown],
        "more": len(events) - len(shown),
        "worst": [] if events else [_moment(moment) for moment in worst],
        "normal": _histogram(np.asarray(normal)) | {"pictures": list(normal_pictures)},
        "stands_on": stands_on,
        "provenance": provenance or {},
    }
    return render(data, "camera", __package__)


def index_page(camera: str, rows: Sequence[dict[str, Any]]) -> str:
    """HTML that links to the reports of several videos. rows: ``name``, ``report`` (its address relative to the index),
    ``events`` and ``faults`` of the picture, how many, and ``peak`` in multiples of the threshold; None: no frame could
    be scored, which comes first."""
    ordered = sorted(rows, key=lambda row: (-np.inf if row["peak"] is None else -row["peak"], row["name"]))
    words = ("no frame could be scored" if row["peak"] is None else severity(row["peak"]) for row in ordered)
    listed = [row | {"severity": said} for row, said in zip(ordered, words, strict=True)]
    data = {"title": f"{camera}: {len(rows)} videos", "made": date.today().isoformat(), "rows": listed}
    return render(data | {"provenance": {}}, "index", __package__)


def _lead(frames: int, fps: float, events: Sequence[Moment], worst: Sequence[Moment], faults: int) -> str:
    """What the page says, in a sentence."""
    seconds = frames / fps if fps else 0.0
    spoken = f"{seconds / 60:.1f} minutes" if seconds >= 60 else f"{seconds:.1f} seconds"
    length = f"{frames} frames" + (f" ({spoken})" if fps else "")
    paused = f"; scoring paused {faults} times, as the picture itself was at fault" if faults else ""
    if not events and not worst:
        return f"Of {length} no frame could be scored{paused}."
    peak = max(moment.score for moment in events or worst)
    if not events:
        return (
            f"Nothing in {length} rose above the alarm threshold; the highest frame reached {peak:.2f} of it{paused}."
        )
    words = f"{len(events)} unusual {'event' if len(events) == 1 else 'events'} in {length}"
    return f"{words}; the worst is {severity(peak)}, {peak:.1f} times the alarm threshold{paused}."


def _moment(moment: Moment) -> dict[str, Any]:
    return asdict(moment) | {"severity": severity(moment.score)}


def _histogram(multiples: np.ndarray) -> dict[str, Any]:
    """Counts of normal scores between 0 (or less) and the highest of them and the threshold."""
    low, high = min(0.0, float(multiples.min())), max(1.0, float(multiples.max()))
    counts, _ = np.histogram(multiples, BARS, (low, high))
    return {"counts": counts.tolist(), "low": low, "high": high}
