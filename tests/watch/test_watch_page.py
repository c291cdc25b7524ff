"""The local page: who may ask it, what it answers, and how it is in a real Chromium."""

import http.client
import json
import re
import time
from contextlib import contextmanager

import numpy as np
import pytest
from servers import jpegs, motion_jpeg
from stand_in import BRIGHT, DARK, ByNight, watch

from ramvid_vad.errors import InputError
from ramvid_vad.video.writer import write_video

pytest.importorskip("starlette", reason="no starlette here (pip install '.[watch]')")
pytest.importorskip("uvicorn", reason="no uvicorn here (pip install '.[watch]')")
from ramvid_vad.watch.page.server import Page

NAME = "<img src=x onerror=alert(1)>"


@contextmanager
def page_of(tmp_path, place="0", pictures=None):
    """A watch with one event, and its page."""
    film = tmp_path / f"{NAME}.mp4"
    frames = np.full((40, 48, 64, 3), DARK, np.uint8)
    frames[10:20] = BRIGHT
    write_video(str(film), frames if pictures is None else pictures, fps=60)
    watched = watch(str(film), tmp_path / "out", ByNight(), name=NAME)
    page = Page(place, watched, str(tmp_path / "camera"))
    try:
        watched.run(lambda: False)
        yield watched, page
    finally:
        page.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with page_of(tmp_path_factory.mktemp("page")) as (_, page):
        yield page


def ask(page, path="/", method="GET", body=None, **headers):
    """(status, headers, content)."""
    port = int(re.search(r":(\d+)/", page.address)[1])
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    link.request(method, path, body, {"Host": f"127.0.0.1:{port}", **given})
    answer = link.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read()
    link.close()
    return found


def own(page):
    return page.address.split("?")[0].rstrip("/")


def test_the_page_and_its_parts_are_there_with_a_strict_policy(served):
    for path, kind in (
        ("/", "text/html"),
        ("/page.css", "text/css"),
        ("/page.js", "text/javascript"),
        ("/elements.js", "text/javascript"),
    ):
        status, headers, content = ask(served, path)
        assert status == 200 and headers["content-type"].startswith(kind) and content
        assert "script-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"] and headers["cache-control"] == "no-store"
    html = ask(served)[2].decode()
    assert "://" not in html and "style=" not in html and not re.search(r"<script(?! src)|\son\w+=", html)
    assert ask(served, "/live.jpg")[2][:2] == b"\xff\xd8"
    status = json.loads(ask(served, "/status.json")[2])
    assert status["camera"] == NAME and status["frames"]["scored"] == 40 and status["health"] == ""
    assert [event["id"] for event in status["events"]] == [1]
    assert ask(served, "/events/1.jpg")[2][:2] == b"\xff\xd8" and ask(served, "/events/1.mp4")[2][4:8] == b"ftyp"
    assert status["light"] == "night" and ask(served, "/events/1.normal.jpg")[2][:2] == b"\xff\xd8"
    assert ask(served, "/events/1.mp4", Range="bytes=0-9")[0] == 206


@pytest.mark.parametrize(
    "path",
    ["/events/2.jpg", "/events/../state.json", "/events/..%2fstate.json", "/state.json", "/events/1.txt", "/server.py"],
)
def test_nothing_else_is_served(served, path):
    assert ask(served, path)[0] == 404


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8642", "10.0.0.1", "", "localhost.evil.example"])
def test_another_name_for_this_machine_is_refused(served, host):
    assert ask(served, Host=host)[0] == 400


@pytest.mark.parametrize("path", ["/", "/live.jpg", "/status.json", "/events/1.mp4"])
def test_a_request_from_another_site_is_refused(served, path):
    assert ask(served, path)[0] == 200
    assert ask(served, path, Sec_Fetch_Site="cross-site")[0] == 403
    assert ask(served, path, Sec_Fetch_Site="same-site")[0] == 403
    assert ask(served, path, Origin="http://evil.example")[0] == 403
    assert ask(served, path, Sec_Fetch_Site="same-origin", Origin=own(served))[0] == 200


def test_this_is_normal_copies_the_clip_and_nothing_else_may(tmp_path):
    with page_of(tmp_path) as (watched, page):
        good = {"Origin": own(page), "Content_Type": "application/json"}

        def post(body='{"id": 1}', **headers):
            status, _, content = ask(page, "/normal", "POST", body, **headers)
            return status, content.decode()

        assert post(Content_Type="application/json")[0] == 403  # no Origin
        assert post(**good | {"Origin": "http://evil.example"})[0] == 403
        assert post(**good | {"Origin": "null"})[0] == 403
        assert post(**good | {"Content_Type": "text/plain"})[0] == 415
        assert post("{}", **good)[0] == post('{"id": "../1"}', **good)[0] == 400
        assert post('{"id": 1, "x": "' + "x" * 2000 + '"}', **good)[0] == 413
        assert post('{"id": 7}', **good)[0] == 404
        assert ask(page, "/normal")[0] == 404
        assert not (tmp_path / "camera").exists()
        status, said = post(**good)
        assert status == 200 and "fit --add" in said
        (kept,) = (tmp_path / "camera" / "normal_added").iterdir()
        event = watched.board.event(1)
        assert re.fullmatch(rf"{event['start'][:10]}_000001_[0-9a-f]{{8}}\.mp4", event["normal"])
        assert kept.name == event["normal"]
        clip = tmp_path / "out" / event["clip"]
        assert kept.read_bytes() == clip.read_bytes()
        clip.write_bytes(b"event 1 of another --out on the same day")
        assert post(**good)[0] == 200
        assert kept.read_bytes() != clip.read_bytes() and len(list(kept.parent.iterdir())) == 2


def test_another_address_asks_for_the_token(tmp_path):
    with page_of(tmp_path, "0.0.0.0:0") as (_, page):
        token = page.address.split("?token=")[1]
        assert len(token) > 40
        for headers in ({}, {"Cookie": f"ramvid_vad_1={token}"}, {"Authorization": f"Bearer {token}"}):
            assert ask(page, "/status.json", **headers)[0] == 401
        assert ask(page, f"/?token={token[:-1]}")[0] == ask(page, "/?token=")[0] == ask(page, "/?token=%ff")[0] == 401
        status, headers, content = ask(page, f"/?token={token}")
        assert (status, headers["location"], content) == (303, "/", b"")
        cookie = headers["set-cookie"]
        assert "HttpOnly" in cookie and "samesite=strict" in cookie.lower()
        cookie = cookie.split(";")[0]
        assert ask(page, "/status.json", Cookie=f"a=b; {cookie}")[0] == 200
        assert ask(page, "/status.json", Cookie=cookie, Host="192.0.2.7:80")[0] == 200
        assert ask(page, "/status.json", Cookie=cookie, Host="evil.example")[0] == 400
        assert ask(page, "/", Cookie=cookie, Sec_Fetch_Site="cross-site")[0] == 403


@pytest.mark.parametrize("place", ["eighty", "host.example:80", "1.2.3.4:99999", ":::", "127.0.0.1:"])
def test_what_is_no_address_is_said(place, tmp_path):
    with pytest.raises(InputError, match="--page"):
        Page(place, None, "")


def test_a_port_that_is_taken_is_said(served):
    with pytest.raises(InputError, match="cannot listen there"):
        Page(re.search(r":(\d+)/", served.address)[1], None, "")


def until(true, seconds=30):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.1)


def test_the_page_in_a_browser(tmp_path, monkeypatch):
    chromium = pytest.importorskip("chromium")  # which skips, too, where selenium is missing
    if not (chromium.BROWSER and chromium.DRIVER):
        pytest.skip("no chromium and chromedriver here")
    with page_of(tmp_path) as (watched, page), chromium.browsing(tmp_path, monkeypatch) as browser:

        def find(selector):
            return browser.find_element("css selector", selector)

        browser.get(page.address)
        until(lambda: find("#health").text == "picture good")
        assert find("#camera").text == NAME and NAME in find("#source").text and NAME in browser.title
        until(lambda: browser.execute_script("return document.getElementById('live').naturalWidth") == 64)
        assert browser.find_elements("css selector", "#chart .threshold")
        assert browser.find_elements("css selector", "#chart .score")
        assert "Dropped\n0" in find("#figures").text and "Scored\n40" in find("#figures").text
        until(lambda: browser.execute_script("return document.querySelector('.show img').naturalWidth") == 64)
        assert find("#light").text == "night" and find(".normally").text == "nearest normal example"
        until(lambda: browser.execute_script("return document.querySelector('.normally img').naturalWidth") == 32)
        find(".show").click()
        until(lambda: browser.execute_script("return document.getElementById('video').readyState") >= 1)
        assert "Event 1" in find("#caption").text
        find("dialog button").click()
        (clip,) = tmp_path.glob("out/*/*.mp4")
        clip.rename(tmp_path / "away.mp4")
        find(".normal").click()
        until(lambda: "This event has no clip (yet)." in find("#events li").text)
        (tmp_path / "away.mp4").rename(clip)
        find(".normal").click()
        until(lambda: "fit --add" in find("#events li").text)
        assert not browser.find_elements("css selector", ".normal")
        lost = {"id": 2, "kind": "health", "fault": "lost", "start": "2026-11-27T10:00:00.000+00:00", "change": "end"}
        watched.board.tell(lost | {"interrupted": True})
        until(lambda: "10:00:00 – interrupted" in find("#events").text)
        assert (tmp_path / "camera" / "normal_added").is_dir()
        assert browser.execute_script("return document.querySelectorAll('img[src=x]').length") == 0
        shades = set()
        for scheme in ("light", "dark"):
            feature = {"name": "prefers-color-scheme", "value": scheme}
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
            shades.add(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))
        assert len(shades) == 2
        for width in (360, 400, 1200):
            size = {"width": width, "height": 700, "deviceScaleFactor": 1, "mobile": False}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
        asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        assert f"{own(page)}/status.json" in asked
        assert [url for url in asked if not url.startswith((own(page), "chrome", "data:"))] == []
        said = [entry["message"] for entry in browser.get_log("browser") if "favicon" not in entry["message"]]
        assert len(said) == 1 and "/normal - " in said[0]  # of the clip that was away


def test_a_lost_stream_is_seen(tmp_path):
    with motion_jpeg([jpegs([DARK] * 5)]) as server:
        watched = watch(f"http://admin:geheim-wort@{server.address}/", tmp_path)
        page = Page("0", watched, str(tmp_path))
        watched.run(lambda: bool(watched.board.status()["lost"]) and server.asked > 1)
        content = ask(page, "/status.json")[2].decode()
        page.close()
    assert json.loads(content)["health"] == "lost" and "geheim-wort" not in content
