"""Train the infilling model on normal video. --help lists every option."""

from ramvid_vad.commands.train import train
from ramvid_vad.script_util import run_command

if __name__ == "__main__":
    run_command("video_train", __doc__, train)
