"""Samplers against closed forms (for Gaussian data the best network is known) and against diffusers' loops.

With such a network and no clipping a sampler is an affine map of its draws, so its law is found without any Monte
Carlo: one element of the batch per draw, 1 in that draw alone, gives that draw's gain; the variance is the sum of the
squared gains.
"""

import diffusers.schedulers.scheduling_ddpm as their_ddpm
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, HeunDiscreteScheduler
from golden_figures import seeded_normal

from ramvid_vad.diffusion.anchors import selective_anchors
from ramvid_vad.diffusion.gaussian import GaussianDiffusion
from ramvid_vad.diffusion.samplers import (
    SAMPLERS,
    denoise_once,
    sample_ancestral,
    sample_ddim,
    sample_dpmpp_2m,
    sample_heun,
)
from ramvid_vad.diffusion.schedule import named_betas, respaced_timesteps
from ramvid_vad.errors import InputError

BETAS = named_betas("linear", 1000)
ALPHA_BAR = np.cumprod(1 - BETAS)
MEAN, SPREAD = 0.3, 0.5
WALKERS = [sampler for name, sampler in SAMPLERS.items() if name != "once"]  # that end without noise
RESAMPLING = [sample_ancestral, sample_ddim]
PREDICTIONS = ("epsilon", "xstart", "v")


def process(spacing: str = "", **options) -> GaussianDiffusion:
    return GaussianDiffusion(BETAS, respaced_timesteps(1000, spacing, BETAS), **options)


def best_network(prediction: str, mean: float = MEAN, spread: float = SPREAD, alpha_bar: np.ndarray = ALPHA_BAR):
    """E[what is predicted | x_t] where x_0 ~ N(mean, spread^2), in float64."""

    def network(x_t, timesteps, y=None, anchors=None):
        bar = torch.from_numpy(alpha_bar)[timesteps.long()].view(-1, 1, 1, 1, 1)
        x_start = mean + spread**2 * bar.sqrt() * (x_t - bar.sqrt() * mean) / (bar * spread**2 + 1 - bar)
        noise = (x_t - bar.sqrt() * x_start) / (1 - bar).sqrt()
        return {"epsilon": noise, "xstart": x_start, "v": bar.sqrt() * noise - (1 - bar).sqrt() * x_start}[prediction]

    return network


def law(sampler, diffusion, network, **options) -> tuple[float, float]:
    """Mean and standard deviation of what the sampler gives, exactly."""
    draws = 1 + diffusion.num_timesteps * options.get("resample_steps", 1) * 2
    shape = (1, 1, 1, 1, draws + 1)  # the last element sees no noise at all: the mean

    def noise(draw):
        only = torch.zeros(shape, dtype=torch.float64)
        only[..., draw] = 1
        return only

    none = torch.zeros(1, 1, dtype=torch.bool)
    x = sampler(diffusion, network, torch.zeros(shape), none, noise, clip_denoised=False, **options).flatten()
    return x[-1].item(), ((x[:-1] - x[-1]) ** 2).sum().sqrt().item()


def draws_of(seed: int, shape):
    return lambda draw: seeded_normal(1000 * seed + draw, shape)


def wavy_network(x_t, timesteps, y=None, anchors=None):
    """Some nonlinear function of everything, anchors included."""
    neighbour = x_t.roll(1, 2)
    return torch.sin(2 * x_t + neighbour) + 0.3 * torch.cos(timesteps.view(-1, 1, 1, 1, 1) / 300) * x_t


# --- closed forms -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize(
    "sampler, options, settings",
    [
        (sample_ancestral, {}, {}),
        (sample_ancestral, {}, {"sigma_small": True}),
        (sample_ddim, {"eta": 0.0}, {}),
        (sample_ddim, {"eta": 0.5}, {}),
        (sample_ddim, {"eta": 1.0}, {}),
    ],
)
def test_the_best_network_gives_back_the_law_of_the_data(prediction, sampler, options, settings):
    """Up to an error of first order in the step, which twice as many steps halve and extrapolation removes."""
    (_, coarse), (mean, fine) = (
        law(sampler, process(steps, prediction=prediction, **settings), best_network(prediction), **options)
        for steps in ("250", "500")
    )
    assert mean == pytest.approx(MEAN, abs=1e-3)
    assert (coarse - SPREAD) / (fine - SPREAD) == pytest.approx(2, abs=0.15)
    assert 2 * fine - coarse == pytest.approx(SPREAD, abs=1e-3)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("resample_steps", [1, 3])
def test_law_of_few_steps_by_recursion(prediction, resample_steps):
    """Ten steps, float64 by hand: x_{t-1} = weight_0 E[x_0|x_t] + weight_t x_t + sigma z, and RePaint's way back."""
    kept = respaced_timesteps(1000, "10")
    bar = ALPHA_BAR[kept]
    previous = np.append(1, bar[:-1])
    beta = 1 - bar / previous
    mean, variance = 0.0, 1.0
    for t in reversed(range(10)):
        weight_0, weight_t = np.sqrt(previous[t]) * beta[t], np.sqrt(1 - beta[t]) * (1 - previous[t])
        gain = SPREAD**2 * np.sqrt(bar[t]) / (bar[t] * SPREAD**2 + 1 - bar[t])
        slope = (weight_0 * gain + weight_t) / (1 - bar[t])
        shift = weight_0 * (MEAN - gain * np.sqrt(bar[t]) * MEAN) / (1 - bar[t])
        for repeat in range(resample_steps):
            mean = slope * mean + shift
            variance = slope**2 * variance + (beta[t] * (1 - previous[t]) / (1 - bar[t]) if t else 0)
            if repeat < resample_steps - 1:
                mean, variance = np.sqrt(1 - beta[t]) * mean, (1 - beta[t]) * variance + beta[t]
    found = law(
        sample_ancestral,
        process("10", prediction=prediction, sigma_small=True),
        best_network(prediction),
        resample_steps=resample_steps,
    )
    assert found == pytest.approx((mean, np.sqrt(variance)), rel=1e-4)


def test_repaint_keeps_the_law():
    mean, spread = law(sample_ancestral, process("250"), best_network("epsilon"), resample_steps=2)
    assert (mean, spread) == pytest.approx((MEAN, SPREAD), rel=0.02)


def test_anchors_inform_the_masked_frame_at_every_noise_level():
    """Two frames with correlation 0.8. Given the clean first one, the second is N(0.8 a, 0.36)."""

    def network(x_t, timesteps, y=None, anchors=None):
        bar = torch.from_numpy(ALPHA_BAR)[timesteps.long()].view(-1, 1, 1, 1, 1)
        centre, variance = 0.8 * x_t[:, :, :1], 0.36
        x_start = centre + variance * bar.sqrt() * (x_t - bar.sqrt() * centre) / (bar * variance + 1 - bar)
        return (x_t - bar.sqrt() * x_start) / (1 - bar).sqrt()

    shape = (1, 1, 2, 1, 402)
    for given in (-0.7, 0.9):
        for sampler in WALKERS:

            def noise(draw):
                only = torch.zeros(shape, dtype=torch.float64)
                only[..., draw] = 1
                return only

            x = sampler(
                process("400"),
                network,
                torch.full(shape, given, dtype=torch.float64),
                torch.tensor([[True, False]]),
                noise,
                clip_denoised=False,
            )[0, 0]
            assert (x[0] == given).all()
            assert x[1, 0, -1].item() == pytest.approx(0.8 * given, abs=5e-3)
            assert ((x[1, 0] - x[1, 0, -1]) ** 2).sum().sqrt().item() == pytest.approx(0.6, rel=0.02)


@pytest.mark.parametrize("clip", [True, False])
def test_ddim_with_eta_1_is_ancestral_sampling(clip):
    """Step for step, with the smaller fixed variance and any network (DDIM, section 4.1)."""
    shape = (2, 3, 4, 3, 3)
    clean, anchors = seeded_normal(7, shape).clamp(-1, 1), torch.tensor([[True, False, False, False], [False] * 4])
    diffusion = process("40", sigma_small=True)
    common = (diffusion, wavy_network, clean, anchors, draws_of(1, shape))
    ancestral = sample_ancestral(*common, clip_denoised=clip)
    ddim = sample_ddim(*common, clip_denoised=clip, eta=1.0)
    assert torch.allclose(ancestral, ddim, atol=1e-5 * ancestral.abs().max().item())


@pytest.mark.parametrize("sampler", SAMPLERS.values())
def test_one_step_is_the_networks_x_start(sampler):
    shape = (1, 1, 2, 3, 3)
    diffusion = GaussianDiffusion(BETAS, [700], prediction="xstart")
    none = torch.zeros(1, 2, dtype=torch.bool)
    common = (diffusion, wavy_network, torch.zeros(shape), none, draws_of(1, shape))
    expected = wavy_network(draws_of(1, shape)(0), torch.tensor([700.0]))
    assert torch.allclose(sampler(*common, clip_denoised=False), expected, atol=1e-6)
    assert torch.allclose(sampler(*common), expected.clamp(-1, 1), atol=1e-6)


# --- diffusers' loops -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prediction, theirs", [("epsilon", "epsilon"), ("xstart", "sample"), ("v", "v_prediction")])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_loop_is_diffusers(prediction, theirs, eta):
    shape = (2, 3, 4, 3, 3)
    noise = draws_of(2, shape)
    scheduler = DDIMScheduler(1000, 1e-4, 0.02, prediction_type=theirs, timestep_spacing="leading")
    scheduler.set_timesteps(20)
    x = noise(0)
    for draw, t in enumerate(scheduler.timesteps, 1):
        output = wavy_network(x, t.expand(2).float())
        x = scheduler.step(
            output, t, x, eta=eta, use_clipped_model_output=True, variance_noise=noise(draw) if eta else None
        ).prev_sample
    found = sample_ddim(
        process("ddim20", prediction=prediction),
        wavy_network,
        torch.zeros(shape),
        torch.zeros(2, 4, dtype=torch.bool),
        noise,
        eta=eta,
    )
    assert torch.allclose(found, x, atol=1e-4)


@pytest.mark.parametrize("sigma_small", [True, False])
@pytest.mark.parametrize("prediction, theirs", [("epsilon", "epsilon"), ("v", "v_prediction")])
def test_ancestral_loop_is_diffusers(sigma_small, prediction, theirs, monkeypatch):
    shape = (2, 3, 4, 3, 3)
    noise = draws_of(3, shape)
    scheduler = DDPMScheduler(
        1000, 1e-4, 0.02, variance_type="fixed_small" if sigma_small else "fixed_large", prediction_type=theirs
    )
    scheduler.set_timesteps(20)
    x, draw = noise(0), 0
    monkeypatch.setattr(their_ddpm, "randn_tensor", lambda *_, **__: noise(draw))
    for t in scheduler.timesteps:
        draw += 1
        x = scheduler.step(wavy_network(x, t.expand(2).float()), t, x).prev_sample
    found = sample_ancestral(
        process("ddim20", prediction=prediction, sigma_small=sigma_small),
        wavy_network,
        torch.zeros(shape),
        torch.zeros(2, 4, dtype=torch.bool),
        noise,
    )
    assert torch.allclose(found, x, atol=1e-4)


# --- the contract of every sampler ------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", RESAMPLING)
@pytest.mark.parametrize("resample_steps", [1, 3])
def test_training_and_sampling_show_the_network_the_same_anchors(sampler, resample_steps):
    """selective_anchors decides in both: those frames stand clean before every network call, and only those."""
    frames, shape = 12, (1, 2, 12, 2, 2)
    anchors = selective_anchors(frames)[None]
    clean = seeded_normal(5, shape).clamp(-1, 1)
    seen = []

    def spy(x_t, timesteps, y=None, anchors=None):
        seen.append(((x_t == clean).flatten(3).all(3).all(1), timesteps, anchors, y))
        return wavy_network(x_t, timesteps)

    diffusion = process("7")
    diffusion.training_losses(spy, clean, torch.tensor([3]), anchors, seeded_normal(6, shape), y=torch.tensor([8]))
    result = sampler(
        diffusion, spy, clean, anchors, draws_of(1, shape), resample_steps=resample_steps, y=torch.tensor([8])
    )
    assert len(seen) == 1 + 7 * resample_steps
    for given, _, told, y in seen:
        assert torch.equal(given, anchors)
        assert torch.equal(told, anchors)
        assert y.tolist() == [8]
    kept = respaced_timesteps(1000, "7")
    assert [t.item() for _, t, _, _ in seen[1:]] == [t for t in reversed(kept) for _ in range(resample_steps)]
    assert torch.equal((result == clean).flatten(3).all(3).all(1), anchors)


@pytest.mark.parametrize("sampler", SAMPLERS.values())
def test_masked_frames_of_the_clean_window_are_never_read(sampler):
    shape = (2, 1, 4, 2, 2)
    anchors = torch.tensor([[True, False, False, True], [False, True, False, False]])
    clean = seeded_normal(5, shape)
    hidden = clean.masked_fill(~anchors[:, None, :, None, None], float("nan"))
    common = (anchors, draws_of(1, shape))
    expected = sampler(process("5"), wavy_network, clean, *common)
    assert torch.equal(sampler(process("5"), wavy_network, hidden, *common), expected)


@pytest.mark.parametrize("sampler", WALKERS)
def test_callback_sees_every_step(sampler):
    shape = (1, 1, 2, 2, 2)
    anchors = torch.tensor([[True, False]])
    clean = torch.full(shape, 0.25)
    calls = []
    result = sampler(
        process("6"),
        wavy_network,
        clean,
        anchors,
        draws_of(1, shape),
        resample_steps=2 if sampler in RESAMPLING else 1,
        callback=lambda step, x, x_start: calls.append((step, x.clone(), x_start.clone())),
    )
    assert [step for step, _, _ in calls] == list(range(6))
    assert all(x_start.abs().max() <= 1 for _, _, x_start in calls)
    assert torch.equal(result[:, :, 1], calls[-1][1][:, :, 1])
    assert not torch.equal(calls[-1][1][:, :, 0], clean[:, :, 0])  # the state before the last paste
    assert torch.equal(result[:, :, 0], clean[:, :, 0])


@pytest.mark.parametrize("sampler", SAMPLERS.values())
def test_a_sampler_is_a_pure_function_that_leaves_its_inputs_alone(sampler):
    shape = (1, 1, 2, 2, 2)
    clean, start = seeded_normal(5, shape), seeded_normal(6, shape)
    copies = clean.clone(), start.clone()
    anchors = torch.tensor([[True, False]])
    options = {"eta": 0.5} if sampler is sample_ddim else {}
    results = [
        sampler(
            process("5"),
            wavy_network,
            clean,
            anchors,
            lambda k: start if k == 0 else seeded_normal(k, shape),
            **options,
        )
        for _ in range(2)
    ]
    assert torch.equal(*results)
    assert torch.equal(clean, copies[0])
    assert torch.equal(start, copies[1])
    assert not results[0].requires_grad


def test_each_window_of_a_batch_is_sampled_as_if_alone():
    shape = (3, 2, 4, 2, 2)
    clean, anchors = seeded_normal(5, shape), torch.tensor([[True, False, False, False]] * 2 + [[False] * 4])
    for sampler in SAMPLERS.values():
        together = sampler(process("8"), wavy_network, clean, anchors, draws_of(1, shape))
        for i in range(3):
            alone = sampler(
                process("8"),
                wavy_network,
                clean[i : i + 1],
                anchors[i : i + 1],
                lambda k, i=i: draws_of(1, shape)(k)[i : i + 1],
            )
            assert torch.allclose(together[i : i + 1], alone, atol=1e-6)


@pytest.mark.parametrize("eta", [-0.1, 1.1])
def test_an_eta_without_meaning_is_refused(eta):
    shape = (1, 1, 1, 1, 1)
    with pytest.raises(InputError, match=f"--eta {eta}"):
        sample_ddim(
            process("5"),
            wavy_network,
            torch.zeros(shape),
            torch.zeros(1, 1, dtype=torch.bool),
            draws_of(1, shape),
            eta=eta,
        )


# --- solvers of the ordinary differential equation --------------------------------------------------------------------


def flow_of_the_data(x, sigma):
    """Where the equation dx/dsigma = (x - E[x_0|x]) / sigma leads from x at sigma, for x_0 ~ N(MEAN, SPREAD^2)."""
    return MEAN + (x - MEAN) * SPREAD / np.sqrt(SPREAD**2 + sigma**2)


def error_of(sampler, steps, prediction):
    """Largest error of 100 starts, on a schedule of ``steps`` timesteps of exactly even log-SNR."""
    bar = 1 / (1 + np.geomspace(1e-3, 50, steps) ** 2)
    diffusion = GaussianDiffusion(1 - bar / np.append(1, bar[:-1]), prediction=prediction, rescale_timesteps=False)
    start = torch.linspace(-2, 2, 100, dtype=torch.float64).view(1, 1, 1, 1, 100)
    none = torch.zeros(1, 1, dtype=torch.bool)
    network = best_network(prediction, alpha_bar=bar)
    x = sampler(diffusion, network, torch.zeros_like(start), none, lambda _: start, clip_denoised=False)
    return (x - flow_of_the_data(start / np.sqrt(bar[-1]), 50)).abs().max().item()


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_order_of_the_solvers_by_the_exact_score(prediction):
    """Twice as many steps halve DDIM's error, of first order, and quarter that of the two of second order."""
    for sampler, order in ((sample_ddim, 1), (sample_dpmpp_2m, 2), (sample_heun, 2)):
        coarse, fine = (error_of(sampler, steps, prediction) for steps in (40, 80))
        assert coarse / fine == pytest.approx(2**order, rel=0.25)
    # at ten timesteps, too, one is far ahead
    assert error_of(sample_dpmpp_2m, 10, prediction) < error_of(sample_ddim, 10, prediction) / 2


@pytest.mark.parametrize("prediction, theirs", [("epsilon", "epsilon"), ("xstart", "sample"), ("v", "v_prediction")])
@pytest.mark.parametrize("steps", ["10", "logsnr12"])
def test_dpm_solver_is_diffusers(prediction, theirs, steps):
    shape = (2, 3, 4, 3, 3)
    noise = draws_of(2, shape)
    kept = respaced_timesteps(1000, steps, BETAS)[::-1]
    scheduler = DPMSolverMultistepScheduler(
        1000, 1e-4, 0.02, prediction_type=theirs, algorithm_type="dpmsolver++", euler_at_final=True
    )
    scheduler.set_timesteps(timesteps=kept)
    x = noise(0)
    for t in scheduler.timesteps:
        x = scheduler.step(wavy_network(x, t.expand(2).float()), t, x).prev_sample
    found = sample_dpmpp_2m(
        process(steps, prediction=prediction),
        wavy_network,
        torch.zeros(shape),
        torch.zeros(2, 4, dtype=torch.bool),
        noise,
        clip_denoised=False,
    )
    assert torch.allclose(found, x, atol=1e-3 * x.abs().max().item())


@pytest.mark.parametrize("prediction, theirs", [("epsilon", "epsilon"), ("v", "v_prediction")])
@pytest.mark.parametrize("steps", ["10", "logsnr12"])
def test_heun_is_diffusers(prediction, theirs, steps):
    shape = (2, 3, 4, 3, 3)
    noise = draws_of(2, shape)
    scheduler = HeunDiscreteScheduler(1000, 1e-4, 0.02, prediction_type=theirs)
    scheduler.set_timesteps(timesteps=respaced_timesteps(1000, steps, BETAS)[::-1])
    sigma = scheduler.sigmas[0]
    x = noise(0) * (1 + sigma**2).sqrt()  # their x is x_t / sqrt(alpha_bar)
    for t in scheduler.timesteps:
        x = scheduler.step(wavy_network(scheduler.scale_model_input(x, t), t.expand(2).float()), t, x).prev_sample
    found = sample_heun(
        process(steps, prediction=prediction),
        wavy_network,
        torch.zeros(shape),
        torch.zeros(2, 4, dtype=torch.bool),
        noise,
        clip_denoised=False,
    )
    assert torch.allclose(found, x, atol=1e-3 * x.abs().max().item())


def test_heun_takes_two_calls_a_step_and_the_others_one():
    shape = (1, 1, 2, 2, 2)
    for name, calls in (("dpmpp_2m", 6), ("heun", 11), ("ddim", 6), ("ancestral", 6), ("once", 1)):
        seen = []

        def spy(x_t, timesteps, y=None, anchors=None, seen=seen):
            seen.append(timesteps)
            return wavy_network(x_t, timesteps)

        SAMPLERS[name](process("6"), spy, torch.zeros(shape), torch.tensor([[True, False]]), draws_of(1, shape))
        assert len(seen) == calls


@pytest.mark.parametrize("name", ["dpmpp_2m", "heun", "once"])
def test_repaint_is_for_samplers_that_walk_back(name):
    shape = (1, 1, 1, 1, 1)
    with pytest.raises(InputError, match=f"--resample_steps 2: RePaint needs .* not {name}"):
        SAMPLERS[name](
            process("5"),
            wavy_network,
            torch.zeros(shape),
            torch.zeros(1, 1, dtype=torch.bool),
            draws_of(1, shape),
            resample_steps=2,
        )


# --- starting levels --------------------------------------------------------------------------------------------------


def test_one_call_is_the_posterior_mean_in_closed_form():
    """x_0 ~ N(m, s^2) seen as x_0 + sigma z: the mean is (s^2 (x_0 + sigma z) + sigma^2 m) / (s^2 + sigma^2)."""
    shape = (1, 1, 2, 4, 4)
    clean, z = seeded_normal(5, shape).double(), seeded_normal(6, shape).double()
    for prediction in PREDICTIONS:
        for level in (0.3, 0.7, 1.5, 5.0):
            diffusion = process(prediction=prediction)
            sigma = diffusion.sigma[diffusion.nearest_timestep(level)]
            assert sigma == pytest.approx(level, rel=0.02)
            found = denoise_once(
                diffusion,
                best_network(prediction),
                clean,
                torch.zeros(1, 2, dtype=torch.bool),
                lambda _: z,
                clip_denoised=False,
                start_level=level,
            )
            exact = (SPREAD**2 * (clean + sigma * z) + sigma**2 * MEAN) / (SPREAD**2 + sigma**2)
            assert torch.allclose(found, exact, atol=1e-4)


def test_the_nearest_timestep_of_a_level():
    diffusion = process("20")
    for t in range(20):
        assert diffusion.nearest_timestep(diffusion.sigma[t]) == t
        assert diffusion.nearest_timestep(diffusion.sigma[t] * 1.01) == t
    between = np.sqrt(diffusion.sigma[7] * diffusion.sigma[8])  # half way on a logarithmic scale
    assert [diffusion.nearest_timestep(between * f) for f in (0.999, 1.001)] == [7, 8]
    assert diffusion.nearest_timestep(1e9) == 19
    for level in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="starting level"):
            diffusion.nearest_timestep(level)


@pytest.mark.parametrize("sampler", SAMPLERS.values())
def test_a_start_level_begins_at_the_true_entries_noised(sampler):
    shape = (1, 1, 3, 2, 2)
    clean, anchors = seeded_normal(5, shape), torch.tensor([[True, False, False]])
    diffusion, seen = process("20"), []

    def spy(x_t, timesteps, y=None, anchors=None):
        seen.append((x_t, timesteps))
        return wavy_network(x_t, timesteps)

    sampler(diffusion, spy, clean, anchors, draws_of(1, shape), start_level=float(diffusion.sigma[6]))
    x, t = seen[0]
    assert t.item() == diffusion.timestep_map[6]
    bar = diffusion.alpha_bar[6]
    expected = np.sqrt(bar) * clean + np.sqrt(1 - bar) * draws_of(1, shape)(0)
    assert torch.allclose(x[:, :, 1:], expected[:, :, 1:], atol=1e-6)
    assert torch.equal(x[:, :, 0], clean[:, :, 0])
    assert all(at <= t for _, at in seen)
