"""The report of an evaluation: one self-contained HTML file."""

from datetime import date

from ramvid_vad.evaluation.report.page_data import report_data
from ramvid_vad.evaluation.report.pictures import BUDGET, FrameSource
from ramvid_vad.evaluation.results import Evaluation
from ramvid_vad.page.render import render


def report_page(evaluation: Evaluation, source: FrameSource | None = None, budget: int = BUDGET) -> str:
    """The report; with pictures, at most ``budget`` characters of them, if there is a source. It bears today's date."""
    data = report_data(evaluation, source, budget) | {"made": date.today().isoformat()}
    return render(data, "page", __package__)
