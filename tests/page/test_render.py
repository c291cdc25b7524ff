"""A page is deaf to what a video is called."""

import json

from ramvid_vad.page.render import render


def test_names_open_no_tag():
    data = {"title": "</title><script>alert(1)</script>", "videos": [{"name": "</script><script>alert(2)"}]}
    page = render(data, "page", "ramvid_vad.evaluation.report")
    assert "@" not in page.split("<style>")[0] and page.count("&lt;/title&gt;") == 2
    assert "alert(1)</script>" not in page and "</script><script>alert" not in page
    block = page.split('id="data">', 1)[1].split("</script>", 1)[0]
    assert json.loads(block) == data
