"""Writing the one standard layout: training/, testing/, labels/, masks/, tracks/ and dataset.json.

``labels`` is called ``labels_SET`` where a data set has several label sets. dataset.json says what it is and where it
came from: counts, what is missing, and three kinds of SHA-256: of the labels themselves (``sha256``), of the label
files end to end as evaluation results name them (``files_sha256``), and of each file they were read from.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ramvid_vad.errors import InputError
from ramvid_vad.runtime.files import sha256_of, work_folder
from ramvid_vad.video.benchmarks.check import Checked, agreement
from ramvid_vad.video.benchmarks.model import Benchmark, Found, MaskReader, Size, labels_digest
from ramvid_vad.video.files import list_frames
from ramvid_vad.video.truth.masks import link_tracks, load_masks, save_masks, save_tracks, tracked_frames, unlike_labels

SCHEMA = 1
INFO = "dataset.json"


def free_place(out: str) -> Path:
    """Where ``--out`` is to stand; the folder above is made. InputError: it is not empty, or cannot be there."""
    target = Path(os.path.realpath(out))
    with _writing(out):
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise InputError(f"--out {out}: exists and is not empty; name another folder or remove it")
        target.parent.mkdir(parents=True, exist_ok=True)
    return target


@contextmanager
def _writing(out: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # of copies and links the second name is the one that is made
        where = error.filename2 or error.filename or out
        raise InputError(
            f"--out {out}: {where}: {error.strerror or error}; free or grant space there, name another folder, or give "
            "--place copy where links are not possible"
        ) from error


def write_standard(
    benchmark: Benchmark,
    found: Found,
    checked: Checked,
    source: str,
    out: str,
    link: bool = True,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Write ``out``, which appears only when all of it is there. link: videos as symbolic links, else copied.

    Returns what dataset.json holds. InputError: ``out`` is not empty or cannot be written, masks that do not fit the
    frames or say the opposite of the labels.
    """
    target = free_place(out)
    with _writing(out), work_folder(str(target.parent)) as work:
        info = _write(benchmark, found, checked, Path(os.path.abspath(source)), Path(work), link, say)
        Path(work, INFO).write_text(json.dumps(info, indent=2) + "\n", encoding="utf-8")
        os.rename(work, target)
    return info


def _write(
    benchmark: Benchmark,
    found: Found,
    checked: Checked,
    source: Path,
    work: Path,
    link: bool,
    say: Callable[[str], None],
) -> dict[str, Any]:
    for split, videos in (("training", found.training), ("testing", found.testing)):
        (work / split).mkdir()
        for name, path in videos.items():
            _place(Path(path), work / split / name, link)
    label_sets = {}
    for label_set, labels in checked.labels.items():
        several = len(checked.labels) > 1 or len(benchmark.label_sets) > 1
        folder = f"labels_{label_set}" if several else "labels"
        (work / folder).mkdir()
        for name, part in labels.items():
            np.save(work / folder / f"{name}.npy", part)
        label_sets[label_set] = {
            "folder": folder,
            "frames": sum(map(len, labels.values())),
            "abnormal": sum(int(part.sum()) for part in labels.values()),
            "sha256": labels_digest(labels),
            "files_sha256": sha256_of(str(work / folder / f"{name}.npy") for name in labels),
            "read_from": {_relative(file, source): sha256_of([file]) for file in checked.label_files[label_set]},
        }
    masks = _write_masks(found, checked, work, label_sets, say)
    tracks = _write_tracks(found, checked, work, masks, say)
    return {
        "schema": SCHEMA,
        "name": benchmark.name,
        "title": benchmark.title,
        "citation": benchmark.citation,
        "page": benchmark.page,
        "layout": found.layout,
        "complete": checked.complete,
        "notes": checked.notes,
        "training": _split_info(checked.training),
        "testing": _split_info(checked.testing),
        "label_sets": label_sets,
        "masks": masks,
        "tracks": tracks,
    }


def _split_info(lengths: dict[str, int]) -> dict[str, Any]:
    return {"videos": len(lengths), "frames": sum(lengths.values()), "lengths": lengths}


def _place(path: Path, target: Path, link: bool) -> None:
    """One video: a file with its own extension, or a folder of its pictures."""
    if path.is_dir():
        target.mkdir(parents=True)
        pairs = [(path / name, target / name) for name in list_frames(str(path))]
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        pairs = [(path, target.with_name(target.name + path.suffix.lower()))]
    for old, new in pairs:
        if link:
            new.symlink_to(old.resolve())
        else:
            shutil.copyfile(old, new)


def _write_masks(
    found: Found, checked: Checked, work: Path, label_sets: dict[str, Any], say: Callable[[str], None]
) -> list[str]:
    """masks/NAME.npz; a video without masks but with normal labels throughout gets empty ones."""
    readers = {name: found.masks[name] for name in checked.testing if name in found.masks}
    if not readers:
        checked.notes.append("no pixel masks: pixel AUC, AUPRO, RBDC and TBDC cannot be computed")
        return []
    (work / "masks").mkdir()
    masked: dict[str, np.ndarray] = {}
    for name, frames in checked.testing.items():
        all_normal = not any(labels[name].any() for labels in checked.labels.values())
        if name in readers:
            masked[name] = _write_mask_file(work / "masks" / f"{name}.npz", name, readers[name], checked)
        elif all_normal:
            save_masks(work / "masks" / f"{name}.npz", _empty(frames, checked.sizes[name]))
            masked[name] = np.zeros(frames, bool)
    for label_set, labels in checked.labels.items():
        label = np.concatenate([labels[name] for name in masked])
        mask = np.concatenate(list(masked.values()))
        if agreement(label, mask) < 0.5:
            raise InputError(f"{label_set} labels are inverted: they are 0 where the pixel masks show an anomaly")
        label_sets[label_set]["frames_unlike_masks"] = int((label != mask).sum())
    say(f"masks of {len(masked)} of {len(checked.testing)} test videos")
    return list(masked)


def _empty(frames: int, size: Size) -> Iterator[np.ndarray]:
    return (np.zeros(size, bool) for _ in range(frames))


def _write_mask_file(path: Path, name: str, read: MaskReader, checked: Checked) -> np.ndarray:
    """Write one video's masks; returns which frames have an anomalous pixel."""
    masked = []

    def watched() -> Iterator[np.ndarray]:
        for mask in read(checked.sizes[name]):
            masked.append(bool(mask.any()))
            yield mask

    save_masks(path, watched())
    if len(masked) != checked.testing[name]:
        raise InputError(f"test video {name}: {checked.testing[name]} frames decoded, but {len(masked)} pixel masks")
    return np.array(masked)


def _write_tracks(
    found: Found, checked: Checked, work: Path, masks: list[str], say: Callable[[str], None]
) -> dict[str, str]:
    """tracks/NAME.txt: the authors' where there are any, else linked from the masks. Returns each track's origin."""
    origins: dict[str, str] = {}
    shown: dict[str, np.ndarray] = {}
    for name, frames in checked.testing.items():
        if name in found.tracks:
            tracks = found.tracks[name]()
            origins[name] = "published"
        elif name in masks:
            tracks = link_tracks(load_masks(work / "masks" / f"{name}.npz"))
            origins[name] = "linked from masks"
        else:
            continue
        if len(tracks) and tracks[:, 1].max() >= frames:
            raise InputError(f"test video {name}: {frames} frames, but a track reaches frame {tracks[:, 1].max()}")
        shown[name] = tracked_frames(tracks, frames)
        (work / "tracks").mkdir(exist_ok=True)
        save_tracks(work / "tracks" / f"{name}.txt", tracks)
    for label_set, labels in checked.labels.items():
        words = str(unlike_labels(list(shown.values()), [labels[name] for name in shown])) if shown else ""
        if words and "published" in origins.values():
            checked.notes.append(f"tracks and labels {label_set}: {words}")
    if origins:
        say(f"tracks of {len(origins)} of {len(checked.testing)} test videos")
    return origins


def _relative(file: str, source: Path) -> str:
    path = Path(file)
    return path.relative_to(source).as_posix() if path.is_relative_to(source) else path.name
