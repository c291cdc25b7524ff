"""Betas and respacing: improved-diffusion's figures, the papers' formulas, diffusers."""

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from golden_figures import DATA
from hypothesis import given
from hypothesis import strategies as st

from ramvid_vad.diffusion.gaussian import GaussianDiffusion
from ramvid_vad.diffusion.schedule import named_betas, respaced_timesteps
from ramvid_vad.errors import InputError
from ramvid_vad.options import DiffusionOptions
from ramvid_vad.script_util import create_diffusion, create_model_and_diffusion

RAMVID = np.load(DATA / "ramvid.npz")


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_betas_are_improved_diffusions(name):
    betas = named_betas(name, 1000)
    assert betas.dtype == np.float64
    assert np.array_equal(betas, RAMVID[f"betas_{name}"])


@pytest.mark.parametrize("name, theirs", [("linear", "linear"), ("cosine", "squaredcos_cap_v2")])
@pytest.mark.parametrize("steps", [1000, 250])
def test_betas_are_diffusers(name, theirs, steps):
    scale = 1000 / steps  # diffusers leaves the scaling to its user
    scheduler = DDPMScheduler(steps, beta_start=1e-4 * scale, beta_end=0.02 * scale, beta_schedule=theirs)
    assert np.allclose(named_betas(name, steps), scheduler.betas.double().numpy(), rtol=1e-4)


@pytest.mark.parametrize("spacing, name", [("200", "200"), ("ddim50", "ddim50"), ("10,15,20", "sec")])
def test_respacing_is_improved_diffusions(spacing, name):
    assert respaced_timesteps(1000, spacing) == RAMVID[f"respace_{name}"].tolist()


@pytest.mark.parametrize("spacing, name", [("5", "p"), ("ddim5", "d")])
def test_respaced_process_is_improved_diffusions(spacing, name):
    with_spacing = create_model_and_diffusion(image_size=32, num_channels=32, timestep_respacing=spacing)[1]
    assert with_spacing.timestep_map.tolist() == RAMVID[f"{name}_map"].tolist()
    assert np.array_equal(with_spacing.betas, RAMVID[f"{name}_betas"])


@given(steps=st.integers(21, 1200), data=st.data())
def test_respacing_keeps_alpha_bar(steps, data):
    """The kept steps are the schedule's own: respacing never redefines it (IDDPM, eq. 19)."""
    sections = data.draw(st.lists(st.integers(1, steps // 5), min_size=1, max_size=4))
    kept = respaced_timesteps(steps, ",".join(map(str, sections)))
    betas = named_betas("linear", steps)
    respaced = GaussianDiffusion(betas, kept)
    assert len(kept) == len(set(kept)) == sum(sections)
    assert kept == sorted(kept)
    assert kept[0] == 0
    assert kept[-1] <= steps - 1
    assert np.allclose(np.cumprod(1 - respaced.betas), np.cumprod(1 - betas)[kept], rtol=1e-9)
    if len(sections) == 1 and sections[0] > 1:
        assert kept[-1] == steps - 1  # evenly from the first to the last
        assert max(np.diff(kept)) - min(np.diff(kept)) <= 1


def test_respacing_spreads_over_equal_sections():
    kept = np.array(respaced_timesteps(1000, "10,15,20"))
    assert [int(((kept >= lo) & (kept < hi)).sum()) for lo, hi in ((0, 334), (334, 667), (667, 1000))] == [10, 15, 20]


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("wanted", [2, 8, 10, 20, 50, 200, 1000])
def test_log_snr_spacing_has_as_many_steps_as_asked_for(schedule, wanted):
    betas = named_betas(schedule, 1000)
    kept = np.array(respaced_timesteps(1000, f"logsnr{wanted}", betas))
    assert len(kept) == wanted and kept[0] == 0 and kept[-1] >= 996 and (np.diff(kept) > 0).all() and kept[-1] < 1000
    if wanted <= 10:  # more marks than that lie closer than the first timesteps
        log_snr = np.log(np.cumprod(1 - betas)) - np.log(1 - np.cumprod(1 - betas))
        steps = -np.diff(log_snr[kept])
        assert steps.max() < 1.5 * steps.min()


def _kept(diffusion):
    return diffusion.network_timesteps(torch.arange(diffusion.num_timesteps)).tolist()


@pytest.mark.parametrize("level", [0.3, 0.7, 1.5])
@pytest.mark.parametrize("wanted", [2, 5, 10])
def test_sampling_from_a_level_divides_log_snr_from_there(level, wanted):
    """A step much shorter than the next would make a solver that extrapolates magnify its network's noise."""
    options = DiffusionOptions(noise_schedule="cosine", prediction="v", timestep_respacing=f"logsnr{wanted}")
    diffusion = create_diffusion(options, level)
    assert diffusion.num_timesteps == wanted and _kept(diffusion)[0] == 0
    assert diffusion.sigma[-1] == pytest.approx(level, rel=0.005)
    assert diffusion.nearest_timestep(level) == wanted - 1
    widths = np.diff(np.log(diffusion.sigma))
    assert widths.max() < 1.6 * widths.min()


@pytest.mark.parametrize("spacing", ["", "200", "ddim50", "10,20"])
def test_other_spacings_lose_what_lies_above_a_level(spacing):
    options = DiffusionOptions(noise_schedule="cosine", timestep_respacing=spacing)
    kept, whole = (_kept(create_diffusion(options, level)) for level in (0.7, None))
    assert (
        kept[-1] == 383 and set(kept[:-1]) <= {t for t in whole if t < 383} and len(kept) >= sum(t < 383 for t in whole)
    )


@pytest.mark.parametrize("spacing", ["10", "50", "200", "ddim50"])
def test_no_step_from_a_level_is_much_shorter_than_the_next(spacing):
    for first in range(1, 1000):
        kept = respaced_timesteps(1000, spacing, first=first)
        assert len(kept) < 3 or 2 * (kept[-1] - kept[-2]) >= kept[-2] - kept[-3] - 1
        assert kept[-1] == first


def test_a_level_near_the_end_has_as_many_steps_as_there_are():
    assert respaced_timesteps(1000, "logsnr10", named_betas("cosine", 1000), 3) == [0, 1, 2, 3]


def test_no_respacing_keeps_everything():
    assert respaced_timesteps(1000, "") == list(range(1000)) == respaced_timesteps(1000, "1000")
    plain = GaussianDiffusion(named_betas("cosine", 100))
    assert np.allclose(plain.betas, named_betas("cosine", 100), rtol=1e-10)


@pytest.mark.parametrize(
    "spacing",
    [
        "0",
        "1001",
        "-1",
        "10,",
        ",",
        "10,0",
        "501,1",
        "ddim",
        "ddim0",
        "ddim1",
        "ddim3000",
        "ddim-5",
        "ddim999",
        "x",
        "logsnr1",
    ],
)
def test_a_spacing_that_cannot_be_met_is_refused(spacing):
    with pytest.raises(InputError, match=f"--timestep_respacing '{spacing}'.*1000"):
        respaced_timesteps(1000, spacing, named_betas("linear", 1000))


@pytest.mark.parametrize("name, steps", [("linear", 0), ("linear", -1), ("linear", 20), ("cosine", 0), ("cosine", -1)])
def test_a_number_of_steps_without_valid_betas_is_refused(name, steps):
    with pytest.raises(InputError, match=f"--diffusion_steps {steps}"):
        named_betas(name, steps)


def test_an_unknown_schedule_is_refused():
    with pytest.raises(InputError, match="--noise_schedule 'sigmoid'"):
        named_betas("sigmoid", 1000)
