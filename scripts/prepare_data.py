"""Check a public data set and write it in the standard layout: prepare_data.py NAME --source DIR --out DIR."""

import sys

from ramvid_vad.cli import run_command
from ramvid_vad.commands.prepare import prepare

if __name__ == "__main__":
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        sys.argv.insert(1, "--name")
    run_command("prepare_data", __doc__, prepare)
