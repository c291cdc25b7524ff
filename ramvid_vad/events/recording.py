"""What a scored video leaves: a table of its frames, its events with pictures and clips, and the video with heat and
boxes."""

import csv
import io
import json
import os
from collections import deque
from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from ramvid_vad.events.camera import Camera, Moment
from ramvid_vad.events.events import Event
from ramvid_vad.runtime.files import replacing, write_text
from ramvid_vad.video.writer import write_video

BEFORE, AFTER, LONGEST = 3.0, 2.0, 20.0  # seconds of a clip before its event begins, after it ends, and of the event
RED = (220, 40, 30)


class Recorder:
    """Moments of one video in order -> files beside ``stem``, and lines of its table; memory is that of one clip."""

    def __init__(self, stem: str, camera: Camera, fps: float) -> None:
        self.stem, self.camera, self.rate = stem, camera, fps or camera.fps
        self.known = fps  # frames per second as the file says; 0: not known
        self.recent: deque[bytes] = deque(maxlen=max(round(BEFORE * self.rate), 1))  # JPEG
        self.clips: dict[int, tuple[Event, list[bytes], int]] = {}  # id: event, frames, frames still to come
        self.events: list[Event] = []
        self.rows: list[str] = []
        self.parts: list[str] = []
        self.highest = (-np.inf, 0)
        self.open: Event | None = None
        self.best: tuple[float, bytes] | None = None  # level and frame of its peak

    def take(self, moments: Iterable[Moment]) -> Iterator[np.ndarray]:
        """Record each moment, and give its frame with heat and box, uint8 (H, W, 3)."""
        for moment in moments:
            self._row(moment)
            picture = _jpeg(moment.frame)
            for kind, event in moment.changes:
                if event.fault:
                    self.events += [event] if kind == "end" else []
                else:
                    self._change(kind, event, moment)
            for number, (event, frames, left) in list(self.clips.items()):
                frames.append(picture)
                self.clips[number] = (event, frames, left - 1)
                if left <= 1:
                    self._write_clip(number)
            self.recent.append(picture)
            if self.open and (self.best is None or moment.level > self.best[0]):
                self.best = (moment.level, picture)
            yield overlaid(moment, self.camera, self.open)
        for number in list(self.clips):
            self._write_clip(number)

    def finish(self) -> None:
        """Write NAME.events.jsonl. OSError: it cannot be written."""
        lines = [json.dumps(self._line(event), allow_nan=False) for event in self.events]
        write_text(f"{self.stem}.events.jsonl", "".join(line + "\n" for line in lines))

    def table(self, made_from: str) -> str:
        """CSV of a line per frame, as that of a detector without an alarm, and level and health: no level where the
        scores pause."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(
            ["frame", "seconds", "score", *self.parts, "level", "health", "made_from"]
        )
        text.writelines(f"{row},{made_from}\n" for row in self.rows)
        return text.getvalue()

    def _row(self, moment: Moment) -> None:
        self.parts = list(moment.parts)
        self.highest = max(self.highest, (moment.score, -moment.number))
        figures = [f"{figure:.6g}" for figure in (moment.score, *moment.parts.values())]
        seconds = f"{moment.number / self.known:.3f}" if self.known else ""
        level = "" if moment.health else f"{moment.level:.4g}"
        self.rows.append(",".join([str(moment.number), seconds, *figures, level, moment.health]))

    def _change(self, kind: str, event: Event, moment: Moment) -> None:
        self.open = None if kind == "end" else event
        if kind == "new":
            os.makedirs(f"{self.stem}.events", exist_ok=True)
            self.clips[event.id] = (event, list(self.recent), round(LONGEST * self.rate))
        elif kind == "end":
            self.events.append(event)
            self._write_thumbnail(event, self.best[1] if self.best else _jpeg(moment.frame))
            self.best = None
            if event.id in self.clips:
                left = round((event.end_seconds - moment.seconds + AFTER) * self.rate)
                self.clips[event.id] = (event, self.clips[event.id][1], min(left, self.clips[event.id][2]))

    def _write_thumbnail(self, event: Event, picture: bytes) -> None:
        drawn = _picture(picture)
        if event.box:
            _rectangle(drawn, event.box)
        with replacing(self._path(event.id, "jpg")) as temporary, open(temporary, "wb") as file:
            file.write(_jpeg(drawn))

    def _write_clip(self, number: int) -> None:
        event, frames, _ = self.clips.pop(number)
        about = f"{event.camera}: event {number}, from {event.start_seconds:.1f} s"
        write_video(self._path(number, "mp4"), map(_picture, frames), self.rate, crf=23, comment=about)

    def _path(self, number: int, kind: str) -> str:
        return os.path.join(f"{self.stem}.events", f"{number:04d}.{kind}")

    def _line(self, event: Event) -> dict:
        """Paths are relative to the folder of the file."""
        line = event.as_dict()
        if not event.fault:
            folder = os.path.dirname(self.stem)
            for name, kind in (("thumbnail", "jpg"), ("clip", "mp4")):
                path = self._path(event.id, kind)
                line[name] = os.path.relpath(path, folder or ".") if os.path.exists(path) else ""
        return line


def overlaid(moment: Moment, camera: Camera, event: Event | None) -> np.ndarray:
    """The frame with heat where its map is above the usual, and the box of the event that goes on."""
    height, width = moment.frame.shape[:2]
    levels = camera.level_of(moment.map).astype(np.float32)
    heat = cv2.resize(np.clip(levels, 0, 2) / 2, (width, height), interpolation=cv2.INTER_LINEAR)[..., None] * 0.6
    drawn = (moment.frame * (1 - heat) + np.array(RED, np.float32) * heat).astype(np.uint8)
    if event and event.box:
        _rectangle(drawn, event.box)
    return drawn


def record(recorder: Recorder, moments: Iterable[Moment], overlay: str = "") -> None:
    """All of a video. overlay: path of an mp4 with heat and boxes; "": none."""
    drawn = recorder.take(moments)
    if overlay:
        write_video(overlay, drawn, recorder.rate, crf=23)
    else:
        for _ in drawn:
            pass
    recorder.finish()


def _jpeg(frame: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", np.ascontiguousarray(frame[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


def _picture(jpeg: bytes) -> np.ndarray:
    return np.ascontiguousarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[..., ::-1])


def _rectangle(frame: np.ndarray, box: tuple[int, int, int, int]) -> None:
    cv2.rectangle(frame, box[:2], (box[2] - 1, box[3] - 1), RED, max(min(frame.shape[:2]) // 120, 1))
