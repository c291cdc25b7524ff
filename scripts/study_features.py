"""Study feature diffusion: what range of noise, starting level and threshold do to it, against frame labels."""

from ramvid_vad.cli import run_command
from ramvid_vad.commands.study_features import study_features

if __name__ == "__main__":
    run_command("study_features", __doc__, study_features)
