"""All detectors, each once. A new one is a class and its name here; options, tables and files follow."""

from ramvid_vad.detectors.appearance import NearestFeature
from ramvid_vad.detectors.detector import Detector
from ramvid_vad.detectors.feature_diffusion.detector import FeatureDiffusion, UnlabelledFeatureDiffusion
from ramvid_vad.detectors.fusion import CalibratedSum
from ramvid_vad.detectors.infilling import Infilling
from ramvid_vad.detectors.motion import FrameDifference, OpticalFlow
from ramvid_vad.detectors.pseudo_anomalies.detector import PseudoAnomalies

DETECTORS: dict[str, type[Detector]] = {
    detector.name: detector for detector in (FrameDifference, OpticalFlow, NearestFeature, CalibratedSum)
}
"""In the order of a table's rows."""

PEERS: dict[str, type[Detector]] = {
    detector.name: detector for detector in (FeatureDiffusion, UnlabelledFeatureDiffusion, PseudoAnomalies)
}
"""Other papers' methods: ``fit(normal, progress, *, work, minutes, seed)`` trains their networks."""

SAVED = DETECTORS | PEERS | {Infilling.name: Infilling}
"""What ``load`` knows: infilling is no row of the nulls, for it is the model itself."""

RECIPES: dict[str, type[Detector]] = {"fast": CalibratedSum, "full": Infilling}
"""What ``fit`` makes of normal video, by the name of its recipe."""
