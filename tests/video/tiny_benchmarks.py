"""Tiny copies of the public data sets, file by file in the layouts in which their authors offer them."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from scipy.io import savemat

from ramvid_vad.video.benchmarks import BENCHMARKS, Benchmark, Counts, LabelSet, labels_digest

SIZE = (20, 36)
LENGTHS = {"01": 6, "02": 9, "03": 6}
RANGES = {"01": [(2, 4)], "02": [(1, 3), (7, 9)], "03": [(5, 5)]}  # from 1, ends included
TRAINING = {"01": 7, "02": 4}
SCENES = {"01": "01_0014", "02": "01_0015", "03": "12_0003"}  # ShanghaiTech's names


def labels_of(ranges=RANGES, lengths=LENGTHS):
    labels = {name: np.zeros(frames, np.uint8) for name, frames in lengths.items()}
    for name, spans in ranges.items():
        for first, last in spans:
            labels[name][first - 1 : last] = 1
    return labels


LABELS = labels_of()


def mask(frame, size=SIZE):
    """Where the anomaly is in a frame, if it is abnormal."""
    picture = np.zeros(size, bool)
    picture[4:10, 3 + frame : 11 + frame] = True
    return picture


def masks_of(name, labels=LABELS):
    return np.array([mask(i) if label else np.zeros(SIZE, bool) for i, label in enumerate(labels[name])])


def tiny(name, **changes) -> Benchmark:
    """The benchmark with the figures of the copies made here."""
    digest = labels_digest(LABELS) if BENCHMARKS[name].numbered else ""
    official = LabelSet(sum(int(part.sum()) for part in LABELS.values()), digest)
    sets = {"liu2018": official, "vollabel": LabelSet(13)} if name == "avenue" else {"official": official}
    facts = {
        "training": Counts(len(TRAINING), sum(TRAINING.values())),
        "testing": Counts(len(LENGTHS), sum(LENGTHS.values())),
        "label_sets": sets,
        "lengths": LENGTHS if BENCHMARKS[name].numbered else {},
    }
    return dataclasses.replace(BENCHMARKS[name], **{**facts, **changes})


def picture(number):
    rng = np.random.default_rng(number)
    return rng.integers(0, 256, (*SIZE, 3), np.uint8)


def write_pictures(folder: Path, frames: int, pattern="{:03d}.jpg", first=0):
    folder.mkdir(parents=True)
    for number in range(first, first + frames):
        Image.fromarray(picture(number)).convert("L").save(folder / pattern.format(number))


def write_avi(path: Path, frames: int):
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, SIZE[::-1])
    for number in range(frames):
        writer.write(picture(number))
    writer.release()


def write_mp4(path: Path, frames: int):
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 25, SIZE[::-1])
    for number in range(frames):
        writer.write(picture(number))
    writer.release()


def matlab_lines(ranges=RANGES):
    lines = ["TestVideoFile = {};"]
    for spans in ranges.values():
        inside = ", ".join(f"{a}:{b}" for a, b in spans)
        lines.append(f"TestVideoFile{{end+1}}.gt_frame = [{inside}];  % gt_frame = [1:999] in a comment")
    return "\n".join(lines) + "\n"


def ucsd(root: Path, number=2):
    """UCSD_Anomaly_Dataset.v1p2 with the rubbish that its archive holds."""
    folder = root / "UCSD_Anomaly_Dataset.v1p2" / f"UCSDped{number}"
    for name, frames in TRAINING.items():
        write_pictures(folder / "Train" / f"Train0{name}", frames, "{:03d}.tif", first=1)
    for name, frames in LENGTHS.items():
        write_pictures(folder / "Test" / f"Test0{name}", frames, "{:03d}.tif", first=1)
        masks = folder / "Test" / f"Test0{name}_gt"
        masks.mkdir()
        for frame, pixels in enumerate(masks_of(name), 1):
            Image.fromarray(pixels.astype(np.uint8) * 255).save(masks / f"{frame:03d}.bmp")
    (folder / "Test" / f"UCSDped{number}.m").write_text(matlab_lines())
    (folder / "Test" / "Test001" / ".DS_Store").write_bytes(b"x")
    (folder / "Test" / "Test001" / "._001.tif").write_bytes(b"x")
    (root / "__MACOSX").mkdir(exist_ok=True)
    return folder


def cell(items):
    cells = np.empty((1, len(items)), object)
    cells[0, :] = items
    return cells


def write_volumes(folder: Path, labels=LABELS):
    folder.mkdir(parents=True)
    for name in LENGTHS:
        volume = [pixels.astype(np.uint8) for pixels in masks_of(name, labels)]
        savemat(folder / f"{int(name)}_label.mat", {"volLabel": cell(volume)})


def avenue(root: Path):
    """Avenue Dataset and ground_truth_demo, whose labels differ from those of Liu et al. in video 02."""
    for name, frames in TRAINING.items():
        write_avi(root / "Avenue Dataset" / "training_videos" / f"{name}.avi", frames)
    for name, frames in LENGTHS.items():
        write_avi(root / "Avenue Dataset" / "testing_videos" / f"{name}.avi", frames)
    (root / "Avenue Dataset" / "training_vol").mkdir()
    (root / "Avenue Dataset" / "testing_videos" / "._01.avi").write_bytes(b"rubbish of a file system, not a second 01")
    write_avi(root / "ground_truth_demo" / "testing_videos" / "01.avi", LENGTHS["01"])
    write_volumes(root / "ground_truth_demo" / "testing_label_mask", VOLLABEL)
    return root


VOLLABEL = labels_of({**RANGES, "02": [(1, 9)]})


def write_gt_mat(path: Path, ranges=RANGES):
    """avenue.mat, ped2.mat: cell gt of 2 x K starts and ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"gt": cell([np.array(spans, np.uint16).T for spans in ranges.values()])})


def converted(root: Path, name, frames_folder="frames"):
    """Frames as Liu et al. distribute them, without labels."""
    folder = root / name
    for video, frames in TRAINING.items():
        write_pictures(folder / "training" / frames_folder / video, frames)
    for video, frames in LENGTHS.items():
        write_pictures(folder / "testing" / frames_folder / video, frames)
    return folder


def shanghaitech(root: Path):
    """shanghaitech.tar.gz: training videos, test frames, frame and pixel masks."""
    folder = root / "shanghaitech"
    for name, frames in TRAINING.items():
        write_avi(folder / "training" / "videos" / f"{name}_001.avi", frames)
    for mask_folder in ("test_frame_mask", "test_pixel_mask"):
        (folder / "testing" / mask_folder).mkdir(parents=True)
    for name, scene in SCENES.items():
        write_pictures(folder / "testing" / "frames" / scene, LENGTHS[name])
        np.save(folder / "testing" / "test_frame_mask" / f"{scene}.npy", LABELS[name].astype(np.int64))
        np.save(folder / "testing" / "test_pixel_mask" / f"{scene}.npy", masks_of(name))
    return folder


# in the plain order of names, in which "10_" stands before "1_"
UB_TEST = {"abnormal_scene_1_scenario_1": 6, "abnormal_scene_10_scenario_3_fog": 9, "normal_scene_2_scenario_7": 5}
UB_TRAINING = {"normal_scene_1_scenario1_4": 7, "normal_scene_2_scenario_2": 4}
UB_TRACKS = {
    "abnormal_scene_1_scenario_1": [(3, 1, 3)],
    "abnormal_scene_10_scenario_3_fog": [(1, 0, 2), (4, 2, 2), (1, 6, 8)],
}
UB_LABELS = {
    "abnormal_scene_1_scenario_1": np.array([0, 1, 1, 1, 0, 0], np.uint8),
    "abnormal_scene_10_scenario_3_fog": np.array([1, 1, 1, 0, 0, 0, 1, 1, 1], np.uint8),
    "normal_scene_2_scenario_7": np.zeros(5, np.uint8),
}
UB_BOXES = {1: (2, 2, 8, 7), 3: (10, 3, 15, 12), 4: (20, 8, 30, 16), 9: (1, 14, 9, 19)}  # 9 is a normal object


def tiny_ubnormal(**changes):
    labels = LabelSet(sum(int(part.sum()) for part in UB_LABELS.values()))
    counts = {"training": Counts(2), "testing": Counts(3, 20), "label_sets": {"official": labels}}
    return dataclasses.replace(BENCHMARKS["ubnormal"], **{**counts, **changes})


def ubnormal(root: Path):
    """UBnormal.zip and the lists of its repository; the maps of one video are two rows short."""
    lists = {
        "abnormal_test": [name for name in UB_TEST if name.startswith("abnormal")],
        "normal_test": [name for name in UB_TEST if name.startswith("normal")],
        "normal_training": list(UB_TRAINING),
        "abnormal_training": ["abnormal_scene_1_scenario_9"],
    }
    (root / "scripts").mkdir(parents=True)
    for split, names in lists.items():
        (root / "scripts" / f"{split}_video_names.txt").write_text("\n".join(names))
    for name, frames in {**UB_TEST, **UB_TRAINING, "abnormal_scene_1_scenario_9": 5}.items():
        write_mp4(root / f"Scene{name.split('_')[2]}" / f"{name}.mp4", frames)
    for name, tracks in UB_TRACKS.items():
        folder = root / f"Scene{name.split('_')[2]}" / f"{name}_annotations"
        folder.mkdir()
        lines = [f"{t:.6f},{first:.6f},{last:.6f}" for t, first, last in tracks]
        (folder / f"{name}_tracks.txt").write_text("\n".join(lines) + "\n")
        rows = SIZE[0] - (2 if "fog" in name else 0)
        for frame in range(UB_TEST[name]):
            ids = np.zeros(SIZE, np.uint8)
            for number, (x0, y0, x1, y1) in UB_BOXES.items():
                ids[y0:y1, x0:x1] = number
            Image.fromarray(ids[:rows]).save(folder / f"{name}_{frame:04d}_gt.png")
    return root
