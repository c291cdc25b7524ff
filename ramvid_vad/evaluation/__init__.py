"""From frame scores to figures: metrics, null baselines, results of a run."""

from typing import Any

from ramvid_vad.evaluation.statistics.metrics import frame_metrics

__all__ = ["evaluate_scores", "frame_metrics"]


def __getattr__(name: str) -> Any:
    """``evaluate_scores`` needs much of the package, which other modules here must not load by being imported."""
    if name == "evaluate_scores":
        from ramvid_vad.evaluation.from_scores import evaluate_scores

        return evaluate_scores
    raise AttributeError(name)
