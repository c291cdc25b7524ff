"""Score reconstructions, evaluate the scores against labels, and set null baselines beside them.

python scripts/vad_eval.py --reconstructions DIR --data_dir DIR --labels DIR
"""

from ramvid_vad.commands.evaluate import evaluate
from ramvid_vad.script_util import run_command

if __name__ == "__main__":
    run_command("vad_eval", __doc__, evaluate)
