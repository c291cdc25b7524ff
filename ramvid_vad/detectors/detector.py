"""What knows normal video and says how far a new one is from it. It needs no labels, and one folder holds it.

A folder has ``detector.json`` (which detector, its settings, the card: what it was fitted on and when) and
``detector.safetensors`` (what it learned). The JSON is written last: without it there is no detector.
"""

import json
import os
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import cv2
import numpy as np
import torch
from safetensors import SafetensorError

from ramvid_vad.errors import InputError
from ramvid_vad.runtime.beside import always
from ramvid_vad.runtime.saved_pair import save_pair, tensors_of_pair
from ramvid_vad.video.benchmarks.scenes import scene_of
from ramvid_vad.video.decoding.frame_rate import frame_rate
from ramvid_vad.video.reader import Clip, read_colour_and_grey, read_frames

FORMAT = 3  # of the folder: one that older versions cannot read raises it
OLDEST = 2  # that is read: 3 may have usual residuals, which older versions cannot read
SCENES_FILE = "scenes.json"  # in a folder that has a folder with a detector for each scene
CELL = 8  # pixels of the reduced frame, side of one cell of a map
MINUTES = 45.0  # of training, if ``fit`` is not told otherwise
SEED = 123


@dataclass(frozen=True)
class Scores:
    """How unusual each frame of one video is.

    frames: (n,) float64, higher = more unusual.  maps: (n, h, w) float32, where in the frame, in cells of CELL pixels
    of the frame reduced to 240 lines; None where they were not asked for.  parts: name -> (n,), what ``frames`` was
    made from.  fps: frames per second as the file says; 0: not known.
    """

    frames: np.ndarray
    maps: np.ndarray | None = None
    parts: dict[str, np.ndarray] = field(default_factory=dict)
    fps: float = 0.0


class FrameScore(NamedTuple):
    """How unusual one frame is: as an entry of :class:`Scores`. map: float32 (h, w), None where not asked for."""

    score: float
    parts: dict[str, float]
    map: np.ndarray | None


Frame = np.ndarray | tuple[np.ndarray, np.ndarray]
"""uint8 (H, W, 3), (H, W, 1) or (H, W); or colour (H, W, 3) and luma (H, W, 1), where a file has its own."""


class Detector(ABC):
    """One way to know normal video.

    name: in files, tables and --nulls.  title: in tables.  needs: what it must be given besides the video.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    card: dict[str, Any]

    @classmethod
    @abstractmethod
    def fit(
        cls,
        normal: Sequence[str],
        progress: bool = True,
        *,
        work: str = "",
        minutes: float = MINUTES,
        seed: int = SEED,
    ) -> "Detector":
        """From normal videos (paths), a pure function of them and, where something is trained, of seed and time.

        work: folder for what training keeps, from which an interrupted call goes on; it may not be there yet.
        minutes: of training.  seed: of it.  What is not trained looks at none of the three.
        InputError: too little video.  KeyboardInterrupt: a signal ended the training, after a checkpoint.
        """

    @classmethod
    def stored_steps(cls, work: str) -> list[int]:
        """Steps of the checkpoints that training left in ``work``, ascending; []: none that :meth:`at_step` knows."""
        return []

    def at_step(self, work: str, step: int, normal: Sequence[str]) -> "Detector":
        """This detector as it was at one of :meth:`stored_steps`, calibrated as ``fit`` does on the same videos."""
        raise NotImplementedError(f"{self.name} stores no steps")

    def stream(self, frames: Iterable[Frame], key: int = 0, maps: bool = True) -> Iterator[FrameScore]:
        """The score of each frame of one video, in order and as soon as it can be known; constant memory.

        key: of the video, for noise that depends on it.  maps: make them.  A detector without it has a ``score`` of its
        own and raises no alarms.
        """
        raise NotImplementedError(f"{self.name} scores whole videos alone")

    def stream_ahead(
        self, frames: Iterable[Frame], key: int = 0, maps: bool = True, ready: Callable[[], bool] = always
    ) -> Iterator[FrameScore]:
        """The same scores as ``stream``, where several frames may be worked on at once. ready: whether the next frame
        can be had without waiting for it; where not, scores are given first."""
        return self.stream(frames, key, maps)

    def cross_fitted(self, frames: int) -> list[tuple["Detector", Clip]]:
        """Parts of the normal video that ``fit`` learned from, about ``frames`` in all, each with a detector as this
        one would be had it not learned from that part; []: that would take long, or it is not known any more."""
        return []

    @classmethod
    def streams(cls) -> bool:
        """Whether it has ``stream``."""
        return cls.stream is not Detector.stream

    def score(
        self,
        video: str | Iterable[Frame],
        maps: bool = True,
        tick: Callable[[int], Any] = lambda frames: None,
    ) -> Scores:
        """Scores of a video file, a folder of frames, or frames in order; memory, but for the scores and maps, does
        not depend on its length. tick: called with the number of frames just scored."""
        return gathered(self.stream_ahead(colour_and_grey(video), key_of(video), maps), maps, frame_rate(video), tick)

    def looks(self, frame: np.ndarray) -> torch.Tensor | None:
        """What each cell of a frame uint8 (H, W, 3) looks like to a frozen network, float32 (h, w, D), in units of
        normal video's own deviation; None: it has no such network."""
        return None

    def about(self) -> dict[str, Any]:
        """What it knows of normal video, for a result's provenance; {}: nothing."""
        return {}

    def settings(self) -> dict[str, Any]:
        """What the detector is besides its tensors, fit for JSON."""
        return {}

    def tensors(self) -> dict[str, torch.Tensor]:
        """What it learned."""
        return {}

    @classmethod
    def restore(cls, settings: dict[str, Any], tensors: dict[str, torch.Tensor]) -> "Detector":
        """The detector of these; KeyError, TypeError or ValueError where they are not of one."""
        return cls()

    def save(self, folder: str) -> None:
        """Into a folder, made where it is missing; each file is whole or absent. InputError: it cannot be written."""
        about = {"format": FORMAT, "detector": self.name, "settings": self.settings(), "card": self.card}
        save_pair(folder, "detector", about, self.tensors())


def load(folder: str, known: Mapping[str, type[Detector]]) -> Detector:
    """The detector that :meth:`Detector.save` wrote. InputError: no such folder, damaged, or of a newer version."""
    path = os.path.join(folder, "detector.json")
    try:
        with open(path, encoding="utf-8") as file:
            about = json.load(file)
        if not OLDEST <= about["format"] <= FORMAT:
            other, remedy = ("a newer", "update") if about["format"] > FORMAT else ("an older", "fit it again")
            raise InputError(f"{path}: written by {other} version of ramvid_vad (format {about['format']}): {remedy}")
        tensors = tensors_of_pair(folder, "detector", about)
        for name, value in tensors.items():
            if value.is_floating_point() and not value.isfinite().all():
                raise ValueError(f"{name} is not finite")
        detector = known[about["detector"]].restore(about["settings"], tensors)
        detector.card = dict(about["card"])
    except OSError as error:
        if os.path.exists(os.path.join(folder, SCENES_FILE)):
            raise InputError(
                f"{folder}: has a detector for each scene: give the folder of one, {folder}/SCENE"
            ) from None
        raise InputError(f"{folder}: no fitted detector there ({error}): give the --out folder of a fit") from None
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, SafetensorError) as error:
        raise InputError(f"{folder}: not a whole detector ({error!r}): fit it again") from None
    return detector


def folder_for(folder: str, name: str) -> str:
    """Where the detector lies that scores the video of this name: ``folder``, or the video's scene's in it, if it has
    a detector for each. InputError: the name tells no scene, or one that was never fitted; damaged."""
    path = os.path.join(folder, SCENES_FILE)
    if not os.path.exists(path):
        return folder
    try:
        with open(path, encoding="utf-8") as file:
            about = json.load(file)
        benchmark, scenes = str(about["benchmark"]), [str(scene) for scene in about["scenes"]]
    except (OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: damaged ({error!r}): fit it again") from None
    scene = scene_of(benchmark, name)
    if scene is None:
        raise InputError(
            f"{name}: no name of {benchmark}, which would tell the scene; {folder} has one detector for each"
        )
    if scene not in scenes:
        raise InputError(
            f"{name}: scene {scene}, but {folder} was fitted on scenes {', '.join(scenes)}: fit it with normal video "
            "of that scene too, or leave the video out"
        )
    return os.path.join(folder, scene)


def under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Those whose names begin so, without it."""
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}


def gathered(
    scored: Iterable[FrameScore], maps: bool, fps: float, tick: Callable[[int], Any] = lambda frames: None
) -> Scores:
    """Scores of a video from those of its frames."""
    frames, where, parts = [], [], {}
    for each in scored:
        frames.append(each.score)
        for name, value in each.parts.items():
            parts.setdefault(name, []).append(value)
        if maps:
            where.append(each.map)
        tick(1)
    parts = {name: np.array(values, np.float64) for name, values in parts.items()}
    return Scores(np.array(frames, np.float64), np.array(where) if maps else None, parts, fps)


def key_of(video: str | Iterable[Frame]) -> int:
    """Of a video, for its noise: its name, wherever it lies; 0 for frames in memory."""
    return zlib.crc32(os.fsencode(os.path.basename(video.rstrip("/")))) if isinstance(video, str) else 0


def colour(video: str | Iterable[Frame]) -> Iterator[np.ndarray]:
    """Each frame, uint8 (H, W, 3)."""
    return read_frames(video) if isinstance(video, str) else (rgb for rgb, _ in colour_and_grey(video))


def colour_and_grey(video: str | Iterable[Frame]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each frame as uint8 (H, W, 3) and its luma (H, W, 1): a file's own, else that of ITU-R BT.601."""
    if isinstance(video, str):
        yield from read_colour_and_grey(video)
        return
    size = None
    for number, frame in enumerate(video):
        if isinstance(frame, tuple):
            yield frame
            continue
        frame = np.asarray(frame)
        frame = frame[..., None] if frame.ndim == 2 else frame
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] not in (1, 3) or 0 in frame.shape:
            raise InputError(
                f"frame {number} is {frame.dtype} {frame.shape}: give uint8 (H, W, 3), (H, W, 1) or (H, W)"
            )
        size = size or frame.shape
        if frame.shape != size:
            raise InputError(f"frame {number} is {frame.shape}, the first one {size}: all must have one size")
        if frame.shape[2] == 1:
            yield np.repeat(frame, 3, axis=2), frame
        else:
            yield frame, cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)[..., None]


def cells(field: np.ndarray) -> np.ndarray:
    """A field over pixels, float32 (H, W) -> its mean in each cell, (h, w), the last cells cut off by the border."""
    height, width = field.shape
    size = (-(-width // CELL), -(-height // CELL))
    padded = cv2.copyMakeBorder(
        field, 0, size[1] * CELL - height, 0, size[0] * CELL - width, borderType=cv2.BORDER_REPLICATE
    )
    return cv2.resize(padded, size, interpolation=cv2.INTER_AREA)
