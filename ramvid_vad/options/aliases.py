"""RaMViD's names for settings that are called otherwise here; spelled out once, before anybody looks."""

from collections.abc import Mapping
from typing import Any

from ramvid_vad.errors import InputError

ALIASES = {  # a boolean of RaMViD's -> the option it sets, to what, and what that option may say besides
    "use_ddim": ("sampler", "ddim", "ancestral"),
    "predict_xstart": ("prediction", "xstart", "epsilon"),
    "use_fp16": ("precision", "fp16", ""),
}


def spelled_out(values: Mapping[str, Any]) -> dict[str, Any]:
    """Options, name -> value: where an alias is True, the option that it stands for, and the alias False.

    InputError: the option itself says something else.
    """
    plain = dict(values)
    for alias, (name, meant, default) in ALIASES.items():
        if plain.get(alias):
            if plain.get(name, default) not in (meant, default):
                raise InputError(f"--{alias} True contradicts --{name} {plain[name]}: give one of them")
            plain |= {name: meant, alias: False}
    return plain
