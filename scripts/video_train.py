"""Train the infilling model on normal video. --help lists every option."""

from ramvid_vad.cli import run_command
from ramvid_vad.commands.train import train

if __name__ == "__main__":
    run_command("video_train", __doc__, train)
