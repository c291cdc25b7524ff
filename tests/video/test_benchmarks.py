"""Every public layout in a tiny copy: found, read, checked, prepared; and every kind of damage named."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, os.path.dirname(__file__))
import tiny_benchmarks as tb

from ramvid_vad.errors import InputError
from ramvid_vad.evaluation.statistics.spatial import find_truth
from ramvid_vad.runtime.files import temporary_beside
from ramvid_vad.video.benchmarks import BENCHMARKS, Counts, check, find, write_standard
from ramvid_vad.video.reader import find_videos, read_frames, video_name
from ramvid_vad.video.truth.labels import read_labels
from ramvid_vad.video.truth.masks import load_masks, load_tracks


def quiet(text):
    pass


def examined(benchmark, source, partial=False):
    return check(benchmark, find(benchmark, str(source)), partial, quiet)


def prepared(benchmark, source, out, partial=False, link=True):
    found = find(benchmark, str(source))
    checked = check(benchmark, found, partial, quiet)
    return write_standard(benchmark, found, checked, str(source), str(out), link, quiet)


def assert_labels(actual, expected):
    assert list(actual) == list(expected)
    for name, labels in expected.items():
        assert actual[name].dtype == np.uint8
        np.testing.assert_array_equal(actual[name], labels)


# --- official layouts -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 2])
def test_ucsd(tmp_path, number):
    tb.ucsd(tmp_path, 1)
    tb.ucsd(tmp_path, 2)
    benchmark = tb.tiny(f"ped{number}")
    found = find(benchmark, str(tmp_path))
    assert found.layout == "official"
    assert all(f"UCSDped{number}" in path for path in [*found.training.values(), *found.testing.values()])
    checked = check(benchmark, found, say=quiet)
    assert (checked.training, checked.testing, checked.complete) == (tb.TRAINING, tb.LENGTHS, True)
    assert list(checked.labels) == ["official"]
    assert_labels(checked.labels["official"], tb.LABELS)
    for name in tb.LENGTHS:
        np.testing.assert_array_equal(list(found.masks[name](tb.SIZE)), tb.masks_of(name))


def test_ucsd_given_as_its_own_folder(tmp_path):
    assert examined(tb.tiny("ped2"), tb.ucsd(tmp_path)).complete


def test_avenue_has_two_label_sets(tmp_path):
    tb.avenue(tmp_path)
    tb.write_gt_mat(tmp_path / "avenue.mat")
    checked = examined(tb.tiny("avenue"), tmp_path)
    assert sorted(checked.labels) == ["liu2018", "vollabel"]
    assert_labels(checked.labels["liu2018"], tb.LABELS)
    assert_labels(checked.labels["vollabel"], tb.VOLLABEL)
    info = prepared(tb.tiny("avenue"), tmp_path, tmp_path / "out")
    assert info["label_sets"]["liu2018"]["frames_unlike_masks"] == 3
    assert info["label_sets"]["vollabel"]["frames_unlike_masks"] == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("dataset.json", "labels_liu2018", "labels_vollabel", "masks", "testing", "tracks", "training")
    ]
    np.testing.assert_array_equal(load_masks(tmp_path / "out" / "masks" / "02.npz"), tb.masks_of("02", tb.VOLLABEL))


def test_avenue_labels_are_named_by_their_content(tmp_path):
    folder = tb.converted(tmp_path, "avenue")
    swapped = {"vollabel": tb.tiny("avenue").label_sets["liu2018"], "liu2018": tb.tiny("avenue").label_sets["vollabel"]}
    np.save(folder / "frame_labels_avenue.npy", np.concatenate([*tb.LABELS.values()])[None])
    assert list(examined(tb.tiny("avenue", label_sets=swapped), folder).labels) == ["vollabel"]


def test_shanghaitech(tmp_path):
    folder = tb.shanghaitech(tmp_path)
    benchmark = tb.tiny("shanghaitech")
    found = find(benchmark, str(tmp_path))
    assert found.layout == "official"
    assert list(found.training) == ["01_001", "02_001"]
    checked = check(benchmark, found, say=quiet)
    assert_labels(checked.labels["official"], {tb.SCENES[name]: labels for name, labels in tb.LABELS.items()})
    tracks = folder / "annotations" / "ShanghaiTech"
    tracks.mkdir(parents=True)
    for scene in tb.SCENES.values():
        (tracks / f"{scene}.txt").write_text("0,4,5,6,7,8\n")
    info = prepared(benchmark, tmp_path, tmp_path / "out")
    assert set(info["tracks"].values()) == {"published"}
    assert load_tracks(tmp_path / "out" / "tracks" / "12_0003.txt").tolist() == [[0, 4, 5, 6, 8, 9]]
    np.testing.assert_array_equal(load_masks(tmp_path / "out" / "masks" / "12_0003.npz"), tb.masks_of("03"))


def test_folders_of_systems_are_no_videos_and_a_readme_is_no_label_file(tmp_path):
    for name in ("01", "02"):
        folder = tmp_path / "testing" / name
        folder.mkdir(parents=True)
        for frame in range(5):
            Image.new("L", (32, 24), 9 * frame).save(folder / f"{frame:03d}.png")
    shutil.copytree(tmp_path / "testing" / "01", tmp_path / "testing" / "@eaDir")
    (tmp_path / "labels").mkdir()
    for name in ("01", "02"):
        (tmp_path / "labels" / f"{name}.txt").write_text("\ufeff0 1 1 0 0", encoding="utf-8")
    (tmp_path / "labels" / "README.txt").write_text("labels of 2 videos, one number per frame")
    checked = examined(BENCHMARKS["own"], tmp_path, partial=True)
    assert checked.testing == {"01": 5, "02": 5} and not any("README" in note for note in checked.notes)
    assert [y.tolist() for labels in checked.labels.values() for y in labels.values()] == [[0, 1, 1, 0, 0]] * 2


def test_ubnormal(tmp_path):
    source = tb.ubnormal(tmp_path / "UBnormal")
    checked = examined(tb.tiny_ubnormal(), source)
    assert_labels(checked.labels["official"], tb.UB_LABELS)
    assert checked.training == {name: tb.UB_TRAINING[name] for name in sorted(tb.UB_TRAINING)}
    info = prepared(tb.tiny_ubnormal(), source, tmp_path / "out")
    assert info["label_sets"]["official"]["frames_unlike_masks"] == 0
    names = [
        video_name(path, str(tmp_path / "out" / "testing")) for path in find_videos(str(tmp_path / "out" / "testing"))
    ]
    read = read_labels(str(tmp_path / "out" / "labels"), names, [tb.UB_TEST[name] for name in names])
    assert read.sha256 == info["label_sets"]["official"]["files_sha256"]
    masks = load_masks(tmp_path / "out" / "masks" / "abnormal_scene_10_scenario_3_fog.npz")
    expected = np.zeros((9, *tb.SIZE), bool)
    expected[[0, 1, 2, 6, 7, 8], 2:7, 2:8] = True  # object 1 in frames 0-2 and 6-8
    expected[2, 8:16, 20:30] = True  # object 4 in frame 2; objects 3 and 9 are never abnormal
    np.testing.assert_array_equal(masks, expected)
    normal = "normal_scene_2_scenario_7"
    assert not load_masks(tmp_path / "out" / "masks" / f"{normal}.npz").any()
    assert len(load_tracks(tmp_path / "out" / "tracks" / f"{normal}.txt")) == 0
    tracks = load_tracks(tmp_path / "out" / "tracks" / "abnormal_scene_10_scenario_3_fog.txt")
    assert tracks[:, :2].tolist() == [[0, 0], [0, 1], [0, 2], [1, 6], [1, 7], [1, 8], [2, 2]]
    assert tracks[-1, 2:].tolist() == [20, 8, 30, 16]


# --- converted layouts ------------------------------------------------------------------------------------------------


def write_mat(folder):
    tb.write_gt_mat(folder / "ped2.mat")


def write_npy(folder):
    np.save(folder / "frame_labels_ped2.npy", np.concatenate([*tb.LABELS.values()])[None].astype(np.int8))


def write_masks(folder):
    (folder / "testing" / "test_frame_mask").mkdir()
    for name, labels in tb.LABELS.items():
        np.save(folder / "testing" / "test_frame_mask" / f"{name}.npy", labels.astype(float))


@pytest.mark.parametrize("write", [write_mat, write_npy, write_masks])
def test_converted_frames_with_each_kind_of_label_file(tmp_path, write):
    folder = tb.converted(tmp_path, "ped2")
    write(folder)
    found = find(tb.tiny("ped2"), str(tmp_path))
    assert found.layout == "converted"
    assert_labels(check(tb.tiny("ped2"), found, say=quiet).labels["official"], tb.LABELS)


def test_the_cell_of_a_matlab_file_may_hold_one_video_or_an_empty_range(tmp_path):
    from ramvid_vad.video.benchmarks.annotations import matlab_ranges

    tb.write_gt_mat(tmp_path / "a.mat", {"01": [(2, 4)], "02": []})
    assert matlab_ranges(tmp_path / "a.mat") == [[(2, 4)], []]
    tb.savemat(tmp_path / "b.mat", {"gt": np.array([[3, 9], [5, 11]])})
    assert matlab_ranges(tmp_path / "b.mat") == [[(3, 5), (9, 11)]]


@pytest.mark.parametrize("name", ["ped1", "ped2", "avenue"])
@pytest.mark.parametrize("write", [tb.write_avi, tb.write_mp4])
def test_numbered_sets_converted_to_video_files(tmp_path, name, write):
    """training/01.mp4 and testing/01.mp4, as many copies of UCSD have them, and frames 1.avi without a leading zero."""
    root = tmp_path / name
    suffix = "avi" if write is tb.write_avi else "mp4"
    for split, videos in (("training", tb.TRAINING), ("testing", tb.LENGTHS)):
        for number, frames in videos.items():
            write(root / split / f"{int(number) if suffix == 'avi' else number}.{suffix}", frames)
    tb.write_gt_mat(root / f"{name}.mat")
    checked = examined(tb.tiny(name), root)
    assert (checked.training, checked.testing) == (tb.TRAINING, tb.LENGTHS)
    assert_labels(next(iter(checked.labels.values())), tb.LABELS)


@pytest.mark.parametrize("file", ["frame_labels_shanghai.npy", "shanghai.mat"])
@pytest.mark.parametrize("videos", [True, False])
def test_shanghaitech_converted(tmp_path, file, videos):
    """Test clips as video files or frames, labels of all of them in one file in the plain order of their names."""
    root = tmp_path / "shanghai"
    for name, frames in tb.TRAINING.items():
        tb.write_pictures(root / "training" / "frames" / f"{name}_001", frames)
    for name, scene in tb.SCENES.items():
        if videos:
            tb.write_avi(root / "testing" / "videos" / f"{scene}.avi", tb.LENGTHS[name])
        else:
            tb.write_pictures(root / "testing" / "frames" / scene, tb.LENGTHS[name])
    if file.endswith("npy"):
        np.save(root / file, np.concatenate([*tb.LABELS.values()]))
    else:
        tb.write_gt_mat(root / file)
    checked = examined(tb.tiny("shanghaitech"), root)
    assert_labels(checked.labels["official"], {tb.SCENES[name]: labels for name, labels in tb.LABELS.items()})


def test_published_tracks_of_avenue_come_before_linked_ones(tmp_path):
    """Georgescu et al. publish tracks of Avenue too; a video without a file has its tracks linked from its masks."""
    tb.avenue(tmp_path)
    folder = tmp_path / "AED" / "annotations" / "Avenue"
    folder.mkdir(parents=True)
    (folder / "02.txt").write_text("7,0,1,2,3,4\n7,1,1,2,3,4\n")
    info = prepared(tb.tiny("avenue"), tmp_path, tmp_path / "out")
    assert info["tracks"] == {"01": "linked from masks", "02": "published", "03": "linked from masks"}
    assert load_tracks(tmp_path / "out" / "tracks" / "02.txt").tolist() == [[7, 0, 1, 2, 4, 5], [7, 1, 1, 2, 4, 5]]


def test_ped1_has_masks_of_some_videos_only(tmp_path):
    folder = tb.ucsd(tmp_path, 1)
    shutil.rmtree(folder / "Test" / "Test002_gt")
    info = prepared(tb.tiny("ped1"), folder, tmp_path / "out")
    assert (info["complete"], info["masks"], list(info["tracks"])) == (True, ["01", "03"], ["01", "03"])
    labels = [np.load(tmp_path / "out" / "labels" / f"{name}.npy") for name in tb.LENGTHS]
    truth = find_truth(str(tmp_path / "out" / "labels"), list(tb.LENGTHS), labels)
    assert (sorted(truth.masks), sorted(truth.tracks), truth.videos) == (["01", "03"], ["01", "03"], 3)


def ubnormal_frames(root):
    for split, videos in (("training", tb.UB_TRAINING), ("testing", tb.UB_TEST)):
        for name, frames in videos.items():
            tb.write_pictures(root / split / "frames" / name, frames)
    return root


def test_ubnormal_per_frame_files_that_say_one_for_normal(tmp_path):
    root = ubnormal_frames(tmp_path / "ubnormal")
    (root / "gt").mkdir()
    for name, labels in {**tb.UB_LABELS, "abnormal_scene_1_scenario_9": np.ones(5)}.items():  # one not of the test
        with open(root / "gt" / f"{name}_tracks.txt", "wb") as file:  # a NumPy array, whatever its name says
            np.save(file, 1.0 - labels)
    assert_labels(examined(tb.tiny_ubnormal(), root).labels["official"], tb.UB_LABELS)


def test_ubnormal_labels_in_one_array_are_refused_as_their_order_cannot_be_told(tmp_path):
    root = ubnormal_frames(tmp_path / "ubnormal")
    np.save(root / "frame_labels_ubnormal.npy", np.concatenate([*tb.UB_LABELS.values()]))
    with pytest.raises(InputError, match=r"Number 1 is 'abnormal_scene_1_scenario_1' as people sort and 'abnormal_sc"):
        examined(tb.tiny_ubnormal(), root)


@pytest.mark.parametrize("path", ["frame_level_gt/{}.txt", "{}/ground_truth_frame_level.txt"])
def test_ubnormal_text_files_of_the_authors_script(tmp_path, path):
    root = ubnormal_frames(tmp_path / "ubnormal")
    for name, labels in tb.UB_LABELS.items():
        file = root / path.format(name)
        file.parent.mkdir(exist_ok=True)
        np.savetxt(file, labels.astype(float))
    assert_labels(examined(tb.tiny_ubnormal(), root).labels["official"], tb.UB_LABELS)


# --- the standard layout ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("link", [True, False])
def test_prepared_data_is_readable_and_is_itself_a_source(tmp_path, link):
    benchmark, source, out = tb.tiny("ped2"), tb.ucsd(tmp_path), tmp_path / "out"
    info = prepared(benchmark, source, out, link=link)
    assert json.loads((out / "dataset.json").read_text()) == info
    assert (info["complete"], info["layout"], info["testing"]["frames"]) == (True, "official", 21)
    label_set = info["label_sets"]["official"]
    assert label_set["files_sha256"] == read_labels(str(out / "labels"), [*tb.LENGTHS], [*tb.LENGTHS.values()]).sha256
    assert (label_set["frames"], label_set["abnormal"]) == (21, 10)
    assert list(label_set["read_from"]) == ["Test/UCSDped2.m"]
    videos = find_videos(str(out / "testing"))
    assert [video_name(path, str(out / "testing")) for path in videos] == list(tb.LENGTHS)
    assert os.path.islink(out / "testing" / "02" / "001.tif") == link
    np.testing.assert_array_equal(list(read_frames(videos[1])), list(read_frames(str(source / "Test" / "Test002"))))
    assert_labels({name: np.load(out / "labels" / f"{name}.npy") for name in tb.LENGTHS}, tb.LABELS)
    np.testing.assert_array_equal(load_masks(out / "masks" / "02.npz"), tb.masks_of("02"))
    assert len(load_tracks(out / "tracks" / "02.txt")) == 6
    again = prepared(benchmark, out, tmp_path / "again", link=False)
    assert again["label_sets"]["official"]["sha256"] == label_set["sha256"]
    shutil.rmtree(source)
    assert find(benchmark, str(tmp_path / "again")).layout == "standard"


def test_preparing_twice_gives_equal_files(tmp_path):
    source = tb.ucsd(tmp_path)
    for out in ("a", "b"):
        prepared(tb.tiny("ped2"), source, tmp_path / out)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert len(files) == sum(tb.TRAINING.values()) + sum(tb.LENGTHS.values()) + 3 * 3 + 1
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_own_data(tmp_path):
    root = tmp_path / "mine"
    tb.write_avi(root / "training" / "lobby.avi", 4)
    tb.write_avi(root / "testing" / "gate.avi", 6)
    tb.write_pictures(root / "testing" / "yard", 3)
    (root / "labels").mkdir()
    np.save(root / "labels" / "gate.npy", np.array([0, 0, 1, 1, 0, 0], bool))
    (root / "labels" / "yard.txt").write_text("0\n0\n1\n")
    info = prepared(BENCHMARKS["own"], root, tmp_path / "out")
    assert info["complete"] and info["label_sets"]["own"]["abnormal"] == 3
    assert any("no pixel masks" in note for note in info["notes"])
    (root / "labels" / "attic.txt").write_text("1\n")
    notes = examined(BENCHMARKS["own"], root).notes
    assert any("1 label files belong to no test video, e.g. attic" in note for note in notes)
    (root / "labels" / "yard.txt").write_text("0\n0\n1\n1\n")
    with pytest.raises(InputError, match=r"yard\.txt: 4 labels, but the video has 3 frames"):
        examined(BENCHMARKS["own"], root)


# --- damage -----------------------------------------------------------------------------------------------------------


def refused(match, benchmark, source, partial=False):
    with pytest.raises(InputError, match=match):
        examined(benchmark, source, partial)


def test_a_missing_video_stops_unless_it_is_accepted(tmp_path):
    folder = tb.ucsd(tmp_path)
    shutil.rmtree(folder / "Test" / "Test002")
    refused(r"1 of 3 testing videos are missing: 02; .*svcl\.ucsd\.edu.*--partial", tb.tiny("ped2"), folder)
    checked = examined(tb.tiny("ped2"), folder, partial=True)
    assert not checked.complete and "missing: 02" in checked.notes[0]
    assert_labels(checked.labels["official"], {name: tb.LABELS[name] for name in ("01", "03")})
    shutil.rmtree(folder / "Train" / "Train001")
    refused("1 of 2 training videos are missing: 01", tb.tiny("ped2"), folder)


def test_a_frame_short(tmp_path):
    folder = tb.ucsd(tmp_path)
    (folder / "Test" / "Test002" / "009.tif").unlink()
    for partial in (False, True):
        refused("Test002: 8 frames decoded, test video 02 of UCSD Ped2 has 9", tb.tiny("ped2"), folder, partial)
    folder = tb.shanghaitech(tmp_path)
    (folder / "testing" / "frames" / "01_0015" / "008.jpg").unlink()
    for partial in (False, True):
        refused(r"01_0015\.npy: 9 labels, but the video has 8 frames", tb.tiny("shanghaitech"), folder, partial)


def test_a_training_frame_short(tmp_path):
    folder = tb.ucsd(tmp_path)
    (folder / "Train" / "Train001" / "007.tif").unlink()
    refused("training: 10 frames, 11 are published", tb.tiny("ped2"), folder)
    assert examined(tb.tiny("ped2"), folder, partial=True).notes == ["training: 10 frames, 11 are published"]


def test_a_video_that_is_cut_off_or_no_video(tmp_path):
    tb.avenue(tmp_path)
    path = tmp_path / "Avenue Dataset" / "testing_videos" / "02.avi"
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    refused(r"02\.avi", tb.tiny("avenue"), tmp_path)


@pytest.mark.parametrize("write", ["npy", "mat", "masks"])
@pytest.mark.parametrize("known", [True, False])
def test_inverted_labels(tmp_path, write, known):
    folder = tb.converted(tmp_path, "ped2")
    label_sets = tb.tiny("ped2" if known else "shanghaitech").label_sets  # with and without a published digest
    inverted = {name: 1 - labels for name, labels in tb.LABELS.items()}
    if write == "npy":
        np.save(folder / "ped2_labels.npy", np.concatenate([*inverted.values()]))
    elif write == "mat":
        tb.write_gt_mat(folder / "ped2.mat", {"01": [(1, 1), (5, 6)], "02": [(4, 6)], "03": [(1, 4), (6, 6)]})
    else:
        (folder / "labels").mkdir()
        for name, labels in inverted.items():
            np.save(folder / "labels" / f"{name}.npy", labels)
    for partial in (False, True):
        refused("labels are inverted: 1 must mean", tb.tiny("ped2", label_sets=label_sets), folder, partial)


def test_inverted_labels_of_a_part_show_against_the_masks(tmp_path):
    folder = tb.shanghaitech(tmp_path)
    shutil.rmtree(folder / "testing" / "frames" / "01_0014")
    for scene in tb.SCENES.values():
        path = folder / "testing" / "test_frame_mask" / f"{scene}.npy"
        np.save(path, 1 - np.load(path))
    (folder / "testing" / "test_frame_mask" / "01_0014.npy").unlink()
    with pytest.raises(InputError, match="inverted: they are 0 where the pixel masks show"):
        prepared(tb.tiny("shanghaitech"), folder, tmp_path / "out", partial=True)
    assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["shanghaitech"]  # nothing half-made is left


def test_inverted_ubnormal_shows_in_the_normal_videos(tmp_path):
    root = ubnormal_frames(tmp_path / "ubnormal")
    (root / "testing" / "test_frame_mask").mkdir()
    for name, labels in tb.UB_LABELS.items():
        np.save(root / "testing" / "test_frame_mask" / f"{name}.npy", 1 - labels)
    for partial in (False, True):
        refused("normal_scene_2_scenario_7 is a normal video, but has abnormal", tb.tiny_ubnormal(), root, partial)


def test_ubnormal_without_its_normal_test_videos(tmp_path):
    source = tb.ubnormal(tmp_path)
    (source / "Scene2" / "normal_scene_2_scenario_7.mp4").unlink()
    refused("missing: normal_scene_2_scenario_7", tb.tiny_ubnormal(), source)
    root = ubnormal_frames(tmp_path / "frames")
    shutil.rmtree(root / "testing" / "frames" / "normal_scene_2_scenario_7")
    refused("2 testing videos, 3 are published", tb.tiny_ubnormal(), root)


def test_ubnormal_files_that_are_missing_or_do_not_fit(tmp_path):
    source = tb.ubnormal(tmp_path)
    name = "abnormal_scene_1_scenario_1"
    folder = source / "Scene1" / f"{name}_annotations"
    (folder / f"{name}_0002_gt.png").unlink()
    with pytest.raises(InputError, match="expected the map of frame 2"):
        prepared(tb.tiny_ubnormal(), source, tmp_path / "out")
    (folder / f"{name}_tracks.txt").write_text("3,1,9\n")
    refused("frame 9 is abnormal, but the video has 6", tb.tiny_ubnormal(), source)
    (folder / f"{name}_tracks.txt").write_text("3;1;9\n")
    refused("is not 'object,first frame,last frame'", tb.tiny_ubnormal(), source)
    (folder / f"{name}_tracks.txt").unlink()
    refused(f"{name}_tracks.txt: missing", tb.tiny_ubnormal(), source)
    (source / "scripts" / "normal_test_video_names.txt").unlink()
    with pytest.raises(InputError, match=r"normal_test_video_names\.txt is missing.*lilygeorgescu/UBnormal"):
        find(tb.tiny_ubnormal(), str(source))


def test_label_files_that_are_missing_or_do_not_fit(tmp_path):
    folder = tb.ucsd(tmp_path)
    matlab = folder / "Test" / "UCSDped2.m"
    matlab.write_text(tb.matlab_lines({"01": [(2, 4)], "02": [(1, 3)]}))
    refused("labels of 2 videos, but there are 3", tb.tiny("ped2"), folder)
    matlab.write_text(tb.matlab_lines({**tb.RANGES, "03": [(5, 7)]}))
    refused("frames 5 to 7 are abnormal in video 03, which has 6", tb.tiny("ped2"), folder)
    matlab.write_text(tb.matlab_lines({**tb.RANGES, "03": [(4, 5)]}))
    refused("11 of 21 frames abnormal, 10 are published", tb.tiny("ped2"), folder)
    matlab.write_text(tb.matlab_lines({**tb.RANGES, "03": [(4, 4)]}))
    refused("as many abnormal frames as published, but others", tb.tiny("ped2"), folder)
    matlab.unlink()
    refused(r"no labels found; the authors offer them at .*svcl\.ucsd\.edu", tb.tiny("ped2"), folder)
    np.save(folder / "frame_labels_ped2.npy", np.zeros(19))
    refused("19 labels, but the 3 test videos have 21 frames", tb.tiny("ped2"), folder)
    np.save(folder / "frame_labels_ped2.npy", np.full(21, 255))
    refused("the label of frame 0 is 255: it must be 0", tb.tiny("ped2"), folder)
    np.save(folder / "frame_labels_ped2.npy", np.array([{}] * 21))
    refused("not a plain NumPy array", tb.tiny("ped2"), folder)
    (folder / "frame_labels_ped2.npy").unlink()
    (folder / "ped2.mat").write_bytes(b"MATLAB 7.3 or rubbish")
    refused(r"ped2\.mat: not a MATLAB file", tb.tiny("ped2"), folder)


def test_a_video_without_labels_and_labels_without_a_video(tmp_path):
    folder = tb.shanghaitech(tmp_path)
    path = folder / "testing" / "test_frame_mask" / "01_0015.npy"
    content = path.read_bytes()
    path.unlink()
    refused("no labels of test video 01_0015", tb.tiny("shanghaitech"), folder)
    path.write_bytes(content)
    shutil.rmtree(folder / "testing" / "frames" / "01_0015")
    refused("1 of 3 testing videos are missing: 01_0015", tb.tiny("shanghaitech"), folder)


def test_two_label_files_that_disagree(tmp_path):
    folder = tb.converted(tmp_path, "ped2")
    write_npy(folder)
    tb.write_gt_mat(folder / "ped2.mat", {**tb.RANGES, "02": [(1, 3), (7, 8)]})
    refused("disagree on 1 frames of test video 02", tb.tiny("ped2"), folder, partial=True)


def test_masks_that_do_not_fit(tmp_path):
    folder = tb.ucsd(tmp_path)
    (folder / "Test" / "Test001_gt" / "006.bmp").unlink()
    with pytest.raises(InputError, match="test video 01: 6 frames decoded, but 5 pixel masks"):
        prepared(tb.tiny("ped2"), folder, tmp_path / "out")
    tb.Image.fromarray(np.zeros((9, 9), np.uint8)).save(folder / "Test" / "Test001_gt" / "006.bmp")
    with pytest.raises(InputError, match=r"mask of frame 5 is \(9, 9\), the frames are \(20, 36\)"):
        prepared(tb.tiny("ped2"), folder, tmp_path / "out")


def test_folders_that_are_ambiguous_or_empty(tmp_path):
    tb.converted(tmp_path, "ped2")
    tb.converted(tmp_path, "avenue")
    with pytest.raises(InputError, match=r"both .*avenue.* and .*ped2.* match"):
        find(tb.tiny("ped2"), str(tmp_path))
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match=r"no test video of UCSD Ped2.*svcl\.ucsd\.edu"):
        find(tb.tiny("ped2"), str(tmp_path / "nothing"))
    with pytest.raises(InputError, match="no such folder"):
        find(tb.tiny("ped2"), str(tmp_path / "absent"))


def test_an_existing_folder_is_never_written_into(tmp_path):
    folder, out = tb.ucsd(tmp_path), tmp_path / "out"
    out.mkdir()
    (out / "precious").write_text("x")
    with pytest.raises(InputError, match="exists and is not empty"):
        prepared(tb.tiny("ped2"), folder, out)
    assert [path.name for path in out.iterdir()] == ["precious"]


# --- published facts --------------------------------------------------------------------------------------------------


def test_published_totals_are_consistent():
    for benchmark in BENCHMARKS.values():
        if benchmark.lengths:
            assert (len(benchmark.lengths), sum(benchmark.lengths.values())) == (
                benchmark.testing.videos,
                benchmark.testing.frames,
            )
    assert BENCHMARKS["ubnormal"].testing == Counts(158 + 53, 92640)


def test_real_avenue_part_has_both_label_sets_by_their_content(shared, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for folder in ("testing", "masks"):
        (source / folder).symlink_to(shared / "data" / "avenue_part" / folder)
    for wrong, right in (("labels_a", "labels_vollabel"), ("labels_b", "labels_liu2018")):
        (source / wrong).symlink_to(shared / "data" / "avenue_part" / right)
    with pytest.raises(InputError, match="16 of 16 training videos are missing"):
        examined(BENCHMARKS["avenue"], source)
    info = prepared(BENCHMARKS["avenue"], source, tmp_path / "out", partial=True)
    assert {name: part["abnormal"] for name, part in info["label_sets"].items()} == {"vollabel": 1061, "liu2018": 972}
    assert info["label_sets"]["vollabel"]["frames_unlike_masks"] == 0
    assert info["complete"] is False
    assert Path(tmp_path / "out" / "labels_liu2018" / "08.npy").is_file()


def test_the_command(tmp_path, shared):
    script = Path(__file__).resolve().parents[2] / "scripts" / "prepare_data.py"
    source, out = str(shared / "data" / "ped2"), str(tmp_path / "ped2")
    done = subprocess.run(
        [sys.executable, str(script), "ped2", "--source", source, "--out", out],
        env={**os.environ, "PYTHONPATH": str(script.parents[1])},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "labels official: 1648 of 2010 frames abnormal" in done.stdout
    info = json.loads(Path(out, "dataset.json").read_text())
    assert (info["complete"], info["training"]["frames"], len(info["masks"])) == (True, 2550, 12)


def test_the_command_refuses_in_words(shared):
    from ramvid_vad.cli import COMMAND_SECTIONS, parse_command
    from ramvid_vad.commands.prepare import prepare

    for arguments, complaint in (
        (["--name", "ped3"], "choose one of ped1"),
        ([], "which data set"),
        (["--name", "ped2"], "--source"),
        (["--name", "ped1", "--source", str(shared / "data" / "ped2")], "18 of 34 training videos are missing"),
    ):
        with pytest.raises(InputError, match=complaint) as raised:
            prepare(parse_command("", COMMAND_SECTIONS["prepare_data"], arguments))
        assert "\n" not in str(raised.value)


@pytest.fixture
def mine(tmp_path):
    """Data of one's own, and prepare(*flags) for them, whose output goes to tmp_path/out."""
    from ramvid_vad.cli import COMMAND_SECTIONS, parse_command
    from ramvid_vad.commands.prepare import prepare

    for split, name in (("training", "lobby"), ("testing", "gate")):
        tb.write_pictures(tmp_path / "mine" / split / name, 3)
    (tmp_path / "mine" / "labels").mkdir()
    (tmp_path / "mine" / "labels" / "gate.txt").write_text("0 1 1")

    def run(*flags, out=tmp_path / "out"):
        flags = ["--name", "own", "--source", str(tmp_path / "mine"), "--out", str(out), *flags]
        prepare(parse_command("", COMMAND_SECTIONS["prepare_data"], flags))

    return run


@pytest.mark.parametrize("out", ["mine/labels", "mine/labels/gate.txt", "mine/labels/gate.txt/out"])
def test_where_nothing_can_be_written_is_said_before_anything_is_decoded(tmp_path, mine, out, monkeypatch):
    monkeypatch.setattr("ramvid_vad.commands.prepare.check", None)
    with pytest.raises(InputError, match=f"--out .*{out}: "):
        mine(out=tmp_path / out)


@pytest.mark.parametrize("link", [True, False])
def test_a_disk_that_refuses_is_one_line_and_nothing_is_left(tmp_path, mine, link, monkeypatch):
    """One that is full, or knows no links."""

    def refuse(old, new, *more):
        raise OSError(errno.EPERM if link else errno.ENOSPC, "refused", str(old), None, str(new))

    monkeypatch.setattr(*(Path, "symlink_to") if link else (shutil, "copyfile"), refuse)
    with pytest.raises(InputError, match=r"--out .*/out: .*000\.jpg: refused; .*--place copy"):
        mine("--place", "link" if link else "copy")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_what_a_killed_run_left_goes_and_who_may_read_follows_the_umask(tmp_path, mine):
    killed = Path(temporary_beside(str(tmp_path / "out")))
    (killed / "testing").mkdir(parents=True)
    os.utime(killed, (1, 1))
    (tmp_path / "out").mkdir()  # an empty folder is as good as none
    before = os.umask(0o027)
    try:
        mine()
    finally:
        os.umask(before)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "out"]
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize(
    ("benchmark", "file"),
    [("own", "labels/yard.txt"), ("own", "labels/yard.npy"), ("ubnormal", "a_scene_1_tracks.txt")],
)
def test_a_broken_link_among_labels_is_one_line(tmp_path, mine, benchmark, file):
    (tmp_path / "mine" / file).symlink_to(tmp_path / "none")
    tb.write_pictures(tmp_path / "mine" / "testing" / "yard", 3)
    with pytest.raises(InputError, match=rf"{file}: cannot be read \(No such file"):
        mine("--name", benchmark)


def test_linked_folders_are_taken_whatever_was_visited_before(tmp_path, mine):
    shutil.move(tmp_path / "mine" / "training", tmp_path / "mine" / "all")
    (tmp_path / "mine" / "training").mkdir()
    (tmp_path / "mine" / "training" / "a").symlink_to(tmp_path / "mine" / "all" / "lobby")
    (tmp_path / "mine" / "all" / "round").symlink_to(tmp_path / "mine")
    assert list(find(BENCHMARKS["own"], str(tmp_path / "mine")).training) == ["a"]


def test_a_folder_that_cannot_be_read_is_no_empty_one(tmp_path, mine, monkeypatch):
    real = os.scandir

    def scandir(path):
        if os.path.basename(path) == "lobby":
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(InputError, match=r"training/lobby: cannot be read \(Permission denied\)"):
        mine()


@pytest.mark.parametrize(
    ("below", "refused"),
    [(below, True) for below in ("cam2/y", "cam2/a.mp4", "lobby/a.mp4", "masks/a.mp4")]
    + [(below, False) for below in ("masks/gate", "lobby/thumbs", "lobby/x/y")],
)
def test_videos_that_lie_deeper_are_not_passed_over(tmp_path, mine, below, refused):
    path = tmp_path / "mine" / "training" / below
    tb.write_avi(path, 2) if "." in below else tb.write_pictures(path, 2)
    if refused:
        with pytest.raises(InputError, match=f"training/{below.partition('/')[0]}.*: its videos or frames do not lie"):
            mine()
    else:
        assert list(find(BENCHMARKS["own"], str(tmp_path / "mine")).training) == ["lobby"]
