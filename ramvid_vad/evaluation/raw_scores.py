"""Raw frame scores of one video: the model's by every measure, and those of the null baselines that look at the video.

Residual of each reconstructed frame, then the largest of each frame's residuals.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ramvid_vad.detectors.detector import Detector
from ramvid_vad.detectors.registry import DETECTORS
from ramvid_vad.evaluation.nulls.registry import NULLS, OF_WINDOWS, STAND_INS
from ramvid_vad.reconstructions import Reconstruction
from ramvid_vad.scoring.blobs import wmse_scores
from ramvid_vad.scoring.residuals import MEASURES, PERFECT
from ramvid_vad.video.windows import merge_max

_BATCH = 32  # frames scored at once


@dataclass(frozen=True)
class VideoScorer:
    """What to score. measures: names of MEASURES.  nulls: stand-ins and detectors.  wmse: arguments of
    wmse_scores.  detectors: they score the video by themselves.  model: False where there is none, but its windows.
    """

    measures: list[str]
    nulls: list[str]
    wmse: dict[str, Any]
    detectors: Sequence[Detector] = ()
    model: bool = True

    def about_normal(self) -> dict[str, Any]:
        """What the detectors know of normal video, for the provenance."""
        known = [about for detector in self.detectors if (about := detector.about())]
        return {"normal": known[0]} if known else {}

    def steps(self, made: Reconstruction, regions: bool = False) -> int:
        """Frames that one video makes to score, for a progress bar. regions: maps and blobs are asked for too."""
        rows = sum(len(frame) for _, frame, _ in self.reconstructions(np.zeros(0), made))
        return rows * (1 + regions) + made.num_frames * len(self.detectors)

    def __call__(
        self, path: str, real: np.ndarray, made: Reconstruction, tick: Callable[[int], Any]
    ) -> dict[tuple[str, str], np.ndarray]:
        """(measure, null) -> float64 (n,); null "" is the model, measure "" a null that has none.

        path: the video itself.  real: its frames uint8 (n, H, W, C) at the size of ``made``.  tick: called with the
        number of frames just scored. A frame that the model did not reconstruct has the score of a perfect one; where
        there is no model, that of its neighbours.
        """
        scores = {}
        for null, rows, fake in self.reconstructions(real, made):
            values = self._residuals(real, rows, fake, tick)
            for measure in self.measures:
                merged = merge_max(values[measure], rows, len(real), fill=PERFECT[measure] if self.model else np.nan)
                scores[measure, null] = merged if self.model else _from_neighbours(merged)
        alone = {null: NULLS[null].function(made) for null in OF_WINDOWS}
        for detector in self.detectors:
            scored = detector.score(path, maps=False, tick=tick)
            alone |= scored.parts | {detector.name: scored.frames}
        return scores | {("", null): alone[null] for null in (*DETECTORS, *OF_WINDOWS) if null in self.nulls}

    def reconstructions(
        self, real: np.ndarray, made: Reconstruction
    ) -> Iterator[tuple[str, np.ndarray, Callable[[slice | np.ndarray], np.ndarray]]]:
        """(null, true frame of each row, rows -> reconstructed frames): the model's, then its stand-ins."""
        if self.model:
            yield "", made.frame, lambda rows: made.frames[rows]
        for null in STAND_INS:
            if null in self.nulls:
                yield null, *NULLS[null].function(real, made)

    def _residuals(
        self, real: np.ndarray, frame: np.ndarray, fake: Callable[[slice], np.ndarray], tick: Callable[[int], Any]
    ) -> dict[str, np.ndarray]:
        """Each measure between real[frame] (R, H, W, C) and the frames that ``fake`` gives for those rows -> (R,)."""
        values = {measure: np.empty(len(frame)) for measure in self.measures}
        for first in range(0, len(frame), _BATCH):
            rows = slice(first, first + _BATCH)
            x, x_hat = real[frame[rows]], fake(rows)
            unit, unit_hat = x / np.float32(255), x_hat / np.float32(255)
            for measure in self.measures:
                if measure == "wmse":  # on uint8: a pixel exactly at tau is active whatever the rounding
                    values[measure][rows] = wmse_scores(x, x_hat, **self.wmse)
                else:
                    values[measure][rows] = MEASURES[measure](unit, unit_hat)
            tick(len(x))
        return values


def _from_neighbours(scores: np.ndarray) -> np.ndarray:
    """NaN (n,) filled in by straight lines between the finite scores around them."""
    known = np.flatnonzero(np.isfinite(scores))
    return np.interp(np.arange(len(scores)), known, scores[known]) if len(known) else np.zeros(len(scores))
