"""What a scored video leaves: a table of its frames, its events with pictures and clips, and the video with heat and
boxes."""

import csv
import io
import json
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from ramvid_vad.events.camera import Camera, Moment
from ramvid_vad.events.events import GAP, LOW, Event
from ramvid_vad.events.peaks import Highest, Peak
from ramvid_vad.page.pictures import boxed, decoded, encoded, with_heat
from ramvid_vad.runtime.files import write_bytes, write_text
from ramvid_vad.video.writer import QUICK, write_video

BEFORE, AFTER, LONGEST = 3.0, 2.0, 20.0  # seconds of a clip before its event begins, after it ends, and of the event
PICTURED, WORST, APART = 40, 4, 5.0  # events with a picture; highest moments kept, and the seconds between them
QUALITY = 90  # of the JPEGs


class Recorder:
    """Moments of one video in order -> files beside ``stem``, and lines of its table; memory is that of two clips: one
    is written, in a thread of its own, while the next is gathered."""

    def __init__(self, stem: str, camera: Camera, fps: float) -> None:
        self.stem, self.camera, self.rate = stem, camera, fps or camera.fps
        self.known = fps  # frames per second as the file says; 0: not known
        self.recent: deque[bytes] = deque(maxlen=max(round(BEFORE * self.rate), 1))  # JPEG
        self.clips: dict[int, tuple[Event, list[bytes], int]] = {}  # id: event, frames, frames still to come
        self._writer, self._writing = ThreadPoolExecutor(1), Future()
        self._writing.set_result(None)
        self.events: list[Event] = []
        self.rows: list[tuple[str, str]] = []  # what stands before and after the level
        self.levels: list[float] = []  # of each row; NaN where the picture is at fault, or was suspected rightly
        self.held = 0  # of the last rows, for a fault is suspected
        self.parts: list[str] = []
        self.highest = (-np.inf, 0)
        self.open: Event | None = None
        self.best: Peak | None = None  # of the event that goes on, or of what may become one
        self.peaks: dict[int, Peak] = {}  # of the most severe events, by their id
        self.highest_moments = Highest(WORST, round(APART * self.rate))

    def take(self, moments: Iterable[Moment]) -> Iterator[Moment]:
        """Record each moment, and give it on."""
        for moment in moments:
            self._row(moment)
            picture = encoded(moment.frame, quality=QUALITY)
            past = [change for change in moment.changes if change[0] == "end" and change[1].end < moment.number]
            for kind, event in past:
                self._change(kind, event, moment)
            self._remember(moment, picture)
            for kind, event in moment.changes[len(past) :]:
                self._change(kind, event, moment)
            for number, (event, frames, left) in list(self.clips.items()):
                frames.append(picture)
                self.clips[number] = (event, frames, left - 1)
                if left <= 1:
                    self._write_clip(number)
            self.recent.append(picture)
            yield moment
        for number in list(self.clips):
            self._write_clip(number)
        self._writing.result()

    def finish(self) -> None:
        """Write NAME.events.jsonl. OSError: it cannot be written."""
        lines = [json.dumps(self._line(event), allow_nan=False) for event in self.events]
        write_text(f"{self.stem}.events.jsonl", "".join(line + "\n" for line in lines))

    def table(self, made_from: str) -> str:
        """CSV of a line per frame, as that of a detector without an alarm, and level and health: no level where the
        picture is at fault, nor where that was rightly suspected; and of a camera that knows two lights, the light."""
        light = ["light"] if self.camera.light else []
        levels = ("" if np.isnan(level) else f"{level:.4g}" for level in self.levels)
        rows = (f"{begin},{level},{end}" for (begin, end), level in zip(self.rows, levels, strict=True))
        return table([*self.parts, "level", "health", *light], rows, made_from)

    def address(self, event: Event, kind: str) -> str:
        """Of the event's "jpg", "normal.jpg" or "mp4", relative to the folder of the tables; "": there is none."""
        path = self._path(event.id, kind)
        return os.path.relpath(path, os.path.dirname(self.stem) or ".") if os.path.exists(path) else ""

    def _row(self, moment: Moment) -> None:
        self.parts = list(moment.parts)
        self.highest = max(self.highest, (moment.score, -moment.number))
        figures = frame_row(moment.number, self.known, moment.score, *moment.parts.values())
        self.rows.append((figures, moment.health + (f",{moment.light}" if self.camera.light else "")))
        self.levels.append(float("nan" if moment.health else f"{moment.level:.4g}"))

    def _remember(self, moment: Moment, picture: bytes) -> None:
        if self.best and not self.open and moment.number - self.best.number > GAP * self.camera.fps:
            self.best = None  # no event can be told any more that was held back
        peak = self._peak(moment, picture)
        if moment.level >= LOW and (self.best is None or moment.level > self.best.level):
            self.best = peak
        if moment.health and self.held:  # what was suspected was so: these levels were the fault's
            self.levels[-1 - self.held : -1] = [np.nan] * self.held
        self.held = self.held + 1 if moment.held and not self.open else 0  # an event that goes on keeps its levels
        if not moment.health and not moment.held:
            self.highest_moments.add(peak)

    def _peak(self, moment: Moment, picture: bytes) -> Peak:
        heat = self.camera.under(moment.light).level_of(moment.map).astype(np.float32)
        return Peak(moment.number, moment.level, picture, heat)

    def _change(self, kind: str, event: Event, moment: Moment) -> None:
        if event.fault:
            self.events += [event] if kind == "end" else []
            return
        self.open = None if kind == "end" else event
        if kind == "new":
            os.makedirs(f"{self.stem}.events", exist_ok=True)
            self.clips[event.id] = (event, list(self.recent), round(LONGEST * self.rate))
        elif kind == "end":
            self.events.append(event)
            self._keep_pictures(event, moment)
            self.best = None
            if event.id in self.clips:
                left = round((event.end_seconds - moment.seconds + AFTER) * self.rate)
                self.clips[event.id] = (event, self.clips[event.id][1], min(left, self.clips[event.id][2]))

    def _keep_pictures(self, event: Event, moment: Moment) -> None:
        """On disk its thumbnail and its normal example; in memory the frame of its peak, if it is severe. moment: at
        its end."""
        peak = self.best
        if peak is None or peak.number < event.start:
            peak = self._peak(moment, encoded(moment.frame, quality=QUALITY))
        drawn = boxed(decoded(peak.jpeg), event.box)
        write_bytes(self._path(event.id, "jpg"), encoded(drawn, quality=QUALITY))
        if event.normal_example is not None:
            examples = self.camera.under(moment.light).examples
            crop = examples.crop(event.normal_example, event.box, moment.frame.shape[:2])
            peak = peak._replace(normal=encoded(crop, quality=QUALITY))
            write_bytes(self._path(event.id, "normal.jpg"), peak.normal)
        self.peaks[event.id] = peak
        if len(self.peaks) > PICTURED:
            del self.peaks[min(self.peaks, key=lambda number: self.peaks[number].level)]

    def _write_clip(self, number: int) -> None:
        event, frames, _ = self.clips.pop(number)
        about = f"{event.camera}: event {number}, from {event.start_seconds:.1f} s"
        path = self._path(number, "mp4")
        self._writing.result()  # or what went wrong with the clip before
        self._writing = self._writer.submit(write_video, path, map(decoded, frames), self.rate, 23, about, QUICK)

    def _path(self, number: int, kind: str) -> str:
        return os.path.join(f"{self.stem}.events", f"{number:04d}.{kind}")

    def _line(self, event: Event) -> dict:
        """Paths are relative to the folder of the file."""
        line = event.as_dict()
        if not event.fault:
            line |= {"thumbnail": self.address(event, "jpg"), "clip": self.address(event, "mp4")}
            line["normal_picture"] = self.address(event, "normal.jpg")
        return line


def overlaid(moment: Moment, camera: Camera, event: Event | None) -> np.ndarray:
    """The frame with heat where its map is above the usual, and the box of the event that goes on."""
    levels = camera.under(moment.light).level_of(moment.map)
    return boxed(with_heat(moment.frame, levels / 2), event.box if event else None)


def record(recorder: Recorder, moments: Iterable[Moment], overlay: str = "", made_from: str = "") -> None:
    """All of a video. overlay: path of an mp4 with heat and boxes; "": none.  made_from: digest of video and detector,
    kept in it as a comment."""
    seen = recorder.take(moments)
    if overlay:
        drawn = (overlaid(moment, recorder.camera, recorder.open) for moment in seen)
        write_video(overlay, drawn, recorder.rate, 23, made_from, QUICK)
    else:
        for _ in seen:
            pass
    recorder.finish()


def frame_row(number: int, fps: float, *figures: float) -> str:
    """Frame, its time in seconds if the file knows it (fps above 0), score and parts, as a table has them."""
    return ",".join([str(number), f"{number / fps:.3f}" if fps else "", *(f"{figure:.6g}" for figure in figures)])


def table(columns: Sequence[str], rows: Iterable[str], made_from: str) -> str:
    """CSV of a line per frame. columns: those that follow frame, seconds and score.  rows: as ``frame_row`` begins
    them.  made_from: digest of video and detector."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(["frame", "seconds", "score", *columns, "made_from"])
    text.writelines(f"{row},{made_from}\n" for row in rows)
    return text.getvalue()
