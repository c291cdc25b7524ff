"""Video anomaly detection: what knows normal video finds what does not belong in a new one.

    import ramvid_vad
    detector = ramvid_vad.fit("normal/", out="camera/")
    scores = ramvid_vad.load("camera/").score("today.mp4")

What stands in ``__all__`` is the interface (docs/api.md); importing the package loads nothing heavy.
"""

from importlib import import_module
from typing import Any

__version__ = "0.2.0"

_PLACES = {
    "fit": "api",
    "load": "api",
    "load_model": "api",
    "Infiller": "api",
    "Detector": "detectors.detector",
    "Scores": "detectors.detector",
    "evaluate_scores": "evaluation",
    "InputError": "errors",
}
__all__ = ["__version__", *_PLACES]


def __getattr__(name: str) -> Any:
    """The names of ``__all__``, each loaded when it is first asked for."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PLACES])
