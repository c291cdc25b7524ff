"""``ramvid-vad fit`` and ``ramvid-vad score``: normal video -> a detector's folder; a video -> a score per frame."""

import csv
import hashlib
import io
import json
import os
import shlex
import sys
from contextlib import suppress

from ramvid_vad import __version__, api
from ramvid_vad.detectors.detector import Detector, Scores
from ramvid_vad.errors import InputError
from ramvid_vad.options import RunOptions
from ramvid_vad.runtime.files import sha256_of, write_text
from ramvid_vad.runtime.logger import result_dir
from ramvid_vad.runtime.progress import progress_bar, say, warn
from ramvid_vad.video.decoding.frame_rate import about_how_many
from ramvid_vad.video.files import fingerprint
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
    if options.detector and "recipe" in run.given:
        raise InputError(f"--detector {options.detector}: stands in place of a recipe: leave --recipe out")
    training = {"minutes": options.minutes, "detector": options.detector or None, "seed": options.seed}
    detector = api.fit(options.normal.splitlines(), options.out, options.recipe, **training)
    held_out = detector.about().get("held_out", [])
    print(f"{options.out}: {detector.title}" + (f", calibrated on {', '.join(held_out)}" if held_out else ""))
    print(f"next: ramvid-vad score VIDEO --model {shlex.quote(options.out)}")


def score(run: RunOptions) -> None:
    """Score videos with a fitted detector: one CSV each, a line per frame.

    A damaged video does not keep the others from being scored. InputError: at the end, if there was one.
    """
    options = run.score
    if run.dry_run:
        print(run.as_yaml())
        return
    if not options.input:
        raise InputError("which video? ramvid-vad score FILE_OR_FOLDER --model camera/")
    if not options.model:
        raise InputError("--model: give the folder of a fitted detector (ramvid-vad fit ... --out camera/)")
    detector = api.load(options.model)
    places = _places(options.input.splitlines(), result_dir(options.out or ".", flag="--out"))
    files = [os.path.join(options.model, name) for name in sorted(os.listdir(options.model)) if name[0] != "."]
    model = sha256_of(filter(os.path.isfile, files))
    failures = []
    for out, path in places.items():
        try:
            say(_score(detector, model, path, out), sys.stdout)
        except InputError as error:
            failures.append(str(error))
            if len(places) > 1:
                warn(str(error))
    if failures and len(places) > 1:
        raise InputError(f"{len(failures)} of {len(places)} videos could not be scored: see the warnings above")
    if failures:
        raise InputError(failures[0])


def _places(inputs: list[str], folder: str) -> dict[str, str]:
    """The CSV of each video -> the video. InputError: two would be written to one place."""
    found: dict[str, str] = {}
    for place in inputs:
        for path in find_videos(place):
            out = os.path.join(folder, f"{video_name(path, place)}.scores.csv")
            if out in found:
                raise InputError(
                    f"{found[out]} and {path}: the scores of both would be {out}; give the folder above both, "
                    "or score them one after the other with another --out"
                )
            found[out] = path
    return found


def _score(detector: Detector, model: str, path: str, out: str) -> str:
    """Write the CSV of one video, if it is not there already, and say what is in it."""
    source = json.dumps([__version__, model, fingerprint(path)])
    made_from = hashlib.sha256(source.encode()).hexdigest()[:16]
    if _made_from(out) == made_from:
        return f"{out}: finished before, of the same video with the same detector; remove it to score again"
    with progress_bar(os.path.basename(path.rstrip("/")), "frame", about_how_many(path) or None) as bar:
        scores = detector.score(path, maps=False, tick=bar.update)
    try:
        os.makedirs(os.path.dirname(out), exist_ok=True)
        write_text(out, _table(scores, made_from))
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror}); give another --out") from None
    peak = int(scores.frames.argmax())
    when = f" ({peak / scores.fps:.1f} s)" if scores.fps else ""
    return f"{out}: {len(scores.frames)} frames, the most unusual is frame {peak}{when}"


def _made_from(path: str) -> str:
    """What an earlier CSV says of its origin; "": nothing, or there is none."""
    with suppress(OSError, UnicodeDecodeError, csv.Error), open(path, encoding="utf-8", newline="") as file:
        return next(csv.DictReader(file), {}).get("made_from") or ""
    return ""


def _table(scores: Scores, made_from: str) -> str:
    """CSV of a line per frame: its number from 0, its time in seconds if the file knows it, its score, the parts, and a
    digest of video and detector."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["frame", "seconds", "score", *scores.parts, "made_from"])
    for number, figures in enumerate(zip(scores.frames, *scores.parts.values(), strict=True)):
        seconds = f"{number / scores.fps:.3f}" if scores.fps else ""
        rows.writerow([number, seconds, *(f"{figure:.6g}" for figure in figures), made_from])
    return text.getvalue()
