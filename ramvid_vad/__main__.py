"""``ramvid-vad COMMAND ...``, also ``python -m ramvid_vad``: every command by one name."""

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from ramvid_vad.options import RunOptions

COMMANDS = {  # name: module, function, name of its options in cli.COMMAND_SECTIONS, option of plain words, what it does
    "fit": (
        "commands.camera.fit",
        "fit",
        "fit",
        "normal",
        "learn what is usual from normal video; no labels, no training",
    ),
    "score": ("commands.camera.score", "score", "score", "input", "score videos with what fit learned"),
    "export": (
        "commands.exporting.command",
        "export",
        "export",
        "model",
        "a fitted detector's networks as ONNX, in float32 (score may round features to bfloat16)",
    ),
    "watch": (
        "commands.camera.watch",
        "watch",
        "watch",
        "source",
        "watch a webcam, a stream or a file: events as they happen",
    ),
    "train": ("commands.train", "train", "video_train", "", "train the diffusion model on normal video"),
    "sample": ("commands.sample", "sample", "video_sample", "", "infill whole videos, or draw RaMViD's samples"),
    "evaluate": ("commands.evaluate", "evaluate", "vad_eval", "", "frame scores and labels -> figures and a report"),
    "compare": ("commands.compare", "compare", "compare", "", "several detectors, one budget of time, one report"),
    "prepare": ("commands.prepare", "prepare", "prepare_data", "name", "check a data set and bring it into one layout"),
    "cache": ("commands.cache", "cache", "cache", "", "show, limit or clear the cache of decoded frames"),
    "demo": ("demo.command", "demo", "demo", "", "the whole way on a synthetic street"),
}


def main(argv: list[str] | None = None) -> None:
    """Run one command; what is wrong is one line and exit code 2."""
    words = list(sys.argv[1:] if argv is None else argv)
    name = words.pop(0) if words else "--help"
    if name in ("--help", "-h", "help"):
        print("usage: ramvid-vad COMMAND [options]    (ramvid-vad COMMAND --help lists them)\n")
        print("\n".join(f"  {command:<10}{what}" for command, (*_, what) in COMMANDS.items()))
        return
    if name in ("--version", "version"):
        from ramvid_vad import __version__

        print(f"ramvid_vad {__version__}")
        return
    if name not in COMMANDS:
        print(f"ramvid-vad: error: unknown command {name!r}: one of {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(2)
    module, function, sections, plain, _ = COMMANDS[name]
    if plain:
        loose = [words.pop(0) for _ in range(len(words)) if words and not words[0].startswith("-")]
        words = [f"--{plain}", "\n".join(loose), *words] if loose else words
    from ramvid_vad.cli import run_command

    run_command(sections, _about(name), lambda run: _function(module, function)(run), words, f"ramvid-vad {name}")


def _function(module: str, name: str) -> Callable[[RunOptions], Any]:
    return getattr(import_module(f"ramvid_vad.{module}"), name)


def _about(command: str) -> str:
    """What its ``--help`` says before the flags."""
    if command == "evaluate":
        from ramvid_vad.commands.evaluate_help import manual

        return manual()
    return COMMANDS[command][-1]


if __name__ == "__main__":
    main()
