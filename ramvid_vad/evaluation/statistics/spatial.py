"""Where the anomalies are: pixel AUC and AUPRO from residual maps, RBDC and TBDC from blobs, of one set of frames.

The map of a frame is the mean squared error in the 9 x 9 box around each pixel (its highest value is the measure
"box"), the largest over the windows that hold the frame. Its regions are the blobs of WMSE, in the window that gives
the frame its score, each with its mean squared residual. Ground truth is in the pixels of the video itself.
"""

import hashlib
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from ramvid_vad.errors import InputError
from ramvid_vad.evaluation.statistics.pixels import PixelCurve
from ramvid_vad.evaluation.statistics.regions import region_metrics, scale_boxes
from ramvid_vad.runtime.text import plain_name
from ramvid_vad.scoring.blobs import wmse
from ramvid_vad.scoring.residuals import box_map
from ramvid_vad.video.reader import read_frames
from ramvid_vad.video.truth.masks import (
    MaskFile,
    link_tracks,
    load_tracks,
    masked_frames,
    tracked_frames,
    unlike_labels,
)

FRAMES_AT_ONCE = 16


@dataclass(frozen=True)
class SpatialTruth:
    """Files with the pixel masks and the tracks of the videos ("": the video is normal and needs none).

    masks, tracks: video -> path, of those videos whose anomalies are known; tracks linked from masks have the mask's.
    unlike: "masks" and "tracks" -> in words, how they differ from the frame labels; absent where they do not.
    """

    masks: Mapping[str, str]
    tracks: Mapping[str, str]
    videos: int
    unlike: Mapping[str, str] = field(default_factory=dict)

    def about(self) -> dict[str, Any]:
        """For the provenance: how many videos there is ground truth of, and which."""
        linked = sum(path.endswith(".npz") for path in self.tracks.values())
        return {
            "map": "mean squared residual in 9 x 9 boxes, largest over windows",
            "regions": "blobs of wmse, scored by their mean squared residual",
            "videos": self.videos,
            "videos_with_masks": len(self.masks),
            "videos_with_tracks": len(self.tracks),
            "tracks_linked_from_masks": linked,
            **{f"{kind}_unlike_labels": words for kind, words in self.unlike.items()},
            "sha256": _digest([*self.masks.values(), *self.tracks.values()]),
        }


@dataclass(frozen=True)
class VideoRegions:
    """One video's share. curve: None without masks.  detections (k, 6), tracks (m, 6): see ``region_metrics``; tracks
    None where they are not known."""

    curve: PixelCurve | None
    detections: np.ndarray
    tracks: np.ndarray | None
    num_frames: int


def find_truth(labels_dir: str, names: Sequence[str], labels: Sequence[np.ndarray]) -> SpatialTruth | None:
    """masks/ and tracks/ beside the folder of labels (the standard layout); None where there is neither.

    A video without abnormal frames needs no file. Without a track file, tracks are linked from the masks. InputError:
    most of the frames that they show as abnormal are normal by the labels.
    """
    root = os.path.dirname(os.path.abspath(labels_dir))
    found = {kind: _files(os.path.join(root, kind), ending) for kind, ending in (("masks", ".npz"), ("tracks", ".txt"))}
    if all(files is None for files in found.values()):
        return None
    masks, tracks = {}, {}
    for name, label in zip(names, labels, strict=True):
        mask, track = ((files or {}).get(name, "") for files in found.values())
        all_normal = not label.any()
        if mask or (all_normal and found["masks"] is not None):
            masks[name] = mask
        if track or mask or all_normal:
            tracks[name] = track or mask
    label_of = dict(zip(names, labels, strict=True))
    own_tracks = {name: path for name, path in tracks.items() if path and path != masks.get(name)}
    shown = {
        "masks": {name: masked_frames(path) for name, path in masks.items() if path},
        "tracks": {name: tracked_frames(load_tracks(path), len(label_of[name])) for name, path in own_tracks.items()},
    }
    unlike = {kind: _unlike(root, kind, frames, label_of) for kind, frames in shown.items()}
    return SpatialTruth(masks, tracks, len(names), {kind: words for kind, words in unlike.items() if words})


def _files(folder: str, ending: str) -> dict[str, str] | None:
    """Video -> its file at or below a folder; None: no such folder. Companions of systems belong to no video."""
    if not os.path.isdir(folder):
        return None
    paths = [os.path.join(root, file) for root, _, files in os.walk(folder) for file in files if file[0] != "."]
    own = [path for path in paths if path.lower().endswith(ending)]
    return {plain_name(os.path.relpath(path, folder)[: -len(ending)].replace(os.sep, "/")): path for path in own}


def _unlike(root: str, kind: str, shown: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray]) -> str:
    """How frames shown as abnormal differ from the labels, "": in nothing. InputError: most of them are normal."""
    pairs = [(frames, np.asarray(labels[name])) for name, frames in shown.items() if len(frames) == len(labels[name])]
    if not pairs:
        return ""
    found = unlike_labels(*zip(*pairs, strict=True))
    total = sum(int(frames.sum()) for frames, _ in pairs)
    if 2 * found.shown_normal > total:
        raise InputError(
            f"{os.path.join(root, kind)}: shows anomalies in {total} frames, and the labels call "
            f"{found.shown_normal} of them normal: they are not of the same videos, or the labels are inverted"
        )
    return str(found)


def video_regions(
    truth: SpatialTruth,
    name: str,
    path: str,
    real: np.ndarray,
    frame: np.ndarray,
    fake: Callable[[np.ndarray], np.ndarray],
    blob_options: dict[str, Any],
    keep_aspect: bool,
    tick: Callable[[int], Any] = lambda count: None,
) -> VideoRegions:
    """Maps and blobs of one video.

    path: the video itself.  real: its frames at the model's size, uint8 (n, h, w, C).  frame (R,): true frame of each
    reconstruction.  fake: rows -> reconstructions uint8 (k, h, w, C).  blob_options: of :func:`wmse`.  tick: called
    with the number of reconstructions just seen. InputError: ground truth that does not fit the video.
    """
    size = next(iter(read_frames(path, rgb=False))).shape[:2]
    masks, tracks = _truth(truth, name, len(real), size)
    curve = PixelCurve() if masks is not None else None
    detections = []
    order = np.argsort(frame, kind="stable")
    edges = np.searchsorted(frame[order], np.arange(0, len(real) + FRAMES_AT_ONCE, FRAMES_AT_ONCE))
    truths = iter(masks) if masks is not None else None
    for part, first in enumerate(range(0, len(real), FRAMES_AT_ONCE)):
        last = min(first + FRAMES_AT_ONCE, len(real))
        rows = order[edges[part] : edges[part + 1]]
        x, x_hat = real[frame[rows]], fake(rows)
        if curve is not None:
            maps = np.zeros((last - first, *real.shape[1:3]))
            error = box_map(x / np.float32(255), x_hat / np.float32(255))
            np.maximum.at(maps, frame[rows] - first, error)
            curve.add(maps, np.stack(list(islice(truths, last - first))), keep_aspect)
        if tracks is not None:
            detections.append(_detections(x, x_hat, frame[rows], blob_options))
        tick(len(rows))
    if curve is not None:
        curve.compact()
    found = np.concatenate([np.zeros((0, 6)), *detections])
    found[:, 1:5] = scale_boxes(found[:, 1:5], real.shape[1:3], size, keep_aspect)
    return VideoRegions(curve, found, tracks, len(real))


def spatial_metrics(videos: Iterable[VideoRegions]) -> dict[str, float | None]:
    """Pixel AUC, AUPRO, RBDC and TBDC over the videos whose ground truth is known; None: undefined."""
    videos = list(videos)
    curve = PixelCurve()
    for video in videos:
        if video.curve is not None:
            curve.merge(video.curve)
    pixels = curve.metrics()
    tracked = [video for video in videos if video.tracks is not None]
    parts = ([getattr(video, kind) for video in tracked] for kind in ("detections", "tracks", "num_frames"))
    regions = region_metrics(*parts)
    figures = {
        "pixel_auc": pixels.pixel_auc,
        "pixel_auc_error_bound": pixels.error_bound,
        "aupro": pixels.aupro,
        "rbdc": regions.rbdc,
        "tbdc": regions.tbdc,
    }
    return {name: None if math.isnan(value) else value for name, value in figures.items()}


def _digest(files: Iterable[str]) -> str:
    """SHA-256 of the files end to end, each once."""
    digest = hashlib.sha256()
    for file in dict.fromkeys(file for file in files if file):
        with open(file, "rb") as content:
            digest.update(content.read())
    return digest.hexdigest()


def _detections(x: np.ndarray, x_hat: np.ndarray, frame: np.ndarray, blob_options: dict[str, Any]) -> np.ndarray:
    """Blobs of each frame (rows sorted by frame), from its reconstruction with the highest WMSE: (k, 6)."""
    best: dict[int, Any] = {}
    for number, a, b in zip(frame.tolist(), x, x_hat, strict=True):
        scored = wmse(a, b, **blob_options)
        if number not in best or scored.score > best[number].score:
            best[number] = scored
    rows = [[number, *blob.box, blob.score] for number, scored in best.items() for blob in scored.blobs]
    return np.array(rows, np.float64).reshape(-1, 6)


def _truth(
    truth: SpatialTruth, name: str, num_frames: int, size: tuple[int, int]
) -> tuple[np.ndarray | MaskFile | None, np.ndarray | None]:
    """Masks, n of (H, W) in order, and tracks (m, 6) of one video, checked against its frames; None: not known."""
    masks = tracks = None
    if name in truth.masks:
        path = truth.masks[name]
        masks = MaskFile(path) if path else np.broadcast_to(np.zeros(size, bool), (num_frames, *size))
        if masks.shape != (num_frames, *size):
            raise InputError(
                f"{path}: masks (frames, height, width) {masks.shape}, but the video has {(num_frames, *size)}"
            )
    if name in truth.tracks:
        path = truth.tracks[name]
        if path.endswith(".npz"):
            tracks = link_tracks(masks)
        else:
            tracks = load_tracks(path) if path else np.zeros((0, 6), np.int64)
        if len(tracks) and tracks[:, 1].max() >= num_frames:
            raise InputError(f"{path}: a track reaches frame {tracks[:, 1].max()}, but the video has {num_frames}")
    return masks, tracks
