"""The report of a run, and of two compared: one HTML file that opens without server or network."""

from ramvid_vad.evaluation.report.compare import write_comparison_page
from ramvid_vad.evaluation.report.frames import FrameSource, frame_source
from ramvid_vad.evaluation.report.page import write_report
from ramvid_vad.evaluation.report.side_by_side import render_videos

__all__ = ["FrameSource", "frame_source", "render_videos", "write_comparison_page", "write_report"]
