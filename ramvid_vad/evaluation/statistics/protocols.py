"""Post-processing protocols: what happens to raw frame scores before metrics are taken, by name and with its source.

Published numbers differ by these steps alone (up to 27 points of AUC for a *constant* score), so the protocol is
printed with every result, and null scores go through the same one. Steps, per video: trim, smooth, scale.
"""

from dataclasses import dataclass, replace

import numpy as np

from ramvid_vad.errors import InputError
from ramvid_vad.scoring.curves import normalise_per_video, smooth

WIDEST = 1e4  # frames, of the default protocol's Gaussian: whole videos are flat long before, and its taps are counted


@dataclass(frozen=True)
class Protocol:
    """One protocol. ``source``: where its authors state or run it."""

    name: str
    source: str
    sigma: float = 0.0  # Gaussian smoothing over time, frames; 0: none
    zero_padded_taps: int = 0  # 0: mirrored borders; else an odd number of taps and zeros beyond the video (a leak)
    min_max: bool = False  # per-video min-max after smoothing: offline, needs the whole video
    first: int = 0  # frames without a score at the beginning of each video
    last: int = 0  # ... and at its end
    already_trimmed: bool = False  # scores and labels come without those frames: their author dropped them

    def trim(self, values: np.ndarray) -> np.ndarray:
        """Scores or labels (n,) without the frames that the protocol drops. InputError: nothing is left."""
        if self.already_trimmed:
            return values
        if len(values) <= self.first + self.last:
            raise InputError(
                f"protocol {self.name!r} drops {self.first} + {self.last} frames, but a video has only {len(values)}"
            )
        return values[self.first : len(values) - self.last]

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Raw scores of ONE video (n,) -> processed scores of the frames that are kept."""
        scores = self.trim(np.asarray(scores, dtype=np.float64))
        if self.zero_padded_taps:
            scores = zero_padded_filter(scores, self.sigma, self.zero_padded_taps)
        else:
            scores = smooth(scores, self.sigma)
        return normalise_per_video(scores) if self.min_max else scores

    def describe(self) -> str:
        """The protocol in one line, for tables and reports."""
        parts = [f"trimmed {self.first} + {self.last} frames per video"]
        if self.already_trimmed:
            parts[0] += " (the scores came without them)"
        if self.sigma:
            border = f"zero-padded, {self.zero_padded_taps} taps" if self.zero_padded_taps else "mirrored borders"
            parts.append(f"Gaussian sigma {self.sigma:g} per video ({border})")
        else:
            parts.append("no smoothing")
        parts.append("per-video min-max (offline)" if self.min_max else "no normalisation")
        return f"{self.name}: " + ", ".join(parts)


def zero_padded_filter(scores: np.ndarray, sigma: float, taps: int) -> np.ndarray:
    """The Gaussian filter of AED-MAE and MA-PDM: zeros beyond the video, taps not normalised, the peak one tap early.

    For re-running their protocols only: with zeros outside, any score that is never negative becomes a position prior.
    """
    at = np.arange(taps) - (taps // 2 - 1)
    kernel = np.exp(-0.5 * (at / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))
    return np.correlate(np.pad(scores, taps // 2), kernel, "valid")


PROTOCOLS = {
    p.name: p
    for p in (
        Protocol("default", "this project: one video at a time, mirrored borders, no normalisation"),
        Protocol(
            "thesis",
            "Capobianco, thesis 2025: Gaussian smoothing, its sigma not stated; first public code: 2, 4 or 6, here 4",
            sigma=4,
        ),
        Protocol(
            "mnad",
            "Park et al., CVPR 2020; cvlab-yonsei/MNAD Evaluate.py (4e108a8): four frames predict the next",
            min_max=True,
            first=4,
        ),
        Protocol(
            "ma-pdm",
            "Zhou et al., AAAI 2025 (arXiv 2412.09026); SangHyeok-P/MA-PDM models/utils.py (600803f): range 38, mu 11",
            sigma=11,
            zero_padded_taps=37,
            first=6,
        ),
        Protocol(
            "aed-mae-avenue",
            "Ristea et al., CVPR 2024; ristea/aed-mae inference.py (84d718d): range 38, mu 11",
            sigma=11,
            zero_padded_taps=37,
        ),
        Protocol(
            "aed-mae-shanghaitech",
            "Ristea et al., CVPR 2024; ristea/aed-mae inference.py (84d718d): range 900, mu 282, then min-max",
            sigma=282,
            zero_padded_taps=899,
            min_max=True,
        ),
        Protocol(
            "memae",
            "Gong et al., ICCV 2019; donggong1/memae-anomaly-detection: clips of 16 frames, per-video min-max",
            min_max=True,
            first=8,
            last=7,
        ),
    )
}


def choose(name: str, sigma: float, per_video_min_max: bool, trim: tuple[int, int] = (0, 0)) -> Protocol:
    """The protocol ``name``; ``sigma``, ``per_video_min_max`` and ``trim`` belong to the default one only.

    trim: frames dropped at the beginning and at the end of each video.

    InputError: an unknown name, or a setting that would change a published protocol.
    """
    if name not in PROTOCOLS:
        raise InputError(f"--protocol {name!r}: choose one of {', '.join(PROTOCOLS)}")
    if not 0 <= sigma <= WIDEST:
        raise InputError(f"--sigma {sigma}: a standard deviation in frames, from 0 to {WIDEST:g}")
    if name == "default":
        return replace(PROTOCOLS[name], sigma=sigma, min_max=per_video_min_max, first=trim[0], last=trim[1])
    if per_video_min_max:
        raise InputError(f"--per_video_min_max: protocol {name!r} fixes its own normalisation; use --protocol default")
    if trim != (0, 0):
        raise InputError(f"--trim {trim[0]},{trim[1]}: protocol {name!r} fixes its own trim; use --protocol default")
    return PROTOCOLS[name]
