"""``vad_eval.py``: reconstructions, videos and labels -> table, figures and score files."""

from types import SimpleNamespace

from ..evaluation.evaluate import evaluate_reconstructions
from ..evaluation.from_video import evaluate_nulls
from ..evaluation.results import format_table, write_results
from ..logger import result_dir
from .setup import cache_folder, print_resolved


def evaluate(parsed: SimpleNamespace) -> None:
    """Evaluate as the parsed options say, print the table and write the files."""
    options = parsed.eval
    if parsed.dry_run:
        print_resolved(parsed)
        return
    out_dir = result_dir(options.out_dir)
    if options.nulls_only:
        evaluation = evaluate_nulls(options)
    else:
        evaluation = evaluate_reconstructions(options, cache_folder(options.cache_dir))
    write_results(evaluation, out_dir, plots=options.plots)
    print(format_table(evaluation))
    print(f"\nmetrics.json, scores.npz, scores.csv{' and plots' if options.plots else ''} are in {out_dir}")
