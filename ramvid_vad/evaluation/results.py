"""What one evaluation holds: the object that the table, the files and the report are written from.

:class:`Evaluation` has the videos and one :class:`Row` per line of the table; a row has per video the raw scores and
the curve after the protocol, and per metric its figure and interval. ``metrics.json`` and ``scores.npz`` hold the
same (docs/evaluation.md describes them key by key); a new key leaves ``SCHEMA`` as it is, a key that changes its
meaning or goes away raises it.
"""

from dataclasses import dataclass, field
from typing import Any

from ramvid_vad.evaluation.statistics.metrics import PerVideo
from ramvid_vad.evaluation.statistics.operating_points import Operating
from ramvid_vad.evaluation.statistics.protocols import Protocol

SCHEMA = 2


@dataclass(frozen=True)
class Row:
    """One line of the table. null: "" for the model, else the baseline.  measure: "" where a baseline has none.

    raw: scores of the frames that were scored, processed: after the protocol, both one array per video, in the order
    of ``Evaluation.names`` (of noise: the first seed's).  metrics, raw_metrics: of frame_metrics, None: undefined.
    sd: of ``metrics`` over the seeds of noise, else empty.  intervals: metric -> (low, high), 95 % by bootstrap over
    videos, of those metrics that have one.  operating: at the thresholds from normal video; empty: not calibrated.
    """

    measure: str
    null: str
    raw: PerVideo
    processed: PerVideo
    metrics: dict[str, Any]
    raw_metrics: dict[str, Any]
    sd: dict[str, float]
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    operating: tuple[Operating, ...] = ()


@dataclass(frozen=True)
class Evaluation:
    """All results of one run.

    names: of the videos.  labels: uint8 (n_i,) of the frames the protocol keeps, aligned with ``Row.processed``.
    full_labels: of all frames that have a raw score, aligned with ``Row.raw``.  rows: the model's row of each measure,
    each followed by its stand-ins, then the baselines without a measure; ``rows[0]`` is what the run is about.
    protocol: post-processing; ``protocol.describe()`` is its line.  provenance: what made the result (schema and code
    version, commit, settings, hashes), fit for JSON, without paths of this machine or times.
    spatial: of the model ("") and of its stand-ins, where masks or tracks lie beside the labels: pixel_auc, aupro,
    rbdc, tbdc (``statistics.spatial``).

    Frame numbers in the video: ``raw[v][i]`` is of frame ``first_raw + i``, ``processed[v][i]`` of
    ``first_processed + i``.
    """

    names: list[str]
    labels: PerVideo
    full_labels: PerVideo
    rows: list[Row]
    protocol: Protocol
    provenance: dict[str, Any]
    spatial: dict[str, dict[str, float | None]] = field(default_factory=dict)

    @property
    def first_raw(self) -> int:
        """True index of the first raw score of every video: above 0 where the scores came without those frames."""
        return self.protocol.first if self.protocol.already_trimmed else 0

    @property
    def first_processed(self) -> int:
        """True index of the first processed score of every video."""
        return self.protocol.first

    @property
    def headline(self) -> Row:
        """The model's first measure; without a model, the null row with the highest micro AUC: the one to beat."""
        if not self.rows[0].null:
            return self.rows[0]
        return max(self.rows, key=lambda row: row.metrics["micro_auc"] or 0.0)

    def row(self, measure: str, null: str = "") -> Row:
        """The row of a measure (null "": of the model). KeyError if it was not asked for."""
        for row in self.rows:
            if (row.measure, row.null) == (measure, null):
                return row
        raise KeyError(f"no row {measure!r} {null!r}")
