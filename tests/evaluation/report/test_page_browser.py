"""The report in a real Chromium, opened from a file."""

import json
import os
import shutil
from contextlib import contextmanager
from dataclasses import replace

import pytest
from known_run import LENGTHS

from ramvid_vad.evaluation.inputs.finished_runs import read_run
from ramvid_vad.evaluation.report.comparison import write_comparison
from ramvid_vad.evaluation.report.files import write_results
from ramvid_vad.evaluation.report.page import report_page
from ramvid_vad.evaluation.report.pictures import frame_source
from ramvid_vad.evaluation.statistics.comparison import compare

webdriver = pytest.importorskip("selenium.webdriver")
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason="no chromium and chromedriver here")
FLAGS = (
    "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking "
    "disable-component-update disable-sync"
)


FITS = "const s = document.getElementById('curve'); return s.viewBox.baseVal.width === s.clientWidth"


@pytest.fixture
def browser(run, tmp_path, monkeypatch):
    page = tmp_path / "report.html"
    page.write_text(report_page(run.evaluate(), frame_source(run.options, str(run.root / "cache"))))
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

    check_narrow(browser)
    check_quiet(browser)


def check_narrow(browser):
    """Nothing runs out of the page, and no word of an axis touches a number."""
    for width in (360, 400, 1200):
        size = {"width": width, "height": 700, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        WebDriverWait(browser, 30).until(lambda page: page.execute_script(FITS))
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        titles, numbers = (browser.find_elements("css selector", f"#curve .{name}") for name in ("title", "number"))
        assert titles and numbers
        for title in titles:
            for number in numbers:
                a, b = title.rect, number.rect
                apart = a["x"] + a["width"] <= b["x"] - 2 or b["x"] + b["width"] <= a["x"] - 2
                assert apart, (width, title.text, number.text)


def find(browser, name="curve"):
    return browser.find_element("id", name)


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


def test_between_stored_pictures_the_nearest_is_shown(run, tmp_path, monkeypatch):
    """A budget that leaves frames out: the page shows the stored frame nearest to the cursor, the earlier of two, and
    says which one it is."""
    page = tmp_path / "report.html"
    page.write_text(report_page(run.evaluate(bootstrap=0), frame_source(run.options, str(run.root / "cache")), 30_000))
    block = page.read_text().split('id="data">', 1)[1].split("</script>", 1)[0]
    data = json.loads(block)
    numbers = [p["frame"] for p in data["pictures"]["videos"][0]]
    absent = sorted(set(range(LENGTHS["01"])) - set(numbers))
    assert len(absent) > 5 and len(numbers) > 2
    with opened(page, tmp_path, monkeypatch) as browser:
        Select(find(browser, "video")).select_by_visible_text("01")
        for frame in range(LENGTHS["01"]):
            nearest = min(numbers, key=lambda number: (abs(number - frame), number))
            expected = f"frame {frame} shown" if frame in numbers else f"frame {nearest} shown, cursor at {frame}"
            assert find(browser, "shown").text == expected
            stored = next(p for p in data["pictures"]["videos"][0] if p["frame"] == nearest)
            assert find(browser, "infilled").get_attribute("src").endswith(stored["infilled"])
            assert find(browser, "input").get_attribute("alt") == f"input, frame {nearest}"
            find(browser).send_keys(Keys.ARROW_RIGHT)


def test_two_runs_compared_in_a_browser(run, tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_results(run.evaluate(bootstrap=0), str(tmp_path / name), plots=False)
    comparison = compare(read_run(str(tmp_path / "a"), "mse"), read_run(str(tmp_path / "b"), "wmse"), 50)
    write_comparison(comparison, str(tmp_path))
    with opened(tmp_path / "comparison.html", tmp_path, monkeypatch) as browser:
        assert "B is " in find(browser, "reading").text and "A (solid): a, mse" in find(browser, "runs").text
        assert len(browser.find_elements("css selector", "#curve polyline")) == 2
        rows = [row.text.split() for row in browser.find_elements("css selector", "#videos tr")[1:]]
        assert [row[0] for row in rows] == [v.name for v in comparison.videos]
        assert [row[3] for row in rows] == [f"{100 * v.difference:+.1f}" for v in comparison.videos]
        last = comparison.videos[-1]
        browser.find_elements("css selector", "#videos button")[-1].click()
        assert browser.execute_script("return document.activeElement.id") == "curve"
        find(browser).send_keys(Keys.ARROW_RIGHT)
        at = comparison.a.names.index(last.name)
        shown = find(browser, "readout").text
        scores = [float(word.strip(",")) for word in (shown.split()[3], shown.split()[5])]
        assert shown.startswith("frame 1, A ") and scores == pytest.approx(
            [part.scores[at][1] for part in (comparison.a, comparison.b)], rel=1e-5
        )
        check_narrow(browser)
        check_quiet(browser)


def test_a_name_that_is_a_script_does_nothing(run, tmp_path, monkeypatch):
    evaluation = run.evaluate(nulls="constant", measures="mse", bootstrap=0)
    name = "<script>alert(1)</script>"
    page = tmp_path / "report.html"
    page.write_text(report_page(replace(evaluation, names=[name, *evaluation.names[1:]])))
    with opened(page, tmp_path, monkeypatch) as browser:
        assert browser.execute_script("return document.scripts.length") == 2  # the data and the page's own
        assert name in browser.find_element("id", "videos").text  # an open alert would make this raise
        assert "scores only, no frames" in browser.find_element("id", "shown").text
        assert browser.get_log("browser") == []
