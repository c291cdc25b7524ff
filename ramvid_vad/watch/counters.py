"""Every frame of a watched source accounted for, over restarts: what was received, lost, dropped and scored."""

from collections import deque
from dataclasses import dataclass

import numpy as np

REMEMBERED = 1000  # latencies that the stated quantiles are of: those of the last frames


@dataclass
class Counters:
    """Frames since the state began; each number has one thread that changes it.

    received: pictures that came in as packets.  lost: those of them that were never decoded, for they were damaged, or
    still in the decoder at the end of the watch.  read: decoded.  dropped: read, but scoring was slower, or had ended.
    scored: those that got a score.  connections: how often the source was opened.
    At the end received = read + lost and read = dropped + scored; before it, some are in the decoder, in the queue and
    in scoring.
    """

    received: int = 0
    lost: int = 0
    read: int = 0
    dropped: int = 0
    scored: int = 0
    connections: int = 0


class Latency:
    """Seconds from decoding to score, of the last REMEMBERED frames."""

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=REMEMBERED)

    def add(self, seconds: float) -> None:
        """One frame's."""
        self._last.append(seconds)

    def figures(self) -> dict[str, float]:
        """Median and 95 % quantile in seconds; 0 before the first frame."""
        last = list(self._last) or [0.0]
        median, high = np.quantile(last, [0.5, 0.95])
        return {"median": round(float(median), 4), "p95": round(float(high), 4)}
