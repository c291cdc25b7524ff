"""A small finished run: videos as folders of pictures, reconstructions with known residuals, labels."""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from ramvid_vad.evaluation.from_reconstructions import evaluate_reconstructions
from ramvid_vad.options import EvalOptions
from ramvid_vad.video.cache import FrameCache
from ramvid_vad.video.windows import covering_starts, masked_rows, times_masked

SIZE = (24, 32)
ANCHORS = np.isin(np.arange(12), [0, 1, 10, 11])
LENGTHS = {"01": 30, "02": 17, "scene/03": 9}


def error(frame: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Grey levels by which the reconstruction of a frame in a window is off, in all pixels."""
    return 3 + (5 * frame + 7 * window) % 40


@dataclass
class Run:
    root: Path
    frames: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    options: EvalOptions

    def evaluate(self, **changes):
        return evaluate_reconstructions(replace(self.options, **changes), str(self.root / "cache"), progress=False)

    def normal_copies(self) -> dict[str, str]:
        """Options of normal video: copies of the test videos and of their reconstructions."""
        places = {"normal_dir": "videos", "normal_reconstructions": "reconstructions"}
        for of in places.values():
            shutil.copytree(self.root / of, self.root / "normal" / of, dirs_exist_ok=True)
        for name in self.frames:  # decoded in this process, as those of the test videos
            FrameCache(str(self.root / "cache"), SIZE).frames(str(self.root / "normal" / "videos" / name))
        return {flag: str(self.root / "normal" / of) for flag, of in places.items()}

    def file(self, name: str) -> Path:
        return self.root / "reconstructions" / f"{name}.npz"

    def rewrite(self, name: str, **changes) -> None:
        """Change arrays of one reconstruction file; settings may be a dict of changes."""
        with np.load(self.file(name)) as file:
            arrays = dict(file)
        if "settings" in changes:
            changes["settings"] = np.array(json.dumps(json.loads(str(arrays["settings"])) | changes["settings"]))
        np.savez(self.file(name), **(arrays | changes))


def make_run(tmp_path: Path) -> Run:
    """Write it below ``tmp_path``."""
    rng = np.random.default_rng(0)
    frames, labels = {}, {}
    cache = FrameCache(str(tmp_path / "cache"), SIZE)
    for name, n in LENGTHS.items():
        frames[name] = rng.integers(0, 200, (n, *SIZE, 3), dtype=np.uint8)
        labels[name] = ((np.arange(n) // 5) % 2).astype(np.uint8)
        video = tmp_path / "videos" / name
        video.mkdir(parents=True)
        for i, frame in enumerate(frames[name]):
            Image.fromarray(frame).save(video / f"{i:03d}.png")
        cache.frames(str(video))  # in this process: the command's decoding processes take seconds to start
        starts = covering_starts(n, 12, 6, ANCHORS)
        window, index, frame = masked_rows(n, starts, ANCHORS)
        made = frames[name][frame] + error(frame, window).astype(np.uint8)[:, None, None, None]
        path = tmp_path / "reconstructions" / f"{name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        settings = {"image_size": list(SIZE), "rgb": True, "keep_aspect": False, "seq_len": 12, "stride": 6}
        settings |= {"sampler": "ancestral", "timestep_respacing": "20", "seed": 0, "model": "toy", "video": name}
        np.savez(
            path,
            reconstructions=made,
            frame=frame.astype(np.int32),
            window=window.astype(np.int32),
            index=index.astype(np.int32),
            starts=np.array(starts, np.int32),
            anchors=ANCHORS,
            times_masked=times_masked(n, starts, ANCHORS).astype(np.int32),
            num_frames=np.array(n),
            settings=np.array(json.dumps(settings)),
        )
        label_file = tmp_path / "labels" / f"{name}.npy"
        label_file.parent.mkdir(parents=True, exist_ok=True)
        np.save(label_file, labels[name])
    options = EvalOptions(
        reconstructions=str(tmp_path / "reconstructions"),
        data_dir=str(tmp_path / "videos"),
        labels=str(tmp_path / "labels"),
        measures="mse,wmse",
        noise_seeds=3,
        sigma=2.0,
    )
    return Run(tmp_path, frames, labels, options)
