"""``ramvid-vad fit``: normal video -> the folder of a camera."""

import shlex
from collections.abc import Sequence

from ramvid_vad import api
from ramvid_vad.commands.camera.scenes import fit_scenes
from ramvid_vad.detectors.detector import Detector
from ramvid_vad.errors import InputError
from ramvid_vad.events.camera import Camera
from ramvid_vad.options import RunOptions


def fit(run: RunOptions) -> None:
    """Fit a detector and its alarm on normal video and save them, or take more normal video into a camera."""
    options = run.fit
    if not (options.normal or options.add):
        raise InputError("which normal video? ramvid-vad fit FOLDER_OR_FILE --out camera/")
    if not options.out:
        raise InputError("--out: give a folder for the detector, e.g. --out camera/")
    if options.add and options.normal:
        raise InputError(f"--add {options.add}: takes more into a camera; leave {options.normal.splitlines()[0]} out")
    if options.detector and "recipe" in run.given:
        raise InputError(f"--detector {options.detector}: stands in place of a recipe: leave --recipe out")
    if options.scenes and options.add:
        raise InputError("--scenes: --add takes more into the camera of one scene: leave --scenes out")

    def fit_into(normal: Sequence[str], out: str) -> None:
        training = {"minutes": options.minutes, "detector": options.detector or None, "seed": options.seed}
        alarm = {name: getattr(options, name) for name in ("alarms_per_hour", "zone", "min_seconds")}
        detector = api.fit(normal, out, options.recipe, **training, **alarm)
        _say(detector, out)

    if options.add:
        _say(api.add(options.add.splitlines(), options.out).detector, options.out)
    elif options.scenes:
        fit_scenes(options, fit_into)
    else:
        fit_into(options.normal.splitlines(), options.out)
    print(f"next: ramvid-vad score VIDEO --model {shlex.quote(options.out)}")


def _say(detector: Detector, out: str) -> None:
    held_out = detector.about().get("held_out", [])
    print(f"{out}: {detector.title}" + (f", calibrated on {', '.join(held_out)}" if held_out else ""))
    if detector.streams():
        print(Camera.load(out).sentence())
