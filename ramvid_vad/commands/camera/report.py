"""The reports of ``ramvid-vad score``: what it needs of detector and video, and where it is written."""

import csv
import json
import os
from dataclasses import asdict, replace
from itertools import islice

import numpy as np

from ramvid_vad.camera_report.moments import Moment, frames_before, picture, worst_moments
from ramvid_vad.camera_report.page import camera_page, index_page
from ramvid_vad.detectors.fusion import CalibratedSum
from ramvid_vad.errors import InputError
from ramvid_vad.events.camera import Camera
from ramvid_vad.events.events import Event, smoothed, window
from ramvid_vad.events.recording import Recorder
from ramvid_vad.page.pictures import encoded, jpeg
from ramvid_vad.runtime.files import replacing_together, write_text
from ramvid_vad.video.decoding.frame_rate import about_how_many
from ramvid_vad.video.reader import read_frames, read_image

PICTURES, CONTEXT = 12, 2  # moments with a picture; frames before each that its motion is seen from
HOT = 2.0  # times the threshold: the hottest that heat shows
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
                    file.write(encoded(frame, SIDE))
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written ({error.strerror}): name another folder, or free space"
        ) from None


def write_report(camera: Camera, folder: str, path: str, recorder: Recorder, out: str) -> None:
    """``out`` of one scored video. folder: of the camera.  recorder: which has seen all of the video."""
    levels = np.array(recorder.levels)
    found = [event for event in recorder.events if not event.fault]
    events = [_moment(recorder, event) for event in found]
    worst = [] if events else worst_moments(levels, 4, round(5 * recorder.rate))
    pictured = sorted(events, key=lambda m: -m.score)[:PICTURES] or worst
    boxes = {event.peak: event.box for event in found}
    shown = {m.peak: m for m in _with_pictures(camera, path, pictured, boxes)}
    length = window(camera.min_seconds, camera.fps)
    normal = [camera.level_of(smoothed(curve, length, camera.threshold.usual)) for curve in camera.curves]
    page = camera_page(
        os.path.basename(path.rstrip("/")),
        camera.name,
        levels,
        recorder.known,
        [shown.get(m.peak, m) for m in events],
        [shown[m.peak] for m in worst],
        np.concatenate(normal),
        _normal_pictures(folder),
        [(event.start, event.end + 1, event.fault) for event in recorder.events if event.fault],
        stands_on=camera.threshold.sentence(),
        provenance={"card": camera.detector.card, "threshold": asdict(camera.threshold), "zone": camera.zone},
    )
    write_text(out, page)


def write_index(camera: str, tables: list[str], folder: str) -> str:
    """``index.report.html`` of several videos in ``folder``, from their files of figures and events -> where it is.
    camera: its name."""
    rows = []
    for table in tables:
        with open(table, encoding="utf-8", newline="") as file:
            levels = [float(line["level"]) for line in csv.DictReader(file) if line["level"]]
        with open(table.removesuffix(".scores.csv") + ".events.jsonl", encoding="utf-8") as file:
            events = sum(not json.loads(line)["fault"] for line in file)
        name = os.path.relpath(table, folder).removesuffix(".scores.csv")
        peak = max(levels, default=0.0)
        rows.append({"name": name, "report": f"{name}.report.html", "events": events, "peak": peak})
    out = os.path.join(folder, "index.report.html")
    write_text(out, index_page(camera, rows))
    return out


def _moment(recorder: Recorder, event: Event) -> Moment:
    """clip: its address beside the report, if there is one."""
    parts = tuple(WORDS.get(name, name) for name in event.parts)
    return Moment(event.start, event.end + 1, event.peak, event.severity, parts, clip=recorder.address(event, "mp4"))


def _with_pictures(
    camera: Camera, path: str, moments: list[Moment], boxes: dict[int, tuple[int, int, int, int] | None]
) -> list[Moment]:
    """The moments with, in a second pass over the video, their pictures. boxes: by the peak of an event."""
    found = []
    frames = frames_before(read_frames(path), [m.peak for m in moments], CONTEXT) if moments else {}
    for moment in moments:
        shown, box = frames[moment.peak], boxes.get(moment.peak)
        heat = np.zeros((1, 1), np.float32)  # a model of windows cannot look at some frames alone
        if isinstance(camera.detector, CalibratedSum):
            *_, last = camera.detector.stream(iter(shown))
            heat = np.asarray(camera.level_of(last.map), np.float32)
        image = picture(shown[-1], heat, 0.0, HOT)
        found.append(replace(moment, picture=replace(image, box=list(box)) if box else image))
    return found


def _normal_pictures(model: str) -> list[str]:
    folder = os.path.join(model, FOLDER)
    names = sorted(name for name in os.listdir(folder) if name.endswith(".jpg")) if os.path.isdir(folder) else []
    return [jpeg(read_image(os.path.join(folder, name)), SIDE) for name in names]
