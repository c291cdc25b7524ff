"""``vad_eval.py``: scores or reconstructions, and labels -> table, figures and score files."""

from types import SimpleNamespace

from ..errors import InputError
from ..evaluation.evaluate import evaluate_reconstructions
from ..evaluation.from_scores import evaluate_file
from ..evaluation.from_video import evaluate_nulls
from ..evaluation.report import frame_source
from ..evaluation.results import format_table, write_results
from ..logger import result_dir
from .setup import cache_folder, print_resolved


def evaluate(parsed: SimpleNamespace) -> None:
    """Evaluate as the parsed options say, print the table and write the files."""
    options = parsed.eval
    if parsed.dry_run:
        print_resolved(parsed)
        return
    if options.scores and (options.reconstructions or options.nulls_only):
        raise InputError("--scores: give one of --scores, --reconstructions and --nulls_only True")
    out_dir = result_dir(options.out_dir)
    source = None
    if options.scores:
        evaluation = evaluate_file(options)
    elif options.nulls_only:
        evaluation = evaluate_nulls(options)
    else:
        evaluation = evaluate_reconstructions(options, cache_folder(options.cache_dir))
        source = frame_source(options, cache_folder(options.cache_dir))
    write_results(evaluation, out_dir, plots=options.plots, source=source)
    print(format_table(evaluation))
    print(f"\nmetrics.json, scores.npz, scores.csv{' and plots' if options.plots else ''} are in {out_dir}")
