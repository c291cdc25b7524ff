"""The report of a run: one HTML file that opens without server or network."""

from ramvid_vad.evaluation.report.frames import FrameSource, frame_source
from ramvid_vad.evaluation.report.page import write_report

__all__ = ["FrameSource", "frame_source", "write_report"]
