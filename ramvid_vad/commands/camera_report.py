"""The reports of ``ramvid-vad score``: what it needs of detector and video, and where it is written."""

import base64
import csv
import os
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice

import numpy as np

from ramvid_vad.camera_report.moments import (
    Moment,
    frames_before,
    picture,
    stretches_above,
    worst_moments,
)
from ramvid_vad.camera_report.page import camera_page, index_page
from ramvid_vad.detectors.detector import Detector, Scores
from ramvid_vad.detectors.fusion import CalibratedSum
from ramvid_vad.errors import InputError
from ramvid_vad.page.pictures import jpeg
from ramvid_vad.runtime.files import replacing_together, write_text
from ramvid_vad.scoring.curves import threshold_from_normal
from ramvid_vad.video.decoding.frame_rate import about_how_many
from ramvid_vad.video.reader import read_frames, read_image

QUANTILE = 0.99  # of held-out normal frames: the threshold
GAP = 1.0  # seconds, or 10 frames where the rate is not known: alarms this close are one event
PICTURES, CONTEXT = 12, 2  # moments with a picture; frames before each that its motion is seen from
FIRED = 2.0  # standard deviations of normal video above its mean: a part that reaches this has fired
FOLDER, KEPT, SIDE = "normal_frames", 6, 240  # of a camera's folder: pictures of its normal video, longer side
WORDS = {"frame_difference": "sudden change", "optical_flow": "movement", "features": "look"}


def keep_normal_frames(normal: list[str], folder: str) -> None:
    """Some frames of the normal videos, as JPEGs into the detector's folder: reports show what it was fitted on.
    InputError: they cannot be written."""
    chosen = [normal[i] for i in np.unique(np.linspace(0, len(normal) - 1, KEPT).astype(int))]
    each = -(-KEPT // len(chosen))
    frames: list[np.ndarray] = []
    for path in chosen:
        step = max(1, about_how_many(path) // each)
        frames += islice(islice(read_frames(path), 0, None, step), each)
    try:
        with replacing_together(os.path.join(folder, FOLDER)) as place:
            for number, frame in enumerate(frames[:KEPT]):
                with open(os.path.join(place, f"{number}.jpg"), "wb") as file:
                    file.write(base64.b64decode(jpeg(frame, SIDE)))
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written ({error.strerror}): name another folder, or free space"
        ) from None


def write_report(detector: CalibratedSum, model: str, path: str, scores: Scores, out: str) -> None:
    """``out`` of one scored video."""
    threshold = alarm_threshold(detector)
    gap = round(GAP * scores.fps) or 10
    events = stretches_above(scores.frames, threshold, gap)
    worst = [] if events else worst_moments(scores.frames, 4, 5 * gap)
    pictured = sorted(events, key=lambda e: -e.score)[:PICTURES] or worst
    shown = {m.peak: m for m in _with_pictures(detector, path, scores, pictured, threshold)}
    normal = np.concatenate(detector.normal)
    card = detector.card
    page = camera_page(
        os.path.basename(path.rstrip("/")),
        os.path.basename(os.path.abspath(model)),
        scores.frames,
        scores.fps,
        threshold,
        [shown.get(e.peak, e) for e in events],
        [shown[m.peak] for m in worst],
        normal,
        _normal_pictures(model),
        stands_on=(
            f"The alarm threshold is the score that {100 * (1 - QUANTILE):.0f} % of {len(normal)} held-out frames of "
            f"normal video exceed ({', '.join(detector.held_out)}); the camera was fitted {card.get('fitted', '')}."
        ),
        provenance={"card": card, "about": detector.about(), "threshold": threshold},
    )
    write_text(out, page)


def alarm_threshold(detector: CalibratedSum) -> float:
    """From the held-out normal video; above 0, the mean of its frames, whatever the video."""
    return max(threshold_from_normal(detector.normal, QUANTILE), 0.1)


def write_index(detector: CalibratedSum, model: str, tables: list[str], folder: str) -> str:
    """``index.report.html`` of several videos in ``folder``, from their CSVs -> where it is."""
    threshold, rows = alarm_threshold(detector), []
    for table in tables:
        with open(table, encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
        scores = np.array([float(line["score"]) for line in lines])
        seconds = float(lines[1]["seconds"] or 0) if len(lines) > 1 else 0.0
        name = os.path.relpath(table, folder).removesuffix(".scores.csv")
        events = stretches_above(scores, threshold, round(GAP / seconds) if seconds else 10)
        peak = float(scores.max()) / threshold
        rows.append({"name": name, "report": f"{name}.report.html", "events": len(events), "peak": peak})
    out = os.path.join(folder, "index.report.html")
    write_text(out, index_page(os.path.basename(os.path.abspath(model)), rows))
    return out


def _with_pictures(
    detector: CalibratedSum, path: str, scores: Scores, moments: list[Moment], threshold: float
) -> list[Moment]:
    """The moments with what fired and, in a second pass over the video, their pictures."""
    found = []
    frames = frames_before(read_frames(path), [m.peak for m in moments], CONTEXT) if moments else {}
    for moment in moments:
        shown = frames[moment.peak]
        heat = _maps(detector, shown)[-1]
        image = picture(shown[-1], heat, 0.0, max(2 * threshold, float(heat.max())))
        found.append(replace(moment, parts=_fired(detector, scores.parts, moment.peak), picture=image))
    return found


def _maps(detector: Detector, frames: list[np.ndarray]) -> np.ndarray:
    maps = detector.score(frames).maps
    assert maps is not None
    return maps


def _fired(detector: CalibratedSum, parts: Mapping[str, np.ndarray], frame: int) -> tuple[str, ...]:
    """Words for the parts that stand far above normal video in a frame, the furthest first."""
    far = {name: float(scale(parts[name][frame : frame + 1])[0]) for name, scale in detector.scales.items()}
    return tuple(WORDS[name] for name in sorted(far, key=lambda name: -far[name]) if far[name] >= FIRED)


def _normal_pictures(model: str) -> list[str]:
    folder = os.path.join(model, FOLDER)
    names = sorted(name for name in os.listdir(folder) if name.endswith(".jpg")) if os.path.isdir(folder) else []
    return [jpeg(read_image(os.path.join(folder, name)), SIDE) for name in names]
