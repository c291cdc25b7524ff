"""The report without labels and the index in a real Chromium."""

import json
from dataclasses import replace

import numpy as np
import pytest
from chromium import check_fits, check_quiet, needs_chromium, opened
from selenium.webdriver.common.keys import Keys

from ramvid_vad.camera_report.moments import Moment, picture
from ramvid_vad.camera_report.page import camera_page, index_page
from ramvid_vad.page.pictures import jpeg

pytestmark = needs_chromium
NAME = "<img src=x onerror=\"document.title='taken'\">.mp4"
RATE, LENGTH = 25.0, 25 * 3600 * 2  # two hours


def hours() -> np.ndarray:
    """Levels of two hours: two events of a few frames, and a stretch without a score."""
    scores = np.abs(np.random.default_rng(0).standard_normal(LENGTH)) % 0.9
    scores[50_001:50_020] = 3
    scores[50_007] = 5
    scores[150_000] = 1.5
    scores[80_000:90_000] = np.nan
    return scores


def page_of(scores):
    frame = np.full((90, 160, 3), 120, np.uint8)
    heat = np.zeros((9, 16), np.float32)
    heat[2, 12] = 3
    events = [Moment(50_001, 50_020, 50_007, 5.0), Moment(150_000, 150_001, 150_000, 1.5)]
    shown = replace(
        events[0],
        picture=picture(frame, heat, 0, 3),
        parts=("movement", NAME),
        clip=f"clips/{NAME}",
        normal=jpeg(frame),
    )
    given = {
        "events": [shown, *events[1:]],
        "worst": [],
        "normal": np.random.default_rng(1).random(500),
        "normal_pictures": [jpeg(frame)] * 6,
        "health": [(80_000, 90_000, "black picture")],
        "stands_on": f"1 % of {NAME}",
    }
    return camera_page(NAME, NAME, scores, RATE, **given)


def text(browser, name):
    return browser.find_element("id", name).text


def test_two_hours_on_one_page(tmp_path, monkeypatch):
    page = tmp_path / "report.html"
    page.write_text(page_of(hours()))
    assert page.stat().st_size < 300_000
    with opened(page, tmp_path, monkeypatch) as browser:
        assert text(browser, "lead").startswith("2 unusual events in 180000 frames (120.0 minutes)")
        cards = browser.find_elements("css selector", "#moments li")
        assert "33:20 (frame 50007)" in cards[0].text and "very unusual, 5.00 × threshold" in cards[0].text
        assert "1:40:00 (frame 150000)" in cards[1].text and "unusual, 1.50 × threshold" in cards[1].text
        assert text(browser, "readout") == "33:20 (frame 50007): 5.00 × threshold"  # thinned, the peak stays
        assert "53:20 (frame 80000): black picture" in text(browser, "health")
        assert len(browser.find_elements("css selector", "#curve .event")) == 2

        image = cards[0].find_element("css selector", "img")
        mark, area = cards[0].find_element("css selector", ".over").rect, image.rect
        assert area["width"] / area["height"] == pytest.approx(160 / 90, rel=0.01)
        assert (mark["x"] - area["x"]) / area["width"] == pytest.approx(120 / 160, abs=0.02)
        assert (mark["y"] - area["y"]) / area["height"] == pytest.approx(20 / 90, abs=0.03)
        assert image.get_attribute("alt") == "frame 50007 under its heat, worst place marked"
        images = browser.find_elements("css selector", "img")
        normally = cards[0].find_element("css selector", "figure")
        assert "nearest normal example" in normally.text and normally.find_element("css selector", "img").rect["width"]
        assert len(images) == 1 + 1 + 6 and all(i.get_attribute("alt") for i in images)

        cards[1].find_element("css selector", "button").send_keys(Keys.ENTER)
        assert browser.execute_script("return document.activeElement.id") == "curve"
        assert text(browser, "readout").startswith("1:40:00 (frame 150000)")
        browser.find_element("id", "curve").send_keys(Keys.END)
        assert browser.find_element("id", "curve").get_attribute("aria-valuetext").startswith("1:59:5")
        browser.find_element("id", "curve").send_keys(Keys.HOME, Keys.ARROW_RIGHT)
        assert text(browser, "readout").startswith(("2.4", "3", "4"))  # one point of the thinned curve: 60 frames

        assert NAME in text(browser, "stands_on") and NAME in browser.find_element("css selector", "h1").text
        assert browser.title.startswith(NAME) and len(browser.find_elements("css selector", "script")) == 2
        link = browser.find_element("css selector", "#moments a").get_attribute("href")
        assert link.startswith(tmp_path.as_uri() + "/clips/%3Cimg%20src%3Dx")
        check_fits(browser)
        check_quiet(browser)


def test_without_an_event_the_highest_moments_are_shown(tmp_path, monkeypatch):
    scores = np.minimum(hours()[:5000], 0.8)
    page = tmp_path / "report.html"
    worst = [Moment(at, at + 1, at, float(scores[at])) for at in (100, 2000, 4000)]
    page.write_text(camera_page("a.mp4", "door", scores, RATE, [], worst, normal=np.array([0.1, 0.5])))
    with opened(page, tmp_path, monkeypatch) as browser:
        assert text(browser, "lead").startswith("Nothing in 5000 frames (3.3 minutes) rose above the alarm threshold")
        assert text(browser, "heading") == "No event; the highest moments"
        assert len(browser.find_elements("css selector", "#moments li")) == 3
        check_fits(browser)


def test_the_index_links_to_the_reports_the_worst_first(tmp_path, monkeypatch):
    rows = [
        {"name": "quiet", "report": "quiet.report.html", "events": 0, "faults": 0, "peak": 0.4},
        {"name": "night", "report": "night.report.html", "events": 0, "faults": 7, "peak": None},
        {"name": NAME, "report": f"a b/{NAME}.report.html", "events": 3, "faults": 0, "peak": 2.0},
    ]
    page = tmp_path / "index.report.html"
    page.write_text(index_page("door", rows))
    with opened(page, tmp_path, monkeypatch) as browser:
        links = browser.find_elements("css selector", "#videos a")
        assert [link.text for link in links] == ["night", NAME, "quiet"]
        assert "night - no frame could be scored 0 7" in text(browser, "videos")
        assert links[1].get_attribute("href").startswith(tmp_path.as_uri() + "/a%20b/%3Cimg")
        assert "2.00 × threshold" in text(browser, "videos") and browser.title != "taken"
        assert browser.get_log("browser") == []


def test_the_data_has_no_more_points_than_a_screen_can_show():
    page = page_of(hours())
    data = json.loads(page.split('id="data">', 1)[1].split("</script>", 1)[0])
    assert len(data["video"]["scores"]) == len(data["video"]["peaks"]) <= 3000
    assert max(s for s in data["video"]["scores"] if s is not None) == 5.0
    assert None in data["video"]["scores"]
