"""Fitting a detector on normal video, and scoring with it."""

from dataclasses import dataclass

from ramvid_vad.options.option import option


@dataclass
class FitOptions:
    """Learning what is usual from normal video, without labels."""

    normal: str = option("", "normal video: file or folder; several may stand first, without --normal")
    out: str = option("", "folder for the detector, e.g. camera/")
    recipe: str = option(
        "fast",
        "what to fit; fast: training-free, minutes; full: fast's scores and a diffusion model, trained for --minutes",
        choices=("fast", "full"),
    )
    minutes: float = option(45.0, "recipe full: how long to train", unit="minutes", above=0)


@dataclass
class ScoreOptions:
    """Scoring video with a fitted detector."""

    input: str = option("", "video: file or folder; several may stand first, without --input")
    model: str = option("", "folder that ramvid-vad fit wrote")
    out: str = option("", "folder for NAME.scores.csv, one per video; empty: here")
