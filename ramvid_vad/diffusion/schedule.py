"""Noise schedules (betas) and the subset of timesteps that sampling walks.

Linear: Ho et al. 2020 (arXiv 2006.11239), scaled to any number of steps. Cosine and respacing: Nichol and Dhariwal 2021
(arXiv 2102.09672), eq. 17 and section 4.
"""

import math

import numpy as np

from ramvid_vad.errors import InputError

NOISE = -11.0
"""Log SNR below which all is noise: the linear schedule ends at -10, the cosine's last three steps go on to -20."""


def named_betas(name: str, steps: int) -> np.ndarray:
    """Variances beta_1 ... beta_steps of the forward process, float64, in (0, 1).

    name: "linear" or "cosine".  InputError: another name, or a number of steps that gives no valid betas.
    """
    if name == "linear":
        # Ho et al.'s 1e-4 ... 0.02 are meant for 1000 steps; fewer steps need proportionally larger betas.
        scale = 1000 / max(steps, 1)
        betas = np.linspace(scale * 1e-4, scale * 0.02, max(steps, 0), dtype=np.float64)
    elif name == "cosine":
        betas = np.array(
            [min(1 - _cosine_alpha_bar((i + 1) / steps) / _cosine_alpha_bar(i / steps), 0.999) for i in range(steps)]
        )
    else:
        raise InputError(f"--noise_schedule {name!r}: choose linear or cosine")
    if len(betas) == 0 or not (betas > 0).all() or not (betas < 1).all():
        raise InputError(f"--diffusion_steps {steps}: the {name} schedule needs more steps than that (e.g. 1000)")
    return betas


def _cosine_alpha_bar(t: float) -> float:
    """Nichol and Dhariwal, eq. 17: alpha_bar at t in [0, 1], offset s = 0.008."""
    return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2


def respaced_timesteps(
    steps: int, spacing: str, betas: np.ndarray | None = None, first: int | None = None
) -> list[int]:
    """Timesteps of a ``steps``-step schedule that sampling keeps, ascending.

    spacing: "" keeps all; "200" spreads 200 evenly from the first to the last; "10,15,20" divides the schedule into
    three equal parts and keeps so many of each; "ddim50" takes every k-th, the DDIM paper's spacing (arXiv 2010.02502);
    "logsnr10" keeps those nearest to 10 values that divide log SNR evenly (arXiv 2206.00927), down to NOISE; it needs
    the betas.  first: the timestep that sampling begins at; None: the last. It is kept and none above it; log SNR is
    divided from there, the other spacings lose what lies above, and a step that would end less than half a step on.
    InputError: a spacing that cannot be met.
    """
    if first is not None and not spacing.startswith("logsnr"):
        below = [t for t in respaced_timesteps(steps, spacing) if t < first]
        if len(below) > 1 and 2 * (first - below[-1]) < below[-1] - below[-2]:
            below.pop()  # a step much shorter than the next would make a solver magnify its network's noise
        return [*below, first]
    if spacing == "":
        return list(range(steps))
    bad = InputError(
        f"--timestep_respacing {spacing!r}: cannot be taken from {steps} steps: use e.g. 200, ddim50, logsnr10 or "
        "10,15,20"
    )
    if spacing.startswith("logsnr") and betas is not None:
        wanted = int(spacing[6:]) if spacing[6:].isdecimal() else 0
        alpha_bar = np.cumprod(1.0 - betas)
        log_snr = np.log(alpha_bar / (1 - alpha_bar))
        if not 2 <= wanted <= steps:  # one alone would be the first, and pure noise is not that
            raise bad
        end, noisiest = (steps, max(log_snr[-1], NOISE)) if first is None else (first + 1, log_snr[first])
        wanted = min(wanted, end)
        even: list[int] = []
        for mark in np.linspace(log_snr[0], noisiest, wanted):
            # the first timesteps lie further apart than many marks: then the next one is taken, as long as there is one
            nearest = max(int(np.abs(log_snr - mark).argmin()), even[-1] + 1 if even else 0)
            even.append(min(nearest, end - wanted + len(even)))
        return even
    if spacing.startswith("ddim"):
        if not spacing[4:].isdecimal():
            raise bad
        wanted = int(spacing[4:])
        for stride in range(1, steps):
            if len(range(0, steps, stride)) == wanted:
                return list(range(0, steps, stride))
        raise bad
    counts = spacing.split(",")
    if not all(count.strip().isdecimal() and int(count) > 0 for count in counts):
        raise bad
    size, rest = divmod(steps, len(counts))
    kept: list[int] = []
    start = 0
    for section, count in enumerate(int(count) for count in counts):
        length = size + (section < rest)
        if count > length:
            raise bad
        stride = (length - 1) / (count - 1) if count > 1 else 1.0
        position = 0.0  # accumulated, not multiplied: rounding then falls as in improved-diffusion
        for _ in range(count):
            kept.append(start + round(position))
            position += stride
        start += length
    return kept
