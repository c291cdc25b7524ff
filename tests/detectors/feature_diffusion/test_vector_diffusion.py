"""Feature diffusion on vectors: Karras' frame, the sampler, the threshold, against closed forms and other programs."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import LMSDiscreteScheduler
from scipy.integrate import quad

from ramvid_vad.detectors import network_training
from ramvid_vad.detectors.feature_diffusion.lms import sample_lms, step_weights
from ramvid_vad.detectors.feature_diffusion.model import BATCH, LEVELS, Noise, VectorDiffusion, flagged
from ramvid_vad.detectors.feature_diffusion.network import FeatureDenoiser, film
from ramvid_vad.detectors.feature_diffusion.preconditioning import (
    REACH,
    WIDEST,
    denoise,
    denoising_loss,
    drawn_levels,
    karras_levels,
    noise_range,
    scalings,
)

SIGMAS = torch.tensor([0.01, 0.3, 1.0, 7.0])


def zero(x, c_noise):
    return torch.zeros_like(x)


@pytest.mark.parametrize("sigma_data", [0.4, 1.0])
def test_the_identities_of_the_preconditioner(sigma_data):
    """Input and target of the network have variance 1, c_skip makes the target as small as can be (Karras, B.6)."""
    c_skip, c_out, c_in, c_noise = scalings(SIGMAS.double(), sigma_data)
    sigma = SIGMAS.double()
    torch.testing.assert_close(c_in**2 * (sigma**2 + sigma_data**2), torch.ones(4).double())
    target = (1 - c_skip) ** 2 * sigma_data**2 + c_skip**2 * sigma**2
    torch.testing.assert_close(target, c_out**2)
    moved = (1 - c_skip - 1e-3) ** 2 * sigma_data**2 + (c_skip + 1e-3) ** 2 * sigma**2
    assert (moved > target).all()
    torch.testing.assert_close(c_noise, sigma.log() / 4)


def test_the_exact_denoiser_of_a_gaussian():
    """Of data N(0, sigma_data^2) the posterior mean is c_skip x, so the best network is 0; and its loss is the target's
    variance, 1."""
    rng = torch.Generator().manual_seed(0)
    clean, noise = (torch.randn((4000, 4), generator=rng) * each for each in (0.4, 1.0))
    sigma = torch.full((4000,), 0.7)
    x = clean + 0.7 * noise
    expected = x * 0.4**2 / (0.4**2 + 0.7**2)  # product of two Gaussians
    torch.testing.assert_close(denoise(zero, x, sigma, 0.4), expected)
    assert denoising_loss(zero, clean, sigma, noise, 0.4).item() == pytest.approx(1, abs=0.03)
    for factor in (-0.1, 0.1):
        assert denoising_loss(lambda x, c, f=factor: f * x, clean, sigma, noise, 0.4).item() > 1


def test_the_loss_is_the_weighted_error_of_the_denoiser():
    rng = torch.Generator().manual_seed(1)
    clean, noise = torch.randn((6, 3), generator=rng), torch.randn((6, 3), generator=rng)
    sigma = torch.linspace(0.1, 4, 6)

    def network(x, c_noise):
        return (x + c_noise[:, None]).sin()

    made = denoise(network, clean + sigma[:, None] * noise, sigma, 0.5)
    weight = (sigma**2 + 0.25) / (sigma * 0.5) ** 2  # of the paper's table 1
    expected = (weight[:, None] * (made - clean) ** 2).mean()
    torch.testing.assert_close(denoising_loss(network, clean, sigma, noise, 0.5), expected)


def test_the_range_of_noise_is_that_of_the_authors_configuration():
    """Their file has P_mean -1, P_std 1.5 beside sigma_min 2.03e-4 and sigma_max 665.14."""
    low, high = noise_range(-1.0, 1.5)
    assert low == pytest.approx(2.03e-4, rel=5e-3) and high == pytest.approx(665.14, rel=1e-5)


def test_levels_of_training_are_log_normal():
    logs = drawn_levels(40_000, 0.2, 0.54, np.random.default_rng(0)).log()
    assert logs.mean() == pytest.approx(0.2, abs=0.54 * 4 / 200) and logs.std() == pytest.approx(0.54, rel=0.015)
    assert ((logs - 0.2).abs() < 0.54).float().mean() == pytest.approx(0.6827, abs=0.01)


def test_levels_of_sampling_are_diffusers():
    scheduler = LMSDiscreteScheduler(beta_start=1e-4, beta_end=0.02, use_karras_sigmas=True)
    scheduler.set_timesteps(10)
    low, high = (float(scheduler.sigmas[i]) for i in (-2, 0))
    np.testing.assert_allclose(karras_levels(10, low, high), scheduler.sigmas.numpy(), rtol=1e-5)


@pytest.mark.parametrize("step", [0, 1, 3, 8])
def test_a_steps_weights_are_integrals_of_lagrange_polynomials(step):
    levels = karras_levels(10, 0.04, 1.8)
    known = levels[max(step - 3, 0) : step + 1][::-1]
    for j, weight in enumerate(step_weights(known, levels[step], levels[step + 1])):

        def polynomial(tau, j=j):
            return math.prod((tau - other) / (known[j] - other) for i, other in enumerate(known) if i != j)

        expected, _ = quad(polynomial, levels[step], levels[step + 1], epsabs=1e-12)
        assert weight == pytest.approx(expected, rel=1e-7, abs=1e-10)


@pytest.mark.parametrize("start", [0, 6])
def test_the_sampler_is_diffusers(start):
    """Driven by a curved denoiser; a partial start begins with one slope, as if there had been no levels before."""
    scheduler = LMSDiscreteScheduler(beta_start=1e-4, beta_end=0.02, use_karras_sigmas=True)
    scheduler.set_timesteps(10)
    scheduler.sigmas, scheduler.timesteps = scheduler.sigmas[start:], scheduler.timesteps[start:]
    levels = scheduler.sigmas.numpy().astype(np.float64)

    def denoised(x, sigma):
        return torch.tanh(x) / (1 + sigma)

    x = torch.linspace(-3, 3, 7).double() * levels[0]
    theirs = x
    for sigma, t in zip(levels, scheduler.timesteps, strict=False):
        scheduler.is_scale_input_called = True
        theirs = scheduler.step((theirs - denoised(theirs, sigma)) / sigma, t, theirs).prev_sample
    torch.testing.assert_close(sample_lms(denoised, x, levels), theirs, rtol=1e-4, atol=1e-5)


def test_the_sampler_converges_to_the_exact_flow_of_a_gaussian():
    """dx/dsigma = (x - D) / sigma with D = x / (1 + sigma^2) has x proportional to sqrt(1 + sigma^2). The first step is
    Euler's, so four times as many levels leave at most a tenth of the error."""
    errors = []
    for count in (60, 240):
        levels = np.append(np.geomspace(2, 1e-3, count), 0)
        ended = sample_lms(lambda x, sigma: x / (1 + sigma**2), torch.tensor([1.0]).double(), levels)
        errors.append(abs(ended.item() * math.sqrt(5) - 1))
    assert errors[1] < errors[0] / 10 and errors[1] < 2e-4


def test_what_is_flagged_by_hand():
    """Mean 2, deviation 2: with k 1 the threshold is 4."""
    errors = np.array([1.0, 1, 1, 1, 6])
    assert flagged(errors, 1.0).tolist() == [False] * 4 + [True]
    assert flagged(errors, 2.1).tolist() == [False] * 5
    assert flagged(np.array([0.0, 4.0]), 1.0).tolist() == [False, True]  # at the threshold itself


def test_the_network_of_the_paper():
    """512-1024-512-256 and back, FiLM by cosine and sine."""
    network = FeatureDenoiser(512)
    widths = [tuple(layer.weight.shape[::-1]) for layer in network.modules() if isinstance(layer, torch.nn.Linear)]
    assert widths == [(512, 1024), (1024, 512), (512, 256), (256, 512), (512, 1024), (1024, 512)]
    assert sum(isinstance(layer, torch.nn.BatchNorm1d) for layer in network.modules()) == 5
    modulated = film(torch.tensor([[2.0, 2.0]]), torch.tensor([0.5]), torch.tensor([1.0, 0.5]))
    torch.testing.assert_close(modulated, torch.tensor([[-2.0, 1.0]]))  # angles pi and pi / 2
    network.eval()
    x = torch.randn(3, 512)
    assert not torch.equal(network(x, torch.zeros(3)), network(x, torch.ones(3)))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """On a line in 12 dimensions, with a little noise around it; 60 steps of a second each."""
    rng = np.random.default_rng(0)
    line = rng.standard_normal((300, 1)) * np.ones((1, 12)) + 0.05 * rng.standard_normal((300, 12))
    vectors = (3 + 2 * line).astype(np.float32)
    folder = str(tmp_path_factory.mktemp("vectors"))
    seconds = itertools.count()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network_training, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
        model = VectorDiffusion.fit(vectors[:250], vectors[250:], work=folder, minutes=1, progress=False)
    return vectors, model, folder


def test_training_lowers_the_loss_and_tells_what_is_off_the_line(trained):
    vectors, model, _ = trained
    torch.manual_seed(0)
    fresh = VectorDiffusion(model.mean, model.sd, FeatureDenoiser(12), model.noise)
    normal = model.errors(vectors[250:])
    assert normal.mean() < fresh.errors(vectors[250:]).mean()
    off = vectors[250:].copy()
    off[:, :6] = 6 - off[:, :6]  # each entry as usual by itself
    assert model.errors(off).mean() > 1.5 * normal.mean()


def test_equal_vectors_have_equal_errors_wherever_they_stand(trained):
    vectors, model, _ = trained
    errors = model.errors(np.concatenate([vectors[:5], vectors[:5]]))
    np.testing.assert_allclose(errors[:5], errors[5:], rtol=1e-5)
    np.testing.assert_allclose(errors[:1], model.errors(vectors[:1]), rtol=1e-4)
    assert not np.allclose(errors[:5], model.errors(vectors[:5], Noise(start=3)))


def test_the_same_call_goes_on_where_the_training_is(trained):
    vectors, model, folder = trained
    again = VectorDiffusion.fit(vectors[:250], vectors[250:], work=folder, minutes=1, progress=False)
    np.testing.assert_array_equal(again.errors(vectors), model.errors(vectors))


@pytest.mark.parametrize("p_mean", [-10.0, 0.0, 10.0])
def test_the_widest_noise_is_held(tmp_path, monkeypatch, p_mean):
    seconds = itertools.count()
    monkeypatch.setattr(network_training, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    vectors = np.random.default_rng(0).standard_normal((200, 4)).astype(np.float32)
    p_std = (WIDEST - abs(p_mean)) / REACH
    model = VectorDiffusion.fit(
        vectors, vectors, work=str(tmp_path), minutes=0.2, noise=Noise(p_mean, p_std), progress=False
    )
    assert all(np.isfinite(model.errors(vectors, Noise(p_mean, p_std, start))).all() for start in range(LEVELS))


def test_a_large_set_is_trained_on_in_batches(monkeypatch, tmp_path):
    seen = SimpleNamespace(sizes=[])

    def once(network, step, *, weight_decay, **settings):
        assert weight_decay == 1e-4  # the paper's
        seen.sizes.append(step(np.random.default_rng(0)).item())

    monkeypatch.setattr("ramvid_vad.detectors.feature_diffusion.model.train_network", once)
    sizes = []
    monkeypatch.setattr(
        "ramvid_vad.detectors.feature_diffusion.model.drawn_levels",
        lambda count, *given: sizes.append(count) or torch.ones(count),
    )
    vectors = np.random.default_rng(0).standard_normal((BATCH + 5, 2)).astype(np.float32)
    VectorDiffusion.fit(vectors, vectors[:0], work=str(tmp_path), minutes=1, progress=False)
    assert sizes == [BATCH]
