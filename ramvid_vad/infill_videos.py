"""A model and whole videos -> a folder of reconstructions, window by window.

Windows of all videos stand in one list, cut into batches; rank r of W computes every W-th batch. Each window is
written as soon as it is done, each video when its last window is, so a killed run goes on where it was, with any
number of ranks. Memory and, but for the network, time per frame do not depend on how long a video is.
"""

import json
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from ramvid_vad.diffusion.gaussian import GaussianDiffusion
from ramvid_vad.diffusion.samplers import Callback
from ramvid_vad.errors import InputError
from ramvid_vad.inference import infill
from ramvid_vad.models.unet import UNet
from ramvid_vad.options import RunOptions, SampleOptions, parse_image_size
from ramvid_vad.reconstructions import (
    load_reconstruction,
    write_reconstruction,
)
from ramvid_vad.runtime.files import write_text
from ramvid_vad.runtime.progress import progress_bar
from ramvid_vad.video.cache import FrameCache
from ramvid_vad.video.datasets import to_float, to_uint8
from ramvid_vad.video.rows import on_disk
from ramvid_vad.video.windows import covering_starts, in_video, mirrored, window_anchors
from ramvid_vad.window_files import part_file, read_part, remove_leftovers, write_part


@dataclass(frozen=True)
class Window:
    """One window of one video: its place in the video's list of windows and the frame at its position 0."""

    video: int
    number: int
    start: int


class FolderInfilling:
    """Windowed infilling of whole videos into a folder of one file per video (see ``ramvid_vad.reconstructions``).

    Batches are numbered; each is a few windows of one list of the windows of all videos.
    settings: what made the result; a folder that holds another result is refused.
    """

    def __init__(
        self,
        out_dir: str,
        names: Sequence[str],
        paths: Sequence[str],
        cache: FrameCache,
        anchors: torch.Tensor,
        sampling: SampleOptions,
        settings: dict[str, Any],
    ):
        self.out_dir, self.names, self.paths, self.cache = out_dir, names, paths, cache
        self.anchors, self.sampling, self.settings = anchors.numpy(), sampling, settings
        self.num_frames = [len(cache.frames(path)) for path in paths]
        entries = [os.path.basename(cache.entry(path)) for path in paths]  # each names one content of one file
        self.claim = settings | {"videos": dict(zip(names, entries, strict=True))}
        self.starts = [
            np.array(covering_starts(n, len(anchors), sampling.stride, self.anchors, extra=sampling.extra_windows))
            for n in self.num_frames
        ]
        self._ends = np.cumsum([len(starts) for starts in self.starts])  # of each video in the list of all windows
        self.num_batches = -(-int(self._ends[-1]) // sampling.batch_size)
        claim_folder(out_dir, self.claim, "reconstructions")

    def pending(self) -> list[int]:
        """Numbers of the batches that are still missing."""
        finished = [self._finished(video) for video in range(len(self.names))]

        def done(window: Window) -> bool:
            return finished[window.video] or os.path.exists(self._part_file(window))

        return [number for number in range(self.num_batches) if not all(map(done, self._batch(number)))]

    def run(
        self,
        model: UNet,
        diffusion: GaussianDiffusion,
        device: torch.device,
        precision: str,
        batches: Sequence[int] | None = None,
        progress: bool = True,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Compute some of the missing batches, by number (None: all of them), until ``stop`` says so before one."""
        todo = self.pending() if batches is None else batches
        left = Counter(window.video for number in todo for window in self._batch(number))
        calls = len(todo) * diffusion.num_timesteps * self.sampling.resample_steps
        model.eval()
        with progress_bar("infilling", "call", calls, shown=progress) as bar:

            def tick(*_: object) -> None:
                bar.update(self.sampling.resample_steps)

            for number in todo:
                if stop():
                    break
                batch = self._batch(number)
                self._compute(batch, model, diffusion, device, precision, tick)
                left.subtract(window.video for window in batch)
                for video in {window.video for window in batch}:
                    if not left[video]:
                        self._assemble(video)
        for video in range(len(self.names)):  # windows that another rank, or another run, had finished meanwhile
            self._assemble(video)

    def missing(self) -> list[str]:
        """Names of the videos that are not finished yet."""
        return [name for video, name in enumerate(self.names) if not self._finished(video)]

    def finish(self) -> None:
        """Remove the windows of finished videos, and what killed runs left of files that they were writing."""
        remove_leftovers(self.out_dir, self.names)

    def _batch(self, number: int) -> list[Window]:
        size = self.sampling.batch_size
        every = np.arange(number * size, min((number + 1) * size, self._ends[-1]))
        videos = np.searchsorted(self._ends, every, side="right")
        inside = every - self._ends[videos] + [len(self.starts[video]) for video in videos]
        return [Window(v, i, int(self.starts[v][i])) for v, i in zip(videos.tolist(), inside.tolist(), strict=True)]

    def _compute(
        self,
        batch: list[Window],
        model: UNet,
        diffusion: GaussianDiffusion,
        device: torch.device,
        precision: str,
        callback: Callback,
    ) -> None:
        length = len(self.anchors)
        clips, given = [], []
        for window in batch:
            n = self.num_frames[window.video]
            frames = on_disk(self.cache.frames(self.paths[window.video]))
            clips.append(frames[mirrored(np.arange(window.start, window.start + length), n)])
            given.append(window_anchors(window.start, self.anchors, n))
        clean = to_float(np.stack(clips)).to(device)
        places = [(zlib.crc32(self.names[w.video].encode()), w.start) for w in batch]
        anchors = torch.from_numpy(np.stack(given))
        result = infill(model, diffusion, clean, anchors, places, self.sampling, precision=precision, callback=callback)
        generated = to_uint8(result).cpu().numpy()  # (B,T,H,W,C)
        for window, frames in zip(batch, generated, strict=True):
            write_part(self._part_file(window), frames[self._scored(window)])

    def _scored(self, window: Window) -> np.ndarray:
        """Which positions of a window go into the result, bool (T,)."""
        return ~self.anchors & in_video(window.start, len(self.anchors), self.num_frames[window.video])

    def _assemble(self, video: int) -> None:
        """Join a video's windows once all are there. Two ranks may both do it: the result is the same."""

        def windows() -> Iterator[Window]:
            return (Window(video, number, int(start)) for number, start in enumerate(self.starts[video]))

        if self._finished(video) or not all(os.path.exists(self._part_file(window)) for window in windows()):
            return
        write_reconstruction(
            self._video_file(video),
            (read_part(self._part_file(window), int(self._scored(window).sum())) for window in windows()),
            self.starts[video],
            self.anchors,
            self.num_frames[video],
            self.settings | {"video": self.names[video]},
        )

    def _finished(self, video: int) -> bool:
        """Whether the video's file is there and opens."""
        try:
            load_reconstruction(self._video_file(video), frames=False)
        except InputError:
            return False
        return True

    def _video_file(self, video: int) -> str:
        return os.path.join(self.out_dir, self.names[video] + ".npz")

    def _part_file(self, window: Window) -> str:
        return part_file(self.out_dir, self.names[window.video], window.number)


def claim_folder(out_dir: str, claim: dict[str, Any], what: str) -> None:
    """Write settings.json, or check that the folder's own one asks for the same result. what: in it, for the message.

    InputError: it does not, is damaged, or cannot be written.
    """
    path = os.path.join(out_dir, "settings.json")
    try:
        os.makedirs(out_dir, exist_ok=True)
        if os.path.exists(path):
            found = read_settings(path)
            names = found.keys() | claim.keys()
            different = sorted(name for name in names if found.get(name) != claim.get(name))
            if different:
                raise InputError(
                    f"--out_dir {out_dir}: holds {what} made with another {', '.join(different)}: give another folder "
                    "or remove it"
                )
        else:
            write_text(path, json.dumps(claim, indent=2, sort_keys=True))
    except OSError as error:
        raise InputError(f"--out_dir {out_dir}: cannot be written ({error.strerror})") from None


def read_settings(path: str) -> dict[str, Any]:
    """The settings.json of a folder. InputError: damaged."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        if not isinstance(found, dict):
            raise ValueError(f"a {type(found).__name__} in place of a table")
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: damaged ({str(error)[:120]}); remove it, or give another --out_dir") from None
    return found


def sampling_settings(
    run: RunOptions, weights: dict[str, str], anchors: torch.Tensor, precision: str
) -> dict[str, Any]:
    """What makes reconstructions what they are, for their files. weights: name and checksum of the checkpoint."""
    kept = ("sampler", "eta", "clip_denoised", "resample_steps", "stride", "extra_windows", "seed")
    return {
        "image_size": list(parse_image_size(run.model.image_size)),
        "rgb": run.model.rgb,
        "keep_aspect": run.video.keep_aspect,
        "seq_len": run.video.seq_len,
        "anchors": torch.nonzero(anchors).flatten().tolist(),
        "timestep_respacing": run.diffusion.timestep_respacing,
        "padding": "mirror",
        "precision": precision,
        "model_options": asdict(run.model),
        "diffusion_options": asdict(run.diffusion),
        **{name: getattr(run.sample, name) for name in kept},
        **weights,
    }
