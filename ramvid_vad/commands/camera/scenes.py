"""``ramvid-vad fit --scenes``: a detector, with its alarm, for each scene of a data set that has many."""

import json
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress

from ramvid_vad.detectors.detector import SCENES_FILE
from ramvid_vad.errors import InputError
from ramvid_vad.options import FitOptions
from ramvid_vad.runtime.files import write_text
from ramvid_vad.video.benchmarks.scenes import scene_of
from ramvid_vad.video.names import in_order
from ramvid_vad.video.reader import find_videos, video_name


def fit_scenes(options: FitOptions, fit: Callable[[Sequence[str], str], None]) -> None:
    """``fit`` the videos of each scene into the folder ``out``/SCENE. The file that names the scenes is written last:
    without it nothing is scored, and the same command goes on.

    InputError: a video whose name tells no scene, an --out that has a detector of all video.
    """
    if options.zone:
        raise InputError(f"--zone {options.zone}: is of one picture, and scenes differ: leave it out with --scenes")
    if os.path.exists(os.path.join(options.out, "detector.json")):
        raise InputError(f"--out {options.out}: has a detector of all video: give another folder")
    videos: defaultdict[str, list[str]] = defaultdict(list)
    for place in options.normal.splitlines():
        for path in find_videos(place):
            scene = scene_of(options.scenes, video_name(path, place))
            if scene is None:
                raise InputError(f"{path}: no name of {options.scenes}, which would tell the scene")
            videos[scene].append(path)
    path = os.path.join(options.out, SCENES_FILE)
    with suppress(FileNotFoundError):
        os.remove(path)
    for scene in in_order(list(videos)):
        try:
            fit(videos[scene], os.path.join(options.out, scene))
        except InputError as error:
            raise InputError(f"scene {scene}: {error}") from None
    write_text(path, json.dumps({"benchmark": options.scenes, "scenes": in_order(list(videos))}) + "\n")
