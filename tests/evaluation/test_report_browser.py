"""The report in a real Chromium, opened from a file."""

import json
import os
import shutil
from contextlib import contextmanager
from dataclasses import replace

import pytest
from known_run import LENGTHS

from ramvid_vad.evaluation.report import frame_source, write_report

webdriver = pytest.importorskip("selenium.webdriver")
from selenium.webdriver.common.keys import Keys  # noqa: E402

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason="no chromium and chromedriver here")
FLAGS = (
    "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking "
    "disable-component-update disable-sync"
)


@pytest.fixture
def browser(run, tmp_path, monkeypatch):
    page = tmp_path / "report.html"
    write_report(run.evaluate(), str(page), frame_source(run.options, str(run.root / "cache")))
    with opened(page, tmp_path, monkeypatch) as driver:
        yield driver


@contextmanager
def opened(page, tmp_path, monkeypatch):
    monkeypatch.setenv("SE_OFFLINE", "true")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS.split(), f"user-data-dir={tmp_path / 'profile'}", "window-size=1200,900"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        driver.get(page.as_uri())
        yield driver
    finally:
        driver.quit()


def test_report_in_a_browser(browser):
    def find(name):
        return browser.find_element("id", name)

    def frame():
        return int(find("curve").get_attribute("aria-valuenow"))

    for name in ("figure", "verdict", "protocol", "provenance", "readout"):
        assert find(name).text, name
    assert len(browser.find_elements("css selector", "#videos tr")) == 1 + len(LENGTHS)
    assert all(browser.find_elements("css selector", f"#{name} polyline") for name in ("curve", "roc", "pr"))

    before = frame()
    for key, step in ((Keys.ARROW_RIGHT, 1), (Keys.PAGE_UP, 10), (Keys.ARROW_LEFT, -1)):
        start, x = frame(), find("cursor").get_attribute("x1")
        find("curve").send_keys(key)
        last = int(find("curve").get_attribute("aria-valuemax"))
        assert frame() == min(start + step, last)
        assert find("cursor").get_attribute("x1") != x
        assert f"frame {frame()}," in find("readout").text
    find("curve").send_keys(Keys.HOME)
    assert frame() == before == 0
    middle = browser.find_element("css selector", "#curve .frame")
    webdriver.ActionChains(browser).move_to_element(middle).click().perform()
    assert abs(frame() - (last + 1) / 2) <= 1  # the middle of the picture is the middle of the video

    sources, shown = set(), set()
    for _ in range(3):
        picture = find("infilled")
        assert browser.execute_script("return arguments[0].complete && arguments[0].naturalWidth", picture) > 0
        sources.add(picture.get_attribute("src"))
        shown.add(find("shown").text)
        assert find("boxes").get_attribute("childElementCount") != "0"  # the whole frame is off by more than tau
        find("curve").send_keys(Keys.ARROW_LEFT)
    assert len(sources) == len(shown) == 3
    find("curve").send_keys(Keys.HOME)
    assert find("shown").text == "frame 0 shown"
    for kind in ("false_alarms", "misses"):
        button = browser.find_elements("css selector", f"#{kind} button")[-1]
        assert len(button.find_elements("css selector", "img")) == 3
        button.click()
        assert f", frame {frame()}:" in button.text
    assert browser.execute_script("return document.activeElement.id") == "curve"

    background = "return getComputedStyle(document.body).backgroundColor"
    shades = {}
    for scheme in ("light", "dark"):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        shades[scheme] = browser.execute_script(background)
    assert shades["light"] == "rgb(255, 255, 255)" != shades["dark"]

    narrow = {"width": 360, "height": 700, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", narrow)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 360

    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requests = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    page = browser.current_url
    own = ("data:", "chrome:", "chrome-untrusted:")  # the browser's start page asks itself for its parts
    assert [url for url in requests if url != page and not url.startswith(own)] == []
    assert page in requests  # else the log saw nothing
    assert os.path.getsize(page.removeprefix("file://")) < 10e6


def test_a_name_that_is_a_script_does_nothing(run, tmp_path, monkeypatch):
    evaluation = run.evaluate(nulls="constant", measures="mse", bootstrap=0)
    name = "<script>alert(1)</script>"
    page = tmp_path / "report.html"
    write_report(replace(evaluation, names=[name, *evaluation.names[1:]]), str(page))
    with opened(page, tmp_path, monkeypatch) as browser:
        assert browser.execute_script("return document.scripts.length") == 2  # the data and the page's own
        assert name in browser.find_element("id", "videos").text  # an open alert would make this raise
        assert "scores only, no frames" in browser.find_element("id", "shown").text
        assert browser.get_log("browser") == []
