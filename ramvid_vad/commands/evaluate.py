"""``vad_eval.py``: scores or reconstructions, and labels -> table, figures and score files."""

import os

from ramvid_vad.errors import InputError
from ramvid_vad.evaluation.from_detector import evaluate_detector
from ramvid_vad.evaluation.from_reconstructions import evaluate_reconstructions
from ramvid_vad.evaluation.from_scores import evaluate_file
from ramvid_vad.evaluation.from_videos import evaluate_nulls
from ramvid_vad.evaluation.inputs.finished_runs import read_run
from ramvid_vad.evaluation.report.comparison import format_comparison, write_comparison
from ramvid_vad.evaluation.report.files import write_results
from ramvid_vad.evaluation.report.pictures import frame_source
from ramvid_vad.evaluation.report.side_by_side import render_videos
from ramvid_vad.evaluation.report.table import format_table
from ramvid_vad.evaluation.statistics.comparison import compare
from ramvid_vad.loading import cache_folder
from ramvid_vad.options import EvalOptions, RunOptions
from ramvid_vad.reconstructions import is_reconstruction
from ramvid_vad.runtime.logger import result_dir


def evaluate(parsed: RunOptions) -> None:
    """Evaluate as the parsed options say, print the table and write the files."""
    options = parsed.eval
    if sum(map(bool, (options.scores, options.detector, options.reconstructions or options.nulls_only))) > 1:
        given = "scores" if options.scores else "detector"
        raise InputError(f"--{given}: give one of --scores, --detector, --reconstructions and --nulls_only True")
    if options.videos and (options.compare or not options.reconstructions):
        raise InputError("--videos: shows infilled frames: give --reconstructions, --data_dir and --labels")
    if options.compare:
        compare_runs(options)
        return
    result_dir(options.out_dir, make=False)
    if is_reconstruction(os.path.join(options.out_dir, "scores.npz")):
        raise InputError(
            f"--out_dir {options.out_dir}: scores.npz there is the reconstruction of a video called 'scores': give "
            "another folder"
        )
    source = None
    if options.scores:
        evaluation = evaluate_file(options)
    elif options.detector:
        evaluation = evaluate_detector(options)
    elif options.nulls_only:
        evaluation = evaluate_nulls(options)
    else:
        evaluation = evaluate_reconstructions(options, cache_folder(options.cache_dir))
        source = frame_source(options, cache_folder(options.cache_dir))
    print(format_table(evaluation, options.full_table) + "\n", flush=True)  # before the files: pictures take minutes
    out_dir = result_dir(options.out_dir)
    written = write_results(evaluation, out_dir, plots=options.plots, source=source)
    if source and options.videos:
        fps = evaluation.provenance["alarms"]["fps"]
        render_videos(evaluation, source, os.path.join(out_dir, "videos"), options.videos, fps)
        written.append("videos")
    print(f"{', '.join(written[:-1])} and {written[-1]} are in {out_dir}")


def compare_runs(options: EvalOptions) -> None:
    """``--compare``: print the table of two finished runs and write comparison.json and comparison.html."""
    if options.scores or options.detector or options.reconstructions or options.nulls_only:
        raise InputError(
            "--compare: compares finished runs: leave --scores, --detector, --reconstructions and --nulls_only out"
        )
    folders = [part.strip() for part in options.compare.split(",")]
    rows = [part.strip() for part in options.method.split(",")]
    if len(folders) != 2 or not all(folders):
        raise InputError(f"--compare {options.compare}: two folders with a comma between them, RUN_A,RUN_B")
    if len(rows) > 2:
        raise InputError(f"--method {options.method}: one row for both runs, or two, ROW_A,ROW_B")
    a, b = (read_run(folder, row) for folder, row in zip(folders, (rows[0], rows[-1]), strict=True))
    comparison = compare(a, b, options.bootstrap, options.seed)
    print(format_comparison(comparison) + "\n", flush=True)
    out_dir = result_dir(options.out_dir)
    write_comparison(comparison, out_dir)
    print(f"comparison.json and comparison.html are in {out_dir}")
