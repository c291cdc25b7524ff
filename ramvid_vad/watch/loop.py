"""The watch: frames from the queue -> moments -> events to standard output, the folder and the sinks."""

import contextlib
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

import numpy as np

from ramvid_vad.events.camera import Camera
from ramvid_vad.runtime.files import write_bytes
from ramvid_vad.runtime.progress import say, warn
from ramvid_vad.watch.clips import Clip, Recent, jpeg
from ramvid_vad.watch.counters import Latency
from ramvid_vad.watch.folder import Folder, moment_text
from ramvid_vad.watch.input.queue import Before, Frame, FrameQueue
from ramvid_vad.watch.input.reader import Reader, watch_clock
from ramvid_vad.watch.input.source import Source
from ramvid_vad.watch.page.board import EVENTS, Board
from ramvid_vad.watch.page.picture import marked
from ramvid_vad.watch.records import record_of
from ramvid_vad.watch.sinks import Delivery
from ramvid_vad.watch.worker import Worker

SAVED = 10.0  # seconds between two saves of the state: what a kill can take from the counters
SWEPT = 3600.0  # seconds between two looks for days that are too old
CALM = 0.5  # level below which, without an event, what came before is no event's peak
PATIENCE = 20.0  # seconds at the end for clips and receivers
Pair = tuple[np.ndarray, np.ndarray]
"""A frame as RGB, uint8 (H, W, 3), and as luma, uint8 (H, W, 1)."""
CLOCK_SET = 2.0  # seconds between two clocks from which on the machine's was set
SETTLE = 1.0  # seconds after a source was opened again until scores count
TOLD = 5.0  # seconds after its begin in which an event is told as a rule: what its clip needs of them is kept
LOST = "lost"  # fault of a stream from which nothing comes


@dataclass
class Open:
    """An event that has not ended: its last record, for an anomaly the clip that grows, and what ``text`` adds to
    seconds of the watch's clock, which never jumps: an event keeps the day on which it began."""

    record: dict[str, Any]
    clip: Clip | None = None
    clock_set: float = 0.0

    def text(self, seconds: float) -> str:
        """As local time."""
        return moment_text(seconds + self.clock_set)


@dataclass
class Settings:
    """As of WatchOptions; sinks: name of the option -> its text."""

    name: str
    out: str
    keep: int
    before: float
    queue: int
    timeout: float
    again: bool
    sinks: dict[str, str] = field(default_factory=dict, repr=False)  # passwords may be in it


class Watch:
    """Watches one source until it ends or ``run`` is told to stop. InputError: the folder is another watch's."""

    def __init__(self, camera: Camera, source: Source, settings: Settings) -> None:
        self._camera, self._source, self._settings = camera, source, settings
        self.folder = Folder(settings.out, settings.keep)
        try:
            state = self.folder.load_state()
            self.counters = state["counters"]
            known = self.folder.last(EVENTS)
            ended = {record["id"] for record in known if record.get("change") == "end"}
            self._left = [record for record in state["open"] if record["id"] not in ended]  # by a watch that was killed
            self._next = max([state["next_id"], *(record["id"] + 1 for record in known)])
            self._deliveries = [Delivery(name, text) for name, text in settings.sinks.items()]
        except BaseException:
            self.folder.close()
            raise
        self.clock = watch_clock()
        self.latency = Latency()
        self._ending = threading.Event()
        self.queue = FrameQueue(settings.queue, self.counters)
        self._reader = Reader(
            source, self.queue, self.counters, self._ending, self.clock, settings.again, settings.timeout
        )
        self._files = Worker("pictures and clips", 16)
        self._held: Frame | None = None  # the first frame of another size or connection
        self._highest: Any = None  # the moment of the highest level since it was calm: a change is told after its peak
        self._lost_since = 0.0
        self._light = ""  # of the last moment
        self._given = 0  # frames that the camera has and that have no score yet
        self._open: dict[Any, Open] = {}
        self._saved = self._swept = 0.0
        self._told_full = False
        self.board = Board(source.shown, settings.name, known, self.figures, lambda: self._reader.lost)

    def run(self, stop: Callable[[], bool]) -> None:
        """Until the source's end, or until ``stop()``. InputError: a file that cannot be read."""
        try:
            for record in self._left:
                self._tell("end", record | {"interrupted": True})
            self._reader.start()
            while not stop() and not (self.queue.ended and not len(self.queue) and self._held is None):
                base = self.counters.scored
                settle = SETTLE if base else 0.0
                self._recent = Recent(self._settings.before + TOLD)  # streams may differ in size
                for moment in self._camera.stream(self._frames(stop), lambda: len(self.queue) > 0, settle):
                    self._score(moment, base)
        finally:
            self._finish()
        if self._reader.failure:
            raise self._reader.failure

    def figures(self) -> dict[str, Any]:
        """Counters, latency in seconds and receivers, as JSON."""
        return {
            "frames": asdict(self.counters),
            "waiting": len(self.queue),
            "latency": self.latency.figures(),
            "clips": {"written": self._files.done, "failed": self._files.failed, "dropped": self._files.dropped},
            "sinks": [delivery.figures() for delivery in self._deliveries],
        }

    def summary(self) -> list[str]:
        """What became of every frame, in lines for people."""
        frames, latency = self.counters, self.latency.figures()
        lines = [
            f"{frames.received} frames received over {frames.connections} connections: {frames.dropped} dropped, "
            f"{frames.scored} scored, {frames.lost} lost (damaged, or in the decoder at an end)",
            f"from decoded to scored: {1000 * latency['median']:.0f} ms in the median, "
            f"{1000 * latency['p95']:.0f} ms at 95 %",
        ]
        for sink in (delivery.figures() for delivery in self._deliveries):
            lines.append(
                f"{sink['title']}: {sink['sent']} events sent, {sink['failed']} failed, {sink['dropped']} dropped"
            )
        return lines

    def call_normal(self, record: dict[str, Any], stored: str) -> None:
        """Note that a person called an event normal, and under which name its clip was stored. OSError."""
        told = record | {"change": "normal", "normal": stored}
        self.folder.append(told)
        self.board.tell(told)

    def _frames(self, stop: Callable[[], bool]) -> Iterator[tuple[float, Pair]]:
        """Frames of one size, of one connection; those of another begin a new stream for the camera, and one that is
        lost ends: an event does not go on until frames come again."""
        shape = None
        while not stop():
            frame, self._held = self._held or self.queue.get(0.2), None
            self._housekeeping(nothing=frame is None)
            if frame is None:
                if self.queue.ended or (shape and self._reader.lost):
                    return
                continue
            if shape and (shape != frame.rgb.shape or frame.before >= Before.CLOSED):
                self._held = frame
                return
            shape = frame.rgb.shape
            if frame.before == Before.LOST and LOST not in self._open:  # frames of before it were waiting all the time
                self._begin_lost(min(self._reader.since, frame.seconds))
            self._given += 1
            yield frame.seconds, (frame.rgb, frame.luma), frame.before == Before.MISSED

    def _score(self, moment: Any, base: int) -> None:
        """What one moment says. base: frames that earlier streams of the camera had."""
        self.counters.scored += 1
        self._given -= 1
        if moment.light != self._light:
            self._light = moment.light
            say(f"{self._source.shown}: {moment.light}", sys.stderr)
        still = self._recent.add(moment.seconds, moment.frame)
        for each in self._open.values():
            if each.clip:
                each.clip.add(still)
        if LOST in self._open and moment.seconds >= self._lost_since:
            lost = self._open.pop(LOST)
            self._tell("end", lost.record | {"end": lost.text(moment.seconds), "end_frame": base + moment.number})
        if not any(each.clip for each in self._open.values()) and moment.level < CALM:
            self._highest = None
        elif not self._highest or moment.level > self._highest.level:
            self._highest = moment
        for change, event in moment.changes:
            self._event(change, event, moment, base)
        self.latency.add(self.clock() - moment.seconds)
        self.board.show(moment)

    def _event(self, change: str, event: Any, moment: Any, base: int) -> None:
        if change == "new":
            clip = None if event.fault else self._recent.clip(event.start_seconds - self._settings.before)
            self._open[event.id] = Open({"id": self._number()}, clip, self._clock_set())
        opened = self._open[event.id]
        higher = not event.fault and base + event.peak != opened.record.get("peak_frame")
        opened.record |= record_of(event, base, opened.text)
        if higher:
            peak = self._highest if self._highest and self._highest.number == event.peak else moment
            normal = event.normal_example
            if normal is not None:
                size, examples = peak.frame.shape[:2], self._camera.under(moment.light).examples
                opened.record["normal_picture"] = self.folder.picture(opened.record, "normal.jpg")
                crop = jpeg(examples.crop(normal, event.box, size))
                self._write(opened.record["normal_picture"], lambda path: write_bytes(path, crop))
            still = marked(peak.frame, peak.map, peak.level, event.box)
            opened.record["thumbnail"] = self.folder.picture(opened.record, "jpg")
            self._write(opened.record["thumbnail"], lambda path: write_bytes(path, jpeg(still)))
        if change == "end":
            del self._open[event.id]
            self._write_clip(opened)
            self._highest = None if opened.clip else self._highest
        self._tell(change, opened.record)

    def _write_clip(self, opened: Open) -> None:
        if opened.clip:
            opened.record["clip"] = self.folder.picture(opened.record, "mp4")
            self._write(opened.record["clip"], opened.clip.write)

    def _begin_lost(self, seconds: float) -> None:
        """The event of a stream from which nothing comes: no anomaly, and the camera does not know it."""
        self._lost_since = seconds
        lost = Open({"id": self._number(), "kind": "health", "fault": LOST}, clock_set=self._clock_set())
        lost.record |= {"start": lost.text(seconds), "start_frame": self.counters.scored}
        self._open[LOST] = lost
        self._tell("new", lost.record)

    def _housekeeping(self, nothing: bool) -> None:
        """Between two frames, or where ``nothing`` came."""
        now = self.clock()
        if nothing and self._reader.lost and LOST not in self._open:
            self._begin_lost(now)
        if now - self._saved > SAVED:
            self._save()
        if now - self._swept > SWEPT:
            self._swept = now
            with contextlib.suppress(OSError):  # in an hour again
                self.folder.sweep(date.today())

    def _clock_set(self) -> float:
        """Seconds by which the machine's clock was set since the watch began, or went on while the machine slept."""
        seconds = time.time() - self.clock()
        return seconds if abs(seconds) > CLOCK_SET else 0.0

    def _number(self) -> int:
        self._next += 1
        return self._next - 1

    def _tell(self, change: str, record: dict[str, Any]) -> None:
        """To standard output, the folder, the sinks and the page; and the state, from which its number is known before
        there is a line of it, and that it is open until there is the last: a kill between them leaves none open."""
        told = {"change": change, "camera": self._settings.name, **record}
        say(json.dumps(told, allow_nan=False), sys.stdout)
        if change != "end":
            self._save()
        self._guarded(lambda: self.folder.append(told))
        if change == "end":
            self._save()
        for delivery in self._deliveries:
            delivery.send(told)
        self.board.tell(told)

    def _write(self, place: str, write: Callable[[str], None]) -> None:
        self._files.add(lambda: write(self.folder.absolute(place)))

    def _save(self) -> None:
        self._saved = self.clock()
        state = {"next_id": self._next, "counters": asdict(self.counters)}
        state["open"] = [each.record for each in self._open.values()]
        self._guarded(lambda: self.folder.save_state(state))

    def _guarded(self, write: Callable[[], Any]) -> None:
        """A disk that is full or gone is said once, and the watch goes on."""
        try:
            write()
        except OSError as error:
            if not self._told_full:
                warn(f"{self._settings.out}: cannot be written ({error.strerror}); the watch goes on")
            self._told_full = True
        else:
            self._told_full = False

    def _finish(self) -> None:
        """Let the reader end, close what is open, wait for clips and receivers, and save."""
        self._ending.set()
        self._reader.join(self._settings.timeout + 1)
        self.queue.drop_all()
        self.counters.dropped += (self._held is not None) + self._given
        seconds = self.clock()
        for key in list(self._open):
            opened = self._open.pop(key)
            opened.record |= {"end": opened.text(seconds), "end_frame": self.counters.scored, "stopped": True}
            self._write_clip(opened)
            self._tell("end", opened.record)
        patience = time.monotonic() + PATIENCE
        for worker in (self._files, *self._deliveries):
            worker.end(max(patience - time.monotonic(), 0.5))
        self._save()
        self.folder.close()
