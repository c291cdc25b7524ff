"""Choose parts and boxes of a trained feature-space model by pseudo-anomalies made from held-out normal video."""

from ramvid_vad.cli import run_command
from ramvid_vad.commands.select_recipe import select_recipe

if __name__ == "__main__":
    run_command("select_recipe", __doc__, select_recipe)
