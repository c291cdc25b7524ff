"""A model and windows -> their masked frames, generated."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch

from ramvid_vad.diffusion.gaussian import GaussianDiffusion, Model
from ramvid_vad.diffusion.samplers import SAMPLERS, Callback
from ramvid_vad.models.precision import network_autocast
from ramvid_vad.models.unet import UNet
from ramvid_vad.options import SampleOptions
from ramvid_vad.runtime import processes
from ramvid_vad.runtime.progress import progress_bar
from ramvid_vad.runtime.randomness import standard_normal, stream
from ramvid_vad.video.datasets import to_uint8

DRAWING_THREADS = 4  # draw noise while the network computes


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

    clean is read at the anchors only.  anchors: bool (T,), or (B,T) where the windows differ, True = given.  places:
    per window (key of its video, index of its first frame): the noise of a frame is a pure function of (seed, video,
    frame, draw), whatever the batch or rank.
    """
    anchors = anchors.expand(len(clean), -1)
    if isinstance(model, UNet) and y is None:
        model = _with_timesteps_of(diffusion, model, precision, clean.device)

    def network(*inputs: torch.Tensor, **keywords: torch.Tensor | None) -> torch.Tensor:
        with network_autocast(precision, clean.device):
            return model(*inputs, **keywords)

    with ThreadPoolExecutor(DRAWING_THREADS, thread_name_prefix="noise") as pool:
        return SAMPLERS[sampling.sampler](
            diffusion,
            network,
            clean,
            anchors.to(clean.device),
            _Noise(clean, anchors, places, sampling.seed, _draws(sampling, diffusion.num_timesteps), pool),
            clip_denoised=sampling.clip_denoised,
            resample_steps=sampling.resample_steps,
            eta=sampling.eta,
            y=y,
            callback=callback,
        )


class _Noise:
    """draw -> standard normal noise like ``clean``, zero at the anchors, where no sampler looks at it.

    A frame that several windows of the batch hold is drawn once, and the next draw is made while the network works.
    """

    def __init__(
        self,
        clean: torch.Tensor,
        anchors: torch.Tensor,
        places: Sequence[tuple[int, int]],
        seed: int,
        draws: int,
        pool: ThreadPoolExecutor,
    ):
        self._shape, self._device, self._seed = clean.shape, clean.device, seed
        self._last, self._pool = draws - 1, pool
        self._at = [  # (window, position), (video, frame)
            ((number, t), (key, first + t))
            for number, (key, first) in enumerate(places)
            for t in torch.nonzero(~anchors[number]).flatten().tolist()
        ]
        self._drawn: dict[int, dict[tuple[int, int], Future]] = {}

    def __call__(self, draw: int) -> torch.Tensor:
        for number in (draw, draw + 1):
            if number not in self._drawn and number <= max(draw, self._last):
                frames = dict.fromkeys(frame for _, frame in self._at)
                self._drawn[number] = {frame: self._pool.submit(self._frame, *frame, number) for frame in frames}
        frames = self._drawn.pop(draw)
        noise = torch.zeros(self._shape)
        for (number, t), frame in self._at:
            noise[number, :, t] = frames[frame].result()
        return processes.put(noise, self._device)

    def _frame(self, key: int, frame: int, draw: int) -> torch.Tensor:
        return standard_normal((self._shape[1], *self._shape[3:]), self._seed, "sample", key, frame, draw)


def _draws(sampling: SampleOptions, steps: int) -> int:
    """How many draws a whole walk asks for: the start, each move that adds noise, each step back of RePaint."""
    moves = {"ancestral": steps, "ddim": steps - 1 if sampling.eta > 0 else 0}.get(sampling.sampler, 0)
    return 1 + moves * sampling.resample_steps + steps * (sampling.resample_steps - 1)


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


def drawn_classes(model: UNet, seed: int, numbers: Sequence[int], device: torch.device) -> torch.Tensor | None:
    """The class of each sample, drawn as in RaMViD, int64 (B,); None: the model knows no classes."""
    if model.num_classes is None:
        return None
    drawn = [stream(seed, "class", number).integers(model.num_classes) for number in numbers]
    return torch.tensor(drawn, device=device)


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
            y = drawn_classes(model, sampling.seed, [number for number, _ in batch], device)
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
