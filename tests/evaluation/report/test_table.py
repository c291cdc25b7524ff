"""The table: its verdict first, 80 columns and the rows that matter; in full, every figure."""

import json
from dataclasses import replace

import numpy as np
import pytest
from known_run import LENGTHS

from ramvid_vad.cli import COMMAND_SECTIONS, parse_command
from ramvid_vad.commands import evaluate as command
from ramvid_vad.evaluation import evaluate_scores
from ramvid_vad.evaluation.report.files import write_results
from ramvid_vad.evaluation.report.table import format_table, rows_that_matter


def cells(table, title):
    """The figures of the one line that begins with ``title``."""
    (line,) = (line for line in table.splitlines() if line.startswith(title))
    return line[len(title) :].split()


def percent(value):
    return f"{100 * value:.1f}"


def test_the_short_table_has_the_verdict_first_and_the_figures_of_the_rows_that_matter(run):
    evaluation = run.evaluate(measures="mse,wmse,ssim")
    table = format_table(evaluation)
    lines = table.splitlines()
    assert lines[0].startswith("mse (micro AUC ") and "the nulls' spread" in lines[0]
    assert max(map(len, lines)) <= 80
    m = evaluation.row("mse").metrics
    assert cells(table, "mse    ") == [
        percent(m["micro_auc"]),
        "-",
        *map(percent, (m["macro_auc"], m["ap"], m["eer"])),
    ]
    shown = [(r.measure, r.null) for r in rows_that_matter(evaluation)]
    best = next(name for name in ("coverage", "constant", "noise", "triangle", "ramp") if f"highest: {name}" in table)
    assert shown == [
        *(("mse", null) for null in ("", "linear_blend", "previous_frame")),
        *(("", null) for null in ("frame_difference", "optical_flow", best)),
    ]
    blend = cells(table, "null: linear blend of the anchors")
    assert blend[0] == percent(evaluation.row("mse", "linear_blend").metrics["micro_auc"])
    assert "F1*" not in table and "acc." not in table and "\nwmse" not in table
    assert "10 more rows and oracle figures: table.txt, or --full_table True" in table
    assert "3 videos (0 of one class), 56 frames, 26 abnormal" in table
    assert "left out: features, calibrated (give --normal_dir, a folder of normal videos)" in table


@pytest.mark.parametrize("full", [False, True])
def test_intervals_stand_in_the_table_or_why_there_are_none(full):
    rng = np.random.default_rng(0)
    labels = {f"{i}": np.repeat([0, 1], 20) for i in range(6)}
    scores = {name: rng.standard_normal(40) + y for name, y in labels.items()}
    found = evaluate_scores(scores, labels, bootstrap=100)
    low, high = found.rows[0].intervals["micro_auc"]
    assert f"{percent(low)} - {percent(high)}" in format_table(found, full)
    assert "intervals: 100 draws of whole videos (seed 0)" in " ".join(format_table(found, full).split())
    assert "none" not in found.provenance["intervals"] and "No interval" not in format_table(found, full)
    for some, options, why in (
        (4, {"bootstrap": 100}, "too few videos to tell (4)"),
        (1, {"bootstrap": 100}, "too few videos to tell (1)"),
        (6, {"bootstrap": 0}, "--bootstrap 0"),
    ):
        part = ({name: each[name] for name in list(labels)[:some]} for each in (scores, labels))
        found = evaluate_scores(*part, **options)
        text = " ".join(format_table(found, full).split())
        assert f"intervals: none, {why}" in text and f"No interval: {why}." in text and "draws of" not in text
        assert (found.provenance["intervals"]["none"], found.provenance["intervals"]["draws"]) == (why, 0)
        assert (f"{some} video (0 of" if some == 1 else f"{some} videos (0 of") in text


def test_no_flag_is_recommended_that_the_input_leaves_unread():
    labels = {"v": np.repeat([0, 1], 20)}
    found = evaluate_scores({"v": np.arange(40.0)}, labels, bootstrap=0)
    assert "not calibrated (give --normal_scores); test" in " ".join(format_table(found).split())
    detector = replace(found, provenance={k: v for k, v in found.provenance.items() if k != "scores_sha256"})
    assert "thresholds: not calibrated; test labels choose none" in format_table(detector)


def test_no_line_is_wider_than_80_columns_whatever_is_given():
    """Long names, thresholds, every protocol's line, undefined figures."""
    rng = np.random.default_rng(0)
    labels = {f"{i:02d}": (np.arange(60) // 15 % 2).astype(np.uint8) for i in range(3)}
    scores = {name: rng.standard_normal(60) for name in labels}
    normal = {name: rng.standard_normal(400) for name in "abc"}
    quick = {"bootstrap": 100, "noise_seeds": 2}
    for options in (
        {"normal": normal, "fps": 10.0},
        {"normal": normal, "method": "a_method_with_a_name_that_is_longer_than_its_column"},
        {"normal": normal, "protocol": "mnad"},
        {"protocol": "aed-mae-shanghaitech", "nulls": ""},
        {"benchmark": "shanghaitech", "trim": "2,3"},
    ):
        table = format_table(evaluate_scores(scores, labels, **quick, **options))
        assert max(map(len, table.splitlines())) <= 80, table
    one_class = format_table(evaluate_scores(scores, dict.fromkeys(labels, np.zeros(60)), **quick))
    assert one_class.startswith("All frames are of one class") and max(map(len, one_class.splitlines())) <= 80


def test_the_blind_row_is_the_one_that_the_verdict_names():
    """Noise, whose spread over the seeds reaches higher than the others: with that spread in place of an interval."""
    labels = {"v": np.repeat([0, 1, 0], [7, 3, 3])}
    scores = {"v": np.arange(13.0)}
    evaluation = evaluate_scores(scores, labels, nulls="noise,ramp", noise_seeds=8, sigma=2.0)
    noise = evaluation.row("", "noise")
    table = format_table(evaluation)
    assert "highest: noise" in " ".join(table.split()) and noise.metrics["micro_auc"] < 0.7
    assert evaluation.row("", "ramp").metrics["micro_auc"] == pytest.approx(21 / 30)
    figures = (noise.metrics["micro_auc"], noise.sd["micro_auc"])
    assert " ".join(cells(table, "null: noise")[:3]) == "{} sd {}".format(*map(percent, figures))


def test_thresholds_in_words():
    """One alarm on two abnormal spans: what the threshold from normal video does, counted by hand."""
    labels = {"v": np.repeat([0, 1, 0, 1, 0], 20).astype(np.uint8)}
    scores = {"v": np.zeros(100)}
    scores["v"][25:30] = 5  # five frames late
    scores["v"][70] = scores["v"][90] = 5  # inside the second event, and a false alarm
    normal = {"n": np.linspace(0, 1, 200)}
    found = evaluate_scores(scores, labels, normal=normal, sigma=0.0, fps=10.0, bootstrap=0)
    text = " ".join(format_table(found).split())
    # 60 normal frames at 10 per second are 6 s: one false alarm in 6 s is 600 per hour; delays of 0.5 s and 1 s
    assert "threshold from normal video, quantile, 0.995: accuracy 65.0, F1 25.5" in text
    assert "600.0 false alarms per hour, 0 of 2 events missed, mean delay 0.8 s" in text
    assert "threshold from normal video, extreme value: none," in text
    unknown = " ".join(format_table(evaluate_scores(scores, labels, normal=normal, sigma=0.0, bootstrap=0)).split())
    assert "16.7 false alarms per 1000 normal frames" in unknown and "mean delay 7.5 frames" in unknown
    assert "thresholds: not calibrated" in format_table(evaluate_scores(scores, labels, bootstrap=0))


def test_the_table_says_what_the_figures_mean(run):
    evaluation = run.evaluate()
    table = format_table(evaluation, full=True)
    m = evaluation.row("wmse").metrics
    (line,) = (line for line in table.splitlines() if line.startswith("wmse "))
    assert line.split()[1:3] == [
        percent(evaluation.row("wmse").raw_metrics["micro_auc"]),
        percent(m["micro_auc"]),
    ]
    assert table.startswith("mse (micro AUC ") and "the nulls' spread (" in table
    assert "3 videos (0 of one class), 56 frames, 26 abnormal" in table
    assert f"always 'normal' is right in {100 * 30 / 56:.1f} %" in table
    assert "standard deviation over seeds" in table
    assert [line.split("  ")[0] for line in table.splitlines()[1:] if line.startswith(("mse ", "wmse ", "null: "))] == [
        *("mse", "wmse", "null: frame difference, 240 lines", "null: optical flow (DIS), 240 lines"),
        *("null: reconstructions per frame", "null: constant", "null: noise"),
        *("null: triangle, mid-video", "null: ramp"),
    ]


def test_a_perfect_model_is_above_and_a_blind_one_below(run):
    """The same run judged with labels that follow its scores, and with labels that oppose them."""
    scores = run.evaluate(nulls="", sigma=0).row("mse").raw
    for sign, verdict in ((1, "mse (micro AUC 100.0) is above the nulls' spread"), (-1, "is below the nulls' spread")):
        for name, s in zip(LENGTHS, scores, strict=True):
            np.save(run.root / "labels" / f"{name}.npy", (sign * s > sign * 0.01).astype(np.uint8))
        first = format_table(run.evaluate(nulls="constant", measures="mse", sigma=0), full=True).splitlines()[0]
        assert verdict in first
        assert ("not evidence of detection" in first) == (sign < 0)


def test_without_a_null_nothing_is_said_of_chance(run):
    said = " ".join(format_table(run.evaluate(nulls="")).split())
    assert "no null row stands beside it (--nulls), so chance is not ruled out" in said


def test_undefined_is_written_as_such(run):
    for name, n in LENGTHS.items():
        np.save(run.root / "labels" / f"{name}.npy", np.zeros(n, np.uint8))
    evaluation = run.evaluate()
    for full, columns in ((False, 5), (True, 9)):
        table = format_table(evaluation, full)
        assert table.startswith("All frames are of one class") and "undefined" in table
        assert cells(table, "mse ") == ["-"] * columns
    write_results(evaluation, str(run.root), progress=False)
    assert json.loads((run.root / "metrics.json").read_text())["rows"][0]["metrics"]["micro_auc"] is None


@pytest.mark.parametrize("full", [False, True])
def test_the_command_prints_before_it_writes(run, monkeypatch, capsys, full):
    """Pictures and videos take minutes: the table is there before the first file; table.txt is the full one."""
    seen = []

    def write(evaluation, out_dir, **options):
        seen.append((capsys.readouterr().out, format_table(evaluation), format_table(evaluation, full=True)))
        return write_results(evaluation, out_dir, **options)

    monkeypatch.setattr(command, "write_results", write)
    flags = ["--reconstructions", run.options.reconstructions, "--data_dir", run.options.data_dir]
    flags += ["--labels", run.options.labels, "--cache_dir", str(run.root / "cache"), "--plots", "False"]
    flags += ["--measures", "mse", "--nulls", "constant,ramp", "--full_table", str(full)]
    out = run.root / "out"
    command.evaluate(parse_command("", COMMAND_SECTIONS["vad_eval"], [*flags, "--out_dir", str(out)]))
    ((printed, short, long),) = seen
    assert printed.strip().endswith((long if full else short).strip())
    assert (out / "table.txt").read_text() == long + "\n"
    (last,) = capsys.readouterr().out.strip().splitlines()
    assert last == f"table.txt, metrics.json, scores.npz, scores.csv and report.html are in {out}"
