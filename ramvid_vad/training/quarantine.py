"""Damaged training videos: left out and listed, and the same ones again when the run goes on."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence

from ramvid_vad.errors import InputError
from ramvid_vad.runtime.files import write_text
from ramvid_vad.video.files import fingerprint
from ramvid_vad.video.names import video_name

RECORD = "quarantine.json"
"""In the log directory: the videos' names, and of each that was left out its fault and the state of its file."""

SHOWN = 10  # names in a line
Record = dict[str, dict[str, str]]


def decode_or_leave_out(
    decode: Callable[[list[str], dict[str, str] | None], object],
    data_dir: str,
    paths: Sequence[str],
    log_dir: str,
    max_share: float,
    warn: Callable[[str], None],
) -> dict[str, str]:
    """Decode every video; path -> what is wrong, of those that are damaged and left out.

    Which windows a step draws depends on the list of videos. So a run that goes on in ``log_dir`` leaves out the videos
    it left out before without trying them again, as long as their files are the same; ``warn`` gets one line per video
    left out, and one more if the list is not that of before.
    decode(paths, failures): such as ``prefetch`` into a cache.  max_share: of the videos, 0 to 1; 0: the first damaged
    one raises.
    Raises InputError when more are damaged; RunError when a decoding process was killed, which is no video's fault.
    """
    names = {path: video_name(path, data_dir) for path in paths}
    before, names_before = _read(log_dir)
    failures: dict[str, str] = {}
    if max_share > 0:
        for path in paths:
            known = (before or {}).get(names[path])
            if known and known["state"] == _state(path):
                failures[path] = known["fault"]
    rest = [path for path in paths if path not in failures]
    decode(rest, failures if max_share > 0 else None)
    left_out = {path: failures[path] for path in paths if path in failures}
    for fault in left_out.values():
        warn(f"left out of the training: {fault}")
    if len(left_out) > max_share * len(paths):
        first = next(iter(left_out.values()))
        raise InputError(
            f"--data_dir {data_dir}: {len(left_out)} of {len(paths)} videos are damaged (each named above, the first: "
            f"{first}), more than --max_damaged_share {max_share:g} allows; mend or remove them, or allow more"
        )
    record = {names[path]: {"fault": fault, "state": _state(path)} for path, fault in left_out.items()}
    changes = [] if before is None else _changes(before, record, ("without", "again with"))
    changes += [] if names_before is None else _changes(names_before, names.values(), ("new:", "gone:"))
    if changes:
        warn(
            f"the list of videos is not that of the run so far ({'; '.join(changes)}): from here on the data come in "
            "another order, and the result is not that of an unbroken run"
        )
    if record != before or names_before != sorted(names.values()):
        _write(log_dir, record, sorted(names.values()))
    return left_out


def _changes(before: Iterable[str], now: Iterable[str], words: tuple[str, str]) -> list[str]:
    """What came and what went, after its word."""
    came_and_went = sorted(set(now) - set(before)), sorted(set(before) - set(now))
    return [f"{word} {_some(names)}" for word, names in zip(words, came_and_went, strict=True) if names]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def report(left_out: dict[str, str], log: Callable[[str], None]) -> None:
    """Say at the end of a run what it was made without."""
    if left_out:
        log(f"trained without {len(left_out)} damaged videos:")
        for fault in left_out.values():
            log(f"  {fault}")


def _state(path: str) -> str:
    """Changes when the video's file does."""
    try:
        return hashlib.sha256(json.dumps(fingerprint(path)).encode()).hexdigest()[:16]
    except InputError:
        return "unreadable"


def _read(log_dir: str) -> tuple[Record | None, list[str] | None]:
    """The record of the run so far, and the names of its videos; None: there is none."""
    path = os.path.join(log_dir, RECORD)
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
        record = {
            str(name): {"fault": str(known["fault"]), "state": str(known["state"])}
            for name, known in content["left_out"].items()
        }
        names = content.get("names")  # an earlier version kept none
        return record, None if names is None else [str(name) for name in names]
    except FileNotFoundError:
        return None, None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InputError(
            f"{path}: cannot be read as the list of videos that the run left out; delete it to try every video again"
        ) from None


def _write(log_dir: str, record: Record, names: list[str]) -> None:
    content = {"videos": len(names), "left_out": record, "names": names}
    try:
        write_text(os.path.join(log_dir, RECORD), json.dumps(content, indent=1) + "\n")
    except OSError as error:
        raise InputError(f"--log_dir {log_dir}: cannot be written ({error}); free or grant space there") from error
