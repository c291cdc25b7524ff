"""One option: its default, range, unit and help; and a value from outside, checked against them."""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import Field, field, fields
from typing import Any

from ramvid_vad.errors import InputError

MOST_FRAMES = 100_000  # of a window: more is a slip of the finger, and would ask for all the memory there is
LONGEST_SIDE = 8192  # pixels of a frame that the network sees
MOST_DIGITS = 18  # of a whole number: all of them fit into 64 bits


def option(
    default: Any,
    help: str,
    *,
    unit: str = "",
    choices: tuple[str, ...] = (),
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    also: tuple[int, ...] = (),
) -> Any:
    """A dataclass field that is also a command-line flag. also: values outside the range that mean something else."""
    bounds = {"at least": at_least, "above": above, "at most": at_most, "below": below}
    bounds = {word: bound for word, bound in bounds.items() if bound is not None}
    return field(
        default=default, metadata={"help": help, "unit": unit, "choices": choices, "bounds": bounds, "also": also}
    )


def describe(spec: Field) -> str:
    """The help line of one option: what it is, its unit, its choices or range, and its default."""
    parts = [spec.metadata["help"]]
    if spec.metadata["unit"]:
        parts.append(f"[{spec.metadata['unit']}]")
    if spec.metadata["choices"]:
        parts.append("one of " + ", ".join(repr(c) if c == "" else c for c in spec.metadata["choices"]) + ";")
    if spec.metadata["bounds"]:
        parts.append(f"{_range(spec)};")
    return " ".join(parts) + f" (default: {spec.default!r})"


def _range(spec: Field) -> str:
    text = " and ".join(f"{word} {bound:.15g}" for word, bound in spec.metadata["bounds"].items())
    return ", or ".join([text, *map(str, spec.metadata["also"])])


def convert(spec: Field, value: Any, where: str) -> Any:
    """One value from a command line, a YAML file or a checkpoint, in the option's type and range. InputError."""
    try:
        if spec.type is bool:
            converted = value if isinstance(value, bool) else str2bool(str(value))
        elif isinstance(value, bool | list | dict) or (spec.type is int and isinstance(value, float)):
            raise TypeError  # would be bent into shape: True into 1, 1.5 into 1
        elif spec.type is str:
            converted = "" if value is None else str(value)
        else:
            converted = spec.type(value)
    except (ValueError, TypeError, OverflowError):
        raise InputError(f"{where} {_short(value)}: expected {spec.type.__name__}, e.g. {spec.default!r}") from None
    if isinstance(converted, float) and not math.isfinite(converted):
        raise InputError(f"{where} {_short(value)}: must be a finite number, e.g. {spec.default!r}")
    if spec.type is int and abs(converted) >= 10**MOST_DIGITS:
        raise InputError(f"{where} {_short(value)}: at most {MOST_DIGITS} digits, e.g. {spec.default!r}")
    choices = spec.metadata["choices"]
    if choices and converted not in choices:
        raise InputError(f"{where} {_short(converted)}: choose one of {', '.join(c for c in choices if c)}")
    keeps = {
        "at least": lambda bound: converted >= bound,
        "above": lambda bound: converted > bound,
        "at most": lambda bound: converted <= bound,
        "below": lambda bound: converted < bound,
    }
    if converted not in spec.metadata["also"]:
        for word, bound in spec.metadata["bounds"].items():
            if not keeps[word](bound):
                raise InputError(f"{where} {_short(value)}: must be {_range(spec)}")
    return converted


def convert_all(group: type, values: Mapping[str, Any], where: str = "--") -> dict[str, Any]:
    """Those of ``values`` that are options of ``group``, each converted; InputError names ``where`` and the option."""
    specs = {spec.name: spec for spec in fields(group)}
    return {name: convert(specs[name], value, f"{where}{name}") for name, value in values.items() if name in specs}


def _short(value: Any) -> str:
    """What was given, as one line that a terminal can show."""
    try:
        text = repr(value)
    except ValueError:  # more digits than Python is willing to print
        return "a number of thousands of digits"
    return text if len(text) <= 80 else f"{text[:60]}... ({len(text)} characters)"


def nearest(name: str, known: Sequence[str]) -> str:
    """The known name that a misspelt one is most like."""
    return difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]


def str2bool(value: str) -> bool:
    """RaMViD's spelling of booleans: yes/true/t/y/1 and no/false/f/n/0 in any case."""
    if value.lower() in ("yes", "true", "t", "y", "1"):
        return True
    if value.lower() in ("no", "false", "f", "n", "0"):
        return False
    raise InputError(f"{_short(value)} is not a boolean: use True or False")


def int_list(text: str, flag: str) -> list[int]:
    """Comma-separated integers; a trailing comma is allowed. InputError names the flag."""
    try:
        numbers = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        numbers = None
    if numbers is None or any(abs(number) >= 10**MOST_DIGITS for number in numbers):
        raise InputError(f"--{flag} {_short(text)}: expected comma-separated integers, e.g. 0,1,2")
    return numbers


def parse_image_size(text: str | int) -> tuple[int, int]:
    """``128`` -> (128, 128); ``128x192`` -> (128, 192): height x width in pixels."""
    parts = [part.strip() for part in str(text).lower().split("x")]
    if len(parts) > 2 or not all(part.isdecimal() and len(part) < MOST_DIGITS and int(part) > 0 for part in parts):
        raise InputError(f"--image_size {_short(text)}: expected 128 or HEIGHTxWIDTH, e.g. 128x192")
    height, width = int(parts[0]), int(parts[-1])
    if max(height, width) > LONGEST_SIDE:
        raise InputError(f"--image_size {_short(text)}: at most {LONGEST_SIDE} pixels a side, e.g. 128x192")
    return height, width
