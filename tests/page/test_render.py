"""A page is deaf to what a video is called."""

import json

import pytest

from ramvid_vad.page.render import render


def test_names_open_no_tag():
    data = {"title": "</title><script>alert(1)</script>", "videos": [{"name": "</script><script>alert(2)"}]}
    page = render(data, "page", "ramvid_vad.evaluation.report")
    assert "@" not in page.split("<style>")[0] and page.count("&lt;/title&gt;") == 2
    assert "alert(1)</script>" not in page and "</script><script>alert" not in page
    block = page.split('id="data">', 1)[1].split("</script>", 1)[0]
    assert json.loads(block) == data


@pytest.mark.parametrize("name", ["@DATA@.mp4", "@CSS@", "@JS@ @TITLE@"])
def test_a_name_takes_the_place_of_nothing(name):
    data = {"title": name, "videos": [{"name": name}]}
    page = render(data, "page", "ramvid_vad.evaluation.report")
    assert f"<title>{name}: " in page and f"<h1>{name}</h1>" in page and "<style>@" not in page
    assert json.loads(page.split('id="data">', 1)[1].split("</script>", 1)[0]) == data
