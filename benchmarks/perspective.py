"""Does a fast thing far away stand out from slow ones near by? Speeds in pixels, and in units of the usual speed.

    python benchmarks/perspective.py --normal ped2/training avenue_part/training --out perspective.json

Of held-out normal video (no label is read) one moving thing in each frame, drawn among all of them, goes twice as fast:
AUC of these frames against the same ones as they were, for speeds in pixels and for each way to tell what is usual. The
street is drawn: nine walkers between 16 and 116 pixels high, who move by 3 to 4 hundredths of their height a frame; in
each of twelve test videos one more, 2.5 times as fast. Its labels are known; ``fast`` is fitted and evaluated on it.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator

import cv2
import numpy as np
from measure import machine, run, write_report
from scipy.ndimage import find_objects, gaussian_filter1d, label, uniform_filter
from sklearn.metrics import roc_auc_score

from ramvid_vad.detectors import motion
from ramvid_vad.detectors.fusion import CalibratedSum, calibrated_sum, log_scale, split
from ramvid_vad.detectors.motion import MOVING, SMOOTH, UsualByRow
from ramvid_vad.options.option import str2bool
from ramvid_vad.spaces.frame_size import reduced
from ramvid_vad.spaces.motion import with_pairs
from ramvid_vad.video.finding import find_videos
from ramvid_vad.video.reader import Clip
from ramvid_vad.video.writer import write_video

LEAST = 8  # cells of 4 pixels: what is smaller is no thing
BOX = 5  # cells
SIGMA = 3  # frames


def speeds(clip: Clip) -> np.ndarray:
    """float32 (n, h, w), pixels per frame, over cells of 4 pixels."""
    pairs = with_pairs(reduced(luma)[..., 0] for _, luma in clip.colour_and_grey())
    return np.stack([motion.coarse(motion.speed(now, before)) for _, now, before in pairs])


def hastened(fields: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One thing of each frame twice as fast, and which frames have one, bool (n,)."""
    made, marks = fields.copy(), np.zeros(len(fields), bool)
    for t, field in enumerate(fields):
        things, _ = label(field > MOVING)
        large = [i for i, at in enumerate(find_objects(things), 1) if (things[at] == i).sum() >= LEAST]
        if large:
            made[t][things == rng.choice(large)] *= 2
            marks[t] = True
    return made, marks


def highest(fields: np.ndarray) -> np.ndarray:
    return uniform_filter(fields, (0, BOX, BOX), mode="nearest").max((1, 2))


def ways(learned: list[np.ndarray]) -> Iterator[tuple[str, Callable[[np.ndarray], np.ndarray]]]:
    """(name, speeds (n, h, w) -> what is scored) of each way to tell what is usual."""
    yield "pixels", lambda fields: fields
    by_feet = motion.feet
    for name, feet in (("own row", lambda field: np.indices(field.shape)[0]), ("feet", by_feet)):
        for moving, smooth in ((MOVING, SMOOTH), (0.5, SMOOTH), (MOVING, SMOOTH / 2), (MOVING, 2 * SMOOTH)):
            motion.feet, motion.MOVING, motion.SMOOTH = feet, moving, smooth
            usual = UsualByRow.of_speeds(field for each in learned for field in each)
            yield (
                f"{name}, moving {moving}, smooth {smooth:g}",
                lambda fields, usual=usual: np.stack([usual.relative(field, field) for field in fields]),
            )
    motion.feet, motion.MOVING, motion.SMOOTH = by_feet, MOVING, SMOOTH


def chosen(normal: str, few: bool) -> dict[str, float]:
    """Way -> AUC in percent. few: only the first video is learned from."""
    learning, held_out = split(find_videos(normal))
    learned = [speeds(clip) for clip in learning[: 1 if few else None]]
    usual = [speeds(clip) for clip in held_out]
    rng = np.random.default_rng(0)
    fast = [hastened(fields, rng) for fields in usual]
    found = {}
    for name, way in ways(learned):
        low = np.concatenate([highest(way(fields)) for fields in usual])
        high = np.concatenate([highest(way(fields))[marks] for fields, marks in fast])
        found[name] = 100 * roc_auc_score(np.r_[np.zeros(len(low)), np.ones(len(high))], np.r_[low, high])
    return found


def walker(rng: np.random.Generator, hurry: float = 1.0) -> dict:
    """Stands between rows 70 and 230 of 240: the lower, the taller and the faster in pixels."""
    nearness = rng.uniform()
    height = 16 + 100 * nearness
    width = height * (0.36 if hurry == 1 else 0.6)
    return {
        "feet": 70 + 160 * nearness,
        "height": height,
        "width": width,
        "speed": 0.035 * height * rng.uniform(0.85, 1.15) * hurry * rng.choice([-1, 1]),
        "x": rng.uniform(-width, 360 + width),
        "texture": cv2.resize(rng.integers(0, 255, (6, 4)).astype(np.float32), (32, 64)),
    }


def street(seed: int, frames: int = 180, hurry: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (n, 240, 360, 3), and where one who hurries is seen, bool (n,)."""
    rng, wall = np.random.default_rng(seed), np.random.default_rng(7)
    ground = cv2.resize(wall.integers(70, 150, (30, 45)).astype(np.float32), (360, 240), interpolation=cv2.INTER_CUBIC)
    ground += cv2.GaussianBlur(wall.normal(0, 14, (240, 360)).astype(np.float32), (0, 0), 1.2)
    body = cv2.ellipse(np.zeros((64, 32), np.float32), (16, 32), (15, 31), 0, 0, 360, 1, -1)
    there = [walker(rng) for _ in range(9)]
    odd, begin = None, int(rng.integers(10, frames // 2))
    if hurry:
        odd = walker(rng, hurry)
        odd["x"] = -odd["width"] / 2 if odd["speed"] > 0 else 360 + odd["width"] / 2
    made, marks = [], np.zeros(frames, bool)
    for t in range(frames):
        seen = list(there)
        if odd and t >= begin:
            marks[t] = -odd["width"] / 2 < odd["x"] < 360 + odd["width"] / 2
            seen += [odd] if marks[t] else []
            odd["x"] += odd["speed"]
        picture = ground
        for each in sorted(seen, key=lambda each: each["feet"]):
            left, top = each["x"] - each["width"] / 2, each["feet"] - each["height"]
            place = np.float32([[each["width"] / 32, 0, left], [0, each["height"] / 64, top]])
            inside = cv2.warpAffine(body, place, (360, 240))
            picture = picture * (1 - inside) + cv2.warpAffine(each["texture"], place, (360, 240)) * inside
        for i, each in enumerate(there):
            each["x"] += each["speed"]
            if not -each["width"] < each["x"] < 360 + each["width"]:
                there[i] = walker(rng)
                edge = there[i]["width"] * 0.9
                there[i]["x"] = -edge if there[i]["speed"] > 0 else 360 + edge
        made.append(np.clip(picture + rng.normal(0, 2.5, picture.shape), 0, 255).astype(np.uint8))
    return np.stack(made)[..., None].repeat(3, axis=3), marks


def on_the_street(normal: str) -> dict[str, float]:
    """Micro AUC in percent of ``fast``, of its parts, of speeds in pixels, and of the sum with these in their place."""
    paths = find_videos(normal)
    detector, pixels = CalibratedSum.fit(paths, progress=False), motion.OpticalFlow()
    held_out = [pixels.score(clip.colour_and_grey(), maps=False).frames for clip in split(paths)[1]]
    scales = {name: scale for name, scale in detector.scales.items() if name != "relative_flow"}
    scales[pixels.name] = log_scale(np.concatenate(held_out))
    scores, labels = [], []
    for seed in range(100, 112):
        frames, marks = street(seed, hurry=2.5)
        scored = detector.score(iter(frames), maps=False)
        parts = scored.parts | pixels.score(iter(frames), maps=False).parts
        rows = {"fast": scored.frames, "fast with pixels": calibrated_sum(parts, scales)} | parts
        scores.append({name: gaussian_filter1d(values, SIGMA, mode="reflect") for name, values in rows.items()})
        labels.append(marks)
    truth = np.concatenate(labels)
    return {name: 100 * roc_auc_score(truth, np.concatenate([each[name] for each in scores])) for name in scores[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--normal", nargs="*", default=[], help="folders of normal video")
    parser.add_argument("--street", type=str2bool, default=True, help="fit and evaluate fast on the drawn street")
    parser.add_argument("--out", default="", help="JSON")
    args = parser.parse_args()
    report = {"machine": machine(), "twice as fast": {}}
    with tempfile.TemporaryDirectory() as drawn:
        for seed in range(8 if args.street else 0):
            write_video(f"{drawn}/{seed:02d}.mkv", street(seed)[0], fps=25, crf=0)
        for folder in [*args.normal, *([drawn] if args.street else [])]:
            for few in (False, True):
                where = "the street" if folder == drawn else folder
                name = f"{where}, {'one video' if few else 'all but the held-out'}"
                report["twice as fast"][name] = chosen(folder, few)
                print(name, json.dumps(report["twice as fast"][name], indent=1), flush=True)
        if args.street:
            report["street"] = on_the_street(drawn)
            print("street", json.dumps(report["street"], indent=1))
    if args.out:
        write_report(args.out, report)


if __name__ == "__main__":
    run(main)
