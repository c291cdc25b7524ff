"""All detectors, each once. A new one is a class and its name here; options, tables and files follow."""

from collections import ChainMap
from collections.abc import Mapping

from ramvid_vad.detectors.appearance import NearestFeature
from ramvid_vad.detectors.detector import Detector
from ramvid_vad.detectors.feature_diffusion.detector import FeatureDiffusion, UnlabelledFeatureDiffusion
from ramvid_vad.detectors.fusion import CalibratedSum
from ramvid_vad.detectors.infilling import Infilling
from ramvid_vad.detectors.motion import FrameDifference, OpticalFlow
from ramvid_vad.detectors.pseudo_anomalies.detector import PseudoAnomalies
from ramvid_vad.detectors.stnmamba.detector import STNMambaDetector

DETECTORS: dict[str, type[Detector]] = {
    detector.name: detector for detector in (FrameDifference, OpticalFlow, NearestFeature, CalibratedSum)
}
"""Those without training, in the order of a table's rows."""

RECIPES: dict[str, type[Detector]] = {"fast": CalibratedSum, "full": Infilling}
"""What ``fit`` makes of normal video, by the name of its recipe."""

PEERS: dict[str, type[Detector]] = {
    detector.name: detector
    for detector in (FeatureDiffusion, UnlabelledFeatureDiffusion, PseudoAnomalies, STNMambaDetector)
}
"""Methods of other papers, and one's own (docs/new_detector.md), by their ``name``."""

SAVED: Mapping[str, type[Detector]] = ChainMap(PEERS, {Infilling.name: Infilling}, DETECTORS)
"""What ``load`` knows: infilling is no row of the nulls, for it is the model itself."""

FITTED: Mapping[str, type[Detector]] = ChainMap(PEERS, DETECTORS, RECIPES)
"""What ``--detector`` may name."""
