"""The page of one scored video, and the index of several."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from typing import Any

import numpy as np

from ramvid_vad.camera_report.moments import Moment, severity
from ramvid_vad.page.curves import thinned
from ramvid_vad.page.render import render

BARS = 30  # of the histogram of normal scores
MOST = 40  # moments with a picture on one page


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
    picture.  stands_on: a sentence on what the threshold follows from.  At most some thousand points and MOST pictures,
    however long the video is.
    """
    step, peaks = thinned(levels)
    points = [None if np.isnan(levels[peak]) else float(f"{levels[peak]:.4g}") for peak in peaks]
    shown = sorted(events, key=lambda e: (-e.score, e.begin))[:MOST]
    data = {
        "title": f"{camera}: {name}",
        "made": date.today().isoformat(),
        "lead": _lead(levels, fps, events, health),
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
    ``events``, and ``peak`` in multiples of the threshold."""
    ordered = sorted(rows, key=lambda row: (-row["peak"], row["name"]))
    listed = [row | {"severity": severity(row["peak"])} for row in ordered]
    data = {"title": f"{camera}: {len(rows)} videos", "made": date.today().isoformat(), "rows": listed}
    return render(data | {"provenance": {}}, "index", __package__)


def _lead(levels: np.ndarray, fps: float, events: Sequence[Moment], health: Sequence[tuple[int, int, str]]) -> str:
    """What the page says, in a sentence."""
    seconds = len(levels) / fps if fps else 0.0
    spoken = f"{seconds / 60:.1f} minutes" if seconds >= 60 else f"{seconds:.1f} seconds"
    length = f"{len(levels)} frames" + (f" ({spoken})" if fps else "")
    peak = float(np.nanmax(levels, initial=-np.inf))
    paused = f"; scoring paused {len(health)} times, as the picture itself was at fault" if health else ""
    if not events:
        return (
            f"Nothing in {length} rose above the alarm threshold; the highest frame reached {peak:.2f} of it{paused}."
        )
    words = f"{len(events)} unusual {'event' if len(events) == 1 else 'events'} in {length}"
    return f"{words}; the worst is {severity(peak)}, {peak:.1f} times the alarm threshold{paused}."


def _moment(moment: Moment) -> dict[str, Any]:
    return asdict(moment) | {"multiple": float(f"{moment.score:.4g}"), "severity": severity(moment.score)}


def _histogram(multiples: np.ndarray) -> dict[str, Any]:
    """Counts of normal scores between 0 (or less) and the highest of them and the threshold."""
    low, high = min(0.0, float(multiples.min())), max(1.0, float(multiples.max()))
    counts, _ = np.histogram(multiples, BARS, (low, high))
    return {"counts": counts.tolist(), "low": low, "high": high}
