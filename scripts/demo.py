"""The main job on a synthetic street: make it, train, infill, score, evaluate. Runs in minutes on two cores."""

from ramvid_vad.demo.command import demo
from ramvid_vad.script_util import run_command

if __name__ == "__main__":
    run_command("demo", __doc__, demo)
