"""The reports of ``ramvid-vad score``: what it needs of detector and video, and where it is written."""

import csv
import json
import os
from dataclasses import asdict, replace

import numpy as np

from ramvid_vad.camera_report.moments import Moment, Picture, picture
from ramvid_vad.camera_report.page import camera_page, index_page
from ramvid_vad.events.camera import Camera
from ramvid_vad.events.events import Event
from ramvid_vad.events.peaks import Peak
from ramvid_vad.events.recording import Recorder
from ramvid_vad.page.pictures import decoded, jpeg
from ramvid_vad.runtime.files import write_text
from ramvid_vad.runtime.text import plain_name
from ramvid_vad.video.finding import evenly_spread

HOT = 2.0  # times the threshold: the hottest that heat shows
SHOWN, SIDE = 6, 240  # pictures of normal video, and their longer side
WORDS = {"frame_difference": "sudden change", "relative_flow": "movement", "features": "look"}


def write_report(camera: Camera, path: str, recorder: Recorder, out: str) -> None:
    """``out`` of one scored video. recorder: which has seen all of the video."""
    levels = np.array(recorder.levels)
    found = [event for event in recorder.events if not event.fault]
    events = [_moment(recorder, event) for event in found]
    highest = [] if events else recorder.highest_moments.peaks
    worst = [Moment(p.number, p.number + 1, p.number, p.level, picture=_picture(p)) for p in highest]
    lights = [camera, *([camera.night] if camera.night else [])]
    pictures = [each for light in lights for each in light.examples.jpegs]
    page = camera_page(
        plain_name(os.path.basename(path.rstrip("/"))),
        camera.name,
        levels,
        recorder.known,
        events,
        worst,
        np.concatenate([light.normal_levels() for light in lights]),
        [jpeg(decoded(each), SIDE) for each in evenly_spread(pictures, SHOWN)],
        [(event.start, event.end + 1, event.fault) for event in recorder.events if event.fault],
        stands_on=camera.sentence(),
        provenance={
            "card": camera.detector.card,
            "thresholds": [asdict(each.threshold) for each in lights],
            "zone": camera.zone,
        },
    )
    write_text(out, page)


def write_index(camera: str, tables: list[str], folder: str) -> str:
    """``index.report.html`` of several videos in ``folder``, from their files of figures and events -> where it is.
    camera: its name.  OSError: one of them is not there, or it cannot be written."""
    rows = []
    for table in tables:
        with open(table, encoding="utf-8", newline="") as file:
            levels = [float(line["level"]) for line in csv.DictReader(file) if line["level"]]
        with open(table.removesuffix(".scores.csv") + ".events.jsonl", encoding="utf-8") as file:
            faults = [bool(json.loads(line)["fault"]) for line in file]
        name = os.path.relpath(table, folder).removesuffix(".scores.csv")
        counts = {"events": faults.count(False), "faults": faults.count(True)}
        rows.append({"name": name, "report": f"{name}.report.html", "peak": max(levels, default=None), **counts})
    out = os.path.join(folder, "index.report.html")
    write_text(out, index_page(camera, rows))
    return out


def _moment(recorder: Recorder, event: Event) -> Moment:
    """clip: its address beside the report, if there is one."""
    parts = tuple(WORDS.get(name, name) for name in event.parts)
    shown, normal, peak = None, "", recorder.peaks.get(event.id)
    if peak:
        shown = _picture(peak)
        shown = replace(shown, box=list(event.box)) if event.box else shown
        if peak.normal:
            normal = jpeg(decoded(peak.normal), SIDE)
    clip = recorder.address(event, "mp4")
    return Moment(event.start, event.end + 1, event.peak, event.severity, parts, shown, clip, normal)


def _picture(peak: Peak) -> Picture:
    return picture(decoded(peak.jpeg), peak.heat, 0.0, HOT)
