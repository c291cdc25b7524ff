"""An event of the camera as the JSON that people and programs get."""

from collections.abc import Callable
from typing import Any


def record_of(event: Any, base: int, text: Callable[[float], str]) -> dict[str, Any]:
    """Begin, end and, of what is unusual, peak as local time and as frames. base: frames that earlier streams had.
    text: of the event's seconds, as local time."""
    record: dict[str, Any] = {"kind": "health", "fault": event.fault} if event.fault else {"kind": "anomaly"}
    for name in ("start", "end") if event.fault else ("start", "peak", "end"):
        record[name] = text(getattr(event, f"{name}_seconds"))
        record[f"{name}_frame"] = base + getattr(event, name)
    if not event.fault:
        record["severity"] = round(float(event.severity), 3)
        record["box"] = None if event.box is None else [int(side) for side in event.box]
        record["parts"] = list(event.parts)
        record["normal_example"] = event.normal_example
    return record
