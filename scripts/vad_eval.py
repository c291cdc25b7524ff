"""Frame scores and labels -> figures that cannot flatter. ``--help`` is the manual; docs/evaluation.md is longer."""

from ramvid_vad.cli import run_command
from ramvid_vad.commands.evaluate import evaluate
from ramvid_vad.commands.evaluate_help import manual

if __name__ == "__main__":
    run_command("vad_eval", manual(), evaluate)
