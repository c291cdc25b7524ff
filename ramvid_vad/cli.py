"""Options <-> command line and YAML; how a command is run and how it ends."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

from ramvid_vad.errors import InputError, RunError
from ramvid_vad.options import GROUPS, RunOptions, describe, str2bool
from ramvid_vad.options.aliases import spelled_out
from ramvid_vad.options.config_file import read_config
from ramvid_vad.options.option import convert, nearest
from ramvid_vad.runtime import processes
from ramvid_vad.runtime.allocator import keep_freed_memory
from ramvid_vad.runtime.output import unfailing_output
from ramvid_vad.runtime.ranks.launchers import launched
from ramvid_vad.runtime.signals import Terminated, ending
from ramvid_vad.runtime.text import hide

COMMAND_SECTIONS = {
    "video_train": ("model", "diffusion", "video", "anchors", "space", "train"),
    "video_sample": ("model", "diffusion", "video", "anchors", "sample"),
    "vad_eval": ("eval",),
    "demo": ("demo",),
    "prepare_data": ("prepare",),
    "cache": ("cache",),
    "fit": ("fit",),
    "score": ("score",),
    "select_recipe": ("select",),
    "compare": ("compare",),
    "study_features": ("feature_study",),
    "export": ("export",),
    "watch": ("watch",),
}

# commands that keep nothing of what they had done when stopped
BEGIN_AGAIN = ("fit", "vad_eval", "select_recipe", "export", "prepare_data")
RANKS = ("video_train", "video_sample")
"""Those that several processes may run together."""
DRY_RUNS = ("video_train", "video_sample", "watch")
"""Those that answer ``--dry_run`` themselves; of the others the resolved options are printed, and nothing is done."""


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
            alone = {"nargs": "?", "const": "True"} if spec.type is bool else {}  # --onnx is --onnx True
            group.add_argument(
                f"--{spec.name}", metavar=spec.type.__name__.upper(), help=describe(spec).replace("%", "%%"), **alone
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
                parsed = parse_command(description or name, COMMAND_SECTIONS[name], argv)
                place = launched()
                if place.world_size > 1 and name not in RANKS:
                    raise InputError(
                        f"{place.launcher} started {place.world_size} ranks, and this command runs as one process: "
                        "start it without a launcher"
                    )
                if parsed.dry_run and name not in DRY_RUNS:
                    print(parsed.as_yaml())
                else:
                    command(parsed)
        except (InputError, RunError) as error:
            words = sys.argv[1:] if argv is None else argv
            addresses = [each for word in words for each in (word, *word.split()) if "://" in each]
            said = hide(str(error), *addresses) if addresses else str(error)  # a log may keep it
            processes.fail(f"{shown or name}: error: {said}", 2 if isinstance(error, InputError) else 1)
        except KeyboardInterrupt as signal:
            code = 143 if isinstance(signal, Terminated) else 130
            usual = "begins again" if name in BEGIN_AGAIN else "goes on from what is finished"
            how = str(signal) or usual
            processes.fail(f"{shown or name}: stopped; the same command {how}", code)
