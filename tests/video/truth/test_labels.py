"""Label files: every kind that is read, and every mistake that must not pass silently."""

import hashlib

import numpy as np
import pytest

from ramvid_vad.errors import InputError
from ramvid_vad.video.benchmarks import name_label_set
from ramvid_vad.video.truth.labels import read_labels

LABELS = np.array([0, 0, 1, 1, 0], np.uint8)


def write(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, np.ndarray):
        np.save(path, content)
    else:
        path.write_text(content)
    return path


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("01.npy", LABELS),
        ("01.npy", LABELS.astype(bool)),
        ("01.npy", LABELS.astype(np.float64)[None]),
        ("01.npy", LABELS.astype(np.int64)[:, None]),
        ("01.txt", "0\n0\n1\n1\n0\n"),
        ("01.txt", "0 0 1 1 0"),
        ("01.csv", "0,0,1,1,0\n"),
        ("01.csv", "0\r\n0\r\n1.0\r\n1\r\n0\r\n"),
        ("01.csv", "label\n0\n0\n1\n1\n0\n"),
    ],
)
def test_every_kind_is_read(tmp_path, file, content):
    write(tmp_path, file, content)
    (values,) = read_labels(str(tmp_path), ["01"], [5]).values
    assert values.dtype == np.uint8
    np.testing.assert_array_equal(values, LABELS)


def test_a_long_video_on_one_line(tmp_path):
    """More characters than Python's csv allows a field by default."""
    write(tmp_path, "01.txt", "0 1 " * 40_000)
    assert read_labels(str(tmp_path), ["01"], [80_000]).values[0].sum() == 40_000


@pytest.mark.parametrize("ending", ["npy", "txt"])
def test_a_broken_link_is_one_line(tmp_path, ending):
    (tmp_path / f"01.{ending}").symlink_to(tmp_path / "none")
    with pytest.raises(InputError, match=rf"01\.{ending}: cannot be read \(No such file"):
        read_labels(str(tmp_path), ["01"], [5])


def test_names_choose_files_and_order(tmp_path):
    write(tmp_path, "scene/03.npy", np.ones(2, np.uint8))
    path = write(tmp_path, "03.txt", "0 0 0")
    write(tmp_path, "other.csv", "1")
    labels = read_labels(str(tmp_path) + "/", ["03", "scene/03"], [3, 2])
    assert [v.tolist() for v in labels.values] == [[0, 0, 0], [1, 1]]
    assert labels.unused == ["other"]
    content = path.read_bytes() + (tmp_path / "scene/03.npy").read_bytes()
    assert labels.sha256 == hashlib.sha256(content).hexdigest()


def test_a_one_frame_video(tmp_path):
    write(tmp_path, "a.txt", "1")
    write(tmp_path, "b.npy", np.array(0))
    assert [v.tolist() for v in read_labels(str(tmp_path), ["a", "b"], [1, 1]).values] == [[1], [0]]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("01.npy", LABELS[:-1], r"01\.npy: 4 labels, but the video has 5 frames"),
        ("01.txt", "0 0 1 1 0 0", r"01\.txt: 6 labels, but the video has 5 frames"),
        ("01.txt", "", r"01\.txt: 0 labels"),
        ("01.npy", np.array([0, 0, 1, 2, 0]), r"01\.npy: the label of frame 3 is 2"),
        ("01.txt", "0 0 nan 1 0", r"01\.txt: the label of frame 2 is nan"),
        ("01.csv", "frame,mark\n0,0\n1,1\n", r"01\.csv: its columns are frame, mark: one called label is needed"),
        (
            "01.csv",
            "0\n0\nx\n1\n0\n",
            r"01\.csv: could not convert string to float: 'x': one",
        ),
        ("01.npy", "not an array", r"01\.npy: cannot be read as labels"),
        ("01.npy", np.zeros((5, 4, 4)), r"01\.npy: an array \(5, 4, 4\)"),
        ("01.npy", np.array(["0", "x"]), r"01\.npy: cannot be read as labels"),
        ("02.npy", LABELS, r"no label file for video '01'"),
    ],
)
def test_mistakes_name_the_file(tmp_path, file, content, message):
    write(tmp_path, file, content)
    with pytest.raises(InputError, match=message):
        read_labels(str(tmp_path), ["01"], [5])


def test_pickles_are_never_opened(tmp_path):
    np.save(tmp_path / "01.npy", np.array([0, 1, None], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="cannot be read"):
        read_labels(str(tmp_path), ["01"], [3])


def test_two_files_for_one_video_are_refused(tmp_path):
    write(tmp_path, "01.npy", LABELS)
    write(tmp_path, "01.txt", "0 0 1 1 0")
    with pytest.raises(InputError, match=r"01\.npy and 01\.txt"):
        read_labels(str(tmp_path), ["01"], [5])


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        read_labels(str(tmp_path / "nowhere"), ["01"], [5])


@pytest.mark.parametrize(
    ("folder", "lengths", "abnormal"),
    [
        ("ped2/labels", [180, 180, 150, 180, 150, 180, 180, 180, 120, 150, 180, 180], 1648),
        ("avenue_part/labels_liu2018", None, 3867),
        ("avenue_part/labels_vollabel", None, 3712),
    ],
)
def test_real_labels_have_the_published_counts(shared, folder, lengths, abnormal):
    files = sorted((shared / "data" / folder).glob("*.npy"))
    lengths = lengths or [len(np.load(f)) for f in files]
    labels = read_labels(str(shared / "data" / folder), [f.stem for f in files], lengths)
    assert sum(int(v.sum()) for v in labels.values) == abnormal
    assert labels.unused == []


def test_a_published_set_is_known_by_its_content(shared, tmp_path):
    part = shared / "data" / "avenue_part"
    assert name_label_set(str(part / "labels_vollabel")) == ("avenue", "vollabel", True)
    assert name_label_set(str(shared / "data" / "ped2" / "labels")) == ("ped2", "official", True)
    (tmp_path / "mine").symlink_to(part / "labels_liu2018")
    assert name_label_set(str(tmp_path / "mine") + "/") == ("avenue", "liu2018", True)
    (tmp_path / "labels_vollabel").symlink_to(part / "labels_liu2018")
    with pytest.raises(InputError, match="named 'vollabel', but these are the labels 'liu2018' of CUHK Avenue"):
        name_label_set(str(tmp_path / "labels_vollabel"))


def test_another_set_is_known_by_its_folder_or_not_at_all(tmp_path):
    for folder in ("labels_mine", "truth"):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "01.npy", np.zeros(3))
    assert name_label_set(str(tmp_path / "labels_mine")) == ("", "mine", False)
    assert name_label_set(str(tmp_path / "truth")) == ("", "", False)
    (tmp_path / "truth" / "02.txt").write_text("0 1 2")  # wrong, but of no video that is evaluated
    assert name_label_set(str(tmp_path / "truth")) == ("", "", False)
    assert name_label_set("gs://somewhere/labels_x") == ("", "x", False)
