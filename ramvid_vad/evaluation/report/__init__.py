"""The report of a run: one HTML file that opens without server or network."""

from ramvid_vad.evaluation.report.page import write_report

__all__ = ["write_report"]
