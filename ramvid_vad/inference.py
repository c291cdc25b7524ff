"""A model and videos -> reconstructions, window by window.

Windows of all videos stand in one list, cut into batches; rank r of W computes every W-th batch. Each window is
written as soon as it is done, each video when its last window is, so a killed run goes on where it was, with any
number of ranks.
"""

import glob
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ramvid_vad.diffusion.gaussian import GaussianDiffusion, Model
from ramvid_vad.diffusion.samplers import SAMPLERS, Callback
from ramvid_vad.errors import InputError
from ramvid_vad.models.precision import network_autocast
from ramvid_vad.models.unet import UNet
from ramvid_vad.options import SampleOptions
from ramvid_vad.runtime.atomic import write_atomically
from ramvid_vad.runtime.progress import progress_bar
from ramvid_vad.runtime.randomness import normal, stream
from ramvid_vad.video.cache import FrameCache
from ramvid_vad.video.datasets import read_window, to_float, to_uint8
from ramvid_vad.video.windows import covering_starts, masked_rows, times_masked


@dataclass(frozen=True)
class Window:
    """One window of one video: its place in the video's list of windows and the frame at its position 0."""

    video: int
    number: int
    start: int


def infill(
    model: UNet,
    diffusion: GaussianDiffusion,
    clean: torch.Tensor,
    anchors: torch.Tensor,
    places: Sequence[tuple[int, int]],
    sampling: SampleOptions,
    *,
    precision: str = "fp32",
    y: torch.Tensor | None = None,
    callback: Callback | None = None,
) -> torch.Tensor:
    """Generate the masked frames of windows: (B,C,T,H,W) in [-1, 1] -> the same with masked frames generated.

    clean is read at the anchors only.  anchors: bool (T,), True = given.  places: per window (key of its video, index
    of its first frame): the noise of a frame is a pure function of (seed, video, frame, draw), whatever the batch or
    rank.
    """
    length = clean.shape[2]
    shape = (clean.shape[1], *clean.shape[3:])

    def noise(draw: int) -> torch.Tensor:
        def of_frame(key: int, frame: int) -> torch.Tensor:
            return normal(shape, sampling.seed, "sample", key, frame, draw)

        windows = [torch.stack([of_frame(key, first + t) for t in range(length)], dim=1) for key, first in places]
        return torch.stack(windows).to(clean.device)

    if isinstance(model, UNet) and y is None:
        model = _with_timesteps_of(diffusion, model, precision, clean.device)

    def network(*inputs: torch.Tensor, **keywords: torch.Tensor | None) -> torch.Tensor:
        with network_autocast(precision, clean.device):
            return model(*inputs, **keywords)

    return SAMPLERS["ddim" if sampling.use_ddim else sampling.sampler](
        diffusion,
        network,
        clean,
        anchors.to(clean.device).expand(len(clean), -1),
        noise,
        clip_denoised=sampling.clip_denoised,
        resample_steps=sampling.resample_steps,
        eta=sampling.eta,
        y=y,
        callback=callback,
    )


@torch.no_grad()
def _with_timesteps_of(diffusion: GaussianDiffusion, model: UNet, precision: str, device: torch.device) -> Model:
    """The network with its modulations of all timesteps computed at once: no call embeds its own again."""
    known = diffusion.network_timesteps(torch.arange(diffusion.num_timesteps, device=device))  # ascending
    with network_autocast(precision, device):
        tables = model.modulations(known)

    def network(x: torch.Tensor, timesteps: torch.Tensor, **keywords: torch.Tensor | None) -> torch.Tensor:
        rows = torch.searchsorted(known, timesteps)
        return model(x, timesteps, **keywords, modulations=[table[rows] for table in tables])

    return network


class Reconstruction:
    """Windowed infilling of whole videos into a folder of one ``NAME.npz`` per video.

    An npz holds ``reconstructions`` uint8 (R,H,W,C) and, per row, ``frame`` (its true index), ``window`` and ``index``
    (which window, which position in it); ``starts`` (W,), ``anchors`` bool (T,), ``times_masked`` (n,), ``num_frames``
    and ``settings`` (JSON).  settings: what made the result; a folder that holds another result is refused.
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
        self.anchors, self.sampling, self.settings = anchors, sampling, settings
        self.num_frames = [len(cache.frames(path)) for path in paths]
        entries = [os.path.basename(cache.entry(path)) for path in paths]  # each names one content of one file
        self.claim = settings | {"videos": dict(zip(names, entries, strict=True))}
        self.starts = [
            covering_starts(n, len(anchors), sampling.stride, anchors.numpy(), extra=sampling.extra_windows)
            for n in self.num_frames
        ]
        windows = [
            Window(video, number, start)
            for video, starts in enumerate(self.starts)
            for number, start in enumerate(starts)
        ]
        size = sampling.batch_size
        self.batches = [windows[i : i + size] for i in range(0, len(windows), size)]
        self._claim_folder()

    def pending(self) -> list[int]:
        """Numbers of the batches that are still missing."""
        return [number for number, batch in enumerate(self.batches) if not all(self._done(w) for w in batch)]

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
        calls = len(todo) * diffusion.num_timesteps * self.sampling.resample_steps
        model.eval()
        with progress_bar("infilling", "call", calls, shown=progress) as bar:

            def tick(*_: object) -> None:
                bar.update(self.sampling.resample_steps)

            for number in todo:
                if stop():
                    break
                self._compute(self.batches[number], model, diffusion, device, precision, tick)
        for video in range(len(self.names)):  # windows that another run had finished, just before it ended
            self._assemble(video)

    def missing(self) -> list[str]:
        """Names of the videos that are not finished yet."""
        return [name for video, name in enumerate(self.names) if not os.path.exists(self._video_file(video))]

    def finish(self) -> None:
        """Remove the parts of finished videos, and what killed runs left of files that they were writing."""
        shutil.rmtree(os.path.join(self.out_dir, "parts"), ignore_errors=True)
        for path in [os.path.join(self.out_dir, "settings.json"), *map(self._video_file, range(len(self.names)))]:
            for left in glob.glob(f"{glob.escape(path)}.*.tmp"):
                with suppress(OSError):
                    os.remove(left)

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
        clips = [read_window(self.cache.frames(self.paths[w.video]), w.start, length) for w in batch]
        clean = to_float(np.stack(clips)).to(device)
        places = [(zlib.crc32(self.names[w.video].encode()), w.start) for w in batch]
        result = infill(
            model, diffusion, clean, self.anchors, places, self.sampling, precision=precision, callback=callback
        )
        generated = to_uint8(result).cpu().numpy()  # (B,T,H,W,C)
        for window, frames in zip(batch, generated, strict=True):
            _, scored, _ = masked_rows(self.num_frames[window.video], [window.start], self.anchors.numpy())
            _write_npz(self._part_file(window), frames=frames[scored])
        for video in {window.video for window in batch}:
            self._assemble(video)

    def _assemble(self, video: int) -> None:
        """Join a video's windows once all are there. Two ranks may both do it: the result is the same."""
        starts, given = self.starts[video], self.anchors.numpy()
        windows = [Window(video, number, start) for number, start in enumerate(starts)]
        if os.path.exists(self._video_file(video)) or not all(self._done(window) for window in windows):
            return
        parts = []
        for window in windows:
            with np.load(self._part_file(window), allow_pickle=False) as part:
                parts.append(part["frames"])
        number, position, frame = masked_rows(self.num_frames[video], starts, given)
        _write_npz(
            self._video_file(video),
            reconstructions=np.concatenate(parts),
            frame=frame.astype(np.int32),
            window=number.astype(np.int32),
            index=position.astype(np.int32),
            starts=np.array(starts, np.int32),
            anchors=given,
            times_masked=times_masked(self.num_frames[video], starts, given).astype(np.int32),
            num_frames=np.array(self.num_frames[video]),
            settings=np.array(json.dumps(self.settings | {"video": self.names[video]}, sort_keys=True)),
        )

    def _claim_folder(self) -> None:
        """Write settings.json, or check that the folder's own one asks for the same result."""
        path = os.path.join(self.out_dir, "settings.json")
        try:
            os.makedirs(self.out_dir, exist_ok=True)
            if os.path.exists(path):
                with open(path, encoding="utf-8") as file:
                    found = json.load(file)
                names = found.keys() | self.claim.keys()
                different = sorted(name for name in names if found.get(name) != self.claim.get(name))
                if different:
                    raise InputError(
                        f"--out_dir {self.out_dir}: holds reconstructions made with another "
                        f"{', '.join(different)}: give another folder or remove it"
                    )
            else:
                write_atomically(path, lambda temporary: _write_json(temporary, self.claim))
        except OSError as error:
            raise InputError(f"--out_dir {self.out_dir}: cannot be written ({error.strerror})") from None

    def _done(self, window: Window) -> bool:
        return os.path.exists(self._video_file(window.video)) or os.path.exists(self._part_file(window))

    def _video_file(self, video: int) -> str:
        return os.path.join(self.out_dir, self.names[video] + ".npz")

    def _part_file(self, window: Window) -> str:
        return os.path.join(self.out_dir, "parts", self.names[window.video], f"window{window.number:06d}.npz")


def generate(
    model: UNet,
    diffusion: GaussianDiffusion,
    windows: Iterator[torch.Tensor | None],
    shape: tuple[int, int, int, int],
    anchors: torch.Tensor,
    sampling: SampleOptions,
    device: torch.device,
    precision: str,
    rank: int = 0,
    world_size: int = 1,
) -> dict[int, np.ndarray]:
    """RaMViD's sampling: this rank's share of ``num_samples`` windows, by number, each uint8 (T,H,W,C).

    windows: per sample the real window float (C,T,H,W) whose anchors are given, or None to generate from nothing.
    """
    model.eval()
    samples: dict[int, np.ndarray] = {}
    numbered = [(number, window) for number, window in enumerate(windows) if number % world_size == rank]
    size = sampling.batch_size
    batches = [numbered[i : i + size] for i in range(0, len(numbered), size)]
    with progress_bar("sampling", "call", len(batches) * diffusion.num_timesteps, shown=rank == 0) as bar:
        for batch in batches:
            clean = torch.stack([torch.zeros(shape) if window is None else window for _, window in batch]).to(device)
            places = [(number, 0) for number, _ in batch]
            y = None
            if model.num_classes is not None:  # as in RaMViD, each sample's class is drawn
                drawn = [stream(sampling.seed, "class", number).integers(model.num_classes) for number, _ in batch]
                y = torch.tensor(drawn, device=device)
            result = infill(
                model,
                diffusion,
                clean,
                anchors,
                places,
                sampling,
                precision=precision,
                y=y,
                callback=lambda *_: bar.update(),
            )
            for (number, _), frames in zip(batch, to_uint8(result).cpu().numpy(), strict=True):
                samples[number] = frames
    return samples


def _write_json(path: str, content: dict[str, Any]) -> None:
    with open(path, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2, sort_keys=True)


def _write_npz(path: str, **arrays: np.ndarray) -> None:
    def write(temporary: str) -> None:
        with open(temporary, "wb") as file:
            np.savez_compressed(file, **arrays)

    os.makedirs(os.path.dirname(path), exist_ok=True)
    try:
        write_atomically(path, write)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}): free some space, then run again") from None
