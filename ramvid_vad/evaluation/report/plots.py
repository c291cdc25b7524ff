"""Score curves over the ground truth, one picture per video. Colours of Okabe and Ito; nothing by colour alone."""

import os

import numpy as np

from ramvid_vad.evaluation.report.wording import row_title
from ramvid_vad.evaluation.results import Evaluation, Row
from ramvid_vad.evaluation.statistics.alarms import spans
from ramvid_vad.runtime.progress import tracked

MODEL, BLEND = "#0072B2", "#D55E00"  # blue, vermilion: apart for all common kinds of colour blindness


def plot_videos(evaluation: Evaluation, folder: str, progress: bool = True) -> None:
    """``folder/NAME.png`` per video: the headline row's scores, raw and processed, the linear blend, abnormal spans.

    Scores of all videos share one scale, as the micro AUC sees them. Written without date or version: equal input gives
    equal files.
    """
    from matplotlib.figure import Figure

    model = evaluation.headline
    title = row_title(model)
    blend = next((r for r in evaluation.rows if (r.measure, r.null) == (model.measure, "linear_blend")), None)
    low, high = _range(model, blend)
    for video, name in enumerate(tracked(evaluation.names, "plots", "video", progress)):
        figure = Figure(figsize=(9, 3), dpi=100, layout="constrained")
        axes = figure.add_subplot()
        labels = evaluation.full_labels[video]
        # all by true frame number: scores may have come without the first frames, and the protocol may drop some
        every = evaluation.first_raw + np.arange(len(labels))
        kept = evaluation.first_processed + np.arange(len(model.processed[video]))
        for number, (begin, end) in enumerate(spans(labels)):
            axes.axvspan(
                every[begin] - 0.5,
                every[end - 1] + 0.5,
                facecolor="0.88",
                edgecolor="0.78",
                hatch="///",
                linewidth=0.5,
                label="abnormal (ground truth)" if number == 0 else None,
            )
        if not evaluation.protocol.min_max:  # on a scale of its own otherwise
            axes.plot(every, model.raw[video], color="0.3", linewidth=0.8, linestyle=":", label=f"{title}, raw")
        if blend:
            axes.plot(
                kept,
                blend.processed[video],
                color=BLEND,
                linewidth=1.2,
                linestyle="--",
                label="linear blend of the anchors",
            )
        axes.plot(kept, model.processed[video], color=MODEL, linewidth=1.8, label=f"{title}, processed")
        axes.set(xlim=(every[0] - 0.5, every[-1] + 0.5), ylim=(low, high), xlabel="frame", ylabel="anomaly score")
        axes.set_title(name, parse_math=False)  # two dollar signs in it are no formula
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize="small")
        path = os.path.join(folder, name + ".png")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        figure.savefig(path, metadata={"Software": None})


def _range(model: Row, blend: Row | None) -> tuple[float, float]:
    """Limits that hold every processed curve of every video, with a margin."""
    values = np.concatenate([s for row in (model, blend) if row for s in row.processed])
    margin = 0.05 * (values.max() - values.min()) or 0.5
    return values.min() - margin, values.max() + margin
