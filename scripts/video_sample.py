"""Infill whole videos window by window, or draw RaMViD's samples. --help lists every option."""

from ramvid_vad.cli import run_command
from ramvid_vad.commands.sample import sample

if __name__ == "__main__":
    run_command("video_sample", __doc__, sample)
