"""Which two frames the motion of each frame is found between."""

from itertools import count, islice

import pytest

from ramvid_vad.spaces.motion import with_pairs


@pytest.mark.parametrize(
    ("frames", "pairs"),
    [("", ""), ("a", "aaa"), ("ab", "aba bba"), ("abc", "aba bba ccb"), ("aabb", "aaa aaa bba bbb")],
)
def test_the_first_frame_takes_the_motion_of_the_second(frames, pairs):
    assert [tuple(each) for each in pairs.split()] == list(with_pairs(frames))


def test_each_frame_is_given_before_the_next_but_one_is_asked_for():
    asked = []
    pairs = with_pairs(asked.append(number) or number for number in count())
    for number, given in enumerate(islice(pairs, 20)):
        assert given[0] == number and asked[-1] == max(number, 1)
