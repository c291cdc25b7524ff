"""A finished evaluation, read back from its folder: one row's processed scores, the labels, and what made them."""

import json
import os
from dataclasses import dataclass, fields
from typing import Any

from ramvid_vad.errors import InputError
from ramvid_vad.evaluation.inputs.score_files import arrays_in
from ramvid_vad.evaluation.results import SCHEMA
from ramvid_vad.evaluation.statistics.metrics import PerVideo, frame_metrics
from ramvid_vad.evaluation.statistics.protocols import Protocol


@dataclass(frozen=True)
class FinishedRun:
    """folder: as it was given.  row: its name in scores.npz, as "wmse" or "optical_flow".  names: of the videos, in
    order.  labels, scores: of the frames the protocol keeps, one array per video; the first is of frame ``first``.
    document: metrics.json."""

    folder: str
    row: str
    names: list[str]
    labels: PerVideo
    scores: PerVideo
    first: int
    document: dict[str, Any]

    @property
    def labels_sha256(self) -> str:
        """Of the label files."""
        return self.document["labels"]["sha256"]

    @property
    def protocol_line(self) -> str:
        """Its post-processing in one line."""
        return self.document["protocol"]["line"]

    def about(self, name: str) -> dict[str, Any]:
        """What made it, for JSON. name: of its folder, without a path of this machine."""
        kept = ("version", "commit", "labels", "scores_sha256", "reconstructions_sha256", "reconstructions", "settings")
        kept += ("frames_sha256", "environment")
        about = {key: self.document[key] for key in kept if key in self.document}
        return {"folder": name, "row": self.row, "protocol": self.protocol_line, **about}


def read_run(folder: str, row: str = "") -> FinishedRun:
    """The evaluation in ``folder``. row: which of its rows; "": the first that is saved, the model's first measure.

    InputError, in one line: no such evaluation, one of another schema, a row that it does not hold.
    """
    where = f"--compare {folder}"
    document = _document(folder, where)
    path = os.path.join(folder, "scores.npz")
    try:
        with open(path, "rb") as file:
            arrays = arrays_in(path, file.read())
    except OSError as error:
        raise InputError(
            f"{where}: scores.npz cannot be read ({error.strerror}): give an --out_dir of vad_eval.py"
        ) from None
    keys = [key for key in arrays if "/processed/" in key and not key.startswith("labels/")]
    rows = list(dict.fromkeys(key.split("/processed/")[0] for key in keys))
    if not rows:
        raise InputError(f"{where}: no scores in it: blind baselines alone are not saved; name a run with scores")
    row = row or rows[0]
    if row not in rows:
        raise InputError(f"{where}: --method {row!r}: it holds {', '.join(rows)}")
    names = document["videos"]
    try:
        known = {spec.name for spec in fields(Protocol)}
        protocol = Protocol(**{key: value for key, value in document["protocol"].items() if key in known})
        labels = [protocol.trim(arrays[f"labels/{name}"]) for name in names]
        scores = [arrays[f"{row}/processed/{name}"] for name in names]
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{where}: metrics.json and scores.npz do not belong together ({error})") from None
    frame_metrics(scores, labels, names)  # finite, as long as the labels, which are 0 and 1
    return FinishedRun(folder, row, names, labels, scores, protocol.first, document)


def _document(folder: str, where: str) -> dict[str, Any]:
    """metrics.json, checked as far as it is read here."""
    try:
        with open(os.path.join(folder, "metrics.json"), encoding="utf-8") as file:
            document = json.load(file)
        schema = document["schema"]
        whole = isinstance(document["labels"]["sha256"], str) and isinstance(document["protocol"]["line"], str)
        whole = whole and all(isinstance(name, str) for name in document["videos"])
    except OSError as error:
        raise InputError(
            f"{where}: metrics.json cannot be read ({error.strerror}): give the --out_dir of a finished vad_eval.py"
        ) from None
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        whole, schema = False, None
    if schema is not None and schema != SCHEMA:
        raise InputError(f"{where}: metrics.json has schema {schema}, this version reads {SCHEMA}: evaluate again")
    if not whole:
        raise InputError(f"{where}: metrics.json is not one of vad_eval.py: evaluate again")
    return document
