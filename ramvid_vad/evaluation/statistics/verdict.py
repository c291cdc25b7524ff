"""Does a result say anything? Its AUC against what scores reach that know nothing, in words.

The spread of the nulls is the range from the lowest to the highest AUC of the rows that do not look at the video
(constant, noise, triangle, ramp), the noise widened by twice its standard deviation over seeds. A result in it could
have been had with closed eyes. Above it stand the rows that look at the video and learn nothing (differences, flow,
blends, frozen features): a result that does not beat the best of them has shown nothing that needs training.
"""

from collections.abc import Sequence
from typing import NamedTuple

DEVIATIONS = 2  # of the noise over its seeds, on either side
_ROUNDING = 1e-9  # an AUC on the edge is inside


class NullResult(NamedTuple):
    """AUC of one null row, a fraction. sd: over seeds, 0 where there are none. sees_video: False for the blind ones."""

    title: str
    auc: float
    sd: float = 0.0
    sees_video: bool = False


class NullRange(NamedTuple):
    """Lowest and highest AUC of the blind nulls."""

    low: float
    high: float
    highest: str  # the title of the one that reaches ``high``


def blind_range(nulls: Sequence[NullResult]) -> NullRange | None:
    """The range as defined above; None without a blind null."""
    blind = [null for null in nulls if not null.sees_video]
    if not blind:
        return None
    top = max(blind, key=lambda null: null.auc + DEVIATIONS * null.sd)
    low = min(null.auc - DEVIATIONS * null.sd for null in blind)
    return NullRange(max(low, 0.0), min(top.auc + DEVIATIONS * top.sd, 1.0), top.title)


def verdict(
    title: str, auc: float | None, nulls: Sequence[NullResult], interval: tuple[float, float] | None = None
) -> str:
    """One sentence on the row ``title``: inside, below or above the nulls' spread, and where the best other null is.

    interval: of the AUC over videos, if known; its lower end in the spread is said too. "" where nothing can be said.
    """
    if auc is None or not nulls:
        return ""
    blind = blind_range(nulls)
    text = f"{title} (micro AUC {_percent(auc)})"
    if blind:
        range_text = f"{_percent(blind.low)} to {_percent(blind.high)}, highest: {blind.highest}"
        if auc < blind.low - _ROUNDING:
            return (
                f"{text} is below the nulls' spread ({range_text}): not evidence of detection; is a higher score more "
                "abnormal?"
            )
        if auc <= blind.high + _ROUNDING:
            return f"{text} is inside the nulls' spread ({range_text}): not evidence of detection."
        if interval and interval[0] <= blind.high + _ROUNDING:
            return (
                f"{text} is above the nulls' spread ({range_text}), but the lower end of its interval, "
                f"{_percent(interval[0])}, is inside: weak evidence of detection." + _against_best(auc, nulls)
            )
        text += f" is above the nulls' spread ({range_text})."
        return text + _against_best(auc, nulls)
    return text + ":" + _against_best(auc, nulls)


def _against_best(auc: float, nulls: Sequence[NullResult]) -> str:
    """Against the best null that sees the video, "" without one."""
    seeing = [null for null in nulls if null.sees_video]
    if not seeing:
        return ""
    best = max(seeing, key=lambda null: null.auc)
    gap = float(_percent(auc)) - float(_percent(best.auc))  # of the figures as they stand in the sentence
    rival = f"the best null that looks at the video, {best.title} ({_percent(best.auc)})"
    if gap >= 0.05:
        return f" It is {gap:.1f} points above {rival}."
    place = f"{-gap:.1f} points below" if gap <= -0.05 else "level with"
    return f" It is {place} {rival}: it has shown nothing that needs learning."


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"
