"""What the page shows: the newest picture, the rolling score, the last events; one thread writes, others read."""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

from ramvid_vad.watch.clips import jpeg
from ramvid_vad.watch.page.picture import marked, worst_place

STEP, STEPS = 0.25, 480  # seconds of one point of the rolling score, and how many are kept: two minutes
EVENTS = 50


class Board:
    """source, name: as people may see them.  events: the last ones of earlier runs.  figures: counters and latency.
    lost: why nothing comes."""

    def __init__(
        self,
        source: str,
        name: str,
        events: list[dict[str, Any]],
        figures: Callable[[], dict[str, Any]],
        lost: Callable[[], str],
    ) -> None:
        self._about = {"source": source, "camera": name}
        self._figures, self._lost = figures, lost
        self._lock = threading.Lock()
        self._points: deque[list[float]] = deque(maxlen=STEPS)  # [seconds, highest level]
        self._events = OrderedDict((event["id"], event) for event in events)
        self._moment: Any = None

    def show(self, moment: Any) -> None:
        """One more scored frame."""
        level = round(min(max(float(moment.level), -99.0), 99.0), 3)
        with self._lock:
            self._moment = moment
            if self._points and moment.seconds < self._points[-1][0] + STEP:
                self._points[-1][1] = max(self._points[-1][1], level)
            else:
                self._points.append([round(moment.seconds, 2), level])

    def tell(self, record: dict[str, Any]) -> None:
        """A change of an event."""
        with self._lock:
            self._events[record["id"]] = record
            while len(self._events) > EVENTS:
                self._events.popitem(last=False)

    def event(self, number: int) -> dict[str, Any] | None:
        """The last that is known of one of the shown events; None: it is not among them."""
        with self._lock:
            return self._events.get(number)

    def picture(self) -> bytes | None:
        """The newest frame with heat and boxes, a JPEG; None: there was none."""
        with self._lock:
            moment = self._moment
        if moment is None:
            return None
        box = worst_place(moment.map, moment.level, moment.frame.shape[:2])
        return jpeg(marked(moment.frame, moment.map, moment.level, box), quality=80)

    def status(self) -> dict[str, Any]:
        """All but the picture, as JSON."""
        figures = self._figures()
        with self._lock:
            moment = self._moment
            health = "lost" if self._lost() else moment.health if moment else ""
            shown = {"size": list(moment.frame.shape[1::-1]) if moment else None, "health": health}
            shown["light"] = moment.light if moment else ""
            events = list(reversed(self._events.values()))
            points = [list(point) for point in self._points]
        return self._about | figures | shown | {"lost": self._lost(), "points": points, "events": events}
