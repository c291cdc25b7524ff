"""Masks and tracks: round trips, boxes of 8-connected regions, linking, and damaged files."""

import numpy as np
import pytest

from ramvid_vad.errors import InputError
from ramvid_vad.video.truth.masks import (
    link_tracks,
    load_masks,
    load_tracks,
    mask_boxes,
    masked_frames,
    save_masks,
    save_tracks,
    tracked_frames,
    unlike_labels,
)


def box_mask(*boxes, size=(20, 30)):
    mask = np.zeros(size, bool)
    for x0, y0, x1, y1 in boxes:
        mask[y0:y1, x0:x1] = True
    return mask


@pytest.mark.parametrize("width", [7, 8, 9, 17])
def test_masks_survive_the_disk(tmp_path, width):
    masks = np.random.default_rng(width).random((3, 5, width)) < 0.5
    assert save_masks(tmp_path / "01.npz", iter(masks)) == (3, 5, width)
    loaded = load_masks(tmp_path / "01.npz")
    assert loaded.dtype == bool
    np.testing.assert_array_equal(loaded, masks)


def test_real_masks_have_the_same_format_and_agree_with_the_labels(shared):
    for path in sorted((shared / "data" / "ped2" / "masks").glob("*.npz")):
        labels = np.load(shared / "data" / "ped2" / "labels" / f"{path.stem}.npy")
        np.testing.assert_array_equal(load_masks(path).any(axis=(1, 2)), labels == 1)


def test_boxes_are_exclusive_and_diagonal_pixels_are_one_region():
    mask = box_mask((2, 3, 6, 9), (20, 0, 30, 20))
    mask[9, 6] = True  # touches the first box at its corner only
    assert sorted(mask_boxes(mask).tolist()) == [[2, 3, 7, 10], [20, 0, 30, 20]]
    assert mask_boxes(np.zeros((4, 4), bool)).shape == (0, 4)


def test_tracks_follow_overlap_and_end_at_gaps():
    masks = [
        box_mask((0, 0, 10, 10)),
        box_mask((3, 0, 13, 10), (20, 10, 28, 18)),  # moved on, and a second object
        box_mask((6, 0, 16, 10), (20, 10, 28, 18)),
        box_mask(),
        box_mask((9, 0, 19, 10)),  # after a frame without mask: a new track
    ]
    tracks = link_tracks(masks)
    assert tracks.tolist() == [
        [0, 0, 0, 0, 10, 10],
        [0, 1, 3, 0, 13, 10],
        [0, 2, 6, 0, 16, 10],
        [1, 1, 20, 10, 28, 18],
        [1, 2, 20, 10, 28, 18],
        [2, 4, 9, 0, 19, 10],
    ]
    assert link_tracks([]).shape == (0, 6)
    elsewhere = link_tracks([box_mask((0, 0, 5, 5)), box_mask((20, 10, 25, 15))])
    assert elsewhere[:, 0].tolist() == [0, 1]


def test_crossing_objects_keep_the_best_total_overlap():
    first = box_mask((0, 0, 8, 8), (10, 0, 18, 8))
    second = box_mask((3, 0, 9, 8), (13, 0, 21, 8))
    tracks = link_tracks([first, second])
    assert {(row[0], row[1]): row[2] for row in tracks.tolist()} == {(0, 0): 0, (0, 1): 3, (1, 0): 10, (1, 1): 13}


def test_tracks_on_disk_have_inclusive_corners(tmp_path):
    tracks = np.array([[0, 0, 10, 10, 21, 21], [1, 4, 0, 2, 3, 8]])
    save_tracks(tmp_path / "01.txt", tracks)
    assert (tmp_path / "01.txt").read_text() == "0,0,10,10,20,20\n1,4,0,2,2,7\n"
    np.testing.assert_array_equal(load_tracks(tmp_path / "01.txt"), tracks)
    save_tracks(tmp_path / "02.txt", tracks[:0])
    assert load_tracks(tmp_path / "02.txt").shape == (0, 6)


def test_damaged_files_are_named(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"not a zip")
    with pytest.raises(InputError, match=r"a\.npz: not a mask file"):
        load_masks(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", masks=np.zeros((2, 4, 1), np.uint8), shape=np.array([2, 4, 9]))
    with pytest.raises(InputError, match="do not fit"):
        load_masks(tmp_path / "b.npz")
    with pytest.raises(InputError, match="mask of frame 1"):
        save_masks(tmp_path / "c.npz", [np.zeros((2, 2), bool), np.zeros((2, 3), bool)])
    for text, complaint in (("0,0,1,1,5\n", "six numbers"), ("0,0,5,1,2,9\n", "empty box"), ("a,b\n", "not a track")):
        (tmp_path / "t.txt").write_text(text)
        with pytest.raises(InputError, match=complaint):
            load_tracks(tmp_path / "t.txt")


@pytest.mark.parametrize(
    ("shift", "words"),
    [
        (0, ""),
        (1, "6 of 60 frames unlike the labels (3 shown but called normal, 3 abnormal but not shown): as if 1 "),
        (-2, "12 of 60 frames unlike the labels (6 shown but called normal, 6 abnormal but not shown): as if 2 "),
    ],
)
def test_tracks_that_are_late_or_early_are_told(shift, words):
    labels = [np.zeros(20, np.uint8) for _ in range(3)]
    for y in labels:
        y[6:12] = 1
    tracks = np.array([[0, frame + shift, 0, 0, 4, 4] for frame in range(6, 12)])
    found = unlike_labels([tracked_frames(tracks, 20)] * 3, labels)
    assert str(found).startswith(words) and bool(str(found)) == bool(words) and found.late == shift


def test_masks_and_labels_that_differ_at_random_are_not_called_late(tmp_path):
    rng = np.random.default_rng(0)
    labels = (rng.random(200) < 0.5).astype(np.uint8)
    masks = np.zeros((200, 4, 9), bool)
    masks[:, 2, 8] = labels
    masks[[3, 50, 120]] ^= True
    save_masks(tmp_path / "a.npz", masks)
    found = unlike_labels([masked_frames(tmp_path / "a.npz")], [labels])
    assert found.late == 0 and found.shown_normal == int((labels[[3, 50, 120]] == 0).sum())


def test_tracks_from_other_editors_are_read(tmp_path):
    (tmp_path / "t.txt").write_bytes("\ufeff0,0,1,1,2,2\r\n0,1,1,1,2,2\r\n".encode())
    assert load_tracks(tmp_path / "t.txt")[:, 1].tolist() == [0, 1]
    (tmp_path / "t.txt").write_text("0,1e300,1,1,2,2\n")
    with pytest.raises(InputError, match="no frame and no pixel"):
        load_tracks(tmp_path / "t.txt")
