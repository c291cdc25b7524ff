"""Whether the sample tables of an mp4 (ISO/IEC 14496-12, 8.6 and 8.7) can be believed."""

import os

import numpy as np

from ramvid_vad.video.containers import printable


class _Damage(Exception):
    """What is wrong, in a few words."""


def table_damage(path: str, shown: int) -> str | None:
    """What is wrong with the tables of a local mp4 that has more samples than were ``shown``; None: nothing is.

    An edit list may leave out pictures for good reason. But an overwritten table has the same effect: samples without
    a size, or with times outside the film, are skipped as if they had been cut away. The tables have no checksum, yet
    they must agree with each other; a single wrong composition offset stays unseen, and loses its one picture.
    """
    with open(path, "rb") as file:
        position, end = 0, os.path.getsize(path)
        while position < end:
            file.seek(position)
            header = file.read(16)
            size = int.from_bytes(header[:4], "big")
            if header[4:8] == b"moov":
                file.seek(position + 8)
                try:
                    for track in _children(file.read(size - 8), b"trak"):
                        _check(track, shown)
                except _Damage as damage:
                    return f"its index is damaged ({damage})"
                return None
            size = int.from_bytes(header[8:], "big") if size == 1 else size
            position += size or end
    return None


def _check(track: bytes, shown: int) -> None:
    is_video = _children(track, b"mdia", b"minf", b"vmhd")
    for table in _children(track, b"mdia", b"minf", b"stbl") if is_video else []:
        boxes = _children(table, b"stsz")
        if all(int.from_bytes(box[8:12], "big") <= shown for box in boxes):
            continue
        durations = _table(table, b"stts", 2)  # (samples, duration) per run
        offsets = _table(table, b"ctts", 2)  # (samples, offset) per run
        chunks = len(_table(table, b"stco", 1)) + len(_table(table, b"co64", 2))
        runs = _table(table, b"stsc", 3)  # (first chunk, samples in each, description) per run of equal chunks
        samples = durations[:, 0].sum()
        for box in boxes:  # one size for all, or a table of sizes after their number
            sizes = _numbers(box[12:])
            if int.from_bytes(box[8:12], "big") != samples:
                raise _Damage("stts and stsz disagree")
            if not any(box[4:8]) and (len(sizes) != samples or not sizes.all()):
                raise _Damage("stsz has no size for some samples")
        if len(offsets) and offsets[:, 0].sum() != samples:
            raise _Damage("stts and ctts disagree")
        if np.diff(runs[:, 0], append=chunks + 1) @ runs[:, 1] != samples:
            raise _Damage("stts and stsc disagree")
        length = (durations[:, 0] * durations[:, 1]).sum()
        for box in _children(track, b"mdia", b"mdhd"):
            scale, duration = (box[20:24], box[24:32]) if box[:1] == b"\1" else (box[12:16], box[16:20])
            if not any(scale) or abs(int.from_bytes(duration, "big") - length) > length // 10:
                raise _Damage("mdhd and stts disagree")


def _table(data: bytes, kind: bytes, columns: int) -> np.ndarray:
    """Entries of a table box (version and flags, number of entries, entries), int64 (n, columns); none if missing."""
    boxes = _children(data, kind)
    if not boxes:
        return np.empty((0, columns), np.int64)
    numbers = _numbers(boxes[0][8:])
    if int.from_bytes(boxes[0][4:8], "big") * columns != len(numbers):
        raise _Damage(f"{kind.decode()} has another length than it says")
    return numbers.reshape(-1, columns)


def _numbers(data: bytes) -> np.ndarray:
    return np.frombuffer(data[: len(data) // 4 * 4], ">u4").astype(np.int64)


def _children(data: bytes, kind: bytes, *below: bytes) -> list[bytes]:
    """Contents of the boxes of a kind in ``data``; with ``below``, of those along the path of kinds."""
    found, position = [], 0
    while position < len(data):
        size, name = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        if not 8 <= size <= len(data) - position or not printable(name):
            raise _Damage(f"no valid box where {kind.decode()} is looked for")
        if name == kind:
            found.append(data[position + 8 : position + size])
        position += size
    return [inner for box in found for inner in _children(box, *below)] if below else found
