"""``ramvid-vad fit`` and ``ramvid-vad score``: normal video -> a detector's folder; a video -> a score per frame."""

import csv
import io
import os

from ramvid_vad import api
from ramvid_vad.detectors.detector import Scores
from ramvid_vad.errors import InputError
from ramvid_vad.options import RunOptions
from ramvid_vad.runtime.files import write_text
from ramvid_vad.runtime.progress import progress_bar
from ramvid_vad.video.reader import find_videos, video_name


def fit(run: RunOptions) -> None:
    """Fit a detector on normal video and save it."""
    options = run.fit
    if run.dry_run:
        print(run.as_yaml())
        return
    if not options.normal:
        raise InputError("which normal video? ramvid-vad fit FOLDER_OR_FILE --out camera/")
    if not options.out:
        raise InputError("--out: give a folder for the detector, e.g. --out camera/")
    detector = api.fit(options.normal.split(os.pathsep), options.out, options.recipe)
    about = detector.about()
    print(f"{options.out}: {detector.title}, {about['patches']} patches of normal video, calibrated on ", end="")
    print(", ".join(about["held_out"]))


def score(run: RunOptions) -> None:
    """Score videos with a fitted detector: one CSV each, a line per frame."""
    options = run.score
    if run.dry_run:
        print(run.as_yaml())
        return
    if not options.input:
        raise InputError("which video? ramvid-vad score FILE_OR_FOLDER --model camera/")
    if not options.model:
        raise InputError("--model: give the folder of a fitted detector (ramvid-vad fit ... --out camera/)")
    detector = api.load(options.model)
    for place in options.input.split(os.pathsep):
        for path in find_videos(place):
            name = video_name(path, place)
            with progress_bar(name, "frame") as bar:
                scores = detector.score(path, maps=False, tick=bar.update)
            out = os.path.join(options.out or ".", f"{name}.scores.csv")
            os.makedirs(os.path.dirname(out) or ".", exist_ok=True)
            write_text(out, _table(scores))
            peak = int(scores.frames.argmax())
            when = f" ({peak / scores.fps:.1f} s)" if scores.fps else ""
            print(f"{out}: {len(scores.frames)} frames, the most unusual is frame {peak}{when}")


def _table(scores: Scores) -> str:
    """CSV of a line per frame: its number from 0, its time in seconds if the file knows it, its score, the parts."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["frame", "seconds", "score", *scores.parts])
    for number, figures in enumerate(zip(scores.frames, *scores.parts.values(), strict=True)):
        seconds = f"{number / scores.fps:.3f}" if scores.fps else ""
        rows.writerow([number, seconds, *(f"{figure:.6g}" for figure in figures)])
    return text.getvalue()
