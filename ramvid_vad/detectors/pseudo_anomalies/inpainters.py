"""What infills a region: a small diffusion model of the scene's own patches (the default), or diffusers' pipelines."""

import os

import cv2
import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from ramvid_vad.detectors.network_training import train_network
from ramvid_vad.detectors.pseudo_anomalies.spatial import Inpainter, Place, around, cut
from ramvid_vad.diffusion.samplers import sample_dpmpp_2m
from ramvid_vad.errors import InputError
from ramvid_vad.options import DiffusionOptions, ModelOptions
from ramvid_vad.runtime.randomness import stream
from ramvid_vad.script_util import create_diffusion, create_model

PATCH = 32  # pixels, side of what our model sees
BATCH = 16
PREFIX = "inpainter."  # of its weights among those of the detector
MODEL = ModelOptions(
    image_size=str(PATCH),
    rgb=False,
    num_channels=32,
    channel_mult="1,2",
    num_res_blocks=1,
    attention_resolutions="",
    mixer="none",
    patch_size=2,
    factorized_conv=True,
)
CALLS = "logsnr10"  # network calls of one infilling


class PatchInpainter:
    """A diffusion model of grey patches of PATCH pixels of which a square is hidden.

    It predicts the clean patch: barely trained, it then blurs where a network that predicts noise leaves noise.
    It sees as much around a region as the region is wide and nothing else, and was trained for minutes: what it puts
    there fits at the border and is a little wrong within, which is what a pseudo-anomaly should be.
    """

    def __init__(self) -> None:
        self.network = create_model(MODEL)
        self._training = create_diffusion(DiffusionOptions(prediction="xstart"))
        self._sampling = create_diffusion(DiffusionOptions(prediction="xstart", timestep_respacing=CALLS))

    @classmethod
    def fit(
        cls,
        frames: np.ndarray,
        held_out: np.ndarray,
        *,
        work: str,
        minutes: float,
        seed: int = 0,
        progress: bool = True,
    ) -> "PatchInpainter":
        """Train on squares drawn anywhere in normal frames uint8 (n, H, W). held_out: frames whose loss is logged.  See
        ``train_network``."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            found = cls()

        def step(rng: np.random.Generator) -> torch.Tensor:
            return found.loss(frames, rng)

        def check() -> float:
            return found.loss(held_out, stream(seed, "held out")).item()

        budget = {"minutes": minutes, "folder": work, "seed": seed, "progress": progress}
        train_network(found.network, step, lr=1e-3, held_out=check, **budget)
        return found

    @classmethod
    def restore(cls, tensors: dict[str, torch.Tensor]) -> "PatchInpainter":
        """With these weights. ValueError: they are of another network."""
        found = cls()
        try:
            found.network.load_state_dict(tensors)
        except RuntimeError as error:
            raise ValueError(str(error)) from None
        return found

    def loss(self, frames: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        """Of a batch of patches from frames (n, H, W), each with a hidden square of half its side."""
        patches = []
        for _ in range(BATCH):
            frame = frames[rng.integers(len(frames))][..., None]
            side = int(rng.integers(min(8, *frame.shape[:2]), min(frame.shape[:2]) + 1))
            y, x = (int(rng.integers(whole - side + 1)) for whole in frame.shape[:2])
            patches.append(cut(frame, (y, x, side), PATCH)[..., 0])
        clean = _entries(np.stack(patches))
        given = torch.ones(clean.shape, dtype=torch.bool)
        for each in given:
            y, x = rng.integers(0, PATCH // 2 + 1, 2)
            each[..., y : y + PATCH // 2, x : x + PATCH // 2] = False
        t = torch.from_numpy(rng.integers(0, self._training.num_timesteps, BATCH))
        noise = torch.from_numpy(rng.standard_normal(clean.shape, dtype=np.float32))
        return self._training.training_losses(self.network, clean, t, given, noise)["loss"].mean()

    def __call__(self, frame: np.ndarray, place: Place, rng: np.random.Generator) -> np.ndarray:
        """See ``spatial.Inpainter``. Of a frame in colour the lightness changes and the hue stays."""
        y, x, side = place
        top, left, whole = around(place, frame.shape[:2])
        grey = frame if frame.shape[2] == 1 else cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)[..., None]
        clean = _entries(cut(grey, (top, left, whole), PATCH)[None, ..., 0])
        scale = PATCH / whole
        first, end = ((np.array([y - top, x - left]) + add) * scale for add in (0, side))
        (y0, x0), (y1, x1) = np.floor(first).astype(int), np.ceil(end).astype(int)
        given = torch.ones(clean.shape, dtype=torch.bool)
        given[..., y0:y1, x0:x1] = False
        drawn = torch.from_numpy(rng.standard_normal(clean.shape, dtype=np.float32))
        self.network.eval()
        made = sample_dpmpp_2m(self._sampling, self.network, clean, given, lambda k: drawn)
        anew = cv2.resize((127.5 * (made + 1))[0, 0, 0].numpy(), (whole, whole), interpolation=cv2.INTER_LINEAR)
        anew = anew[y - top : y - top + side, x - left : x - left + side, None]
        change = anew - grey[y : y + side, x : x + side]
        return np.clip(np.rint(frame[y : y + side, x : x + side] + change), 0, 255).astype(np.uint8)


class PipelineInpainter:
    """A latent diffusion pipeline for inpainting, of the library diffusers, in a local folder; nothing is downloaded.

    InputError: diffusers is not installed, or the folder has no such pipeline.
    """

    def __init__(self, folder: str) -> None:
        try:
            from diffusers import AutoPipelineForInpainting
        except ImportError as error:
            raise InputError(f"{folder}: needs the package {error.name}: pip install diffusers transformers") from None
        try:
            self._pipeline = AutoPipelineForInpainting.from_pretrained(folder, local_files_only=True)
        except Exception as error:  # a damaged folder makes it raise whatever it comes across
            reason = " ".join(str(error).split())[:120]
            raise InputError(f"{folder}: not a diffusers pipeline for inpainting ({reason})") from None
        self._pipeline.set_progress_bar_config(disable=True)

    def __call__(self, frame: np.ndarray, place: Place, rng: np.random.Generator) -> np.ndarray:
        """See ``spatial.Inpainter``; without a prompt, as in the paper."""
        from PIL import Image

        y, x, side = place
        colour = np.repeat(frame, 3, axis=2) if frame.shape[2] == 1 else frame
        mask = np.zeros(frame.shape[:2], np.uint8)
        mask[y : y + side, x : x + side] = 255
        generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
        image, hidden = Image.fromarray(colour), Image.fromarray(mask)
        made = self._pipeline(prompt="", image=image, mask_image=hidden, generator=generator).images[0]
        made = np.asarray(made.convert("RGB").resize(image.size))[y : y + side, x : x + side]
        return cv2.cvtColor(made, cv2.COLOR_RGB2GRAY)[..., None] if frame.shape[2] == 1 else made


def load_inpainter(folder: str) -> Inpainter:
    """Of a fitted detector of pseudo-anomalies, or of a local diffusers pipeline. InputError: it is neither."""
    if os.path.isfile(os.path.join(folder, "model_index.json")):
        return PipelineInpainter(folder)
    path = os.path.join(folder, "detector.safetensors")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            names = [name for name in file.keys() if name.startswith(PREFIX)]  # noqa: SIM118
            return PatchInpainter.restore({name[len(PREFIX) :]: file.get_tensor(name) for name in names})
    except (OSError, SafetensorError, ValueError):
        raise InputError(
            f"{folder}: neither a fitted detector pseudo_anomalies with its own inpainter, nor a diffusers pipeline"
        ) from None


def _entries(grey: np.ndarray) -> torch.Tensor:
    """uint8 (B, H, W) -> float32 (B, 1, 1, H, W) in [-1, 1]."""
    return torch.from_numpy(grey)[:, None, None] / 127.5 - 1
