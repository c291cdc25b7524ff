"""One self-contained HTML file: template, style and script from this folder, the data as JSON inside it."""

import html
import json
from importlib.resources import files

from ramvid_vad.evaluation.report.page_data import report_data
from ramvid_vad.evaluation.report.pictures import BUDGET, FrameSource
from ramvid_vad.evaluation.results import Evaluation


def report_page(evaluation: Evaluation, source: FrameSource | None = None, budget: int = BUDGET) -> str:
    """The report; with pictures, at most ``budget`` characters of them, if there is a source."""
    return render(report_data(evaluation, source, budget))


def render(data: dict, page: str = "page") -> str:
    """The page of template and script ``page``. Names of videos come from outside: the script sets them as text, and
    here no tag can open."""
    folder = files(__package__) / "page_files"
    names = ("head.html", f"{page}.html", "foot.html", "page.css", "curve.js", f"{page}.js")
    head, body, foot, css, *scripts = ((folder / name).read_text(encoding="utf-8") for name in names)
    text = json.dumps(data, sort_keys=True, allow_nan=False)  # ASCII: U+2028 and the like are escaped already
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    whole = (head + body + foot).replace("@TITLE@", html.escape(data["title"]))
    # the data last: nothing in it is taken for a placeholder
    for mark, value in (("@CSS@", css), ("@JS@", "".join(scripts)), ("@DATA@", text)):
        whole = whole.replace(mark, value, 1)
    return whole
