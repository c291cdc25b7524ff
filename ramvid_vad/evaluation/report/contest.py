"""Several detectors side by side: one document, and the same table as text and as markdown."""

from collections.abc import Mapping
from typing import Any

from ramvid_vad.evaluation.nulls.registry import NULLS
from ramvid_vad.evaluation.provenance import code
from ramvid_vad.evaluation.report.wording import intervals_line, percent
from ramvid_vad.evaluation.statistics.comparison import Comparison
from ramvid_vad.video.finding import evenly_spread

REFERENCE = "fast"  # the training-free sum, which is always there and which the others are paired with
POINTS = 10  # of a curve, in words; report.json has all
HEADINGS = (
    *("detector", "micro AUC", "95 %", "macro", "AP", "gain over fast", "95 %"),
    *("learned", "GFLOP/frame", "frames/s", "MB", "fit min"),
)


def contestant(
    metrics: dict[str, Any],
    paired: Comparison | None,
    cost: dict[str, Any],
    seconds: float,
    held_out: Mapping[str, Mapping[str, float]],
    curve: Mapping[str, float | None],
) -> dict[str, Any]:
    """What the document says of one detector.

    metrics: its metrics.json.  paired: with the reference as A; None: it is the reference, or there is none.  cost: of
    ``detectors.cost``.  seconds: of fitting.  held_out: network -> step -> loss on held-out normal video while
    it was trained.  curve: step -> micro AUC of its stored checkpoints.
    """
    rows = metrics["rows"]
    model = [row for row in rows if not row["null"]]
    gain = {}
    if paired is not None:
        micro = paired.metrics["micro_auc"]
        gain = {"gain": micro.difference, "gain_interval": micro.interval and list(micro.interval)}
    return {
        **_figures(model[0]),
        **gain,
        "parts": {row["measure"]: _figures(row) for row in model[1:]},
        "nulls": {row["null"]: _figures(row) for row in rows if row["null"]},
        "cost": cost,
        "fit_seconds": seconds,
        "held_out_loss": {network: dict(losses) for network, losses in held_out.items()},
        "auc_over_steps": dict(curve),
        "judged": {key: metrics[key] for key in ("labels", "protocol", "intervals")},
    }


def contest_document(
    settings: dict[str, Any], done: Mapping[str, dict[str, Any]], failures: Mapping[str, str]
) -> dict[str, Any]:
    """Content of report.json: fractions, null where undefined.

    settings: what all detectors share.  done: by name, as :func:`contestant` has it.  failures: name -> why.
    """
    return {**code(), "reference": REFERENCE, "settings": settings, "detectors": dict(done), "failed": dict(failures)}


def as_text(document: dict[str, Any]) -> str:
    """The table in columns, the names first; a paragraph of notes."""
    rows = [list(HEADINGS), *_rows(document)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADINGS))]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
    return "\n".join([*(line.rstrip() for line in lines), "", *_notes(document)]) + "\n"


def as_markdown(document: dict[str, Any]) -> str:
    """The same as a markdown table."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "|---|" + "---:|" * (len(HEADINGS) - 1)]
    for name, *cells in _rows(document):
        lines.append("| " + " | ".join([name.strip(), *cells]).replace("\n", " ") + " |")
    return "\n".join([*lines, "", *(f"- {note}" for note in _notes(document))]) + "\n"


def _figures(row: dict[str, Any]) -> dict[str, Any]:
    found = {key: row["metrics"][key] for key in ("micro_auc", "macro_auc", "ap", "eer")}
    interval = row["intervals"].get("micro_auc")
    sd = row.get("sd_over_seeds", {}).get("micro_auc")
    return found | {"micro_auc_interval": interval} | ({"micro_auc_sd": sd} if sd is not None else {})


def _rows(document: dict[str, Any]) -> list[list[str]]:
    """Cells of each detector; below the reference its parts, at the end the blind rows and those that failed."""
    rows = []
    for name, each in document["detectors"].items():
        cost = each["cost"]
        rows.append(
            [
                name,
                *_judged(each),
                "-" if each.get("gain") is None else f"{100 * each['gain']:+.1f}",
                _ends(each.get("gain_interval"), "+.1f"),
                f"{cost['learned'] / 1e6:.2f} M",
                f"{cost['flops_per_frame'] / 1e9:.2f}",
                f"{cost['frames_per_second']:.1f}",
                f"{cost['peak_memory_mb']:.0f}",
                f"{each['fit_seconds'] / 60:.1f}",
            ]
        )
        if name == document["reference"]:
            rows += [[f"  {part}", *_judged(figures), *["-"] * 7] for part, figures in each["parts"].items()]
    for each in list(document["detectors"].values())[:1]:
        rows += [[f"null: {NULLS[null].title}", *_judged(f), *["-"] * 7] for null, f in each["nulls"].items()]
    return rows + [[f"{name} (failed)", *["-"] * 11] for name in document["failed"]]


def _judged(figures: dict[str, Any]) -> list[str]:
    """micro AUC, its interval or spread, macro, AP."""
    spread = _ends(figures["micro_auc_interval"])
    if "micro_auc_sd" in figures:
        spread = f"sd {percent(figures['micro_auc_sd'])}"
    return [percent(figures["micro_auc"]), spread, percent(figures["macro_auc"]), percent(figures["ap"])]


def _ends(interval: list[float] | None, form: str = ".1f") -> str:
    return "-" if interval is None else " to ".join(format(100 * end, form) for end in interval)


def _notes(document: dict[str, Any]) -> list[str]:
    settings = document["settings"]
    notes = [
        f"Each trained detector had {settings['minutes']:g} minutes (seed {settings['seed']}); fit min: with reading, "
        "encoding and calibration. Gain: paired by video, in points of micro AUC.",
        "learned: numbers in detector.safetensors, without a frozen network. GFLOP: convolutions and matrix products "
        "alone, a multiply-add is two. frames/s: file to scores; MB: peak of that process.",
    ]
    for each in list(document["detectors"].values())[:1]:
        labels = each["judged"]["labels"]
        named = f"label set {labels['set']}, " if labels["set"] else ""
        notes.append(
            f"{each['judged']['protocol']['line']}; labels {named}sha256 {labels['sha256'][:12]}; "
            + intervals_line(each["judged"]["intervals"], settings["seed"])
        )
    for name, each in document["detectors"].items():
        for network, losses in each["held_out_loss"].items():
            points = ", ".join(f"{step}: {losses[step]:.4g}" for step in evenly_spread(list(losses), POINTS))
            notes.append(f"{name}, loss on held-out normal video by step of {network}: {points}")
        steps = [f"{step}: {percent(auc)}" for step, auc in each["auc_over_steps"].items()]
        if steps:
            notes.append(f"{name}, micro AUC of stored checkpoints by step, none chosen by it: {', '.join(steps)}")
    return notes + [f"{name} failed: {why}" for name, why in document["failed"].items()]
