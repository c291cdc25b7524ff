"""An event of the camera as the JSON that people and programs get."""

from typing import Any

from ramvid_vad.watch.folder import moment_text


def record_of(event: Any, base: int) -> dict[str, Any]:
    """Begin, end and, of what is unusual, peak as local time and as frames; base: frames that earlier streams had."""
    record: dict[str, Any] = {"kind": "health", "fault": event.fault} if event.fault else {"kind": "anomaly"}
    for name in ("start", "end") if event.fault else ("start", "peak", "end"):
        record[name] = moment_text(getattr(event, f"{name}_seconds"))
        record[f"{name}_frame"] = base + getattr(event, name)
    if not event.fault:
        record["severity"] = round(float(event.severity), 3)
        record["box"] = None if event.box is None else [int(side) for side in event.box]
        record["parts"] = list(event.parts)
        record["normal_example"] = event.normal_example
    return record
