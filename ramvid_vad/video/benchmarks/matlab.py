"""Numbers, and cells of numbers, from MATLAB files of version 5 to 7: all that the benchmarks' labels are made of.

scipy's reader, which knows everything else too, crashes on some damaged files; this one believes no length that a file
claims before the bytes are there. The format is The MathWorks' "MAT-File Format", chapter 1.
"""

import itertools
import math
import zlib
from collections.abc import Iterator

import numpy as np

MAX_BYTES = 2**31
"""Largest size of an unpacked variable; Avenue's longest ground truth is 0.4 GB."""
_MATRIX, _COMPRESSED = 14, 15  # types of elements
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_CELL, _FIRST_NUMERIC, _LAST_NUMERIC = 1, 6, 15  # classes of arrays; others are text, structures and sparse arrays
_COMPLEX = 0x0800


def read_variable(content: bytes, name: str) -> np.ndarray:
    """The variable ``name`` of a file's bytes: an array of numbers, or of type object with an array in each cell.

    KeyError: there is no such variable. ValueError: no such file, damaged, or of a kind that is not read.
    """
    order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
    if order is None or content[124 + (order == "<")] != 1:
        raise ValueError("no MATLAB file of version 5 to 7; save it with -v7")
    for kind, data in _elements(memoryview(content)[128:], order):
        if kind == _COMPRESSED:
            kind, data = next(_elements(_unpacked(data, order), order))
        if kind == _MATRIX and data:
            found, value = _array(data, order, name)
            if found == name:
                return value
    raise KeyError(name)


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Type and content of one element after the other, each from a multiple of eight bytes on."""
    while data:
        if len(data) < 8:
            raise ValueError("it ends within an element")
        kind, size = (int(word) for word in np.frombuffer(data[:8], order + "u4"))
        if kind >> 16:  # up to four bytes lie in the tag itself
            kind, size, start, end = kind & 0xFFFF, kind >> 16, 4, 8
        else:
            start, end = 8, 8 + size + (-size % 8 if kind != _COMPRESSED else 0)
        if size > len(data) - start or (start == 4 and size > 4):
            raise ValueError(f"an element claims {size} bytes, {len(data) - start} are left")
        yield kind, data[start : start + size]
        data = data[end:]


def _unpacked(data: memoryview, order: str) -> memoryview:
    """A compressed element, no longer than its own tag says."""
    stream = zlib.decompressobj()
    tag = stream.decompress(data, 8)
    size = int(np.frombuffer(tag, order + "u4")[1]) if len(tag) == 8 else 0
    if not 0 < size <= MAX_BYTES:
        raise ValueError(f"a compressed variable claims {size} bytes")
    return memoryview(tag + stream.decompress(stream.unconsumed_tail, size))


def _array(data: memoryview, order: str, wanted: str | None) -> tuple[str, np.ndarray]:
    """Name and content of an array; where another name is wanted, the content is not looked at. None: of a cell."""
    parts = [*itertools.islice(_elements(data, order), 4 if wanted is None else None)]
    if len(parts) < 3:
        raise ValueError("an array lacks some of its parts")
    flags, shape, name = (bytes(part) for _, part in parts[:3])
    name = name.decode("latin-1")
    if wanted not in (None, name):
        return name, np.zeros(0)
    flags = int.from_bytes(flags[:4], "little" if order == "<" else "big")
    shape = tuple(int(side) for side in np.frombuffer(shape[: len(shape) // 4 * 4], order + "i4"))
    if len(shape) < 2 or min(shape) < 0:
        raise ValueError(f"{name[:80]!r} claims the shape {shape[:9]}")
    if flags & 0xFF == _CELL and wanted is not None:
        return name, _cells([part for _, part in parts[3:]], shape, order)
    if not _FIRST_NUMERIC <= flags & 0xFF <= _LAST_NUMERIC or flags & _COMPLEX:
        raise ValueError(f"{name[:80]!r} is neither real numbers nor a cell of them (text, sparse ...)")
    kind, values = parts[3] if len(parts) > 3 else (0, b"")
    if kind not in _NUMBERS or math.prod(shape) * np.dtype(_NUMBERS[kind]).itemsize != len(values):
        raise ValueError(f"{name[:80]!r} of shape {shape[:9]} holds {len(values)} bytes of type {kind}")
    return name, np.frombuffer(values, order + _NUMBERS[kind]).reshape(shape, order="F")


def _cells(parts: list[memoryview], shape: tuple[int, ...], order: str) -> np.ndarray:
    """Cells of numbers, as an array of arrays; an empty one has no content at all."""
    if math.prod(shape) != len(parts):
        raise ValueError(f"{len(parts)} cells, but a shape of {shape[:9]}")
    cells = np.empty(len(parts), object)
    for place, part in enumerate(parts):
        cells[place] = _array(part, order, None)[1] if part else np.zeros((0, 0))
    return cells.reshape(shape, order="F")
