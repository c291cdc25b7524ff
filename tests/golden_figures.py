"""Recipes of the golden figures: parameters and inputs are made from names and seeds (tests/data)."""

import json
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ramvid_vad.script_util import create_model_and_diffusion

DATA = Path(__file__).parent / "data"
CONFIGS = json.loads((DATA / "ramvid.json").read_text())


def named_normal(name: str, shape: tuple[int, ...], scale: float = 1.0) -> torch.Tensor:
    """Standard normal times scale, seeded by the name's CRC-32."""
    values = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape) * scale
    return torch.from_numpy(values.astype(np.float32))


def seeded_normal(seed: int, shape: tuple[int, ...]) -> torch.Tensor:
    """Standard normal from an integer seed."""
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def fill_by_name(module: nn.Module, scale: float) -> None:
    """Set every parameter from its state-dict name."""
    state = {name: named_normal(name, tuple(value.shape), scale) for name, value in module.state_dict().items()}
    module.load_state_dict(state, strict=True)


def golden_model(name: str, **settings):
    """Network and diffusion of one golden configuration, with the golden weights."""
    model, diffusion = create_model_and_diffusion(mixer="attention", **CONFIGS[name]["config"], **settings)
    fill_by_name(model, 0.05)
    return model.eval(), diffusion
