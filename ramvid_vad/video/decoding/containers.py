"""Damage that shows only in a container's own structure, where FFmpeg ends without a word.

A fragmented mp4, an avi or a gif may break off between two pictures; of mp4, flv and asf files joined end to end only
the first is played. The layouts walked here are ISO/IEC 14496-12 (boxes), RIFF (chunks) and GIF89a (blocks).
"""

import mmap
import os
from typing import BinaryIO

JOINED = "holds several videos end to end, and only the first would be played: split it, or join it with ffmpeg"
_FLV = b"FLV\x01"
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")  # the header object's identifier


def structural_damage(path: str) -> str | None:
    """What is wrong with the outer structure of a local file, in a few words; None: nothing that can be seen here."""
    with open(path, "rb") as file:
        start = file.read(16)
        file.seek(0)
        if start[:4] == b"GIF8":
            return _gif(file)
        if start[:4] == b"RIFF":
            return _riff(file, os.path.getsize(path))
        if start[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
            return _boxes(file, os.path.getsize(path))
        if start[:4] == _FLV or start == _ASF:
            # version, contents (sound, pictures), header size, size of no tag before the first one
            again = start if start == _ASF else start[:5] + bytes([0, 0, 0, 9, 0, 0, 0, 0])
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return JOINED if content.find(again, 1) > 0 else None
    return None


def _boxes(file: BinaryIO, end: int) -> str | None:
    """Top-level boxes: each a 32-bit size and a four-letter type (or size 1 and a 64-bit size; 0 = up to the end)."""
    position, kinds = 0, []
    while position < end:
        file.seek(position)
        header = file.read(16)
        size, kind = int.from_bytes(header[:4], "big"), header[4:8]
        if size == 1:
            size = int.from_bytes(header[8:], "big")
        if not _printable(kind) or 0 < size < 8:
            # Cameras append padding to finished files; a fragmented file, though, is made of boxes to its end.
            return f"no valid box at byte {position} of {end}" if b"moof" in kinds else None
        if position + size > end:
            return f"truncated: box {kind.decode()!r} ends at byte {position + size}, the file at {end}"
        if kind == b"moov" and kind in kinds:
            return JOINED
        if size == 0:
            return None
        kinds.append(kind)
        position += size
    return None


def _printable(kind: bytes) -> bool:
    """Whether four bytes can be the type of a box."""
    return len(kind) == 4 and all(32 <= byte < 127 or byte == 0xA9 for byte in kind)


def _riff(file: BinaryIO, end: int) -> str | None:
    """RIFF chunks, one per gigabyte: "RIFF", a 32-bit size, content. A recorder that was cut off leaves size 0."""
    position = 0
    while position < end:
        file.seek(position)
        header = file.read(8)
        size = int.from_bytes(header[4:], "little")
        if header[:4] != b"RIFF" or size in (0, 0xFFFFFFFF):
            return None
        position += 8 + size + size % 2
        if position > end + 9:  # some writers count the header into the size
            return f"truncated: its content ends at byte {position}, the file at {end}"
    return None


def _gif(file: BinaryIO) -> str | None:
    """Blocks up to the trailer 0x3B: extensions 0x21 and images 0x2C, both ending in a chain of sub-blocks."""
    _skip_palette(file, file.read(13)[10:11])
    while (block := file.read(1)) != b"\x3b":
        if not block:
            return "truncated: no trailer"
        if block not in b"\x21\x2c":
            return f"no valid block at byte {file.tell() - 1}"
        if block == b"\x2c":
            _skip_palette(file, file.read(9)[8:9])
        file.seek(1, os.SEEK_CUR)  # the extension's label, or the image's LZW code size
        while (length := file.read(1)) not in (b"", b"\0"):
            file.seek(length[0], os.SEEK_CUR)
    return None


def _skip_palette(file: BinaryIO, flags: bytes) -> None:
    if flags and flags[0] & 0x80:
        file.seek(3 * 2 ** ((flags[0] & 7) + 1), os.SEEK_CUR)
