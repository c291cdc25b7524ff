"""Options <-> command line and YAML; how a command is run and how it ends."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import yaml

from ramvid_vad.errors import InputError, RunError
from ramvid_vad.options import GROUPS, RunOptions, describe, str2bool
from ramvid_vad.options.aliases import spelled_out
from ramvid_vad.options.option import convert, nearest
from ramvid_vad.recipes import find_recipe, recipe_names
from ramvid_vad.runtime import processes
from ramvid_vad.runtime.allocator import keep_freed_memory
from ramvid_vad.runtime.output import unfailing_output
from ramvid_vad.runtime.signals import Terminated, ending

MOST_YAML = 1_000_000
COMMAND_SECTIONS = {
    "video_train": ("model", "diffusion", "video", "anchors", "space", "train"),
    "video_sample": ("model", "diffusion", "video", "anchors", "sample"),
    "vad_eval": ("eval",),
    "demo": ("demo",),
    "prepare_data": ("prepare",),
    "cache": ("cache",),
    "fit": ("fit",),
    "score": ("score",),
}

BEGIN_AGAIN = ("fit", "vad_eval")  # commands that keep nothing of what they had done when stopped


class _Plain(yaml.BaseLoader):
    """YAML whose values are texts, as on a command line: ``convert`` alone decides what is a number or a date. And
    without aliases, of which a few lines can stand for more than any memory holds."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="an alias, write it out", problem_mark=self.peek_event().start_mark)
        return super().compose_node(parent, index)


def read_config(path: str) -> dict[str, dict[str, Any]]:
    """A YAML file of sections (model, diffusion, video, anchors, space, train, sample, eval); every key is checked."""
    try:
        with open(find_recipe(path), encoding="utf-8") as file:
            text = file.read(MOST_YAML + 1)
        if len(text) > MOST_YAML:
            raise InputError(f"--config {path}: more than {MOST_YAML} characters: give a YAML file of options")
        content = _Plain(text).get_single_data() or {}
    except OSError as error:
        remedy = f"give a YAML file, or a recipe of the package: {', '.join(recipe_names())}"
        raise InputError(f"--config {path}: cannot be read ({error.strerror}): {remedy}") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"--config {path}: not valid YAML: {' '.join(str(error).split())[:300]}") from None
    if not isinstance(content, dict) or not all(isinstance(part or {}, dict) for part in content.values()):
        raise InputError(f"--config {path}: expected sections ({', '.join(GROUPS)}) of 'option: value' lines")
    for section, part in content.items():
        if section not in GROUPS:
            word = str(section)[:80]
            raise InputError(f"--config {path}: unknown section {word!r}: did you mean {nearest(word, [*GROUPS])!r}?")
        specs = {spec.name: spec for spec in fields(GROUPS[section])}
        for key, value in (part or {}).items():
            if key not in specs:
                word = str(key)[:80]
                near = f"did you mean {nearest(word, [*specs])!r}?"
                raise InputError(f"--config {path}: unknown key {word!r} in section {section!r}: {near}")
            part[key] = convert(specs[key], "" if value in ("~", "null") else value, f"--config {path}: {key}")
    return {section: part or {} for section, part in content.items()}


def parse_command(description: str, sections: Sequence[str], argv: Sequence[str] | None = None) -> RunOptions:
    """Parse a command line whose flags are the options of ``sections`` (names of GROUPS).

    Precedence: default < ``--config FILE`` < flag; RaMViD's aliases are spelled out. InputError: an unknown flag or
    key, a bad value.
    """
    specs = {spec.name: (section, spec) for section in sections for spec in fields(GROUPS[section])}
    parser = argparse.ArgumentParser(
        description=description,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", help="YAML file of options, or a recipe's name; flags win over it")
    parser.add_argument(
        "--dry_run", nargs="?", const=True, type=str2bool, help="print the resolved options and end", metavar="BOOL"
    )
    for section in sections:
        group = parser.add_argument_group(section, (GROUPS[section].__doc__ or "").strip().splitlines()[0])
        for spec in fields(GROUPS[section]):
            group.add_argument(
                f"--{spec.name}", metavar=spec.type.__name__.upper(), help=describe(spec).replace("%", "%%")
            )

    def fail(message: str) -> None:
        raise InputError(message)

    parser.error = fail  # type: ignore[method-assign]
    known, unknown = parser.parse_known_args(argv)
    if unknown:
        name = unknown[0].lstrip("-").split("=")[0]
        flag = nearest(name, [*specs, "config", "dry_run"])
        raise InputError(f"unknown flag {unknown[0]}: did you mean --{flag}? (--help lists all)")

    known = vars(known)
    from_file: dict[str, Any] = {}
    for section, part in (read_config(known["config"]) if "config" in known else {}).items():
        from_file |= part if section in sections else {}
    from_flags = {name: convert(specs[name][1], text, f"--{name}") for name, text in known.items() if name in specs}
    values = spelled_out(from_file) | spelled_out(from_flags)
    groups = {
        section: GROUPS[section](**{name: value for name, value in values.items() if specs[name][0] == section})
        for section in sections
    }
    return RunOptions(
        tuple(sections),
        given=frozenset(values),
        typed=frozenset(from_flags),
        config=known.get("config", ""),
        dry_run=known.get("dry_run", False),
        **groups,
    )


def run_command(
    name: str,
    description: str | None,
    command: Callable[[RunOptions], None],
    argv: Sequence[str] | None = None,
    shown: str = "",
) -> None:
    """Parse a command line as that of one of COMMAND_SECTIONS and run it. argv: None: the process's own; shown: what
    the command is called in its messages, "": ``name``.

    An InputError becomes one line on stderr and exit code 2, a RunError exit code 1. SIGINT (Ctrl-C) and SIGTERM where
    the command does not handle them itself become one line and exit code 130 and 143.
    """
    keep_freed_memory()
    with unfailing_output():
        try:
            with ending():
                command(parse_command(description or name, COMMAND_SECTIONS[name], argv))
        except (InputError, RunError) as error:
            processes.fail(f"{shown or name}: error: {error}", 2 if isinstance(error, InputError) else 1)
        except KeyboardInterrupt as signal:
            code = 143 if isinstance(signal, Terminated) else 130
            how = "begins again" if name in BEGIN_AGAIN else "goes on from what is finished"
            processes.fail(f"{shown or name}: stopped; the same command {how}", code)
