"""``ramvid-vad score``: videos -> a score per frame and, with a camera's alarm, events."""

import csv
import hashlib
import json
import os
import sys
from contextlib import suppress

from ramvid_vad import __version__, api
from ramvid_vad.commands.camera.report import write_index, write_report
from ramvid_vad.detectors.detector import Detector, folder_for
from ramvid_vad.errors import InputError
from ramvid_vad.events.camera import FILE, Camera
from ramvid_vad.events.light import NIGHT
from ramvid_vad.events.recording import Recorder, frame_row, record, table
from ramvid_vad.options import RunOptions
from ramvid_vad.runtime.beside import always
from ramvid_vad.runtime.files import sha256_of, write_text
from ramvid_vad.runtime.logger import result_dir
from ramvid_vad.runtime.progress import counted, progress_bar, say, warn
from ramvid_vad.runtime.text import plain_name
from ramvid_vad.video.decoding.frame_rate import about_how_many, frame_rate
from ramvid_vad.video.files import fingerprint
from ramvid_vad.video.reader import find_videos, read_colour_and_grey, video_name
from ramvid_vad.video.writer import video_comment


def score(run: RunOptions) -> None:
    """Score videos with a fitted detector: one CSV each, a line per frame.

    A damaged video does not keep the others from being scored. InputError: at the end, if there was one.
    """
    options = run.score
    if not options.input:
        raise InputError("which video? ramvid-vad score FILE_OR_FOLDER --model camera/")
    if not options.model:
        raise InputError("--model: give the folder of a fitted detector (ramvid-vad fit ... --out camera/)")
    places = _places(options.input.splitlines(), options.out or ".")
    names = {path: video_name(path, os.path.dirname(path.rstrip("/"))) for path in places.values()}
    folders = {path: folder_for(options.model, name) for path, name in names.items()}
    models = {folder: _loaded(folder, options.overlay) for folder in dict.fromkeys(folders.values())}
    result_dir(options.out or ".", flag="--out")
    failures, finished = [], []
    for out, path in places.items():
        try:
            say(_score(*models[folders[path]], path, out, options.overlay), sys.stdout)
            finished.append(out)
        except InputError as error:
            failures.append(str(error))
            if len(places) > 1:
                warn(str(error))
    if len(finished) > 1 and all(isinstance(model, Camera) for model, _ in models.values()):
        name = plain_name(os.path.basename(os.path.abspath(options.model)))
        folder = result_dir(options.out or ".", flag="--out")
        try:
            say(write_index(name, finished, folder), sys.stdout)
        except OSError as error:
            what = error.filename or os.path.join(folder, "index.report.html")
            raise InputError(
                f"{what}: no index of the videos is written ({error.strerror}); free space, or remove the .scores.csv "
                "of a video whose other files are gone, to score it again"
            ) from None
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


def _loaded(folder: str, overlay: bool) -> tuple[Detector | Camera, str]:
    """What scores, and the digest of its files. InputError: none, damaged, or without the alarm of --overlay."""
    fitted = os.path.exists(os.path.join(folder, FILE))
    model = Camera.load(folder) if fitted else api.load(folder)
    if overlay and not fitted:
        raise InputError(f"--overlay: {folder} was fitted without an alarm: fit it again")
    places = filter(os.path.isdir, (folder, os.path.join(folder, NIGHT)))
    files = [os.path.join(place, name) for place in places for name in sorted(os.listdir(place)) if name[0] != "."]
    return model, sha256_of(filter(os.path.isfile, files))


def _score(model: Detector | Camera, digest: str, path: str, out: str, overlay: bool) -> str:
    """Write the CSV of one video, the last of its files, if it is not there already, and say what is in it."""
    source = json.dumps([__version__, digest, fingerprint(path)])
    made_from = hashlib.sha256(source.encode()).hexdigest()[:16]
    stem = out.removesuffix(".scores.csv")
    drawn = f"{stem}.overlay.mp4" if overlay else ""
    if _made_from(out) == made_from and (not drawn or video_comment(drawn) == made_from):
        return f"{out}: finished before, of the same video with the same detector; remove it to score again"
    fps, found = frame_rate(path), ""
    try:
        with progress_bar(os.path.basename(path.rstrip("/")), "frame", about_how_many(path) or None) as bar:
            if isinstance(model, Camera):
                os.makedirs(os.path.dirname(out), exist_ok=True)
                recorder = Recorder(stem, model, fps)
                frames = enumerate(counted(read_colour_and_grey(path), bar.update))
                timed = ((n / recorder.rate, frame) for n, frame in frames)
                record(recorder, model.stream(timed, ready=always), drawn, made_from)
                write_report(model, path, recorder, f"{stem}.report.html")
                text, count, peak = recorder.table(made_from), len(recorder.rows), -recorder.highest[1]
                unusual = sum(not event.fault for event in recorder.events)
                found = f", {unusual} events, {len(recorder.events) - unusual} faults of the picture"
            else:
                scores = model.score(path, maps=False, tick=bar.update)
                figures = zip(scores.frames, *scores.parts.values(), strict=True)
                rows = (frame_row(number, scores.fps, *each) for number, each in enumerate(figures))
                text = table(list(scores.parts), rows, made_from)
                count, peak = len(scores.frames), int(scores.frames.argmax())
                os.makedirs(os.path.dirname(out), exist_ok=True)
        write_text(out, text)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror}); give another --out") from None
    when = f" ({peak / fps:.1f} s)" if fps else ""
    return f"{out}: {count} frames, the most unusual is frame {peak}{when}{found}"


def _made_from(path: str) -> str:
    """What an earlier CSV says of its origin; "": nothing, or there is none."""
    with suppress(OSError, UnicodeDecodeError, csv.Error), open(path, encoding="utf-8", newline="") as file:
        return next(csv.DictReader(file), {}).get("made_from") or ""
    return ""
