"""From frame scores to figures: metrics, null baselines, results of a run."""

from ramvid_vad.evaluation.metrics import frame_metrics

__all__ = ["frame_metrics"]
