"""Pixel AUC, AUPRO, RBDC and TBDC of whole videos: truth on disk, maps and blobs of reconstructions, native pixels."""

import numpy as np
import pytest
from known_run import LENGTHS
from known_run import SIZE as RUN_SIZE
from PIL import Image
from test_regions import brute_force

from ramvid_vad.errors import InputError
from ramvid_vad.evaluation.report.files import metrics_document
from ramvid_vad.evaluation.report.table import format_table
from ramvid_vad.evaluation.statistics.pixels import PixelCurve
from ramvid_vad.evaluation.statistics.spatial import find_truth, spatial_metrics, video_regions
from ramvid_vad.reconstructions import load_reconstruction
from ramvid_vad.scoring.blobs import wmse
from ramvid_vad.scoring.residuals import box_map
from ramvid_vad.video.truth.masks import link_tracks, load_masks, save_masks, save_tracks

SMALL, NATIVE = (24, 32), (48, 64)
BLOBS = {"threshold": 0.04, "min_area": 12, "weight": "area"}


def truth_of(frames, first, last):
    """An object of 16 x 16 native pixels that goes right, in frames first .. last - 1."""
    masks = np.zeros((frames, *NATIVE), bool)
    for t in range(first, last):
        masks[t, 16:32, 2 * t : 2 * t + 16] = True
    return masks


class Folder:
    """Two videos of 12 and 6 frames, the second one normal, with labels/, masks/ and the frames at the small size."""

    def __init__(self, root, tracks=False):
        self.root = root
        self.masks = {"01": truth_of(12, 3, 9), "02": truth_of(6, 0, 0)}
        self.labels = [masks.any(axis=(1, 2)).astype(np.uint8) for masks in self.masks.values()]
        for folder in ("labels", "masks", *(["tracks"] if tracks else [])):
            (root / folder).mkdir()
        save_masks(root / "masks" / "01.npz", self.masks["01"])
        for name, masks in self.masks.items():
            video = root / "testing" / name
            video.mkdir(parents=True)
            for t in range(len(masks)):
                Image.fromarray(np.zeros(NATIVE, np.uint8)).save(video / f"{t:03d}.png")
            if tracks:
                save_tracks(root / "tracks" / f"{name}.txt", link_tracks(masks))

    def truth(self):
        return find_truth(str(self.root / "labels"), [*self.masks], self.labels)

    def regions(self, name, real, frame, fake, keep_aspect=False):
        path = str(self.root / "testing" / name)
        return video_regions(self.truth(), name, path, real, frame, lambda rows: fake[rows], BLOBS, keep_aspect)


def real_and_fake(masks, height=60):
    """Black reconstructions of frames that are ``height`` grey levels bright where the mask is, at the small size."""
    real = (masks[:, 1::2, 1::2, None] * np.uint8(height)).astype(np.uint8)
    return real, np.zeros_like(real)


@pytest.mark.parametrize("tracks", [False, True])
def test_a_residual_that_is_the_mask_is_found_whole(tmp_path, tracks):
    folder = Folder(tmp_path, tracks)
    videos = []
    for name, masks in folder.masks.items():
        real, fake = real_and_fake(masks)
        videos.append(folder.regions(name, real, np.arange(len(masks)), fake))
    figures = spatial_metrics(videos)
    assert (figures["rbdc"], figures["tbdc"]) == (1.0, 1.0)
    assert figures["pixel_auc"] > 0.99  # a box mean spreads over the edge
    assert figures["aupro"] > 0.95
    assert videos[0].detections[0].tolist() == [3, 6, 16, 22, 32, pytest.approx((60 / 255) ** 2)]
    assert folder.truth().about()["tracks_linked_from_masks"] == (0 if tracks else 1)


def test_a_perfect_reconstruction_finds_nothing(tmp_path):
    folder = Folder(tmp_path)
    videos = [
        folder.regions(name, real_and_fake(masks)[0], np.arange(len(masks)), real_and_fake(masks)[0])
        for name, masks in folder.masks.items()
    ]
    figures = spatial_metrics(videos)
    assert (figures["rbdc"], figures["tbdc"], figures["pixel_auc"]) == (0, 0, 0.5)
    assert figures["aupro"] == pytest.approx(0.15)


def test_all_normal_is_undefined(tmp_path):
    folder = Folder(tmp_path)
    real, fake = real_and_fake(folder.masks["02"])
    figures = spatial_metrics([folder.regions("02", real, np.arange(6), fake)])
    assert {figures[name] for name in ("pixel_auc", "aupro", "rbdc", "tbdc")} == {None}


@pytest.mark.parametrize("keep_aspect", [False, True])
def test_random_reconstructions_equal_the_same_by_hand(tmp_path, keep_aspect):
    """Two windows per frame, some frames in none, in any order: maps and blobs put together frame by frame."""
    rng = np.random.default_rng(3)
    folder, videos, by_hand, detections = Folder(tmp_path), [], PixelCurve(), []
    for name, masks in folder.masks.items():
        n = len(masks)
        real = rng.integers(0, 40, (n, *SMALL, 1), dtype=np.uint8)
        frame = rng.permutation(np.repeat(np.arange(1, n), 2))
        fake = (real[frame] + rng.integers(0, 14, (len(frame), *SMALL, 1))).astype(np.uint8)
        videos.append(folder.regions(name, real, frame, fake, keep_aspect))
        maps, rows = np.zeros((n, *SMALL)), []
        for t in range(n):
            mine = np.flatnonzero(frame == t)
            for k in mine:
                error = box_map(real[t][None] / np.float32(255), fake[k][None] / np.float32(255))[0]
                maps[t] = np.maximum(maps[t], error)
            scored = [wmse(real[t], fake[k], **BLOBS) for k in mine]
            if scored:
                blobs = max(scored, key=lambda s: s.score).blobs
                rows += [[t, *(2 * side for side in blob.box), blob.score] for blob in blobs]
        by_hand.add(maps.astype(np.float32).repeat(2, axis=1).repeat(2, axis=2), masks)
        detections.append(np.array(rows).reshape(-1, 6))
    figures, pixels = spatial_metrics(videos), by_hand.metrics()
    assert (figures["pixel_auc"], figures["aupro"]) == pytest.approx(pixels[:2], abs=1e-12)
    assert 0.3 < figures["pixel_auc"] < 0.7
    tracks = [link_tracks(masks) for masks in folder.masks.values()]
    expected = brute_force(detections, tracks, [12, 6])
    assert (figures["rbdc"], figures["tbdc"]) == pytest.approx(expected, abs=1e-12)
    assert len(detections[0]) > 5


def test_abnormal_videos_without_ground_truth_are_left_out(tmp_path):
    folder = Folder(tmp_path)
    (tmp_path / "masks" / "01.npz").unlink()
    truth = folder.truth()
    assert (dict(truth.masks), dict(truth.tracks), truth.videos) == ({"02": ""}, {"02": ""}, 2)
    real, fake = real_and_fake(folder.masks["01"])
    regions = folder.regions("01", real, np.arange(12), fake)
    assert regions.curve is None and regions.tracks is None and not len(regions.detections)
    (tmp_path / "masks").rmdir()
    assert folder.truth() is None


def test_ground_truth_that_does_not_fit_is_named(tmp_path):
    folder = Folder(tmp_path, tracks=True)
    real, fake = real_and_fake(folder.masks["01"])
    save_tracks(tmp_path / "tracks" / "01.txt", np.array([[0, 12, 1, 1, 5, 5]]))
    with pytest.raises(InputError, match=r"01\.txt: a track reaches frame 12, but the video has 12"):
        folder.regions("01", real, np.arange(12), fake)
    save_masks(tmp_path / "masks" / "01.npz", np.zeros((12, 40, 64), bool))
    with pytest.raises(InputError, match=r"01\.npz: masks .* \(12, 40, 64\), but the video has \(12, 48, 64\)"):
        folder.regions("01", real, np.arange(12), fake)


def test_tracks_that_contradict_the_labels_are_told_and_refused_where_most_do(tmp_path):
    folder = Folder(tmp_path, tracks=True)
    assert folder.truth().unlike == {}
    (tmp_path / "tracks" / "README.txt").write_text("tracks of 2 videos")
    (tmp_path / "tracks" / "._01.txt").write_bytes(b"\0\5")
    late = link_tracks(folder.masks["01"]) + np.array([0, 1, 0, 0, 0, 0])
    save_tracks(tmp_path / "tracks" / "01.txt", late)  # frames 4 .. 9, the labels say 3 .. 8
    words = (
        "2 of 18 frames unlike the labels (1 shown but called normal, 1 abnormal but not shown): as if 1 frames late"
    )
    assert folder.truth().unlike == {"tracks": words}
    assert folder.truth().about()["tracks_unlike_labels"] == words
    folder.labels[0] = 1 - folder.labels[0]
    with pytest.raises(InputError, match="masks: shows anomalies in 6 frames, and the labels call 6 of them normal"):
        folder.truth()


def test_an_evaluation_with_masks_beside_its_labels_says_where(run):
    """Rows, table, metrics.json and provenance; the model's figures are those of its reconstructions alone."""
    assert run.evaluate().spatial == {}
    for name, labels in run.labels.items():
        masks = np.zeros((len(labels), *RUN_SIZE), bool)
        masks[labels == 1, 4:12, 6:20] = True
        (run.root / "masks" / name).parent.mkdir(parents=True, exist_ok=True)
        save_masks(run.root / "masks" / f"{name}.npz", masks)
    evaluation = run.evaluate()
    assert list(evaluation.spatial) == ["", "linear_blend", "previous_frame"]
    truth = find_truth(str(run.root / "labels"), list(LENGTHS), list(run.labels.values()))
    videos = []
    for name in LENGTHS:
        made = load_reconstruction(str(run.file(name)))
        arguments = (run.frames[name], made.frame, lambda rows, made=made: made.frames[rows], BLOBS, False)
        videos.append(video_regions(truth, name, str(run.root / "videos" / name), *arguments))
    assert evaluation.spatial[""] == spatial_metrics(videos)
    assert len({figures["pixel_auc"] for figures in evaluation.spatial.values()}) == 3
    assert evaluation.provenance["spatial"]["videos_with_masks"] == 3
    table = format_table(evaluation, full=True)
    assert "pixels of 3, tracks of 3 of 3 videos (3 linked from masks)" in table
    (line,) = (line for line in table.splitlines() if line.startswith("residual and its blobs"))
    assert line.split()[4] == f"{100 * evaluation.spatial['']['pixel_auc']:.1f}"
    document = metrics_document(evaluation)
    assert document["where"]["model"] == evaluation.spatial[""]
    assert run.evaluate().spatial == evaluation.spatial
    assert "unlike the labels" not in table
    shifted = np.roll(load_masks(run.root / "masks" / "02.npz"), 1, axis=0)
    save_masks(run.root / "masks" / "02.npz", shifted)
    assert "NOTE masks: " in format_table(run.evaluate())
    (run.root / "masks" / "02.npz").unlink()
    assert run.evaluate().provenance["spatial"]["sha256"] != evaluation.provenance["spatial"]["sha256"]
