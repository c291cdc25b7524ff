"""A training of seconds whose data are pure functions of the step: what must come out the same in several ways."""

from collections.abc import Iterator

import torch

from ramvid_vad.diffusion.anchors import AnchorPattern
from ramvid_vad.options import TrainOptions
from ramvid_vad.runtime import processes
from ramvid_vad.runtime.logger import Logger
from ramvid_vad.runtime.randomness import standard_normal
from ramvid_vad.script_util import create_model_and_diffusion
from ramvid_vad.training.checkpoints import find_latest, load_checkpoint
from ramvid_vad.training.loop import TrainLoop

NETWORK = dict(
    image_size="8", num_channels=32, channel_mult="1", num_res_blocks=1, attention_resolutions="8", d_state=4
)
FRAMES = 6


def batches(batch_size: int, start: int) -> Iterator:
    """This rank's share of one sequence of windows, whatever the number of ranks."""
    step = start
    while True:
        first = (step * processes.world_size() + processes.rank()) * batch_size
        ids = range(first, first + batch_size)
        frames = torch.stack([standard_normal((3, FRAMES, 8, 8), 0, "data", i).clamp(-1, 1) for i in ids])
        yield frames, {}, torch.tensor([*ids])
        step += 1


def train(folder: str, steps: int, precision: str = "fp32", batch_size: int = 4) -> TrainLoop:
    """Up to ``steps`` in all, going on from what lies in the folder."""
    torch.manual_seed(0)
    model, diffusion = create_model_and_diffusion(**NETWORK)
    found = find_latest(folder) if processes.world_size() == 1 else None
    loop = TrainLoop(
        model,
        diffusion,
        lambda start: batches(batch_size, start),
        AnchorPattern("random", FRAMES, max_given=3, unconditional_rate=0.2, seed=0),
        TrainOptions(lr=1e-3, batch_size=batch_size, ema_rate="0.9", max_steps=steps, save_interval=10**6),
        precision=precision,
        exclude_conditional=True,
        logger=Logger(folder),
        config={},
        resumed=load_checkpoint(found, ["0.9"]) if found else None,
    )
    loop.run()
    return loop


def gradients(loop: TrainLoop) -> torch.Tensor:
    """Of the last step, as one vector on the CPU."""
    return torch.cat([parameter.grad.flatten().cpu() for parameter in loop.model.parameters()])


def weights(loop: TrainLoop) -> torch.Tensor:
    """Weights and their average as one float64 vector. AssertionError: not finite."""
    (average,) = loop.ema.values()
    values = [*loop.model.state_dict().values(), *average.state_dict().values()]
    vector = torch.cat([value.detach().double().cpu().flatten() for value in values])
    assert torch.isfinite(vector).all(), "a weight is not finite"
    return vector
