"""Our reader of MATLAB files gives what scipy's gives, and refuses what makes scipy's crash."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.io import loadmat, savemat

from ramvid_vad.errors import InputError
from ramvid_vad.video.benchmarks.annotations import avenue_volume, load_matlab, matlab_ranges
from ramvid_vad.video.benchmarks.matlab import MAX_BYTES, read_variable

NUMBERS = st.sampled_from(
    [np.dtype(name) for name in ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]]
)
plain = NUMBERS.flatmap(lambda kind: arrays(kind, st.tuples(st.integers(0, 4), st.integers(0, 4))))


def saved(compressed=False, **variables) -> bytes:
    file = io.BytesIO()
    savemat(file, variables, do_compression=compressed)
    return file.getvalue()


def cells(*values, shape=None) -> np.ndarray:
    box = np.empty(len(values), object)
    for place, value in enumerate(values):
        box[place] = value
    return box.reshape(shape or (1, -1))


@given(plain, st.booleans())
def test_an_array_is_what_scipy_reads(value, compressed):
    content = saved(compressed, other=np.ones((3, 3)), gt=value)
    expected, read = loadmat(io.BytesIO(content))["gt"], read_variable(content, "gt")
    assert read.shape == expected.shape
    np.testing.assert_array_equal(read, expected)


@given(st.lists(plain, min_size=4, max_size=4), st.booleans())
def test_cells_are_what_scipy_reads(values, compressed):
    content = saved(compressed, gt=cells(*values, shape=(2, 2)))
    expected, read = loadmat(io.BytesIO(content))["gt"], read_variable(content, "gt")
    assert read.shape == (2, 2)
    for ours, theirs in zip(read.flat, expected.flat, strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_array_equal(ours, theirs)


HEAD = b"big".ljust(124) + b"\1\0MI"  # big-endian, which scipy does not write


def element(kind: int, data: bytes, order=">") -> bytes:
    return struct.pack(order + "II", kind, len(data)) + data + bytes(-len(data) % 8)


def by_hand(value: bytes, shape=(1, 2), kind=9, array_class=6) -> bytes:
    """A file with one variable "gt"."""
    parts = element(6, struct.pack(">II", array_class, 0)) + element(5, struct.pack(f">{len(shape)}i", *shape))
    return HEAD + element(14, parts + element(1, b"gt") + element(kind, value))


def test_the_other_byte_order():
    content = by_hand(struct.pack(">dd", 2.5, -1))
    np.testing.assert_array_equal(read_variable(content, "gt"), [[2.5, -1]])
    np.testing.assert_array_equal(loadmat(io.BytesIO(content))["gt"], [[2.5, -1]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no MATLAB file of version 5 to 7"),
        (b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM" + bytes(400), "no MATLAB file of version 5 to 7"),
        (saved(gt=np.ones((3, 3)))[:-20], "are left"),
        (saved(gt="text"), "neither real numbers nor a cell"),
        (saved(gt=np.ones((2, 2)) * 1j), "neither real numbers nor a cell"),
        (saved(gt=cells(cells(1.0))), "neither real numbers nor a cell"),
        (by_hand(bytes(16), shape=(2**30, 2**30)), "holds 16 bytes"),
        (by_hand(bytes(16), shape=(-1, -2)), "claims the shape"),
        (by_hand(bytes(16), shape=(2,)), "claims the shape"),
        (by_hand(bytes(16), kind=14), "holds 16 bytes of type 14"),
        (by_hand(b"", shape=(2**30, 2**30), array_class=1), "1 cells, but a shape"),
        (HEAD + element(14, bytes(4)), "ends within"),
        (HEAD + element(14, element(6, bytes(8))), "lacks some of its parts"),
        (HEAD + element(15, zlib.compress(struct.pack(">II", 14, MAX_BYTES + 1))), "claims 2147483649"),
    ],
)  # fmt: skip
def test_damage_and_what_is_not_read_is_a_clear_error(content, message):
    with pytest.raises(ValueError, match=message):
        read_variable(content, "gt")


def test_a_missing_variable():
    with pytest.raises(KeyError):
        read_variable(saved(other=np.ones(2)), "gt")


def test_a_bomb_is_not_unpacked_further_than_it_says():
    bomb = zlib.compress(struct.pack(">II", 14, 64) + bytes(200_000_000))
    tracemalloc.start()
    with pytest.raises(ValueError):
        read_variable(HEAD + element(15, bomb), "gt")
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    "read", [lambda path: load_matlab(path, "gt"), matlab_ranges, lambda p: list(avenue_volume(p))]
)
def test_every_reader_of_the_benchmarks_refuses_in_one_line(tmp_path, read):
    path = tmp_path / "a.mat"
    for content in (b"", saved(a=np.ones(2)), saved(gt=np.ones((3, 3)), volLabel=np.ones((3, 3)))[:200]):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"a\.mat: ") as error:
            read(path)
        assert "\n" not in str(error.value)


def test_a_start_that_is_no_number(tmp_path):
    (tmp_path / "a.mat").write_bytes(saved(gt=np.array([[1.0, np.nan], [2, 3]])))
    with pytest.raises(InputError, match="video 1 of 'gt' has a start or end that is no number"):
        matlab_ranges(tmp_path / "a.mat")
