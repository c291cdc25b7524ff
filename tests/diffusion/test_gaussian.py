"""The forward process, targets and losses against closed forms, diffusers, scipy and torch.distributions."""

import math

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import compute_snr
from golden_figures import seeded_normal
from scipy import stats
from torch.distributions import Normal, kl_divergence

from ramvid_vad.diffusion.gaussian import GaussianDiffusion, discretized_gaussian_log_likelihood
from ramvid_vad.diffusion.schedule import named_betas
from ramvid_vad.errors import InputError
from ramvid_vad.options import DiffusionOptions
from ramvid_vad.script_util import create_diffusion

BETAS = named_betas("linear", 1000)
SHAPE = (6, 2, 4, 3, 5)  # B, C, T, H, W
T = torch.tensor([0, 1, 50, 300, 700, 999])
X0, NOISE = seeded_normal(1, SHAPE).clamp(-1, 1), seeded_normal(2, SHAPE)
ANCHORS = torch.tensor([[True, False, False, True]] * 3 + [[False, True, False, False]] * 2 + [[False] * 4])
PREDICTIONS = ("epsilon", "xstart", "v")


def process(**options) -> GaussianDiffusion:
    return GaussianDiffusion(BETAS, **options)


def at(values: np.ndarray) -> torch.Tensor:
    """float64 coefficients at T, shaped (B,1,1,1,1)."""
    return torch.from_numpy(values)[T].view(-1, 1, 1, 1, 1)


ALPHA_BAR = np.cumprod(1 - BETAS)


class Spy:
    """A network that keeps what it was called with and answers with a tensor that keeps its gradient."""

    def __init__(self, answer: torch.Tensor):
        self.answer = answer.clone().requires_grad_()

    def __call__(self, x_t, timesteps, y=None, anchors=None):
        self.x_t, self.timesteps, self.y, self.anchors = x_t, timesteps, y, anchors
        return self.answer


def losses(diffusion, answer, anchors=ANCHORS, **options):
    spy = Spy(answer)
    return diffusion.training_losses(spy, X0, T, anchors, NOISE, **options), spy


# --- forward process and posterior ------------------------------------------------------------------------------------


def test_forward_process_is_diffusers():
    theirs = DDPMScheduler(1000, 1e-4, 0.02).add_noise(X0, NOISE, T)
    assert torch.allclose(process().q_sample(X0, T, NOISE), theirs, atol=1e-5)


def test_posterior_is_bayes_rule():
    """q(x_{t-1} | x_t, x_0) by multiplying the two Gaussians q(x_t | x_{t-1}) and q(x_{t-1} | x_0) in float64."""
    x_t = process().q_sample(X0, T, NOISE)
    mean, log_variance = process().q_posterior(X0, x_t, T)
    beta, previous = at(BETAS), at(np.append(1.0, ALPHA_BAR[:-1]))
    for i in range(1, len(T)):  # at t = 0 it is a point
        precision = (1 - beta[i]) / beta[i] + 1 / (1 - previous[i])
        expected = (
            (1 - beta[i]).sqrt() / beta[i] * x_t[i] + previous[i].sqrt() / (1 - previous[i]) * X0[i]
        ) / precision
        assert torch.allclose(mean[i].double(), expected, atol=1e-5)
        assert log_variance[i].item() == pytest.approx(-precision.log().item(), abs=1e-5)
    assert torch.allclose(mean[0], X0[0], atol=1e-6)


@pytest.mark.parametrize("sigma_small, theirs", [(True, "fixed_small"), (False, "fixed_large")])
def test_reverse_variances_are_diffusers(sigma_small, theirs):
    scheduler = DDPMScheduler(1000, 1e-4, 0.02, variance_type=theirs)
    step = process(sigma_small=sigma_small).reverse_step(Spy(NOISE), X0, T)
    for i in range(1, len(T)):
        assert step.log_variance[i].exp().item() == pytest.approx(scheduler._get_variance(int(T[i])).item(), rel=1e-3)
    small = process(sigma_small=True).reverse_step(Spy(NOISE), X0, T[:1])
    assert small.log_variance.item() == pytest.approx(math.log(BETAS[1] * BETAS[0] / (1 - ALPHA_BAR[1])), abs=1e-5)


# --- predictions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_targets_and_predictions_are_inverse(prediction):
    """From the target at x_t, x_0 and epsilon come back, at every noise level."""
    diffusion = process(prediction=prediction)
    x_t = diffusion.q_sample(X0.double(), T, NOISE.double())
    x_start = diffusion.predict_x_start(x_t, T, diffusion.target(X0.double(), T, NOISE.double()))
    assert torch.allclose(x_start, X0.double(), atol=1e-4)
    noise = diffusion.predict_epsilon(x_t, T, X0.double())
    assert torch.allclose(noise, NOISE.double(), atol=1e-4)


def test_velocity_target_is_diffusers():
    theirs = DDPMScheduler(1000, 1e-4, 0.02).get_velocity(X0, NOISE, T)
    assert torch.allclose(process(prediction="v").target(X0, T, NOISE), theirs, atol=1e-5)


@pytest.mark.parametrize("rescale, scale", [(True, 2), (False, 1)])
def test_network_sees_timesteps_of_the_original_schedule(rescale, scale):
    """Of 500 steps here, shown on a scale of 0 to 1000 if rescaled; respacing does not move them."""
    betas = named_betas("linear", 500)
    whole = GaussianDiffusion(betas, rescale_timesteps=rescale)
    assert whole.network_timesteps(torch.tensor([0, 250, 499])).tolist() == [0, 250 * scale, 499 * scale]
    respaced = GaussianDiffusion(betas, [10, 40, 90], rescale_timesteps=rescale)
    assert respaced.network_timesteps(torch.tensor([2, 0, 1])).tolist() == [90 * scale, 10 * scale, 40 * scale]


# --- the loss ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_loss_is_the_mean_square_over_masked_frames(prediction):
    """Per sample, by hand in float64; the network sees clean anchors and noised masked frames, and who is who."""
    answer = seeded_normal(3, SHAPE)
    terms, spy = losses(process(prediction=prediction), answer)
    signal, sigma = at(np.sqrt(ALPHA_BAR)), at(np.sqrt(1 - ALPHA_BAR))
    target = {"epsilon": NOISE.double(), "xstart": X0.double(), "v": signal * NOISE - sigma * X0}[prediction]
    noised = signal * X0 + sigma * NOISE
    for i in range(len(T)):
        given = ANCHORS[i]
        expected = ((target[i] - answer[i]) ** 2)[:, ~given].mean()
        assert terms["loss"][i].item() == pytest.approx(expected.item(), rel=1e-5)
        assert torch.equal(spy.x_t[i][:, given], X0[i][:, given])
        assert torch.allclose(spy.x_t[i][:, ~given].double(), noised[i][:, ~given], atol=1e-5)
    assert torch.equal(spy.anchors, ANCHORS)
    assert spy.timesteps.tolist() == T.tolist()


@pytest.mark.parametrize(
    "options", [{}, {"prediction": "v", "min_snr_gamma": 5.0}, {"learn_sigma": True}, {"use_kl": True}]
)
def test_loss_has_no_gradient_through_anchors(options):
    channels = 2 if options.get("learn_sigma") else 1
    terms, spy = losses(process(**options), seeded_normal(3, SHAPE).repeat(1, channels, 1, 1, 1))
    terms["loss"].sum().backward()
    given = ANCHORS[:, None, :, None, None].expand_as(spy.answer)
    assert (spy.answer.grad[given] == 0).all()
    assert (spy.answer.grad[~given] != 0).all()


def test_noise_at_anchors_changes_nothing():
    other = torch.where(ANCHORS[:, None, :, None, None], seeded_normal(9, SHAPE), NOISE)
    answer = seeded_normal(3, SHAPE)
    for options in ({}, {"exclude_conditional": False}):
        first, second = (
            process().training_losses(Spy(answer), X0, T, ANCHORS, noise, **options)["loss"] for noise in (NOISE, other)
        )
        assert torch.equal(first, second)


def test_a_window_of_anchors_only_has_no_loss():
    terms, _ = losses(process(), seeded_normal(3, SHAPE), anchors=torch.ones(6, 4, dtype=torch.bool))
    assert (terms["loss"] == 0).all()


def test_the_class_reaches_the_network():
    _, spy = losses(process(), NOISE, y=torch.arange(6))
    assert spy.y.tolist() == list(range(6))


# --- min-SNR (arXiv 2303.09556) ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("gamma", [1.0, 5.0])
def test_min_snr_weighs_the_error_of_x_start_alike_for_every_prediction(gamma):
    """Section 3.4: whatever is predicted, the loss is min(SNR, gamma) times the squared error of x_0."""
    snr = compute_snr(DDPMScheduler(1000, 1e-4, 0.02), T).double()
    guess = (X0 + 0.1 * seeded_normal(4, SHAPE)).double()
    for prediction in PREDICTIONS:
        diffusion = process(prediction=prediction, min_snr_gamma=gamma)
        free = torch.zeros(6, 4, dtype=torch.bool)
        x_t = diffusion.q_sample(X0, T, NOISE).double()
        noise = (x_t - at(np.sqrt(ALPHA_BAR)) * guess) / at(np.sqrt(1 - ALPHA_BAR))
        answer = diffusion.target(guess, T, noise)  # what a network that believes in the guess says
        terms, _ = losses(diffusion, answer, anchors=free)
        expected = snr.clamp(max=gamma) * ((X0 - guess) ** 2).flatten(1).mean(1)
        assert torch.allclose(terms["loss"].double(), expected, rtol=2e-3)
        assert (terms["mse"] > 0).all()


def test_min_snr_weight_of_epsilon_is_the_papers():
    snr = compute_snr(DDPMScheduler(1000, 1e-4, 0.02), T)
    terms, _ = losses(process(min_snr_gamma=5.0), seeded_normal(3, SHAPE))
    assert torch.allclose(terms["loss"] / terms["mse"], snr.clamp(max=5) / snr, rtol=1e-3)


# --- learned variance and the variational bound -----------------------------------------------------------------------


def test_learned_variance_lies_between_the_two_fixed_ones():
    """IDDPM eq. 15, and diffusers' learned_range."""
    scheduler = DDPMScheduler(1000, 1e-4, 0.02, variance_type="learned_range")
    fraction = seeded_normal(5, SHAPE).clamp(-1, 1)
    step = process(learn_sigma=True).reverse_step(Spy(torch.cat([NOISE, fraction], 1)), X0, T)
    assert step.log_variance.shape == SHAPE
    for i in range(1, len(T)):
        theirs = scheduler._get_variance(int(T[i]), predicted_variance=fraction[i])
        assert torch.allclose(step.log_variance[i], theirs, atol=2e-3)


@pytest.mark.parametrize("learn_sigma", [True, False])
def test_bound_is_the_kl_of_the_two_gaussians(learn_sigma):
    """float64 KL by torch.distributions for t > 0, the mass of an 8-bit bin by scipy at t = 0; bits per dimension."""
    diffusion = process(learn_sigma=learn_sigma, use_kl=True)
    answer = NOISE + 0.1 * seeded_normal(3, SHAPE)
    fraction = seeded_normal(5, SHAPE).clamp(-1, 1)
    terms, spy = losses(diffusion, torch.cat([answer, fraction], 1) if learn_sigma else answer)
    beta, bar, previous = at(BETAS), at(ALPHA_BAR), at(np.append(1.0, ALPHA_BAR[:-1]))
    tilde = beta * (1 - previous) / (1 - bar)
    tilde[0] = BETAS[1] * (1 - ALPHA_BAR[0]) / (1 - ALPHA_BAR[1])
    if learn_sigma:
        variance = torch.exp((fraction + 1) / 2 * beta.log() + (1 - fraction) / 2 * tilde.log())
    else:
        variance = beta.clone()
        variance[0] = tilde[0]
    x_t = spy.x_t.double()
    guess = (x_t - (1 - bar).sqrt() * answer) / bar.sqrt()

    def posterior_mean(x_start):
        return (previous.sqrt() * beta * x_start + (1 - beta).sqrt() * (1 - previous) * x_t) / (1 - bar)

    ours = Normal(posterior_mean(guess), variance.sqrt().expand_as(x_t))
    bits = kl_divergence(Normal(posterior_mean(X0.double()), tilde.sqrt().expand_as(x_t)), ours) / math.log(2)
    law = stats.norm(ours.mean[0].detach().numpy(), ours.stddev[0].numpy())
    x = X0[0].double().numpy()
    upper = np.where(x > 0.999, 1.0, law.cdf(x + 1 / 255))
    lower = np.where(x < -0.999, 0.0, law.cdf(x - 1 / 255))
    bits[0] = torch.from_numpy(-np.log2(np.maximum(upper - lower, 1e-12)))
    for i in range(len(T)):
        expected = bits[i][:, ~ANCHORS[i]].mean().item()
        assert terms["vb"][i].item() == pytest.approx(expected, rel=2e-3, abs=1e-7)
        assert terms["loss"][i].item() == pytest.approx(1000 * expected, rel=2e-3, abs=1e-4)


def test_bound_is_zero_for_the_exact_network_and_never_below():
    exact = torch.cat([NOISE, -torch.ones(SHAPE)], 1)
    terms, _ = losses(process(learn_sigma=True, use_kl=True), exact)
    assert (terms["vb"][1:].abs() < 1e-5).all()
    for seed in range(5):
        terms, _ = losses(process(learn_sigma=True, use_kl=True), seeded_normal(20 + seed, (6, 4, 4, 3, 5)))
        assert (terms["vb"] >= 0).all()


def test_bound_beside_the_squared_error_trains_the_variance_alone():
    """IDDPM section 3.1; with --use_kl it trains both. Its scale is steps / 1000."""
    answer = seeded_normal(3, (6, 4, 4, 3, 5))
    terms, spy = losses(process(learn_sigma=True), answer)
    (gradient,) = torch.autograd.grad(terms["vb"].sum(), spy.answer, retain_graph=True)
    assert (gradient[:, :2] == 0).all()
    assert gradient[:, 2:].abs().max() > 0
    assert torch.allclose(terms["loss"], terms["mse"] + terms["vb"])
    (gradient,) = torch.autograd.grad(terms["mse"].sum(), spy.answer)
    assert (gradient[:, 2:] == 0).all()
    terms, spy = losses(process(learn_sigma=True, use_kl=True), answer)
    (gradient,) = torch.autograd.grad(terms["vb"].sum(), spy.answer)
    assert gradient[:, :2].abs().max() > 0


@pytest.mark.parametrize("steps", [1000, 200])
def test_scale_of_the_bound(steps):
    betas = named_betas("linear", steps)
    t = torch.full((6,), 7)
    answer = seeded_normal(3, (6, 4, 4, 3, 5))
    plain, scaled = (
        GaussianDiffusion(betas, learn_sigma=True, rescale_learned_sigmas=rescale).training_losses(
            Spy(answer), X0, t, ANCHORS, NOISE
        )
        for rescale in (False, True)
    )
    assert torch.allclose(scaled["vb"], plain["vb"] * steps / 1000)


@pytest.mark.parametrize("mean, scale", [(0.0, 0.5), (0.3, 0.01), (-1.1, 0.2), (5.0, 0.3)])
def test_the_likelihoods_of_the_256_values_sum_to_one(mean, scale):
    x = torch.linspace(-1, 1, 256, dtype=torch.float64)
    log_p = discretized_gaussian_log_likelihood(x, torch.full_like(x, mean), torch.full_like(x, math.log(scale)))
    assert log_p.exp().sum().item() == pytest.approx(1, abs=1e-6)
    law = stats.norm(mean, scale)
    middle = slice(1, 255)
    expected = law.cdf(x[middle] + 1 / 255) - law.cdf(x[middle] - 1 / 255)
    assert np.allclose(log_p[middle].exp(), expected, atol=1e-7)


# --- options ----------------------------------------------------------------------------------------------------------


def test_options_reach_the_process():
    diffusion = create_diffusion(DiffusionOptions(predict_xstart=True, diffusion_steps=500, timestep_respacing="10"))
    assert diffusion.prediction == "xstart"
    assert diffusion.num_timesteps == 10
    assert diffusion.timestep_map[-1] == 499
    assert create_diffusion(DiffusionOptions(sigma_small=True)).fixed_log_variance[-1] < math.log(0.02)
    with pytest.raises(InputError, match="--predict_xstart"):
        create_diffusion(DiffusionOptions(predict_xstart=True, prediction="v"))
    with pytest.raises(InputError, match="--min_snr_gamma -1"):
        create_diffusion(DiffusionOptions(min_snr_gamma=-1))
