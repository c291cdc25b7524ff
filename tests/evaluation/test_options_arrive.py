"""Every option of the evaluation, changed in a tiny run, changes what comes out of it: none is lost on its way."""

import json
import shutil
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from known_run import LENGTHS, SIZE, make_run
from PIL import Image

from ramvid_vad.commands import evaluate as command
from ramvid_vad.detectors.motion import FrameDifference, OpticalFlow
from ramvid_vad.errors import InputError
from ramvid_vad.evaluation.report.files import metrics_document, score_arrays
from ramvid_vad.options import EvalOptions
from ramvid_vad.video.cache import FrameCache

QUICK = {"bootstrap": 100, "noise_seeds": 2}


@dataclass
class Place:
    """A folder with everything that an option can name, most of it twice: NAME2 is like NAME but for its content."""

    root: Path
    bases: dict[str, EvalOptions]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Place:
    root = tmp_path_factory.mktemp("options")
    run = make_run(root)
    rng = np.random.default_rng(3)
    blobs = rng.integers(0, 2, (6, 8), dtype=np.uint8).repeat(4, 0).repeat(4, 1)[..., None] * 40
    cache = FrameCache(str(root / "cache"), SIZE)
    for name in LENGTHS:
        (root / "labels2" / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(root / "labels2" / f"{name}.npy", 1 - run.labels[name])
        with np.load(run.file(name)) as file:
            run.rewrite(name, reconstructions=np.minimum(file["reconstructions"], 200) + blobs)
        for picture in sorted((root / "videos" / name).glob("*.png")):
            other = root / "videos2" / name / picture.name
            other.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.asarray(Image.open(picture)) // 2 + rng.integers(0, 60, (*SIZE, 3), np.uint8)).save(
                other
            )
        cache.frames(str(root / "videos2" / name))  # in this process, as in known_run
    shutil.copytree(root / "reconstructions", root / "reconstructions2")
    for name in LENGTHS:
        path = root / "reconstructions2" / f"{name}.npz"
        with np.load(path) as file:
            np.savez(path, **(dict(file) | {"reconstructions": file["reconstructions"] // 2}))
    (root / "sets").mkdir()
    shutil.copytree(root / "labels", root / "sets" / "labels_a")
    shutil.copytree(root / "labels2", root / "sets" / "labels_b")
    for suffix in ("", "2"):
        np.savez(root / f"scores{suffix}.npz", **{name: rng.standard_normal(n) for name, n in LENGTHS.items()})
        np.savez(root / f"normal{suffix}.npz", **{f"n{i}": rng.standard_normal(400) for i in range(3)})
    np.save(root / "joined.npy", rng.standard_normal(sum(LENGTHS.values())))
    many = [f"{i}" for i in range(6)]  # intervals need some videos
    np.savez(root / "many.npz", **{name: rng.standard_normal(20) for name in many})
    (root / "many.csv").write_text("video,label\n" + "".join(f"{v},{i // 10}\n" for v in many for i in range(20)))
    for folder in ("run", "run2"):
        (root / folder).mkdir()
    FrameDifference().save(str(root / "detector"))
    OpticalFlow().save(str(root / "detector2"))
    rec = replace(run.options, nulls="constant,noise,linear_blend", cache_dir=str(root / "cache"), **QUICK)
    scores = EvalOptions(
        scores=str(root / "scores.npz"),
        labels=str(root / "labels"),
        normal_scores=str(root / "normal.npz"),
        fps=10.0,
        quantile=0.7,
        sigma=1.0,
        cache_dir=str(root / "cache"),
        **QUICK,
    )
    bases = {
        "reconstructions": rec,
        "normal": replace(rec, **run.normal_copies()),
        "scores": scores,
        "joined": replace(scores, scores=str(root / "joined.npy"), lengths="30,17,9"),
        "many": replace(scores, scores=str(root / "many.npz"), labels=str(root / "many.csv"), normal_scores=""),
        "sets": replace(scores, labels=str(root / "sets"), label_set="a"),
        "detector": replace(rec, reconstructions="", nulls="constant", detector=str(root / "detector")),
        "videos": replace(rec, reconstructions="", nulls_only=True, nulls="frame_difference"),
    }
    return Place(root, {name: replace(base, out_dir=str(root / "out")) for name, base in bases.items()})


# option -> base that it is changed in, and its new value; a <NAME> is a file or folder of the place
CHANGES: dict[str, tuple[str, Any]] = {
    "scores": ("scores", "<scores2.npz>"),
    "method": ("scores", "renamed"),
    "lengths": ("joined", "17,30,9"),
    "benchmark": ("scores", "ped2"),
    "label_set": ("sets", "b"),
    "detector": ("detector", "<detector2>"),
    "reconstructions": ("reconstructions", "<reconstructions2>"),
    "data_dir": ("videos", "<videos2>"),
    "labels": ("scores", "<labels2>"),
    "only": ("videos", "0*"),
    "measures": ("reconstructions", "wmse,mse"),
    "tau": ("reconstructions", 0.15),
    "min_area": ("reconstructions", SIZE[0] * SIZE[1] + 1),
    "weight": ("reconstructions", "uniform"),
    "protocol": ("scores", "mnad"),
    "sigma": ("scores", 3.0),
    "per_video_min_max": ("scores", True),
    "trim": ("scores", "1,0"),
    "nulls": ("scores", "ramp"),
    "nulls_only": ("videos", False),
    "normal_dir": ("normal", "<videos2>"),
    "noise_seeds": ("scores", 3),
    "bootstrap": ("many", 200),
    "seed": ("many", 1),
    "normal_scores": ("scores", "<normal2.npz>"),
    "normal_reconstructions": ("normal", ""),
    "quantile": ("scores", 0.5),
    "alarm_period": ("scores", 50.0),
    "merge_gap": ("scores", 0),
    "fps": ("scores", 25.0),
    "compare": ("scores", "<run>,<run2>"),
    "out_dir": ("scores", "<elsewhere>"),
    "cache_dir": ("reconstructions", "<cache2>"),
    "videos": ("reconstructions", 1),
    "plots": ("scores", False),
    "full_table": ("scores", True),
}
NO_FIGURE = {  # options that must leave every figure and score as it is, and why
    "out_dir": "where results go says nothing about them",
    "cache_dir": "where decoded frames are kept says nothing about them",
    "videos": "a picture more of the same result",
    "plots": "a picture more of the same result",
    "full_table": "more or less of the same result in print",
}


def test_no_option_is_forgotten():
    assert {spec.name for spec in fields(EvalOptions)} == set(CHANGES)
    assert set(NO_FIGURE) <= set(CHANGES)


def outcome(place: Place, options: EvalOptions, monkeypatch, capsys) -> dict[str, Any]:
    """What the command makes of the options: figures and scores (not the options said again), files, pictures, text."""
    made: dict[str, Any] = {"figures": None, "files": None, "videos": None, "text": None}

    def results(evaluation, out_dir, plots, source):
        document = metrics_document(evaluation)
        figures = {key: document[key] for key in ("rows", "videos", "where") if key in document}
        arrays = {key: array.tolist() for key, array in score_arrays(evaluation) if key != "about"}
        made["figures"] = json.dumps([figures, arrays])
        made["files"] = out_dir, plots
        return ["a", "b"]

    monkeypatch.setattr(command, "write_results", results)
    monkeypatch.setattr(command, "render_videos", lambda *given: made.update(videos=given[3]))
    try:
        command.evaluate(SimpleNamespace(eval=options, dry_run=False))
    except InputError as error:
        made["figures"] = str(error)
    made["text"] = capsys.readouterr().out
    made["caches"] = [path.name for path in sorted(place.root.glob("cache*")) if any(path.rglob("*.npy"))]
    return made


@pytest.mark.parametrize("name", list(CHANGES))
def test_the_option_arrives(place, name, monkeypatch, capsys):
    base, value = CHANGES[name]
    if isinstance(value, str):
        value = value.replace("<", str(place.root) + "/").replace(">", "")
    options = place.bases[base]
    assert getattr(options, name) != value
    before = outcome(place, options, monkeypatch, capsys)
    after = outcome(place, replace(options, **{name: value}), monkeypatch, capsys)
    assert before["files"], before["figures"]  # the base itself is accepted
    if name in NO_FIGURE:
        assert after["figures"] == before["figures"]
        assert after != before
    else:
        assert after["figures"] != before["figures"]
