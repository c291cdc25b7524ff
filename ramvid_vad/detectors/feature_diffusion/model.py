"""Feature diffusion on vectors alone: train, reconstruct, decide. Nothing here knows where the vectors come from."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from ramvid_vad.detectors.detector import under
from ramvid_vad.detectors.feature_diffusion.lms import sample_lms
from ramvid_vad.detectors.feature_diffusion.network import FeatureDenoiser
from ramvid_vad.detectors.feature_diffusion.preconditioning import (
    denoise,
    denoising_loss,
    drawn_levels,
    karras_levels,
    noise_range,
)
from ramvid_vad.detectors.network_training import restore_step, train_network
from ramvid_vad.runtime.randomness import standard_normal, stream

BATCH = 8192  # vectors, at most, of one step
SIGMA_DATA = 1.0  # vectors are standardised
LEVELS = 10  # of sampling
LEAST_DEVIATION = 1e-3  # an entry that varies less counts as so much: what never moves in training must not explode


@dataclass(frozen=True)
class Noise:
    """The paper's three parameters; its text has lost the best values of the first two.

    p_mean, p_std: of log sigma in training. Ours are Karras' own, -1.2 and 1.2 at data of deviation 0.5, moved to
    vectors of deviation 1: -1.2 + ln 2.  start: the level of LEVELS that reconstruction begins at, 0 being the
    noisiest; 6 was best of all in the paper, and is about the deviation of the data here.
    """

    p_mean: float = -0.5
    p_std: float = 1.2
    start: int = 6

    def levels(self) -> np.ndarray:
        """Of reconstruction, from the start down to 0."""
        return karras_levels(LEVELS, *noise_range(self.p_mean, self.p_std))[self.start :]


class VectorDiffusion:
    """A denoiser of standardised vectors.

    mean, sd: float32 (D,), of the training vectors.  network: in evaluation mode.  seed: of the noise of
    reconstruction, one vector that all share, as in the authors' code: equal vectors have equal scores.
    """

    def __init__(
        self, mean: torch.Tensor, sd: torch.Tensor, network: FeatureDenoiser, noise: Noise, seed: int = 0
    ) -> None:
        self.mean, self.sd, self.network, self.noise, self.seed = mean, sd, network.eval(), noise, seed

    @classmethod
    def fit(
        cls,
        vectors: np.ndarray,
        held_out: np.ndarray,
        *,
        work: str,
        minutes: float,
        seed: int = 0,
        noise: Noise | None = None,
        progress: bool = True,
    ) -> "VectorDiffusion":
        """Train on vectors (n, D). held_out (m, D): their loss is logged; m may be 0. See ``train_network``.

        The authors average the weights and let the rate fall slowly; under a budget of minutes the rate falls to 0,
        which averages as well. Rate 2e-4 and weight decay 1e-4 as in the paper.
        """
        noise = noise or Noise()
        mean = torch.from_numpy(vectors.mean(0)).float()
        sd = torch.from_numpy(vectors.std(0)).float().clamp_min(LEAST_DEVIATION)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = FeatureDenoiser(vectors.shape[1])
        known, others = ((torch.from_numpy(each).float() - mean) / sd for each in (vectors, held_out))

        def loss(clean: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
            sigma = drawn_levels(len(clean), noise.p_mean, noise.p_std, rng)
            drawn = torch.from_numpy(rng.standard_normal(clean.shape, dtype=np.float32))
            return denoising_loss(network, clean, sigma, drawn, SIGMA_DATA)

        def step(rng: np.random.Generator) -> torch.Tensor:
            chosen = known if len(known) <= BATCH else known[rng.choice(len(known), BATCH, replace=False)]
            return loss(chosen, rng)

        def check() -> float:
            return loss(others, stream(seed, "held out")).item()

        train_network(
            network,
            step,
            minutes=minutes,
            folder=work,
            lr=2e-4,
            weight_decay=1e-4,
            held_out=check if len(others) else None,
            seed=seed,
            progress=progress,
        )
        return cls(mean, sd, network, noise, seed)

    def at_step(self, work: str, step: int) -> "VectorDiffusion":
        """As it was at a step that training stored in ``work``."""
        network = FeatureDenoiser(len(self.mean))
        restore_step(network, work, step)
        return VectorDiffusion(self.mean, self.sd, network, self.noise, self.seed)

    @torch.inference_mode()
    def errors(self, vectors: np.ndarray, noise: Noise | None = None) -> np.ndarray:
        """Mean squared error between each vector (n, D) and what is left of it after noise and reconstruction, (n,).

        noise: other parameters of reconstruction than those of the fit.
        """
        levels = (noise or self.noise).levels()
        clean = (torch.from_numpy(vectors).float() - self.mean) / self.sd
        shared = standard_normal(tuple(self.mean.shape), self.seed, "feature diffusion")

        def denoised(x: torch.Tensor, sigma: float) -> torch.Tensor:
            return denoise(self.network, x, torch.full((len(x),), sigma), SIGMA_DATA)

        made = sample_lms(denoised, clean + float(levels[0]) * shared, levels)
        return (made - clean).square().mean(1).double().numpy()

    def settings(self) -> dict[str, Any]:
        return asdict(self.noise) | {"seed": self.seed}

    def tensors(self) -> dict[str, torch.Tensor]:
        weights = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        return weights | {"mean": self.mean, "sd": self.sd}

    @classmethod
    def restore(cls, settings: dict[str, Any], tensors: dict[str, torch.Tensor]) -> "VectorDiffusion":
        """KeyError, TypeError or ValueError: settings and tensors are not of one."""
        network = FeatureDenoiser(len(tensors["mean"]))
        try:
            network.load_state_dict(under("network.", tensors))
        except RuntimeError as error:
            raise ValueError(str(error)) from None
        noise = Noise(float(settings["p_mean"]), float(settings["p_std"]), int(settings["start"]))
        return cls(tensors["mean"], tensors["sd"], network, noise, int(settings["seed"]))


def flagged(errors: np.ndarray, k: float) -> np.ndarray:
    """Which vectors of a batch (n,) are abnormal: error at or above mean + k standard deviations of the batch.

    The last line of the paper's algorithm 1 calls the smaller errors abnormal, its text the larger: the text holds.
    """
    return errors >= errors.mean() + k * errors.std()
