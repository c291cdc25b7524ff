"""``ramvid-vad export``: the networks of a fitted detector as files for other programs."""

import os

from ramvid_vad import api
from ramvid_vad.commands.exporting.onnx_files import DENOISER, FEATURES, write_onnx
from ramvid_vad.detectors.infilling import Infilling
from ramvid_vad.errors import InputError
from ramvid_vad.events.camera import has_night
from ramvid_vad.events.light import NIGHT
from ramvid_vad.options import RunOptions
from ramvid_vad.runtime.logger import result_dir


def export(run: RunOptions) -> None:
    """Write features.onnx, denoiser.onnx and onnx.json, each network checked against PyTorch. Those of a camera's night
    go to the folder night beside them."""
    options = run.export
    if not options.model:
        raise InputError("which detector? ramvid-vad export camera/ --onnx")
    if not options.onnx:
        raise InputError("in which format? there is one: add --onnx")
    folder = options.out or os.path.join(options.model, "onnx")
    places = {options.model: folder}
    if has_night(options.model):
        places[os.path.join(options.model, NIGHT)] = os.path.join(folder, NIGHT)
    detectors = {}
    for model, place in places.items():
        detector = api.load(model)
        if not isinstance(detector, Infilling):
            raise InputError(f"{model}: {detector.title} has no denoiser: fit with --recipe full")
        detectors[place] = detector
    result_dir(folder, make=False, flag="--out")
    for place, detector in detectors.items():
        about = write_onnx(detector, place)
        for name in (FEATURES, DENOISER):
            off = about["largest_difference"][name]
            print(f"{os.path.join(place, name)}: differs from PyTorch by {off:.1g} of the largest value")
