"""From a camera's video to an alarm: seconds to fit, frames per second to score, and how many anomalies were found.

    python benchmarks/own_camera.py --work runs/own_camera [--vtest vtest.avi] [--ped2 data/ped2] [--parts 1]
        [--no_street] [--out runs/benchmarks/own_camera.json]

By the commands that a camera's owner types, with the recipe `fast`, no label and a process of its own each:

street: five minutes of the synthetic street (240 x 360, 25 frames per second, 7,500 frames, scene seed 0) are the
    normal video; they are scored again for the speed, then 12 test clips of 10 seconds, each with one or two anomalies,
    whose truth the program knows. F1 counts events and labelled intervals; an event that touches one has found it.
    --no_street leaves it out.
vtest: OpenCV's example vtest.avi (768 x 576, 10 frames per second; Debian's package opencv-doc has it, no labels).
    Frames 0 to 499 are normal video. The other 295 are scored as they are and with one change each, which is found if
    an event touches it. An event of the unchanged video is a false alarm, or a real anomaly: nobody labelled it.
ped2: UCSD Ped2's 16 normal training videos are "my normal footage" (4.3 minutes). Four times a quarter of them is kept
    away from fitting, so that each is kept away once; alarms in them, per hour, stand beside the rate asked for. All
    this --parts times, each with other quarters (the first: every fourth video; then drawn, seed 0): where few alarms
    are expected, one parting says little. Then all of them are fitted, and the labelled events of the 12 test videos
    found; labels are used for that print alone.

`--work` keeps videos and results; what is there is not made again but for the timed commands.
"""

import argparse
import csv
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from measure import machine, positive, print_table, run, write_report

from ramvid_vad.api import fit
from ramvid_vad.demo.street import generate
from ramvid_vad.evaluation.statistics.alarms import spans
from ramvid_vad.events.calibration import threshold_of
from ramvid_vad.events.camera import Camera
from ramvid_vad.events.events import GAP, alarms, smoothed, window
from ramvid_vad.events.threshold import Threshold
from ramvid_vad.video.decoding.frame_rate import frame_rate
from ramvid_vad.video.finding import find_videos
from ramvid_vad.video.reader import read_frames
from ramvid_vad.video.writer import write_video

NORMAL, REST = 500, 295  # frames of vtest.avi
FROM, TO = 226, 262  # of the others: what is changed; the unchanged video is quiet there and for a GAP before
PED2_RATES, FOLDS = (30.0, 60.0, 120.0, 240.0), 4
SECONDS = 0.5  # the default of --min_seconds
RATES = (0.5, 60.0)  # alarms per hour: the default, and one that fifty seconds of normal video say something about


def command(*words: object) -> float:
    """Seconds of a command; its output is shown where it fails."""
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "ramvid_vad", *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, words))}: exit code {done.returncode}\n{done.stderr}")
    return time.monotonic() - began


def frames_scored(folder: Path) -> int:
    """Rows of the tables of scores in a folder."""
    return sum(
        sum(not line.startswith("#") for line in path.read_text().splitlines()) - 1  # less the names of the columns
        for path in folder.glob("**/*.scores.csv")
    )


def events_of(path: Path) -> list[tuple[int, int]]:
    """First and last frame of each event, faults of the picture left out."""
    events = map(json.loads, path.read_text().splitlines())
    return [(event["start"], event["end"]) for event in events if not event["fault"]]


def alarm_frames(path: Path) -> np.ndarray:
    """Frames whose level is 1 or more, from the table of scores; where the picture is at fault there is none."""
    with path.open() as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        return np.array([int(row["frame"]) for row in rows if float(row["level"] or 0) >= 1])


def touches(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Of first and last frames, both counted in."""
    return one[0] <= other[1] and other[0] <= one[1]


def judged(stem: Path, truth: list[tuple[int, int]]) -> tuple[int, list[int], int]:
    """Of one scored video: its events, by how many frames each found interval's first alarm is late, and the events
    that touch no interval."""
    return matched(events_of(Path(f"{stem}.events.jsonl")), alarm_frames(Path(f"{stem}.scores.csv")), truth)


def matched(
    events: list[tuple[int, int]], above: np.ndarray, truth: list[tuple[int, int]]
) -> tuple[int, list[int], int]:
    """As ``judged``. above: frames of level 1 or more."""
    late = []
    for interval in truth:
        touching = [event for event in events if touches(event, interval)]
        inside = [above[(above >= first) & (above <= last)].min() for first, last in touching]
        late += [max(int(min(inside)) - interval[0], 0)] if inside else []
    return len(events), late, sum(not any(touches(event, each) for each in truth) for event in events)


def street(work: Path, rate: float) -> dict:
    data = work / "street"
    generate(str(data), size=(240, 360), num_train=1, frames=7500, num_test=12, test_frames=250)
    camera, scored = work / f"street_camera_{rate:g}", work / f"street_scored_{rate:g}"
    fitted = command("fit", data / "training", "--out", camera, "--alarms_per_hour", rate)
    for old in scored.glob("**/*.scores.csv"):
        old.unlink()
    taken = command("score", data / "training" / "01.mp4", "--model", camera, "--out", scored / "normal")
    command("score", data / "testing", "--model", camera, "--out", scored / "test")
    false, events, truth, late = 0, 0, 0, []
    for labels in sorted((data / "labels").glob("*.npy")):
        known = [(first, end - 1) for first, end in spans(np.load(labels))]
        count, delays, wrong = judged(scored / "test" / labels.stem, known)
        false, events, truth, late = false + wrong, events + count, truth + len(known), late + delays
    found = len(late)
    precision, recall = (events - false) / max(events, 1), found / truth
    return {
        "video": "street",
        "alarms per hour": rate,
        "fit s": fitted,
        "scored frames per second": 7500 / taken,
        "anomalies": truth,
        "found": found,
        "events": events,
        "false": false,
        "event F1": 2 * precision * recall / (precision + recall) if found else 0.0,
        "delay s, median": statistics.median(late) / 25 if late else None,
    }


def disc(frames: list[np.ndarray]) -> list[np.ndarray]:
    """A red disc of 40 pixels rolls across the square."""
    changed = [frame.copy() for frame in frames]
    for i in range(FROM, TO):
        cv2.circle(changed[i], (60 + 16 * (i - FROM), 380), 20, (200, 30, 30), -1)
    return changed


def left_object(frames: list[np.ndarray]) -> list[np.ndarray]:
    """A striped box of 50 x 50 pixels that nobody brought stands still on the square."""
    box = np.full((50, 50, 3), 230, np.uint8)
    box[::10], box[:, ::10] = (20, 20, 120), (20, 20, 120)
    changed = [frame.copy() for frame in frames]
    for i in range(FROM, TO):
        changed[i][330:380, 400:450] = box
    return changed


def fast(frames: list[np.ndarray]) -> list[np.ndarray]:
    """Everybody is four times as fast from the range on: every fourth frame."""
    return frames[:FROM] + frames[FROM::4]


def backwards(frames: list[np.ndarray]) -> list[np.ndarray]:
    """The range is played backwards: people walk backwards, as fast as ever."""
    return frames[:FROM] + frames[FROM:TO][::-1] + frames[TO:]


def giant(frames: list[np.ndarray]) -> list[np.ndarray]:
    """A part of the picture with people in it, from normal video's first frame, slides over the square at twice its
    size, blended at its border."""
    piece = cv2.resize(frames[0][330:470, 520:620], None, fx=2, fy=2)
    soft = np.zeros(piece.shape[:2], np.float32)
    soft[20:-20, 20:-20] = 1
    soft = cv2.GaussianBlur(soft, (0, 0), 8)[..., None]
    changed = [frame.copy() for frame in frames]
    for i in range(FROM, TO):
        x = 40 + 10 * (i - FROM)
        part = changed[i][200 : 200 + piece.shape[0], x : x + piece.shape[1]]
        part[:] = (soft * piece + (1 - soft) * part).astype(np.uint8)
    return changed


CHANGES: dict[str, Callable[[list[np.ndarray]], list[np.ndarray]]] = {
    "none": lambda frames: frames,
    "disc rolls": disc,
    "box stands": left_object,
    "four times as fast": fast,
    "backwards": backwards,
    "people at twice their size": giant,
}


def vtest(work: Path, path: str, rate: float) -> list[dict]:
    fps = frame_rate(path)
    normal = work / "vtest_normal" / "normal.mp4"
    changed = work / "vtest_changed"
    if not normal.exists():
        normal.parent.mkdir(parents=True, exist_ok=True)
        changed.mkdir(exist_ok=True)
        frames = list(read_frames(path))
        for name, change in CHANGES.items():
            write_video(str(changed / f"{name.replace(' ', '_')}.mp4"), change(frames[NORMAL:]), fps=fps, crf=18)
        write_video(str(normal), frames[:NORMAL], fps=fps, crf=18)
    camera, scored = work / f"vtest_camera_{rate:g}", work / f"vtest_scored_{rate:g}"
    fitted = command("fit", normal, "--out", camera, "--alarms_per_hour", rate)
    for old in scored.glob("**/*.scores.csv"):
        old.unlink()
    taken = command("score", changed, "--model", camera, "--out", scored)
    rows = []
    for name in CHANGES:
        end = FROM + -(-(REST - FROM) // 4) if name == "four times as fast" else TO
        known = [] if name == "none" else [(FROM, end - 1)]
        count, late, others = judged(scored / name.replace(" ", "_"), known)
        rows.append(
            {
                "video": f"vtest.avi, changed: {name}",
                "alarms per hour": rate,
                "fit s": fitted,
                "scored frames per second": frames_scored(scored) / taken,
                "anomalies": len(known),
                "found": len(late),
                "events": count,
                "false": others,
                "event F1": None,
                "delay s, median": late[0] / fps if late else None,
            }
        )
    return rows


def ped2(work: Path, data: Path, parts: int) -> tuple[list[dict], list[dict]]:
    """Rows of the alarms in normal video that was kept away, and of the labelled events found."""
    training, testing = find_videos(str(data / "training")), find_videos(str(data / "testing"))
    fps = frame_rate(training[0])
    gap, length = round(GAP * fps), window(SECONDS, fps)

    def levels(scores: np.ndarray, threshold: Threshold) -> np.ndarray:
        return (smoothed(scores, length, threshold.usual) - threshold.usual) / (threshold.value - threshold.usual)

    def camera_of(paths: list[str]) -> Camera:
        fit(paths, str(work / "ped2_camera"), progress=False)
        return Camera.load(str(work / "ped2_camera"))

    counts, how, frames = np.zeros((len(PED2_RATES), parts), int), [set() for _ in PED2_RATES], 0
    draw = np.random.default_rng(0)
    for part in range(parts):
        order = draw.permutation(training).tolist() if part else training
        for fold in range(FOLDS):
            away = order[fold::FOLDS]
            camera = camera_of([path for path in training if path not in away])
            scores = [camera.detector.score(path, maps=False).frames for path in away]
            frames += sum(map(len, scores))
            for i, rate in enumerate(PED2_RATES):
                threshold = threshold_of(camera.curves, fps, rate, SECONDS)
                counts[i, part] += sum(len(alarms(levels(each, threshold), gap)) for each in scores)
                how[i].add(threshold.how)
    hours = frames / fps / 3600 / parts
    false = [
        {
            "asked per hour": rate,
            "threshold": " or ".join(sorted(how[i])),
            "alarms of each parting": counts[i].tolist(),
            "in minutes": 60 * hours,
            "per hour": counts[i].mean() / hours,
        }
        for i, rate in enumerate(PED2_RATES)
    ]
    camera = camera_of(training)
    scores = {path: camera.detector.score(path, maps=False).frames for path in testing}
    found = []
    for rate in (RATES[0], *PED2_RATES):
        threshold = threshold_of(camera.curves, fps, rate, SECONDS)
        late, truth, wrong = [], 0, 0
        for path, each in scores.items():
            level = levels(each, threshold)
            known = [(first, end - 1) for first, end in spans(np.load(data / "labels" / f"{Path(path).stem}.npy"))]
            events, above = alarms(level, gap), np.flatnonzero(level >= 1)
            _, delays, false_ones = matched(events, above, known)
            late, truth, wrong = late + delays, truth + len(known), wrong + false_ones
        found.append(
            {
                "asked per hour": rate,
                "labelled events": truth,
                "found": len(late),
                "false": wrong,
                "delay s, median": statistics.median(late) / fps if late else None,
            }
        )
    return false, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/own_camera"))
    parser.add_argument("--vtest", default="")
    parser.add_argument("--out", default="runs/benchmarks/own_camera.json")
    parser.add_argument("--ped2", default="")
    parser.add_argument("--parts", type=positive, default=1)
    parser.add_argument("--no_street", action="store_true")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    rows, more = [], {}
    if options.ped2:
        more["parts"] = options.parts
        more["ped2, false"], more["ped2, found"] = ped2(options.work, Path(options.ped2), options.parts)
        print_table("UCSD Ped2: alarms in normal video that was kept away from fitting", more["ped2, false"])
        print_table("UCSD Ped2: labelled events found", more["ped2, found"])
    if not options.no_street:
        rows.append(street(options.work, RATES[0]))
    for rate in RATES:
        rows += vtest(options.work, options.vtest, rate) if options.vtest else []
    if rows:
        print_table("From a camera's video to an alarm", rows)
    write_report(options.out, {**machine(), "rows": rows, **more})


if __name__ == "__main__":
    run(main)
