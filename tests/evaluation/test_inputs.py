"""Scores, labels and lengths as others leave them: orders of names, headings, one file of all videos, companions."""

import csv
import json
import tarfile

import numpy as np
import pytest

from ramvid_vad.errors import InputError
from ramvid_vad.evaluation import evaluate_scores
from ramvid_vad.evaluation.report.files import write_results
from ramvid_vad.evaluation.report.table import format_table
from ramvid_vad.evaluation.statistics.metrics import frame_metrics
from ramvid_vad.video.truth.labels import read_labels

QUICK = {"bootstrap": 0, "noise_seeds": 2, "sigma": 0.0}


def right_method(names, seed=0):
    """Labels, and scores that separate them perfectly but for their scale; every video has a length of its own."""
    rng = np.random.default_rng(seed)
    labels = {name: (np.arange(40 + 3 * i) % 13 > 13 - 3 - i % 7).astype(np.uint8) for i, name in enumerate(names)}
    return labels, {name: y + rng.random(len(y)) * 0.9 for name, y in labels.items()}


def save(folder, arrays, ending=".npy"):
    for name, array in arrays.items():
        path = folder / f"{name}{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, array) if ending == ".npy" else path.write_text(" ".join(map(str, array.tolist())))
    return str(folder)


def micro(*args, **options):
    return evaluate_scores(*args, **(QUICK | options)).rows[0].metrics["micro_auc"]


def test_scores_end_to_end_in_an_order_that_cannot_be_told_are_refused(tmp_path):
    """1, 10, 11, 2 or 1, 2, 10, 11: the other order than meant makes 53 of 100."""
    names = [str(i) for i in (1, 2, 10, 11)]
    labels, scores = right_method(names)
    folder = save(tmp_path / "labels", labels)
    for order in (names, sorted(names)):
        np.save(tmp_path / "s.npy", np.concatenate([scores[name] for name in order]))
        with pytest.raises(InputError, match=r"Number 2 is '2' as people sort and '10' as prog.*--lengths NAME="):
            micro(str(tmp_path / "s.npy"), folder)
        lengths = ",".join(f"{name}={len(scores[name])}" for name in order)
        assert micro(str(tmp_path / "s.npy"), folder, lengths=lengths) == 1.0
        (tmp_path / "l.txt").write_bytes(("\ufeff" + lengths.replace(",", "\r\n")).encode())
        assert micro(str(tmp_path / "s.npy"), folder, lengths=str(tmp_path / "l.txt")) == 1.0
    with pytest.raises(InputError, match="a video stands there twice"):
        micro(str(tmp_path / "s.npy"), folder, lengths="1=40,1=43,2=1,3=1")


def test_padded_names_have_one_order(tmp_path):
    labels, scores = right_method([f"{i:02d}" for i in range(1, 13)])
    np.save(tmp_path / "s.npy", np.concatenate([scores[name] for name in sorted(scores)]))
    assert micro(str(tmp_path / "s.npy"), save(tmp_path / "labels", labels)) == 1.0


def test_videos_stand_in_natural_order_everywhere(tmp_path):
    names = ["b10", "B2", "a", "b1"]
    labels, scores = right_method(names)
    natural = ["a", "b1", "B2", "b10"]
    found = evaluate_scores(scores, labels, **QUICK)
    np.savez(tmp_path / "s.npz", **scores)
    from_files = evaluate_scores(str(tmp_path / "s.npz"), save(tmp_path / "labels", labels), **QUICK)
    assert found.names == from_files.names == natural
    assert read_labels(str(tmp_path / "labels"), natural).values[2].tolist() == labels["B2"].tolist()


@pytest.mark.parametrize(
    "table",
    [
        "video,frame,score\n",
        "Video,Frame,Score\n",
        "VIDEO, Frame No , Anomaly Score\n",
        "\ufeffvideo_name;frame;SCORE\n",
        "file\tframe\tscore\n",
    ],
)
def test_headings_in_any_case_and_any_separator(tmp_path, table):
    labels, scores = right_method(["01", "x/02"])
    separator = next(each for each in "\t;," if each in table)
    decimal = "," if separator == ";" else "."
    files = {"01": "01.mp4", "x/02": "x\\02.MP4"}
    rows = [
        separator.join([files[v], str(i), repr(float(s)).replace(".", decimal)])
        for v, part in scores.items()
        for i, s in enumerate(part)
    ]
    (tmp_path / "s.csv").write_text(table + "\n".join(rows), encoding="utf-8")
    found = evaluate_scores(str(tmp_path / "s.csv"), labels, **QUICK)
    assert all(np.array_equal(a, scores[name]) for name, a in zip(found.names, found.rows[0].raw, strict=True))


def test_labels_with_a_heading(tmp_path):
    for name, text in (("01", "Label\n0\n1\n1\n"), ("02", "FRAME,GT\n2,1\n1,1\n3,0\n"), ("03", "0;1;1")):
        (tmp_path / f"{name}.csv").write_text(text)
    read = read_labels(str(tmp_path), ["01", "02", "03"], [3, 3, 3])
    assert [y.tolist() for y in read.values] == [[0, 1, 1], [1, 1, 0], [0, 1, 1]]
    (tmp_path / "01.csv").write_text("frame,truth\n0,1\n")
    with pytest.raises(InputError, match=r"01\.csv: its columns are frame, truth: one called label is needed"):
        read_labels(str(tmp_path), ["01"], [1])


def one_file(kind, root, labels):
    if kind == "npz":
        np.savez(root / "all.npz", **labels)
    elif kind == "csv":
        rows = [f"{name}.avi,{i},{y}" for name, part in labels.items() for i, y in enumerate(part)]
        (root / "all.csv").write_text("\n".join(["Video,Frame,Label", *rows]))
    else:
        np.save(root / "all.npy", np.concatenate([labels[name] for name in sorted(labels)]))
    return root / f"all.{kind}"


@pytest.mark.parametrize("kind", ["npz", "csv", "npy"])
@pytest.mark.parametrize("inside", [False, True])
def test_one_file_with_the_labels_of_all_videos(tmp_path, kind, inside):
    labels, scores = right_method(["01", "02", "10"])
    (tmp_path / "in").mkdir()
    place = one_file(kind, tmp_path / "in", labels)
    place = str(tmp_path / "in" if inside else place)
    np.savez(tmp_path / "s.npz", **scores)
    assert micro(str(tmp_path / "s.npz"), place) == 1.0
    read = read_labels(place, ["02", "01", "10"], [len(labels[name]) for name in ("02", "01", "10")])
    assert [y.tolist() for y in read.values] == [labels[name].tolist() for name in ("02", "01", "10")]


def test_one_label_file_for_one_video(tmp_path):
    labels, scores = right_method(["yard"])
    np.save(tmp_path / "scores.npy", scores["yard"])
    np.save(tmp_path / "truth.npy", labels["yard"])
    found = evaluate_scores(str(tmp_path / "scores.npy"), str(tmp_path / "truth.npy"), **QUICK)
    assert found.names == ["truth"] and found.rows[0].metrics["micro_auc"] == 1.0
    assert read_labels(str(tmp_path / "truth.npy"), ["yard"], [40]).values[0].tolist() == labels["yard"].tolist()
    with pytest.raises(InputError, match="40 labels, but the video has 41 frames"):
        read_labels(str(tmp_path / "truth.npy"), ["yard"], [41])


def test_scores_and_labels_both_end_to_end(tmp_path):
    labels, scores = right_method(["01", "02", "03"])
    np.save(tmp_path / "s.npy", np.concatenate(list(scores.values())))
    np.save(tmp_path / "y.npy", np.concatenate(list(labels.values())))
    lengths = ",".join(str(len(s)) for s in scores.values())
    found = evaluate_scores(str(tmp_path / "s.npy"), str(tmp_path / "y.npy"), lengths=lengths, **QUICK)
    assert found.names == ["1", "2", "3"]
    assert found.rows[0].metrics["macro_auc"] == frame_metrics([*scores.values()], [*labels.values()])["macro_auc"]


def test_a_byte_order_mark_and_companions_do_not_matter(golden, tmp_path):
    with tarfile.open(golden / "field" / "label_files.tgz") as archive:
        archive.extractall(tmp_path, filter="data")
    marked, accompanied = tmp_path / "mac" / "labels_bom", tmp_path / "mac" / "labels_with_companion"
    expected = [np.array((marked / f"{n}.txt").read_text("utf-8-sig").split(), int).tolist() for n in ("01", "02")]
    assert [y.tolist() for y in read_labels(str(marked), ["01", "02"]).values] == expected
    truth = {name: np.load(accompanied / f"{name}.npy") for name in ("01", "02")}
    scores = {name: y.astype(float) for name, y in truth.items()}
    for folder in (accompanied, str(accompanied)):
        found = evaluate_scores(scores, str(folder), **QUICK)
        assert found.names == ["01", "02"] and found.provenance["labels"]["files_without_a_video"] == 0
    for name in ("._01.npy", "README.txt"):
        (tmp_path / "s").mkdir(exist_ok=True)
        (tmp_path / "s" / name).write_bytes((accompanied / name).read_bytes())
    assert micro(save(tmp_path / "s", scores), str(accompanied)) == 1.0


def test_labels_without_a_video_stand_in_the_table(tmp_path):
    labels, _ = right_method(["01", "02", "10"])
    read = read_labels(save(tmp_path, labels), ["01"], [40])
    assert list(read.unused) == ["02", "10"]
    found = evaluate_scores({"01": labels["01"] * 1.0}, {"01": labels["01"]}, **QUICK)
    assert "NOT EVALUATED" not in format_table(found)
    found.provenance["labels"]["without_a_video"] = list(read.unused)
    assert "NOT EVALUATED: labels without a video (2): 02, 10" in format_table(found)


def test_a_part_of_the_videos_on_purpose(tmp_path):
    labels, scores = right_method(["a/1", "a/2", "b/1"])
    np.savez(tmp_path / "s.npz", **{"a/1": scores["a/1"], "a/2": scores["a/2"]})
    folder = save(tmp_path / "labels", labels)
    with pytest.raises(InputError, match=r"no scores of video 'b/1'.*--only"):
        micro(str(tmp_path / "s.npz"), folder)
    found = evaluate_scores(str(tmp_path / "s.npz"), folder, only="a/*", **QUICK)
    assert found.names == ["a/1", "a/2"]
    with pytest.raises(InputError, match="--only c: no such video in --labels, which has a/1, a/2, b/1"):
        micro(str(tmp_path / "s.npz"), folder, only="a/*,c")


def test_a_part_of_the_reconstructions_on_purpose(run):
    found = run.evaluate(only="0?")
    assert found.names == ["01", "02"]
    assert found.provenance["labels"]["without_a_video"] == ["scene/03"]
    assert found.row("wmse").raw[0].tolist() == run.evaluate().row("wmse").raw[0].tolist()
    table = format_table(found)
    assert "NOT EVALUATED: labels without a video (1): scene/03" in table


ODD = ["=1+1", "-2", "@x", "'=y", "a,b", 'say "hi"', "é", "x" * 250, "%s {name}"]


def test_odd_names_survive_every_file(tmp_path):
    labels, scores = right_method(ODD)
    folder = save(tmp_path / "labels", labels)
    np.savez(tmp_path / "s.npz", **scores)
    found = evaluate_scores(str(tmp_path / "s.npz"), folder, method="m", **QUICK)
    assert sorted(found.names) == sorted(ODD)
    write_results(found, str(tmp_path), plots=False)
    with open(tmp_path / "scores.csv", newline="", encoding="utf-8") as file:
        cells = {row["video"] for row in csv.DictReader(file)}
    assert len(cells) == len(ODD) and not any(cell[0] in "=+-@" for cell in cells)
    assert json.loads((tmp_path / "metrics.json").read_text())["videos"] == found.names
    back = read_labels(str(tmp_path / "scores.csv"), ODD, [len(labels[name]) for name in ODD])
    assert [y.tolist() for y in back.values] == [labels[name].tolist() for name in ODD]
    with pytest.raises(InputError, match=r"its columns are video, frame, label, .*: one called score is needed"):
        evaluate_scores(str(tmp_path / "scores.csv"), folder)


def test_names_composed_otherwise_are_the_same(tmp_path):
    """macOS and old NAS write é as e and an accent."""
    labels, _ = right_method(["e\u0301"])
    assert read_labels(save(tmp_path, labels), ["\u00e9"], [40]).values[0].tolist() == labels["e\u0301"].tolist()


def test_two_score_files_of_one_video_are_refused(tmp_path):
    labels, scores = right_method(["01", "02"])
    save(tmp_path / "s", scores)
    save(tmp_path / "s", {"01": scores["01"]}, ".txt")
    with pytest.raises(InputError, match=r"01\.npy and .*01\.txt are scores of the same video"):
        micro(str(tmp_path / "s"), labels)
