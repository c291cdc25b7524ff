"""Training losses and sampling loops against RaMViD's figures (tests/data/ramvid.npz)."""

import numpy as np
import pytest
import torch
from golden_figures import DATA, golden_model, seeded_normal

from ramvid_vad.diffusion.anchors import explicit_anchors
from ramvid_vad.diffusion.samplers import sample_ancestral, sample_ddim

RAMVID = np.load(DATA / "ramvid.npz")


@pytest.fixture(scope="module")
def model():
    return golden_model("a")[0]


def training_loss(model, anchors, **options):
    diffusion = golden_model("a")[1]
    shape = (2, 3, 6, 32, 32)
    with torch.no_grad():
        return diffusion.training_losses(
            model,
            seeded_normal(60, shape).clamp(-1, 1),
            torch.tensor([10, 500]),
            anchors.expand(2, -1),
            seeded_normal(61, shape),
            **options,
        )["loss"].numpy()


def test_loss_over_masked_frames(model):
    assert np.allclose(training_loss(model, explicit_anchors(6, [0, 3])), RAMVID["loss"], rtol=1e-5, atol=0)


def test_loss_over_all_frames(model):
    loss = training_loss(model, explicit_anchors(6, [0, 3]), exclude_conditional=False)
    assert np.allclose(loss, RAMVID["loss_all"], rtol=1e-5, atol=0)


def test_loss_is_another_when_anchors_and_masked_frames_are_swapped(model):
    swapped = training_loss(model, ~explicit_anchors(6, [0, 3]))
    assert (np.abs(swapped - RAMVID["loss"]) > 1e-3 * RAMVID["loss"]).all()


@pytest.mark.parametrize(
    "figure, sampler, spacing, sigma_small",
    [("p_y", sample_ancestral, "5", False), ("d_y", sample_ddim, "ddim5", True)],
)
def test_sampling_loop(model, figure, sampler, spacing, sigma_small):
    """The figure is the state before the last paste; the result has the anchors clean besides."""
    diffusion = golden_model("a", timestep_respacing=spacing, sigma_small=sigma_small)[1]
    shape = (1, 3, 6, 32, 32)
    clean = seeded_normal(50, shape).clamp(-1, 1)
    anchors = explicit_anchors(6, [0, 5])[None]
    states = []
    result = sampler(
        diffusion,
        model,
        clean,
        anchors,
        lambda draw: seeded_normal(100 + draw, shape),
        callback=lambda step, x, x_start: states.append(x),
    )
    expected = RAMVID[figure]
    assert len(states) == 5
    assert np.abs(states[-1].numpy() - expected).max() <= 1e-4 * np.abs(expected).max()
    assert torch.equal(result[:, :, [0, 5]], clean[:, :, [0, 5]])
    assert torch.equal(result[:, :, 1:5], states[-1][:, :, 1:5])
