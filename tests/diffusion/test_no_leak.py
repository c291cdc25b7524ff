"""From pure noise nothing of a hidden entry reaches the result, for every pattern, space and sampler."""

import pytest
import torch
from golden_figures import fill_by_name, seeded_normal

from ramvid_vad.diffusion.anchors import PATTERNS, AnchorPattern, batch_of, over_entries
from ramvid_vad.diffusion.gaussian import GaussianDiffusion
from ramvid_vad.diffusion.samplers import SAMPLERS
from ramvid_vad.diffusion.schedule import named_betas, respaced_timesteps
from ramvid_vad.models.unet import UNet

FRAMES, GRID = 6, (4, 5)
SPACES = {"pixels": {"pixels": 3}, "features": {"appearance": 3, "motion": 2}}
CASES = [
    (space, kind)
    for space, groups in SPACES.items()
    for kind in (*PATTERNS, "none,tube,prediction,infill")
    if "_given_" not in kind or len(groups) == 2
]


@pytest.fixture(scope="module")
def networks():
    made = {}
    for space, groups in SPACES.items():
        channels = tuple(groups.values())
        model = UNet(
            sum(channels),
            sum(channels),
            32,
            1,
            (2,),
            (1, 2),
            mixer="attention",
            num_heads=1,
            mask_channel=True,
            groups=channels,
        ).eval()
        fill_by_name(model, 0.05)
        made[space] = model
    return made


@pytest.mark.parametrize("space, kind", CASES)
def test_a_hidden_entry_changes_nothing_from_pure_noise(networks, space, kind):
    groups = SPACES[space]
    channels, betas = tuple(groups.values()), named_betas("cosine", 50)
    pattern = AnchorPattern(
        kind, FRAMES, frames=[0, 3], num_prediction=2, groups=tuple(groups), grid=GRID, tube=(2, 3), seed=1
    )
    anchors = batch_of([pattern(2, sample) for sample in range(2)], channels)
    shape = (2, sum(channels), FRAMES, *GRID)
    clean, other = seeded_normal(1, shape), seeded_normal(2, shape)
    given = over_entries(anchors).expand(shape)
    hidden_changed, given_changed = torch.where(given, clean, other), torch.where(given, other, clean)
    diffusion = GaussianDiffusion(betas, respaced_timesteps(50, "logsnr2", betas), prediction="v")

    def run(name, clean, **options):
        noise = lambda draw: seeded_normal(10 + draw, shape)  # noqa: E731
        return SAMPLERS[name](diffusion, networks[space], clean, anchors, noise, clip_denoised=False, **options)

    for name in SAMPLERS:
        result = run(name, clean)
        assert torch.equal(run(name, hidden_changed), result)
        assert torch.equal(result[given], clean[given])
        assert not torch.allclose(result[~given], clean[~given])
    # what is given does reach the rest, and a start at the true entries does read them: else this would say nothing
    result = run("once", clean)
    assert not given.any() or not torch.allclose(run("once", given_changed)[~given], result[~given])
    from_level = [run("once", each, start_level=0.5)[~given] for each in (clean, hidden_changed)]
    assert not torch.allclose(*from_level)


@pytest.mark.parametrize("space, kind", CASES)
def test_the_loss_is_that_of_hidden_entries_alone(space, kind):
    """A network that is wrong by 1 at given entries and by 2 at hidden ones has the loss 4 in every window."""
    groups = SPACES[space]
    channels = tuple(groups.values())
    pattern = AnchorPattern(
        kind, FRAMES, frames=[0, 3], num_prediction=2, groups=tuple(groups), grid=GRID, tube=(2, 3), seed=1
    )
    anchors = batch_of([pattern(2, sample) for sample in range(3)], channels)
    shape = (3, sum(channels), FRAMES, *GRID)
    clean, noise, given = seeded_normal(1, shape), seeded_normal(2, shape), over_entries(anchors).expand(shape)
    diffusion = GaussianDiffusion(named_betas("linear", 1000), prediction="epsilon")
    seen = []

    def network(x_t, timesteps, y=None, anchors=None):
        seen.append(x_t)
        return torch.where(given, 1.0, noise + 2)

    t = torch.tensor([3, 400, 999])
    losses = diffusion.training_losses(network, clean, t, anchors, noise)["loss"]
    torch.testing.assert_close(losses, torch.full((3,), 4.0))
    noised = diffusion.q_sample(clean, t, noise)
    assert torch.equal(seen[0], torch.where(given, clean, noised))
