"""The main job on a synthetic street: make it, train, infill, score, evaluate. Runs in minutes on two cores."""

from ramvid_vad.cli import run_command
from ramvid_vad.demo.command import demo

if __name__ == "__main__":
    run_command("demo", __doc__, demo)
