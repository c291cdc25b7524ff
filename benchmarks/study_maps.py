"""What the study's scripts share: a trained run, its residual maps of held-out normal and of test video, and the
figures of scores made from them. Labels are read for these figures alone."""

import argparse
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from ramvid_vad.detectors.free_parts import BOXES
from ramvid_vad.detectors.fusion import HELD_OUT
from ramvid_vad.detectors.infilling import Infilling
from ramvid_vad.detectors.residual_maps import Part
from ramvid_vad.errors import InputError
from ramvid_vad.evaluation.statistics.bootstrap import intervals
from ramvid_vad.evaluation.statistics.metrics import frame_metrics
from ramvid_vad.evaluation.statistics.protocols import choose
from ramvid_vad.runtime.progress import progress_bar
from ramvid_vad.spaces.cache import EncodedVideos
from ramvid_vad.video.reader import find_videos, video_name
from ramvid_vad.video.truth.labels import read_labels

Made = TypeVar("Made")


def flags(about: str, out: str) -> argparse.ArgumentParser:
    """Those that every script of the study has. out: where its report goes."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True, help="folder of a training run, or one of its checkpoints")
    parser.add_argument("--normal", required=True, help="folder of the normal videos; the last two were held out")
    parser.add_argument("--data_dir", required=True, help="folder of the test videos")
    parser.add_argument("--labels", required=True)
    parser.add_argument("--sigma", type=float, default=3.0, help="frames, of the smoothing over time")
    parser.add_argument("--cache_dir", default="runs/study_cache")
    parser.add_argument("--backbone_weights", default="", help="of a network of timm's, the file it was trained with")
    parser.add_argument("--out", default=out)
    return parser


class Study:
    """A run and the videos it is studied on. parts, mode, draws, join: as ``Infilling.from_run`` has them.  free: of
    ``free_parts.FREE``, read off the maps beside them; with any of them each part is there relative to the usual, too.
    """

    def __init__(
        self,
        options: argparse.Namespace,
        parts: Sequence[Part],
        mode: str = "flash",
        draws: int = 1,
        join: str = "mean",
        free: Sequence[str] = tuple(BOXES),
    ) -> None:
        normal = find_videos(options.normal)
        if len(normal) <= HELD_OUT:
            raise InputError(f"--normal {options.normal}: {len(normal)} videos: give at least {HELD_OUT + 1}")
        self.held_out, self.test = normal[-HELD_OUT:], find_videos(options.data_dir)
        self.names = [video_name(path, options.data_dir) for path in self.test]
        given = {"mode": mode, "draws": draws, "join": join, "backbone_weights": options.backbone_weights}
        self.model = Infilling.from_run(options.run, [], parts=parts, **given)
        self.maps = EncodedVideos(options.cache_dir, self.model.space)
        self.learned = normal[:-HELD_OUT]
        self.model.free = list(free)
        if free:
            self.model.relative = [part.name for part in parts]
            self.model.compare_with([self.maps.frames(path) for path in self.learned], progress=True)
        self.smoothed, self.labels_at = choose("default", options.sigma, False), options.labels
        self.labels: list[np.ndarray] = []

    def residuals(self, path: str) -> dict[str, np.ndarray]:
        """Residual maps (n, h, w) of one video, by part."""
        return self.residuals_of(self.maps.frames(path), path)

    def residuals_of(self, maps: np.ndarray, path: str) -> dict[str, np.ndarray]:
        """The same of other maps of this video, with its noise."""
        return self.model.residuals(maps, zlib.crc32(Path(path).name.encode()))

    def of_videos(self, of: Callable[[dict[str, np.ndarray]], Made]) -> tuple[list[Made], list[Made]]:
        """``of`` (part -> residual maps (n, h, w) of one video) for each held-out normal and each test video."""

        def made(path: str) -> Made:
            found = of(self.residuals(path))
            bar.update()
            return found

        with progress_bar("scoring", "video", len(self.held_out) + len(self.test)) as bar:
            return [made(path) for path in self.held_out], [made(path) for path in self.test]

    def row(self, title: str, scores: Sequence[np.ndarray]) -> dict[str, object]:
        """Micro and macro AUC in percent of frame scores (n,) of each test video, smoothed, and the 95 % interval."""
        if not self.labels:
            found = read_labels(self.labels_at, self.names, [len(each) for each in scores])
            self.labels = [np.asarray(y) for y in found.values]
        made = [self.smoothed(each) for each in scores]
        low, high = intervals(made, self.labels, 1000, 0).get("micro_auc", (np.nan, np.nan))  # too few videos
        metrics = frame_metrics(made, self.labels, self.names)
        micro, macro = 100 * metrics["micro_auc"], 100 * metrics["macro_auc"]
        return {"row": title, "micro AUC": micro, "from": 100 * low, "to": 100 * high, "macro AUC": macro}
