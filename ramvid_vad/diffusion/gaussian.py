"""The diffusion process of windows whose anchors stay clean.

x_start, x_t and noise are (B, C, T, H, W); anchors are bool, True = given clean, (B, T) or what broadcasts over
(B, C, T, H, W), so that groups of channels and places can be given too; t is int64 (B,), one per sample, counted in
kept timesteps 0 .. S-1. Coefficients are float64, computed once. alpha_bar_t is the product of (1 - beta) up to t.
Equations: DDPM = Ho et al. 2020 (arXiv 2006.11239), IDDPM = Nichol and Dhariwal 2021 (arXiv 2102.09672).
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from ramvid_vad.diffusion.anchors import over_entries
from ramvid_vad.errors import InputError

Model = Callable[..., torch.Tensor]


class ReverseStep(NamedTuple):
    """What the network says of one step: the predicted clean frames and the law of x_{t-1}."""

    x_start: torch.Tensor  # (B,C,T,H,W), clipped if asked for
    mean: torch.Tensor  # (B,C,T,H,W)
    log_variance: torch.Tensor  # broadcastable to (B,C,T,H,W)


class GaussianDiffusion:
    """Forward process, training losses and reverse steps over a (respaced) schedule.

    betas: float64 (N,) of the full schedule.  timesteps: the kept ones, ascending; respacing recomputes the betas so
    that alpha_bar at the kept steps is unchanged (IDDPM, eq. 19), and the network still sees the original timesteps.
    """

    def __init__(
        self,
        betas: np.ndarray,
        timesteps: list[int] | None = None,
        *,
        prediction: str = "epsilon",
        learn_sigma: bool = False,
        sigma_small: bool = False,
        min_snr_gamma: float = 0.0,
        use_kl: bool = False,
        rescale_timesteps: bool = True,
        rescale_learned_sigmas: bool = True,
    ):
        kept = sorted(range(len(betas)) if timesteps is None else timesteps)
        self.prediction = prediction
        self.learn_sigma = learn_sigma
        self.min_snr_gamma = min_snr_gamma
        self.use_kl = use_kl
        self.rescale_learned_sigmas = rescale_learned_sigmas
        self.timestep_map = torch.tensor(kept)
        self.timestep_scale = 1000.0 / len(betas) if rescale_timesteps else None

        alpha_bar = np.cumprod(1.0 - betas)[kept]
        previous = np.append(1.0, alpha_bar[:-1])
        self.alpha_bar, self.alpha_bar_previous = alpha_bar, previous
        self.betas = 1.0 - alpha_bar / previous  # IDDPM eq. 19
        self.sigma = np.sqrt((1.0 - alpha_bar) / alpha_bar)  # noise level, in units of the clean entries
        self.num_timesteps = len(kept)

        # DDPM eq. 6 and 7: q(x_{t-1} | x_t, x_0)
        self.posterior_variance = self.betas * (1.0 - previous) / (1.0 - alpha_bar)
        # beta_tilde_1 is 0; its logarithm takes the next one's (IDDPM section 3.1)
        floor = self.posterior_variance[1] if self.num_timesteps > 1 else self.betas[0]
        self.posterior_log_variance = np.log(np.append(floor, self.posterior_variance[1:]))
        self.posterior_weight_start = self.betas * np.sqrt(previous) / (1.0 - alpha_bar)
        self.posterior_weight_t = (1.0 - previous) * np.sqrt(1.0 - self.betas) / (1.0 - alpha_bar)
        # the larger fixed variance is beta itself, but beta_tilde at the last step, where beta would blur the result
        large = np.log(np.append(floor, self.betas[1:]))
        self.fixed_log_variance = self.posterior_log_variance if sigma_small else large

    # --- the forward process ------------------------------------------------------------------------------------------

    def q_sample(self, x_start: torch.Tensor, t: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) noise (DDPM eq. 4)."""
        return _at(np.sqrt(self.alpha_bar), t, x_start) * x_start + _at(np.sqrt(1 - self.alpha_bar), t, noise) * noise

    def nearest_timestep(self, level: float) -> int:
        """The kept timestep whose sigma is nearest to ``level`` on a logarithmic scale. InputError: not above 0."""
        if not level > 0:
            raise InputError(f"starting level {level}: must be above 0, e.g. 0.7")
        return int(np.abs(np.log(self.sigma) - np.log(level)).argmin())

    def q_posterior(
        self, x_start: torch.Tensor, x_t: torch.Tensor, t: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log variance of q(x_{t-1} | x_t, x_0) (DDPM eq. 6, 7)."""
        mean = _at(self.posterior_weight_start, t, x_t) * x_start + _at(self.posterior_weight_t, t, x_t) * x_t
        return mean, _at(self.posterior_log_variance, t, x_t)

    # --- what the network predicts ------------------------------------------------------------------------------------

    def target(self, x_start: torch.Tensor, t: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """What the network is trained to give: epsilon, x_0, or v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x_0.

        v is eq. 13 of Salimans and Ho 2022 (arXiv 2202.00512), appendix D.
        """
        if self.prediction == "epsilon":
            return noise
        if self.prediction == "xstart":
            return x_start
        return _at(np.sqrt(self.alpha_bar), t, noise) * noise - _at(np.sqrt(1 - self.alpha_bar), t, x_start) * x_start

    def predict_x_start(self, x_t: torch.Tensor, t: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """x_0 from the network's prediction at x_t."""
        if self.prediction == "xstart":
            return output
        if self.prediction == "epsilon":
            return (
                _at(np.sqrt(1 / self.alpha_bar), t, x_t) * x_t - _at(np.sqrt(1 / self.alpha_bar - 1), t, x_t) * output
            )
        return _at(np.sqrt(self.alpha_bar), t, x_t) * x_t - _at(np.sqrt(1 - self.alpha_bar), t, x_t) * output

    def predict_epsilon(self, x_t: torch.Tensor, t: torch.Tensor, x_start: torch.Tensor) -> torch.Tensor:
        """The noise that leads from x_0 to x_t."""
        scaled = _at(np.sqrt(1 / self.alpha_bar), t, x_t) * x_t - x_start
        return scaled / _at(np.sqrt(1 / self.alpha_bar - 1), t, x_t)

    def network_timesteps(self, t: torch.Tensor) -> torch.Tensor:
        """Timesteps as the network sees them: of the original schedule, on a scale of 0 to 1000 if rescaled."""
        original = _table(self.timestep_map.numpy().tobytes(), "int64", t.device)[t]
        return original if self.timestep_scale is None else original.float() * self.timestep_scale

    def reverse_step(
        self,
        model: Model,
        x_t: torch.Tensor,
        t: torch.Tensor,
        *,
        clip_denoised: bool = True,
        anchors: torch.Tensor | None = None,
        y: torch.Tensor | None = None,
    ) -> ReverseStep:
        """p(x_{t-1} | x_t): one network call. The anchors must already stand clean in x_t."""
        output = model(x_t, self.network_timesteps(t), y=y, anchors=anchors).float()
        if self.learn_sigma:
            output, fraction = output.chunk(2, dim=1)
            log_variance = self._learned_log_variance(fraction, t)
        else:
            log_variance = _at(self.fixed_log_variance, t, x_t)
        x_start = self.predict_x_start(x_t, t, output)
        if clip_denoised:
            x_start = x_start.clamp(-1, 1)
        mean, _ = self.q_posterior(x_start, x_t, t)
        return ReverseStep(x_start, mean, log_variance)

    def _learned_log_variance(self, fraction: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """IDDPM eq. 15: between log beta_tilde (-1) and log beta (+1)."""
        low, high = _at(self.posterior_log_variance, t, fraction), _at(np.log(self.betas), t, fraction)
        weight = (fraction + 1) / 2
        return weight * high + (1 - weight) * low

    # --- training -----------------------------------------------------------------------------------------------------

    def training_losses(
        self,
        model: Model,
        x_start: torch.Tensor,
        t: torch.Tensor,
        anchors: torch.Tensor,
        noise: torch.Tensor,
        *,
        exclude_conditional: bool = True,
        y: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Loss per sample, each (B,): "loss", and its parts "mse" and "vb" where they exist.

        Masked entries are noised, anchors stand clean; the mean runs over the masked ones (``exclude_conditional``),
        or over all as RaMViD's option has it. A sample without a masked entry has loss 0.
        """
        given = over_entries(anchors)
        noise = noise.masked_fill(given, 0.0)  # the target at an anchor: nothing was added there
        x_t = torch.where(given, x_start, self.q_sample(x_start, t, noise))
        masked = (~given).expand_as(x_start) if exclude_conditional else torch.ones_like(x_start, dtype=torch.bool)

        output = model(x_t, self.network_timesteps(t), y=y, anchors=anchors).float()
        terms: dict[str, torch.Tensor] = {}
        if self.learn_sigma or self.use_kl:
            terms["vb"] = self._variational_bound(output, x_start, x_t, t, masked)
        if self.use_kl:
            terms["loss"] = terms["vb"] * self.num_timesteps  # one term of the sum stands for all of them
            return terms
        prediction = output.chunk(2, dim=1)[0] if self.learn_sigma else output
        terms["mse"] = _masked_mean((self.target(x_start, t, noise) - prediction) ** 2, masked)
        terms["loss"] = self._loss_weight(t) * terms["mse"]
        if self.learn_sigma:
            # IDDPM's hybrid loss: the bound in units of 1/1000 of the whole bound beside the squared error (eq. 16)
            scale = self.num_timesteps / 1000.0 if self.rescale_learned_sigmas else 1.0
            terms["vb"] = terms["vb"] * scale
            terms["loss"] = terms["loss"] + terms["vb"]
        return terms

    def _loss_weight(self, t: torch.Tensor) -> torch.Tensor | float:
        """min-SNR-gamma (Hang et al. 2023, arXiv 2303.09556, section 3.4) for the chosen prediction."""
        if not self.min_snr_gamma:
            return 1.0
        snr = self.alpha_bar / (1 - self.alpha_bar)
        weight_x_start = np.minimum(snr, self.min_snr_gamma)
        divisor = {"xstart": 1.0, "epsilon": snr, "v": snr + 1}[self.prediction]
        return _table((weight_x_start / divisor).astype(np.float32).tobytes(), "float32", t.device)[t]

    def _variational_bound(
        self, output: torch.Tensor, x_start: torch.Tensor, x_t: torch.Tensor, t: torch.Tensor, masked: torch.Tensor
    ) -> torch.Tensor:
        """Term of the bound at t in bits per dimension, mean over ``masked`` (B,): KL for t > 0, likelihood at t = 0.

        With a squared-error loss beside it the bound trains the variance alone: the mean is detached (IDDPM, 3.1).
        """
        if self.learn_sigma:
            prediction, fraction = output.chunk(2, dim=1)
            log_variance = self._learned_log_variance(fraction, t)
        else:
            prediction, log_variance = output, _at(self.fixed_log_variance, t, x_t)
        x_start_hat = self.predict_x_start(x_t, t, prediction if self.use_kl else prediction.detach())
        mean, _ = self.q_posterior(x_start_hat, x_t, t)
        true_mean, true_log_variance = self.q_posterior(x_start, x_t, t)
        # KL of two Gaussians
        kl = 0.5 * (
            -1.0
            + log_variance
            - true_log_variance
            + torch.exp(true_log_variance - log_variance)
            + (true_mean - mean) ** 2 * torch.exp(-log_variance)
        )
        nll = -discretized_gaussian_log_likelihood(x_start, mean, 0.5 * log_variance)
        bits = torch.where(t == 0, _masked_mean(nll, masked), _masked_mean(kl, masked)) / math.log(2.0)
        return bits


def discretized_gaussian_log_likelihood(x: torch.Tensor, mean: torch.Tensor, log_scale: torch.Tensor) -> torch.Tensor:
    """log p of 8-bit values in [-1, 1] under a Gaussian: mass of the bin of width 2/255 around x (DDPM eq. 13)."""
    inverse_scale = torch.exp(-log_scale)
    upper = torch.special.ndtr((x - mean + 1 / 255) * inverse_scale)
    lower = torch.special.ndtr((x - mean - 1 / 255) * inverse_scale)
    mass = torch.where(x < -0.999, upper, torch.where(x > 0.999, 1 - lower, upper - lower))
    return torch.log(mass.clamp(min=1e-12))


def _masked_mean(value: torch.Tensor, masked: torch.Tensor) -> torch.Tensor:
    """Mean over the masked elements of each sample, (B,); 0 where nothing is masked."""
    count = masked.flatten(1).sum(1).clamp(min=1)
    return (value * masked).flatten(1).sum(1) / count


def _at(coefficients: np.ndarray, t: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Coefficients at timesteps t (B,), float32, shaped to broadcast over ``like`` (B, ...)."""
    values = _table(coefficients.tobytes(), "float64", t.device)[t].float()
    return values.view(-1, *[1] * (like.dim() - 1))


@lru_cache(maxsize=64)  # some eight tables of each diffusion
def _table(values: bytes, dtype: str, device: torch.device) -> torch.Tensor:
    """Numbers on the device. Copied there once: a copy at every call would make the host wait for the GPU each time."""
    with torch.inference_mode(False):  # for the sampler that is the first to ask, and for training after it
        return torch.from_numpy(np.frombuffer(values, dtype).copy()).to(device)
