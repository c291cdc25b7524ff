"""A fitted detector and normal video -> a camera: threshold, health, zone. And more normal video for a camera."""

import os
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice

import numpy as np

from ramvid_vad.detectors.detector import Detector
from ramvid_vad.detectors.fusion import CalibratedSum, split
from ramvid_vad.errors import InputError
from ramvid_vad.events.camera import Camera
from ramvid_vad.events.events import GAP, smoothed, window
from ramvid_vad.events.examples import ADDED, EXAMPLES, Examples, keeping
from ramvid_vad.events.health import Normal, learn, look
from ramvid_vad.events.threshold import SEEN, Threshold, alarm_threshold
from ramvid_vad.events.zones import watched_cells
from ramvid_vad.runtime.progress import counted, progress_bar
from ramvid_vad.video.decoding.frame_rate import about_how_many, frame_rate
from ramvid_vad.video.finding import evenly_spread
from ramvid_vad.video.reader import Clip, read_colour_and_grey, read_frames

FPS = 25.0  # where the videos do not say
FRAMES = 2000  # of held-out normal video, at least, where there are so many: a threshold on few peaks misses its rate
VIDEOS = 64  # of normal video, at most, evenly spread, whose pictures say what is healthy


def camera_of(
    detector: Detector,
    paths: Sequence[str],
    name: str,
    alarms_per_hour: float,
    zone: str = "",
    min_seconds: float = 0.5,
    progress: bool = True,
    watched: np.ndarray | None = None,
) -> Camera:
    """paths: the normal videos that the detector was just fitted on. Its held-out ones set the threshold; where they
    are shorter than FRAMES, and too short to measure the rate, more is held out by turns (``cross_fitted``).
    zone, watched: its text and its cells."""
    fps = next((rate for rate in map(frame_rate, paths) if rate), FPS)
    if isinstance(detector, CalibratedSum) and not zone:
        curves = list(detector.normal)
    else:
        curves = curves_of([(detector, clip) for clip in split(paths)[1]], watched, progress)
    more = min(FRAMES, SEEN * 3600 * fps / alarms_per_hour) - sum(map(len, curves))
    if more > 0:
        curves += curves_of(detector.cross_fitted(round(more)), watched, progress)
    threshold = threshold_of(curves, fps, alarms_per_hour, min_seconds)
    examples = Examples()
    normal = health_of(evenly_spread(paths, VIDEOS), examples, detector, EXAMPLES, progress)
    return Camera(name, detector, threshold, normal, curves, fps, min_seconds, zone, examples, watched=watched)


def check_one_camera(paths: Sequence[str]) -> None:
    """InputError: pictures of two proportions are of two cameras; found in the first frame of each video."""
    first: tuple[int, ...] = ()
    for path in evenly_spread(paths, VIDEOS):
        frame = next(read_frames(path, rgb=False))
        first = first or frame.shape
        if look(frame).grey.shape != look(np.zeros(first, np.uint8)).grey.shape:
            sizes = f"pictures of {frame.shape[1]}x{frame.shape[0]}, others of {first[1]}x{first[0]}"
            raise InputError(f"{path}: {sizes}: these are two cameras: fit each by itself")


def threshold_of(curves: Sequence[np.ndarray], fps: float, alarms_per_hour: float, min_seconds: float) -> Threshold:
    usual = float(np.median(np.concatenate(curves)))
    levels = [smoothed(each, window(min_seconds, fps), usual) for each in curves]
    return alarm_threshold(levels, fps, alarms_per_hour, round(GAP * fps))


def curves_of(clips: Sequence[tuple[Detector, Clip]], zone: np.ndarray | None, progress: bool) -> list[np.ndarray]:
    """Scores (n,) of the zone of each clip, by the detector beside it. Clips of one video in order are read at once.
    zone: its cells; None: the whole picture."""
    about, curves = sum(clip.about_how_many() for _, clip in clips), []
    runs: list[list[tuple[Detector, Clip]]] = []
    for detector, clip in clips:
        before = runs[-1][-1][1] if runs else None
        if before and before.path == clip.path and before.end is not None and before.end <= clip.first:
            runs[-1].append((detector, clip))
        else:
            runs.append([(detector, clip)])
    with progress_bar("scoring normal video", "frame", about or None, shown=progress and bool(clips)) as bar:
        for run in runs:
            wanted = partial(_in_any, [clip for _, clip in run])
            video = counted(read_colour_and_grey(run[0][1].path, wanted), bar.update)
            curves += [_curve(detector, islice(video, clip.length), zone) for detector, clip in run]
    return curves


def _in_any(clips: Sequence[Clip], number: int) -> bool:
    return any(number in clip for clip in clips)


def _curve(detector: Detector, frames: Iterator[tuple[np.ndarray, np.ndarray]], zone: np.ndarray | None) -> np.ndarray:
    """Scores (n,) of the zone of a video."""
    scored = detector.stream_ahead(frames, maps=zone is not None)
    if zone is None:
        return np.array([each.score for each in scored])
    return np.array([float(each.map[watched_cells(zone, each.map.shape)].max()) for each in scored])


def health_of(
    paths: Sequence[str],
    examples: Examples,
    detector: Detector,
    most: int,
    progress: bool,
    known: Normal | None = None,
) -> Normal:
    """What a healthy picture is like, after ``known`` and these videos, of which ``most`` frames join the examples."""
    kept: list[np.ndarray] = []
    with progress_bar("what is healthy", "frame", sum(map(about_how_many, paths)) or None, shown=progress) as bar:
        each = -(-most // len(paths))
        normal = learn((keeping(counted(read_colour_and_grey(path), bar.update), each, kept) for path in paths), known)
    examples.add(kept, detector, most)
    return normal


def check_adds(camera: Camera) -> CalibratedSum:
    """Its detector, which can take more normal video. InputError: of another recipe."""
    if not isinstance(camera.detector, CalibratedSum):
        raise InputError("--add: takes more normal video into a camera of recipe fast alone: fit this one again")
    return camera.detector


def add_normal(camera: Camera, paths: Sequence[str], progress: bool = True) -> int:
    """Take more normal video into a ``fast`` camera, and give the number of new centres.

    Kept: its centres and usual speeds, the scales of its parts, the curves of its held-out normal video. Patches that
    lie further from all centres than those of usual frames do become new centres; then all of the new video is scored,
    its curve joins the others, and the threshold is set anew for the same rate; a picture is healthy if it was so
    before, or is like the new video's, of which some become examples. The new curves are of patches that were just
    learned: only their motion is held out. InputError: of another recipe.
    """
    detector = check_adds(camera)
    added = 0
    for path in paths:
        if detector.appearance is not None:
            usual = float(np.exp(detector.scales["features"].mean))
            added += detector.appearance.learn(read_frames(path), usual)
        (found,) = curves_of([(detector, Clip(path))], camera.watched, progress)
        camera.curves.append(found)
        detector.held_out.append(f"{os.path.basename(path.rstrip('/'))} (added)")
        detector.normal.append(found)
        camera.normal = health_of([path], camera.examples, detector, ADDED, progress, camera.normal)
    rate = camera.threshold.asked
    camera.threshold = threshold_of(camera.curves, camera.fps, rate, camera.min_seconds)
    return added
