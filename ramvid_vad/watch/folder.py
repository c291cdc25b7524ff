"""The folder of a watch: events by day with their pictures and clips, and the state from which a restart goes on.

out/state.json            counters, the next number, the events that are open
out/2026-11-27/events.jsonl   a line per change
out/2026-11-27/000012.jpg, 000012.normal.jpg, 000012.mp4   of event 12: picture, nearest normal example, clip
"""

import contextlib
import errno
import fcntl
import json
import os
import re
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any

from ramvid_vad.errors import InputError
from ramvid_vad.runtime.files import clear_abandoned, write_text
from ramvid_vad.runtime.progress import warn
from ramvid_vad.watch.counters import Counters

DAY = re.compile(r"\d{4}-\d\d-\d\d")
OWN = re.compile(r"events\.jsonl|\d{6,12}\.(jpg|normal\.jpg|mp4)")
FORMAT = 1  # of the state file
LONGEST_LINE = 1 << 20  # bytes of a line of events.jsonl that is read again


def days_to_keep(text: str) -> int:
    """``14d`` -> 14; "" -> 0, all. InputError."""
    found = re.fullmatch(r"(\d{1,5})d?", text.strip())
    if text.strip() and not (found and int(found[1])):
        raise InputError(f"--keep {text!r}: a number of days, e.g. 14d; empty keeps all")
    return int(found[1]) if found else 0


class Folder:
    """One watch has it at a time. InputError: another one has, or it cannot be written."""

    def __init__(self, path: str, keep: int) -> None:
        self.path, self._keep = os.path.abspath(path), keep
        self._told_stuck = False  # that a day cannot be removed
        try:
            os.makedirs(self.path, exist_ok=True)
            self._lock = open(os.path.join(self.path, ".lock"), "ab")  # noqa: SIM115, held until the end
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise InputError(f"--out {path}: another watch writes there: give this one a folder of its own") from None
        except OSError as error:
            raise InputError(f"--out {path}: cannot be written ({error.strerror}); give another folder") from None

    def close(self) -> None:
        """Let another one have it."""
        self._lock.close()

    def picture(self, record: dict[str, Any], ending: str) -> str:
        """Where the ``jpg``, ``normal.jpg`` or ``mp4`` of an event goes, from ``path``."""
        return f"{record['start'][:10]}/{record['id']:06d}.{ending}"

    def absolute(self, place: str) -> str:
        """A place of :meth:`picture`, as a path whose folder is there."""
        path = os.path.join(self.path, place)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return path

    def existing(self, record: dict[str, Any], ending: str) -> str:
        """The path of an event's ``jpg``, ``normal.jpg`` or ``mp4`` that is there; "": it is not."""
        path = os.path.join(self.path, self.picture(record, ending))
        return path if os.path.isfile(path) else ""

    def append(self, record: dict[str, Any]) -> None:
        """One line to the day on which the event began, safe on the disk. OSError."""
        day = os.path.join(self.path, record["start"][:10])
        os.makedirs(day, exist_ok=True)
        with open(os.path.join(day, "events.jsonl"), "ab", buffering=0) as file:
            data = (json.dumps(record, allow_nan=False) + "\n").encode()
            end = file.tell()
            if file.write(data) != len(data):
                file.truncate(end)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())

    def save_state(self, state: dict[str, Any]) -> None:
        """What a restart needs. OSError."""
        write_text(os.path.join(self.path, "state.json"), json.dumps({"format": FORMAT, **state}, indent=1) + "\n")

    def load_state(self) -> dict[str, Any]:
        """What :meth:`save_state` wrote, or the state before the first frame. InputError: damaged,
        or a newer version's."""
        path = os.path.join(self.path, "state.json")
        try:
            with open(path, encoding="utf-8") as file:
                state = json.load(file)
            if state["format"] != FORMAT:
                raise ValueError(f"format {state['format']}")
            opened = [dict(record) for record in state["open"]]
            if not all(DAY.match(record["start"]) and isinstance(record["id"], int) for record in opened):
                raise ValueError("an open event without number or date")
            counters = Counters(**{name: int(value) for name, value in state["counters"].items()})
            return {"counters": counters, "next_id": int(state["next_id"]), "open": opened}
        except FileNotFoundError:
            return {"counters": Counters(), "next_id": 1, "open": []}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(f"{path}: not a state of this version ({error}): move it away to count from 0") from None

    def last(self, most: int) -> list[dict[str, Any]]:
        """The newest state of the last ``most`` events, the oldest first; lines that are damaged are passed over."""
        found: dict[int, dict[str, Any]] = {}
        for day in reversed(self._days()):
            lines = _lines(os.path.join(self.path, day, "events.jsonl"))
            of_day = {record["id"]: record for record in lines}
            found = of_day | found
            if len(found) >= most:
                break
        return [found[number] for number in sorted(found)][-most:]

    def sweep(self, today: date) -> int:
        """Remove days that are too old: of them the files that a watch writes, and nothing else. How many files.
        One that cannot be removed is said once, and the others go. OSError: the folder is gone."""
        removed = 0
        for day in self._days():
            folder = os.path.join(self.path, day)
            try:
                clear_abandoned(folder)
                if not self._keep or date.fromisoformat(day) >= today - timedelta(days=self._keep):
                    continue
                for name in os.listdir(folder):
                    path = os.path.join(folder, name)
                    if OWN.fullmatch(name) and os.path.isfile(path) and not os.path.islink(path):
                        os.remove(path)
                        removed += 1
            except OSError as error:
                if not self._told_stuck:
                    warn(f"--keep: {folder} cannot be cleared ({error.strerror}); it is tried again every hour")
                self._told_stuck = True
                continue
            with contextlib.suppress(OSError):  # something that is not ours lies there
                os.rmdir(folder)
        return removed

    def _days(self) -> list[str]:
        found = []
        for entry in os.scandir(self.path):
            if DAY.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                with contextlib.suppress(ValueError):  # 2026-99-99
                    found.append(date.fromisoformat(entry.name).isoformat())
        return sorted(found)


def _lines(path: str) -> Iterator[dict[str, Any]]:
    with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
        while line := file.readline(LONGEST_LINE):
            with contextlib.suppress(ValueError, RecursionError):
                record = json.loads(line)
                if isinstance(record, dict) and isinstance(record.get("id"), int):
                    yield record


def moment_text(seconds: float) -> str:
    """Seconds since 1970 as local date and time with its offset, to milliseconds."""
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="milliseconds")
