"""The seam of a long autoregressive video when the network is perfect: what is left is the code's, or the sampler's.

python benchmarks/seams_exact.py --sampler dpmpp_2m --timestep_respacing logsnr20 [--out FILE]
"""

import argparse
import json
import tempfile

import numpy as np
import torch
from measure import run, write_report
from seams import changes

from ramvid_vad.autoregressive import generate_long
from ramvid_vad.diffusion.gaussian import GaussianDiffusion
from ramvid_vad.diffusion.schedule import named_betas, respaced_timesteps
from ramvid_vad.options import SampleOptions

WINDOW, GIVEN = 12, 5
DRIFT, GRAIN, SPAN = 0.2, 0.05, 6.0  # standard deviations; frames over which the drift forgets
ROUNDING = (1 / 127.5) ** 2 / 12  # variance of rounding to eight bits


class ExactNetwork(torch.nn.Module):
    """E[x_0 | x_t and the given frames], for pixels that are independent Gaussian processes over time.

    A pixel is a smooth drift plus grain of its own in each frame: covariance ``lags[k]`` between frames k apart,
    float64 (WINDOW,). The given frames are known up to the rounding to eight bits. The windows of a batch share the
    timestep and the anchors.
    """

    num_classes = None

    def __init__(self, diffusion: GaussianDiffusion) -> None:
        super().__init__()
        self.diffusion = diffusion
        lag = torch.arange(WINDOW).double()
        self.lags = DRIFT**2 * torch.exp(-((lag / SPAN) ** 2) / 2) + GRAIN**2 * (lag == 0)
        self.covariance = self.lags[(lag[:, None] - lag).abs().long()]

    def forward(
        self, x: torch.Tensor, t: torch.Tensor, anchors: torch.Tensor, y: torch.Tensor | None = None
    ) -> torch.Tensor:
        """C (C + D)^-1 of the observations x / sqrt(alpha_bar), whose noise has the variances D; given ones as x."""
        bar = float(self.diffusion.alpha_bar[int((self.diffusion.timestep_map == t[0]).nonzero())])
        noise = torch.where(anchors[0], ROUNDING, (1 - bar) / bar).double()
        gain = self.covariance @ torch.linalg.inv(self.covariance + noise.diag())
        seen = torch.where(anchors[0], 1.0, bar**-0.5)
        return torch.einsum("ts,bcshw->bcthw", (gain * seen).float(), x)

    def window(self, size: tuple[int, int], seed: int) -> torch.Tensor:
        """A window of the process, float32 (1, WINDOW, *size)."""
        drawn = np.random.default_rng(seed).standard_normal((WINDOW, *size))
        return torch.einsum("ts,shw->thw", torch.linalg.cholesky(self.covariance), torch.from_numpy(drawn))[
            None
        ].float()

    def change(self) -> float:
        """Mean |change| of a pixel from a frame to the next, in grey levels: of N(0, 2 (C_0 - C_1)), both rounded."""
        return 127.5 * float(2 * (self.lags[0] - self.lags[1] + ROUNDING)) ** 0.5 * (2 / np.pi) ** 0.5


def long_video(
    sampler: str, spacing: str, schedule: str = "linear", frames: int = 120, size: tuple[int, int] = (48, 64)
) -> tuple[ExactNetwork, np.ndarray]:
    """The network and what ``generate_long`` makes with it, uint8 (1, frames, *size, 1), from GIVEN true frames."""
    betas = named_betas(schedule, 1000)
    diffusion = GaussianDiffusion(betas, respaced_timesteps(1000, spacing, betas), prediction="xstart")
    network = ExactNetwork(diffusion)
    options = SampleOptions(num_frames=frames, max_cond_frames=GIVEN, sampler=sampler)
    first, given = [network.window(size, seed=0)], torch.arange(WINDOW) < GIVEN
    with tempfile.TemporaryDirectory() as folder:
        way = (first, (1, WINDOW, *size), given, options, folder, torch.device("cpu"), "fp32")
        made = generate_long(network, diffusion, *way)
    return network, made[0][None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sampler", default="ancestral")
    parser.add_argument("--timestep_respacing", default="250")
    parser.add_argument("--noise_schedule", default="linear")
    parser.add_argument("--out", default="runs/benchmarks/seams_exact.json", help="JSON file")
    args = parser.parse_args()
    network, video = long_video(args.sampler, args.timestep_respacing, args.noise_schedule)
    at, inside = changes(video, WINDOW, GIVEN)
    found = {"change_at_joints": at.mean(), "change_elsewhere": inside.mean(), "of_the_process": network.change()}
    found = {key: round(float(value), 3) for key, value in found.items()}
    print(json.dumps(found))
    write_report(args.out, vars(args) | found)


if __name__ == "__main__":
    run(main)
