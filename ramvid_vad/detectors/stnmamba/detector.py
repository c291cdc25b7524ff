"""STNMamba (arXiv 2412.20084): the next frame from four, and how far its features are from a memory of normal ones.

The paper adds 0.8 of the PSNR and 0.2 of the distance to memory, each scaled by its smallest and largest value over the
*test* video. Here both are standardised on held-out normal video instead (``log_scale``): the logarithm of the squared
error is the negative PSNR up to a factor and a constant, and no score depends on a frame that comes later.
"""

import os
import shutil
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import torch

from ramvid_vad.detectors.detector import MINUTES, SEED, Detector, Frame, FrameScore, cells, colour
from ramvid_vad.detectors.fusion import LogScale, log_scale, saved_scales, split
from ramvid_vad.detectors.network_training import restore_step, seconds_at_steps
from ramvid_vad.detectors.normal_videos import keep_to
from ramvid_vad.detectors.stnmamba.memory import distances
from ramvid_vad.detectors.stnmamba.network import FRAMES, LADDER, STNMamba
from ramvid_vad.detectors.stnmamba.training import as_input, train_stnmamba
from ramvid_vad.errors import InputError
from ramvid_vad.runtime.progress import counted, progress_bar
from ramvid_vad.spaces.frame_size import reduced
from ramvid_vad.video.cache import FrameCache, resize_frame
from ramvid_vad.video.reader import Clip

SIZE = (256, 256)  # pixels, the text's
WEIGHT = 0.8  # of the prediction, the rest is the memory's: the text's best


class STNMambaDetector(Detector):
    """network: its ``rung`` is of LADDER.  scales: of the squared error, "prediction", and of each memory's distance,
    "memory 1" to "memory 4", the shallowest first; none for the rungs without memory."""

    name, title, needs = "stnmamba", "STNMamba", ("normal video",)

    def __init__(self, network: STNMamba, rung: str, scales: dict[str, LogScale], held_out: Sequence[str]) -> None:
        self.network, self.rung, self.scales = network.eval().requires_grad_(False), rung, scales
        self.held_out, self.card = list(held_out), {}

    @classmethod
    def fit(
        cls,
        normal: Sequence[str],
        progress: bool = True,
        *,
        work: str,
        minutes: float = MINUTES,
        seed: int = SEED,
        rung: str = LADDER[-1],
    ) -> "STNMambaDetector":
        """Train for ``minutes`` and set the scales on normal videos that were held out.

        work: folder of the training, from which an interrupted call goes on; it has the frames too until training ends,
        0.2 MB each.  rung: of LADDER.
        InputError: too little video, a folder begun with other videos, another seed or rung.
        """
        learning, held_out = split(normal, progress)
        keep_to(work, learning, held_out, seed=seed, rung=rung)
        cache = FrameCache(os.path.join(work, "frames"), SIZE)
        videos, checks = (_frames(cache, clips, progress) for clips in (learning, held_out))
        network = train_stnmamba(
            videos, checks, rung, work=os.path.join(work, "network"), minutes=minutes, seed=seed, progress=progress
        )
        found = cls(network, rung, {}, [str(clip) for clip in held_out])
        found._calibrate(held_out, progress)
        shutil.rmtree(cache.cache_dir)
        return found

    @classmethod
    def stored_steps(cls, work: str) -> list[int]:
        return list(seconds_at_steps(os.path.join(work, "network")))

    def at_step(self, work: str, step: int, normal: Sequence[str]) -> "STNMambaDetector":
        network = STNMamba(self.rung)
        restore_step(network, os.path.join(work, "network"), step)
        found = type(self)(network, self.rung, {}, self.held_out)
        found._calibrate(split(normal)[1], progress=False)
        return found

    def _calibrate(self, held_out: Sequence[Clip], progress: bool) -> None:
        about = sum(clip.about_how_many() for clip in held_out)
        usual: dict[str, list[float]] = {}
        with progress_bar("calibrating on normal video", "frame", about or None, shown=progress) as bar:
            for clip in held_out:
                for number, (parts, _) in enumerate(self._parts(counted(clip.frames(), bar.update))):
                    if number >= FRAMES:  # the first frames are predicted from copies
                        for part, value in parts.items():
                            usual.setdefault(part, []).append(value)
        self.scales = {part: log_scale(np.array(values)) for part, values in usual.items()}

    def stream(self, frames: Iterable[Frame], key: int = 0, maps: bool = True) -> Iterator[FrameScore]:
        """Scores; maps hold them with each place's own squared error."""
        for parts, errors in self._parts(colour(frames)):
            where = self._sum(parts | {"prediction": errors}).astype(np.float32) if maps else None
            yield FrameScore(float(self._sum(parts)), parts, where)

    def _sum(self, parts: dict[str, Any]) -> np.ndarray:
        """Equation (18), of scores or of maps; the memories have their weight together."""
        scaled = {part: scale(parts[part]) for part, scale in self.scales.items()}
        predicted = scaled.pop("prediction")
        return WEIGHT * predicted + (1 - WEIGHT) * sum(scaled.values()) / max(1, len(scaled))

    @torch.inference_mode()
    def _parts(self, frames: Iterable[np.ndarray]) -> Iterator[tuple[dict[str, float], np.ndarray]]:
        """Squared error and distances of each frame uint8 (H, W, 3), and the error's map (h, w).

        A frame is predicted from the four before it; where the video has not that many, its first one stands for them.
        """
        past: deque[torch.Tensor] = deque(maxlen=FRAMES)
        size = None
        for frame in frames:
            size = size or reduced(frame).shape[1::-1]
            now = as_input(resize_frame(frame, SIZE))
            if not past:
                past.extend([now] * FRAMES)
            predicted, queries = self.network(torch.stack(tuple(past))[None])
            errors = (predicted[0] - now).square().mean(-1).numpy()
            parts = {"prediction": float(errors.mean(dtype=np.float64))}
            for number, (asked, memory) in enumerate(zip(queries, self.network.memories, strict=True)):
                distance = distances(asked, memory.items)[0].mean(dtype=torch.float64)
                parts[f"memory {self.network.first + number + 1}"] = distance.item()
            yield parts, cells(cv2.resize(errors, size, interpolation=cv2.INTER_LINEAR))
            past.append(now)

    def about(self) -> dict[str, Any]:
        scales = {part: scale._asdict() for part, scale in self.scales.items()}
        return {"held_out": self.held_out, "log_scales": scales, "rung": self.rung}

    def settings(self) -> dict[str, Any]:
        return self.about()

    def tensors(self) -> dict[str, torch.Tensor]:
        return dict(self.network.state_dict())

    @classmethod
    def restore(cls, settings: dict[str, Any], tensors: dict[str, torch.Tensor]) -> "STNMambaDetector":
        rung, saved = str(settings["rung"]), saved_scales(settings["log_scales"])
        network = STNMamba(rung)
        names = ["prediction"]
        names += [f"memory {network.first + number + 1}" for number in range(len(network.memories))]
        if set(saved) != set(names):
            raise ValueError(f"scales of {sorted(saved)}")
        try:
            network.load_state_dict(tensors)
        except RuntimeError as error:
            raise ValueError(str(error)) from None
        return cls(network, rung, {name: saved[name] for name in names}, [str(name) for name in settings["held_out"]])


def _frames(cache: FrameCache, clips: Sequence[Clip], progress: bool) -> list[np.ndarray]:
    """uint8 (n, *SIZE, 3), memory-mapped, of each clip that has more than FRAMES frames. InputError: none has."""
    found = []
    with progress_bar("reading normal video", "video", len(clips), shown=progress) as bar:
        for clip in clips:
            frames = cache.frames(clip.path)[clip.first : clip.end]
            if len(frames) > FRAMES:
                found.append(frames)
            bar.update()
    if not found:
        raise InputError(f"no normal video, or none held out, has more than {FRAMES} frames in a row: give longer ones")
    return found
