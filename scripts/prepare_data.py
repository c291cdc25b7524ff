"""Check a public data set and write it in the standard layout: prepare_data.py NAME --source DIR --out DIR."""

import sys

from ramvid_vad.commands.prepare import prepare
from ramvid_vad.script_util import run_command

if __name__ == "__main__":
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        sys.argv.insert(1, "--name")
    run_command("prepare_data", __doc__, prepare)
