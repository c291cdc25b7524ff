"""A small part of cuts.py: cut videos beside the ffmpeg command. Others are cut by PyAV in test_cut_videos.py."""

import cuts
import pytest

FFMPEG = cuts.find_ffmpeg()
pytestmark = pytest.mark.skipif(not FFMPEG, reason="no ffmpeg command to compare with")


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    return cuts.Campaign(FFMPEG, tmp_path_factory.mktemp("cuts"), 7, ("H.264", "HEVC", "MPEG-2", "MPEG-4"))


def test_cuts_are_read_as_ffmpeg_reads_them(campaign):
    rows = list(cuts.results(campaign, 24))
    assert cuts.wrong(rows) == []
    total = cuts.summary(rows)[-1]
    assert total["cuts"] == total["equal"] == 24 and total["siblings refused"] >= 8


def test_what_must_not_happen_is_noticed(campaign, monkeypatch):
    """A reader that loses the last picture, and one that takes everything for damaged."""
    read = cuts.read
    monkeypatch.setattr(cuts, "read", lambda path: ((read(path)[0] or [])[:-1] or None, ""))
    assert {row["outcome"] for row in cuts.wrong(list(cuts.results(campaign, 4)))} == {"different"}
    monkeypatch.setattr(cuts, "read", lambda path: (None, "damaged"))
    assert {row["outcome"] for row in cuts.wrong(list(cuts.results(campaign, 4)))} == {"refused"}


def test_a_cut_is_a_pure_function_of_its_number(campaign):
    about, path = campaign.cut(3)
    content = path.read_bytes()
    assert (about, content) == (campaign.cut(3)[0], path.read_bytes())
    assert campaign.damaged(3, path)[1].read_bytes() == campaign.damaged(3, path)[1].read_bytes() != content
