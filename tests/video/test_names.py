"""Which pictures of a folder are its frames, and the order of names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramvid_vad.errors import InputError
from ramvid_vad.runtime.text import csv_cell, decode_text, from_csv_cell, plain_name
from ramvid_vad.video.names import frames_of, in_order, natural_key, refuse_ambiguous

FRAMES = [f"{i:03d}.jpg" for i in range(12)]


@pytest.mark.parametrize(
    ("others", "odd"),
    [
        ([], ""),
        (["preview.jpg"], "1 pictures that are no frame passed over (preview.jpg)"),
        (["005 (1).jpg"], "1 pictures that are no frame passed over (005 (1).jpg)"),
        (["005 copy.jpg", "Copy of 006.jpg", "Copy of 007.jpg"], "3 pictures that are no frame"),
        ([f"{i:03d}_mask.png" for i in range(12)], "12 pictures that are no frame"),
        ([f"{i:03d} (1).jpg" for i in range(12)], "12 pictures that are no frame"),
        (["poster1.png"], "1 pictures that are no frame passed over (poster1.png)"),
    ],
)
def test_pictures_beside_the_frames_are_passed_over(others, odd):
    frames, phrases = frames_of("01", [*others, *reversed(FRAMES)])
    assert frames == FRAMES
    assert len(phrases) == bool(odd) and all(phrase.startswith(odd) for phrase in phrases)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([*FRAMES, *[f"frame_{i:03d}.png" for i in range(12)]], "two numberings, 12 pictures as 000.jpg and 12 as fr"),
        ([*FRAMES, "snap1.jpg", "snap2.jpg"], "two numberings, 12 pictures as 000.jpg and 2 as snap1.jpg"),
        ([*FRAMES, "-1.jpg"], r"negative numbers beside others \(-1.jpg, 000.jpg\)"),
        ([f"f_{i}.jpg" for i in range(-3, 4)], "negative numbers"),
        ([*FRAMES, "5.jpg"], "005.jpg and 5.jpg are both the same frame"),
        ([*FRAMES, "005.webp"], "005.jpg and 005.webp are both the same frame"),
        (["0.5.jpg", "1.5.jpg", "1.25.jpg", "2.0.jpg"], "as decimal numbers its pictures have another order"),
        ([], "a folder without pictures"),
    ],
)
def test_what_could_be_two_videos_is_refused(names, message):
    with pytest.raises(InputError, match=f"^01: {message}"):
        frames_of("01", names)


@pytest.mark.parametrize(
    ("names", "odd"),
    [
        (["0.50.jpg", "1.00.jpg", "10.25.jpg"], []),
        ([f"cam{c}_{i}.jpg" for c in (1, 2) for i in range(12)], []),
        ([f"2024-01-01_12-{m:02d}-{s:02d}.jpg" for m in range(3) for s in (1, 30)], []),
        ([f"{1_000_000 + int(33.34 * i)}.jpg" for i in range(60)], []),
        ([f"{i}.jpg" for i in range(0, 60, 5)], []),
        (
            [f"{i}.jpg" for i in range(0, 60, 5) if i != 30],
            ["1 numbers missing between its frames, the first"],
        ),
        ([f"{i}.jpg" for i in range(20) if i not in (3, 4, 9)], ["3 numbers missing between its frames, the first"]),
        (["a.jpg", "b.jpg"], ["not numbered alike, taken in order of name (a.jpg, b.jpg)"]),
        (["only.jpg"], []),
        (["7f3a.jpg", "c09e.jpg", "b.jpg", "aa01.jpg", "12.jpg"], ["not numbered alike"]),
    ],
)
def test_all_are_frames_in_the_order_of_their_numbers(names, odd):
    frames, phrases = frames_of("01", list(reversed(names)))
    assert sorted(frames) == sorted(names)
    if "not" not in "".join(odd):
        assert frames == names
    assert len(phrases) == len(odd) and all(map(str.startswith, phrases, odd))


@given(st.lists(st.text(min_size=1), unique=True))
def test_the_order_is_one(names):
    assert in_order(names) == in_order(list(reversed(names)))
    assert len({natural_key(name) for name in names}) == len(names)


@pytest.mark.parametrize(
    ("names", "alike"),
    [
        (["01", "02", "10"], True),
        (["1", "2", "3"], True),
        (["1", "2", "10"], False),
        (["a", "B"], False),
        (["01", "01-b"], False),  # with endings 01-b.avi comes first
        (["a/1", "a-b/1"], False),
        (["01_0014", "01_0015", "12_0142"], True),
    ],
)
def test_orders_in_which_others_join_videos(names, alike):
    if alike:
        return refuse_ambiguous(names, "s.npy", "")
    with pytest.raises(InputError, match=r"^s.npy: holds all videos end to end, but in which order\? Number . is '"):
        refuse_ambiguous(names, "s.npy", "")


@given(st.text())
def test_a_cell_never_begins_a_formula_and_is_read_back(text):
    assert csv_cell(text)[:1] not in ("=", "+", "-", "@") and from_csv_cell(csv_cell(text)) == text
    assert plain_name(plain_name(text)) == plain_name(text)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_with_a_byte_order_mark(encoding):
    assert decode_text("0 1 é".encode(encoding)) == "0 1 é"
