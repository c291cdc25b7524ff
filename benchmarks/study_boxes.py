"""Boxes of an object detector for pooling, a class of its own: it was trained on labelled pictures (docs/study.md).

    python benchmarks/study_boxes.py --graph frozen_inference_graph.pb --config ssd_mobilenet_v2_coco_2018_03_29.pbtxt \
        --run runs/ped2_full/training --normal data/ped2/training --data_dir data/ped2/testing --labels data/ped2/labels

Any graph that OpenCV reads as TensorFlow's and that answers (1, 1, n, 7) rows of class, score, box. Frames are enlarged
1.5 times for it; boxes of a score above 0.2 count, whatever their class. In each box: the mean residual of the model's
part, of difference, flow and flow beside the usual; flow over the height of the box; and the distance of its mean
appearance to the nearest of 1,000 centres of those of normal video. A frame's score is that of its highest box.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from measure import machine, print_table, run, write_report
from study_maps import Study, flags

from ramvid_vad.detectors.appearance import PatchMemory
from ramvid_vad.detectors.free_parts import BOXES
from ramvid_vad.detectors.fusion import calibrated_sum, log_scale
from ramvid_vad.detectors.infilling import RECIPE_BOXES, RECIPE_PARTS
from ramvid_vad.detectors.residual_maps import box_scores
from ramvid_vad.runtime.progress import progress_bar
from ramvid_vad.video.reader import read_frames

SCORE, ENLARGED = 0.2, 1.5
STEP = 4  # of normal video's frames that the centres are taken from

Boxes = list[np.ndarray]
"""Of each frame (k, 4): x0, y0, x1, y1 as shares of its width and height."""


def detected(net: cv2.dnn.Net, path: str, step: int) -> Iterator[np.ndarray]:
    """Boxes of each frame; of those that ``step`` leaves out none."""
    for number, frame in enumerate(read_frames(path)):
        if number % step:
            yield np.zeros((0, 4))
            continue
        size = tuple(round(ENLARGED * side) for side in frame.shape[1::-1])
        net.setInput(cv2.dnn.blobFromImage(frame, size=size))
        found = net.forward().reshape(-1, 7)
        yield found[found[:, 2] > SCORE, 3:].clip(0, 1)


def boxes_of(net: cv2.dnn.Net, path: str, folder: str, step: int = 1) -> Boxes:
    """Kept in ``folder``: a detector takes a third of a second for a frame."""
    kept = Path(folder, f"boxes-{step}-{Path(path).name}.npz")
    if kept.exists():
        with np.load(kept) as file:
            return np.split(file["boxes"], np.cumsum(file["counts"])[:-1])
    found = list(detected(net, path, step))
    os.makedirs(folder, exist_ok=True)
    np.savez(kept, boxes=np.concatenate(found), counts=[len(each) for each in found])
    return found


def means(field: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Mean of (..., h, w) over the cells of each box, at least one: (..., k)."""
    high, wide = field.shape[-2:]
    corners = boxes * (wide, high, wide, high)
    low = np.minimum(np.floor(corners[:, :2]), (wide - 1, high - 1)).astype(int)
    top = np.maximum(np.ceil(corners[:, 2:]).astype(int), low + 1)
    values = [field[..., y0:y1, x0:x1].mean((-1, -2)) for (x0, y0), (x1, y1) in zip(low, top, strict=True)]
    return np.stack(values, axis=-1) if values else np.zeros((*field.shape[:-2], 0))


def main() -> None:
    parser = flags(__doc__, "runs/benchmarks/study_boxes.json")
    parser.add_argument("--graph", required=True, help="file of the detector's weights")
    parser.add_argument("--config", required=True, help="its description for OpenCV")
    options = parser.parse_args()
    study = Study(options, RECIPE_PARTS, free=(*BOXES, "flow"))
    net = cv2.dnn.readNetFromTensorflow(options.graph, options.config)
    with progress_bar("detecting", "video", len(study.learned) + len(study.held_out) + len(study.test)) as bar:
        boxes: dict[str, Boxes] = {}
        for path in (*study.learned, *study.held_out, *study.test):
            step = STEP if path in study.learned else 1
            boxes[path] = boxes_of(net, path, os.path.join(options.cache_dir, Path(path).parent.name), step)
            bar.update()

    def looks(path: str) -> list[np.ndarray]:
        """Mean appearance (k, axes) in each box of each frame."""
        absolute = study.model.space.absolute(np.asarray(study.maps.frames(path)))
        axes = study.model.space.groups["appearance"]
        return [means(frame[:axes], each).T for frame, each in zip(absolute, boxes[path], strict=True)]

    known = np.concatenate([frame for path in study.learned for frame in looks(path)]).astype(np.float32)
    memory = PatchMemory.of(torch.from_numpy(known), torch.ones(known.shape[1]))

    def scores(path: str, residuals: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        made = {f"{name} box {side}": box_scores(residuals[name], side) for name, side in RECIPE_BOXES}
        for name, field in residuals.items():
            made[f"{name} in boxes"] = highest(means(f, b) for f, b in zip(field, boxes[path], strict=True))
        heights = [each[:, 3] - each[:, 1] for each in boxes[path]]
        by_height = zip(residuals["flow"], boxes[path], heights, strict=True)
        made["flow over height in boxes"] = highest(means(field, b) / np.maximum(h, 1e-3) for field, b, h in by_height)
        made["looks of boxes"] = highest(
            memory.distances(torch.from_numpy(each.astype(np.float32))).numpy() for each in looks(path)
        )
        return made

    def highest(of_frames: Iterator[np.ndarray]) -> np.ndarray:
        return np.array([values.max(initial=0.0) for values in of_frames])

    paths = iter((*study.held_out, *study.test))
    usual, test = study.of_videos(lambda residuals: scores(next(paths), residuals))
    scales = {name: log_scale(np.concatenate([each[name] for each in usual])) for name in usual[0]}
    recipe = [f"{name} box {side}" for name, side in RECIPE_BOXES]
    part = f"{RECIPE_PARTS[0].name} in boxes"
    sums = {name: [name] for name in scales} | {
        "sum: the recipe": recipe,
        "sum: flow over height, looks": ["flow over height in boxes", "looks of boxes"],
        "sum: flow, looks": ["flow in boxes", "looks of boxes"],
        "sum: flow, looks, the model's part": ["flow in boxes", "looks of boxes", part],
        "sum: the recipe, flow and looks of boxes": [*recipe, "flow in boxes", "looks of boxes"],
    }
    rows = []
    for title, names in sums.items():
        chosen = {name: scales[name] for name in names}
        rows.append(study.row(title, [calibrated_sum(each, chosen) for each in test]))
    print_table(f"{len(test)} videos, sigma {options.sigma:g}", rows)
    found = np.mean([len(frame) for path in study.test for frame in boxes[path]])
    write_report(options.out, {**machine(), "sigma": options.sigma, "boxes a frame": found, "rows": rows})


if __name__ == "__main__":
    run(main)
