"""A headless Chromium for the pages, and what every page must keep to in it."""

import itertools
import json
import os
import shutil
from contextlib import contextmanager

import pytest

webdriver = pytest.importorskip("selenium.webdriver")
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
needs_chromium = pytest.mark.skipif(not (BROWSER and DRIVER), reason="no chromium and chromedriver here")
FLAGS = (
    "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking "
    "disable-component-update disable-sync"
)
DRAWN = "const s = document.getElementById('curve'); return s.viewBox.baseVal.width === s.clientWidth"
OVERFLOWING = """
return [...document.querySelectorAll('body *')].filter((e) => {
  const area = e.getBoundingClientRect(), own = e instanceof HTMLElement && e.tagName !== 'PRE';
  const page = e.tagName === 'text' ? e.ownerSVGElement.getBoundingClientRect() : { left: 0, right: innerWidth };
  const inside = area.left >= page.left - 1 && area.right <= page.right + 1;
  return area.width && !(inside && (!own || !e.clientWidth || e.scrollWidth <= e.clientWidth + 1));
}).map((e) => e.tagName + ' ' + (e.id || e.textContent.slice(0, 40)));
"""


@contextmanager
def opened(page, folder, monkeypatch):
    """The driver with ``page`` open; its profile lies in ``folder``."""
    with browsing(folder, monkeypatch) as driver:
        driver.get(page.as_uri())
        yield driver


@contextmanager
def browsing(folder, monkeypatch):
    """The driver; its profile lies in ``folder``."""
    monkeypatch.setenv("SE_OFFLINE", "true")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS.split(), f"user-data-dir={folder / 'profile'}", "window-size=1200,900"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


def check_fits(browser):
    """Nothing is cut off at the width of a phone or a desk, folded parts open, in light and dark; and no word of an
    axis touches a number."""
    browser.execute_script("for (const d of document.querySelectorAll('details')) d.open = true")
    for width in (360, 400, 1280):
        size = {"width": width, "height": 700, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        WebDriverWait(browser, 30).until(lambda page: page.execute_script(DRAWN))
        for scheme in ("light", "dark"):
            feature = {"name": "prefers-color-scheme", "value": scheme}
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
            wide, room = browser.execute_script(
                "const d = document.documentElement; return [d.scrollWidth, d.clientWidth]"
            )
            assert wide <= room, (width, scheme)
            assert browser.execute_script(OVERFLOWING) == [], (width, scheme)
        titles, numbers = (browser.find_elements("css selector", f"#curve .{name}") for name in ("title", "number"))
        assert titles and numbers
        for title in titles:
            for number in numbers:
                a, b = title.rect, number.rect
                apart = a["x"] + a["width"] <= b["x"] - 2 or b["x"] + b["width"] <= a["x"] - 2
                assert apart, (width, title.text, number.text)
        seconds = [e.rect for e in browser.find_elements("css selector", "#curve .second")]
        assert all(a["x"] + a["width"] < b["x"] for a, b in itertools.pairwise(seconds)), (width, seconds)


def check_quiet(browser):
    """No message in the console, no request beyond the page, less than 10 MB."""
    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requests = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    page = browser.current_url
    own = ("data:", "chrome:", "chrome-untrusted:")  # the browser's start page asks itself for its parts
    assert [url for url in requests if url != page and not url.startswith(own)] == []
    assert page in requests  # else the log saw nothing
    assert os.path.getsize(page.removeprefix("file://")) < 10e6
