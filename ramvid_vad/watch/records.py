"""An event of the camera as the JSON that people and programs get."""

from typing import Any

from ramvid_vad.runtime.files import replacing
from ramvid_vad.watch.folder import moment_text


def record_of(event: Any, base: int) -> dict[str, Any]:
    """start, peak and end as local time and as frames; base: frames that earlier streams had."""
    record: dict[str, Any] = {}
    for name in ("start", "peak", "end"):
        record[name] = moment_text(getattr(event, f"{name}_seconds"))
        record[f"{name}_frame"] = base + getattr(event, name)
    record["severity"] = round(float(event.severity), 3)
    record["box"] = None if event.box is None else [int(side) for side in event.box]
    record["parts"] = {name: round(float(value), 3) for name, value in event.parts.items()}
    return record


def write_bytes(path: str, content: bytes) -> None:
    """A whole file. OSError."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(content)
