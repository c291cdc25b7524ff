"""The report in a real Chromium, opened from a file."""

import json
from dataclasses import replace

import numpy as np
import pytest
from chromium import check_fits, check_quiet, needs_chromium, opened
from known_run import LENGTHS
from PIL import Image
from selenium.webdriver import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from ramvid_vad.evaluation import evaluate_scores
from ramvid_vad.evaluation.inputs.finished_runs import read_run
from ramvid_vad.evaluation.report.comparison import write_comparison
from ramvid_vad.evaluation.report.files import write_results
from ramvid_vad.evaluation.report.page import report_page
from ramvid_vad.evaluation.report.pictures import frame_source
from ramvid_vad.evaluation.statistics.comparison import compare

pytestmark = needs_chromium


@pytest.fixture
def browser(run, tmp_path, monkeypatch):
    page = tmp_path / "report.html"
    page.write_text(report_page(run.evaluate(), frame_source(run.options, str(run.root / "cache"))))
    with opened(page, tmp_path, monkeypatch) as driver:
        yield driver


def test_report_in_a_browser(browser):
    def find(name):
        return browser.find_element("id", name)

    def frame():
        return int(find("curve").get_attribute("aria-valuenow"))

    for name in ("about", "lead", "verdict", "tiles", "readout"):
        assert find(name).text, name
    assert json.loads(find("provenance").get_attribute("textContent"))["schema"] == 2  # folded, and there
    assert len(browser.find_elements("css selector", "#videos tr")) == 1 + len(LENGTHS)
    assert all(browser.find_elements("css selector", f"#{name} .line") for name in ("curve", "roc", "pr"))
    assert len(browser.find_elements("css selector", "#matter tr")) == 1 + 5

    before = frame()
    for key, step in ((Keys.ARROW_RIGHT, 1), (Keys.PAGE_UP, 10), (Keys.ARROW_LEFT, -1)):
        start, x = frame(), find("cursor").get_attribute("x1")
        find("curve").send_keys(key)
        last = int(find("curve").get_attribute("aria-valuemax"))
        assert frame() == min(start + step, last)
        assert find("cursor").get_attribute("x1") != x
        assert find("readout").text.startswith(f"frame {frame()}: ")
    find("curve").send_keys(Keys.HOME)
    assert frame() == before == 0
    middle = browser.find_element("css selector", "#curve .frame")
    ActionChains(browser).move_to_element(middle).click().perform()
    assert abs(frame() - (last + 1) / 2) <= 1  # the middle of the picture is the middle of the video

    sources, shown = set(), set()
    for _ in range(3):
        picture = find("infilled")
        assert browser.execute_script("return arguments[0].complete && arguments[0].naturalWidth", picture) > 0
        sources.add(picture.get_attribute("src"))
        shown.add(find("shown").text)
        assert find("box").get_attribute("childElementCount") in ("0", "2")  # one place, drawn twice, or none
        find("curve").send_keys(Keys.ARROW_LEFT)
    assert len(sources) == len(shown) == 3
    find("curve").send_keys(Keys.HOME)
    assert find("shown").text == "frame 0 shown"
    for kind in ("false_alarms", "misses"):
        button = browser.find_elements("css selector", f"#{kind} button")[-1]
        for folded in browser.find_elements("css selector", f"#{kind} + details > summary"):
            folded.click()
        assert len(button.find_elements("css selector", "img")) == 1
        button.click()
        assert button.text.endswith(f", frame {frame()}")
    assert browser.execute_script("return document.activeElement.id") == "curve"

    background = "return getComputedStyle(document.body).backgroundColor"
    shades = {}
    for scheme in ("light", "dark"):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        shades[scheme] = browser.execute_script(background)
    assert shades["light"] == "rgb(255, 255, 255)" != shades["dark"]

    check_fits(browser)
    check_quiet(browser)


def find(browser, name="curve"):
    return browser.find_element("id", name)


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
    comparison = compare(read_run(str(tmp_path / "a"), "mse"), read_run(str(tmp_path / "b"), "wmse"), 100)
    write_comparison(comparison, str(tmp_path))
    with opened(tmp_path / "comparison.html", tmp_path, monkeypatch) as browser:
        assert "B is " in find(browser, "reading").text and "A (solid): a, mse" in find(browser, "runs").text
        assert len(browser.find_elements("css selector", "#curve .line")) == 2
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
        assert shown.startswith("frame 1: A ") and scores == pytest.approx(
            [part.scores[at][1] for part in (comparison.a, comparison.b)], rel=1e-5
        )
        check_fits(browser)
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


def test_a_picture_has_the_proportions_of_the_video_and_its_hottest_place_in_the_mark(run, tmp_path, monkeypatch):
    """The frames are made twice as wide as what the model sees, and one corner of one reconstruction is far off."""
    video = run.root / "videos" / "01"
    for file in video.iterdir():
        Image.open(file).resize((64, 24)).save(file)
    source = frame_source(run.options, str(run.root / "cache"))
    with np.load(run.file("01")) as made:
        frame, real = made["frame"], np.asarray(source.cache.frames(str(video)))[made["frame"]].copy()
    real[frame == 13, 4:10, 20:26] += 55  # wraps round for some pixels: either way far off
    run.rewrite("01", reconstructions=real)
    page = tmp_path / "report.html"
    page.write_text(report_page(run.evaluate(bootstrap=0), source))
    with opened(page, tmp_path, monkeypatch) as browser:
        Select(find(browser, "video")).select_by_visible_text("01")
        for _ in range(13):
            find(browser).send_keys(Keys.ARROW_RIGHT)
        assert find(browser, "shown").text == "frame 13 shown"
        picture, mark = find(browser, "heat").rect, find(browser, "box").find_element("css selector", ".over").rect
        assert picture["width"] / picture["height"] == pytest.approx(64 / 24, rel=0.01)
        x, y = (mark[key] - picture[key] for key in "xy")
        right, bottom = x + mark["width"], y + mark["height"]
        assert x / picture["width"] <= 23 / 32 <= right / picture["width"]
        assert y / picture["height"] <= 7 / 24 <= bottom / picture["height"]
        assert mark["width"] < picture["width"] / 2 and mark["height"] < picture["height"] / 2
        find(browser).send_keys(Keys.ARROW_LEFT)  # as the model made it: nothing is off, nothing is marked
        assert find(browser, "box").get_attribute("childElementCount") == "0"
        assert "nothing hot" in find(browser, "heat").get_attribute("alt")


def test_scores_are_multiples_of_the_threshold_and_frames_have_seconds(tmp_path, monkeypatch):
    labels = {name: (np.arange(60) // 20 % 2).astype(np.uint8) for name in "ab"}
    scores = {name: 2.0 + 4.0 * y for name, y in labels.items()}
    normal = {"n": np.linspace(1, 3, 500)}
    evaluation = evaluate_scores(scores, labels, normal, bootstrap=0, sigma=0.0, fps=10.0, nulls="constant")
    threshold = evaluation.headline.operating[0].threshold
    page = tmp_path / "report.html"
    page.write_text(report_page(evaluation))
    with opened(page, tmp_path, monkeypatch) as browser:
        for _ in range(25):
            find(browser).send_keys(Keys.ARROW_RIGHT)
        assert find(browser, "readout").text == f"2.5 s (frame 25): {6 / threshold:.2f} × threshold, abnormal"
        seconds = [e.text for e in browser.find_elements("css selector", "#curve .second")]
        assert seconds == [f"{i} s" for i in range(6)]
        assert "2 of 2" in find(browser, "tiles").text
        states = [e.text for e in browser.find_elements("css selector", "#misses .state")]
        assert states == ["found", "found"]
        check_fits(browser)


def test_a_threshold_below_zero_is_one(tmp_path, monkeypatch):
    """Of scores such as -PSNR, of which none is a multiple of it."""
    labels = {name: (np.arange(60) // 20 % 2).astype(np.uint8) for name in "ab"}
    scores = {name: 4.0 * y - 40 for name, y in labels.items()}
    normal = {"n": np.linspace(-41, -39, 500)}
    evaluation = evaluate_scores(scores, labels, normal, bootstrap=0, sigma=0.0, fps=10.0, nulls="constant")
    assert evaluation.headline.operating[0].threshold < 0
    page = tmp_path / "report.html"
    page.write_text(report_page(evaluation))
    with opened(page, tmp_path, monkeypatch) as browser:
        assert "is the threshold that follows from normal video alone" in find(browser, "axes").text
        assert find(browser, "readout").text == "0 s (frame 0): score -40, normal"
        assert "2 of 2" in find(browser, "tiles").text
        assert [e.text for e in browser.find_elements("css selector", "#misses .state")] == ["found", "found"]
        check_fits(browser)
