"""Residuals by closed forms: the networks' answers are known, so that place, frame, group, level and noise all show."""

import numpy as np
import pytest
import torch

from ramvid_vad.detectors.residual_maps import Draws, Part, box_scores, part_residuals, residual_maps
from ramvid_vad.diffusion.anchors import AnchorPattern
from ramvid_vad.diffusion.gaussian import GaussianDiffusion
from ramvid_vad.diffusion.schedule import named_betas
from ramvid_vad.errors import InputError
from ramvid_vad.runtime.randomness import standard_normal

GROUPS = {"appearance": 3, "motion": 2}
GRID = (4, 6)
BETAS = named_betas("linear", 1000)
SPREAD = 0.8


def video(frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((frames, 5, *GRID)).astype(np.float16)


def pattern(kind: str, frames: int = 6, given: int = 3) -> AnchorPattern:
    return AnchorPattern(kind, frames, num_prediction=given, groups=tuple(GROUPS), grid=GRID, tube=(2, 2))


def diffusion() -> GaussianDiffusion:
    return GaussianDiffusion(BETAS, prediction="xstart")


def zero(x_t, timesteps, y=None, anchors=None):
    """Says that every entry is 0."""
    return torch.zeros_like(x_t)


def posterior_mean(x_t, timesteps, y=None, anchors=None):
    """E[x_0 | x_t] of entries that are N(0, SPREAD^2), each for itself."""
    bar = torch.from_numpy(np.cumprod(1 - BETAS))[timesteps.long()].view(-1, 1, 1, 1, 1).float()
    return SPREAD**2 * bar.sqrt() * x_t / (bar * SPREAD**2 + 1 - bar)


@pytest.mark.parametrize("frames", [3, 6, 7, 20])
@pytest.mark.parametrize(
    "kind, hidden",
    [
        ("none", {"appearance", "motion"}),
        ("prediction", {"appearance", "motion"}),
        ("infill", {"appearance", "motion"}),
        ("selective", {"appearance", "motion"}),
        ("motion_given_appearance", {"motion"}),
        ("appearance_given_motion", {"appearance"}),
    ],
)
def test_every_frame_has_its_residual_at_its_own_frame_and_place(kind, hidden, frames):
    """Of a network that says 0 everywhere the residual is the mean square of the true entries."""
    maps = video(frames)
    found = residual_maps(maps, GROUPS, pattern(kind), zero, diffusion())
    assert set(found) == hidden
    square = maps.astype(np.float64) ** 2
    expected = {"appearance": square[:, :3].mean(1), "motion": square[:, 3:].mean(1)}
    for group in hidden:
        assert found[group].shape == (frames, *GRID) and found[group].dtype == np.float32
        np.testing.assert_allclose(found[group], expected[group], rtol=1e-5)


@pytest.mark.parametrize("level", [0.3, 0.7, 1.5])
@pytest.mark.parametrize("join", ["mean", "minimum"])
def test_one_call_at_a_level_by_the_closed_form(level, join):
    """x - E[x | x + sigma z] = (sigma^2 x - s^2 sigma z) / (s^2 + sigma^2); z depends on seed, video and frame."""
    maps, process = video(12), diffusion()
    found = residual_maps(
        maps,
        GROUPS,
        pattern("none"),
        posterior_mean,
        process,
        level=level,
        draws=Draws(count=3, join=join, seed=7),
        key=5,
    )
    sigma = process.sigma[process.nearest_timestep(level)]
    errors = []
    for draw in range(3):
        place = [(frame, 0, draw) if draw else (frame, 0) for frame in range(12)]
        z = np.stack([standard_normal((5, *GRID), 7, "sample", 5, *each).numpy() for each in place]).astype(np.float64)
        errors.append(((sigma**2 * maps.astype(np.float64) - SPREAD**2 * sigma * z) / (SPREAD**2 + sigma**2)) ** 2)
    joined = np.mean if join == "mean" else np.min  # of the draws' residuals, each a mean over channels
    for name, channels in (("appearance", slice(3)), ("motion", slice(3, 5))):
        expected = joined([error[:, channels].mean(1) for error in errors], 0)
        np.testing.assert_allclose(found[name], expected, rtol=1e-3, atol=1e-6)


def test_what_is_given_is_seen_and_what_is_hidden_is_not():
    """A network that says of motion what it sees in the first channel of appearance, at pure noise."""
    maps = video(12)
    maps[:, 3:] = maps[:, :1]  # restored exactly
    maps[7, 3:, 2, 4] += 2  # but for one cell of one frame

    def copies(x_t, timesteps, y=None, anchors=None):
        assert anchors[0, :, 0, 0, 0].tolist() == [True] * 3 + [False] * 2
        return torch.cat([x_t[:, :3], x_t[:, :1], x_t[:, :1]], dim=1)

    found = residual_maps(maps, GROUPS, pattern("motion_given_appearance"), copies, diffusion())["motion"]
    expected = np.zeros((12, *GRID))
    expected[7, 2, 4] = 4
    np.testing.assert_allclose(found, expected, atol=1e-2)


@pytest.mark.parametrize("frames", [6, 7, 12, 20])
@pytest.mark.parametrize("kind, given", [("prediction", k) for k in (1, 2, 3)] + [("infill", 3), ("selective", 3)])
def test_no_window_is_given_a_copy_of_a_frame_that_it_generates(kind, given, frames):
    """Of white noise, whoever repeats a given frame is as wrong as any frame is from another."""

    def nearest_given(x_t, timesteps, y=None, anchors=None):
        shown = anchors.expand(len(x_t), -1, x_t.shape[2], -1, -1).all(1)[:, :, 0, 0]
        made = torch.zeros_like(x_t)
        for window, frame in np.ndindex(*shown.shape):
            given = torch.nonzero(shown[window])[:, 0]
            if len(given):
                made[window, :, frame] = x_t[window, :, given[(given - frame).abs().argmin()]]
        return made

    found = residual_maps(video(frames), GROUPS, pattern(kind, given=given), nearest_given, diffusion())
    assert all((residual.mean((1, 2)) > 0.3).all() for residual in found.values())


def test_frames_that_several_windows_hide_take_their_mean():
    """Of 9 frames the windows of 6 begin at 0 and 3; the network says 0 in the first and 1 in the second."""
    maps = video(9)

    def by_window(x_t, timesteps, y=None, anchors=None):
        answer = torch.zeros_like(x_t)
        answer[1:] = 1.0
        return answer

    found = residual_maps(maps, GROUPS, pattern("none"), by_window, diffusion())["motion"]
    first, second = (((maps[:, 3:].astype(np.float64) - says) ** 2).mean(1) for says in (0, 1))
    np.testing.assert_allclose(found[:3], first[:3], rtol=1e-4)
    np.testing.assert_allclose(found[3:6], (first[3:6] + second[3:6]) / 2, rtol=1e-4)
    np.testing.assert_allclose(found[6:], second[6:], rtol=1e-4)


def test_noise_of_a_frame_does_not_depend_on_windows_or_the_batch():
    maps = video(24)
    whole = residual_maps(maps, GROUPS, pattern("none"), posterior_mean, diffusion(), level=0.7)
    shorter = residual_maps(maps[:13], GROUPS, pattern("none"), posterior_mean, diffusion(), level=0.7)
    np.testing.assert_allclose(shorter["motion"], whole["motion"][:13], rtol=1e-4, atol=1e-6)
    other = residual_maps(maps, GROUPS, pattern("none"), posterior_mean, diffusion(), level=0.7, key=1)
    assert np.abs(other["motion"] - whole["motion"]).max() > 0.01


def test_blocks_of_a_video_see_the_noise_of_their_frames():
    maps = video(24)
    whole = residual_maps(maps, GROUPS, pattern("none"), posterior_mean, diffusion(), level=0.7)
    block = residual_maps(maps[12:], GROUPS, pattern("none"), posterior_mean, diffusion(), level=0.7, first=12)
    np.testing.assert_allclose(block["motion"], whole["motion"][12:], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["random", "tube", "none,infill"])
def test_patterns_that_are_drawn_are_refused(kind):
    with pytest.raises(InputError, match=f"--anchors {kind}: scoring needs the same anchors"):
        residual_maps(video(6), GROUPS, pattern(kind), zero, diffusion())


def test_box_scores_by_plain_loops():
    residual = np.random.default_rng(0).random((3, 7, 9)).astype(np.float32)
    for box in (1, 3, 5):
        by_hand = [
            max(frame[y : y + box, x : x + box].mean() for y in range(8 - box) for x in range(10 - box))
            for frame in residual.astype(np.float64)
        ]
        np.testing.assert_allclose(box_scores(residual, box), by_hand, rtol=1e-5)
    np.testing.assert_allclose(box_scores(residual, 20), residual.mean((1, 2)), rtol=1e-5)


def test_parts_of_one_pattern_and_level_share_their_calls():
    calls = []

    def network(x_t, timesteps, y=None, anchors=None):
        calls.append(int(timesteps[0]))
        return torch.zeros_like(x_t)

    maps = video(12)
    parts = [Part("none", level, group) for level in (0.7, 1.5) for group in GROUPS]
    parts.append(Part("motion_given_appearance", None, "motion"))
    residuals = part_residuals(maps, parts, GROUPS, pattern, network, lambda level: diffusion())
    assert list(residuals) == [
        "none@0.7 appearance",
        "none@0.7 motion",
        "none@1.5 appearance",
        "none@1.5 motion",
        "motion_given_appearance motion",
    ]
    assert len(calls) == 3 and len(set(calls)) == 3 and max(calls) == 999  # two windows in one batch each
    square = (maps.astype(np.float64) ** 2)[:, 3:].mean(1).astype(np.float32)
    np.testing.assert_allclose(residuals["none@1.5 motion"], square, rtol=1e-4)
    with pytest.raises(InputError, match="hides no appearance"):
        part_residuals(
            maps,
            [Part("motion_given_appearance", None, "appearance")],
            GROUPS,
            pattern,
            zero,
            lambda level: diffusion(),
        )


def test_draws_that_mean_nothing_are_refused():
    for options, line in (({"sampler": "x"}, "sampler 'x'"), ({"count": 0}, "0 draws"), ({"join": "max"}, "'max'")):
        with pytest.raises(InputError, match=line):
            Draws(**options)
