"""The U-Net against RaMViD's: state dicts, sizes and outputs (tests/data/ramvid.*)."""

import re

import numpy as np
import pytest
import torch
from golden_figures import CONFIGS, DATA, golden_model, seeded_normal

from ramvid_vad.script_util import create_model_and_diffusion

RAMVID = np.load(DATA / "ramvid.npz")


def meta_model(**settings):
    """A network without memory: names and shapes only."""
    with torch.device("meta"):
        return create_model_and_diffusion(**settings)[0]


@pytest.mark.parametrize("name", CONFIGS)
def test_output_is_ramvids(name):
    model, _ = golden_model(name)
    expected = torch.from_numpy(RAMVID[f"{name}_y"])
    channels = 3 if CONFIGS[name]["config"].get("rgb", True) else 1
    x = seeded_normal(1, (len(expected), channels, *expected.shape[2:]))
    assert x.shape[2] == CONFIGS[name]["frames"]
    with torch.no_grad():
        y = model(x, torch.tensor(CONFIGS[name]["t"]))
    assert (y - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert (y - expected).norm() <= 1e-5 * expected.norm()


@pytest.mark.parametrize("name", CONFIGS)
def test_state_dict_is_ramvids_in_name_order_and_shape(name):
    """The order matters too: improved-diffusion's optimizer states are matched to the parameters by it."""
    found = {k: list(v.shape) for k, v in meta_model(mixer="attention", **CONFIGS[name]["config"]).state_dict().items()}
    assert list(found.items()) == list(CONFIGS[name]["keys"].items())


@pytest.mark.parametrize(
    "size, blocks, mixer, millions",
    [
        (64, 3, "attention", "308.34"),
        (64, 2, "attention", "235.07"),
        (128, 3, "attention", "304.20"),
        (32, 2, "attention", "99.5"),
        (256, 2, "attention", "319.3"),
        (64, 3, "mamba", "317.63"),
        (64, 2, "mamba", "241.93"),
        (128, 3, "mamba", "310.33"),
    ],
)
def test_parameter_counts(size, blocks, mixer, millions):
    """As counted in RaMViD, and there with VideoMamba's block in place of its attention."""
    count = sum(p.numel() for p in meta_model(image_size=size, num_res_blocks=blocks, mixer=mixer).parameters())
    digits = len(millions.split(".")[1])
    assert f"{count / 1e6:.{digits}f}" == millions


@pytest.mark.parametrize(
    "size, blocks, downs, ups, mixers_in, mixers_out",
    [
        (64, 3, [4, 8, 12], [3, 7, 11], [9, 10, 11, 13, 14, 15], range(8)),
        (64, 2, [3, 6, 9], [2, 5, 8], [7, 8, 10, 11], range(6)),
        (128, 3, [4, 8, 12], [3, 7, 11], [13, 14, 15], range(4)),
    ],
)
@pytest.mark.parametrize("mixer, key", [("attention", "qkv.weight"), ("mamba", "mamba.A_log")])
def test_places_of_the_blocks(size, blocks, downs, ups, mixers_in, mixers_out, mixer, key):
    """Where RaMViD's full-size checkpoints have their strides and their token mixers."""
    keys = list(meta_model(image_size=size, num_res_blocks=blocks, mixer=mixer).state_dict())

    def places(pattern):
        return sorted(int(match[1]) for match in (re.fullmatch(pattern, k) for k in keys) if match)

    assert places(r"input_blocks\.(\d+)\.0\.op\.weight") == downs
    assert places(r"output_blocks\.(\d+)\.[12]\.conv\.weight") == ups
    assert places(rf"input_blocks\.(\d+)\.1\.{re.escape(key)}") == mixers_in
    assert places(rf"output_blocks\.(\d+)\.1\.{re.escape(key)}") == list(mixers_out)
    assert f"middle_block.1.{key}" in keys
    last = 4 * (blocks + 1) - 1
    assert max(places(r"input_blocks\.(\d+)\..*")) == max(places(r"output_blocks\.(\d+)\..*")) == last
    # the upsampling convolution is child 2 behind a mixer, child 1 elsewhere
    for place in ups:
        assert f"output_blocks.{place}.{2 if place in mixers_out else 1}.conv.weight" in keys


def test_label_embedding_only_with_classes():
    assert not any("label_emb" in key for key in meta_model().state_dict())
    assert meta_model(class_cond=True).state_dict()["label_emb.weight"].shape == (1000, 512)
