"""The Frechet distance against closed forms and scipy's matrix square root; the features against their definition."""

import json

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from ramvid_vad.scoring.frechet import frechet_distance, video_features


def with_moments(mean, covariance, count=50):
    """Points whose mean and covariance are exactly these."""
    rng = np.random.default_rng(0)
    points = rng.standard_normal((count, len(mean)))
    points -= points.mean(0)
    points = points @ np.linalg.inv(np.linalg.cholesky(np.atleast_2d(np.cov(points, rowvar=False)))).T
    return points @ np.linalg.cholesky(covariance).T + mean


def test_two_gaussians_on_a_line():
    """(mu_a - mu_b)^2 + (sd_a - sd_b)^2."""
    a, b = with_moments([1.0], np.array([[4.0]])), with_moments([4.0], np.array([[25.0]]))
    assert frechet_distance(a, b) == pytest.approx(9 + 9)


def test_commuting_covariances():
    a = with_moments(np.zeros(3), np.diag([1.0, 4.0, 9.0]))
    b = with_moments(np.array([0.0, 2.0, 0.0]), np.diag([4.0, 4.0, 1.0]))
    assert frechet_distance(a, b) == pytest.approx(4 + 1 + 0 + 4)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_any_gaussians_by_scipys_square_root(seed):
    rng = np.random.default_rng(seed)
    mean_a, mean_b = rng.standard_normal((2, 6))
    cov_a, cov_b = (m @ m.T + 0.1 * np.eye(6) for m in rng.standard_normal((2, 6, 6)))
    expected = np.square(mean_a - mean_b).sum() + np.trace(cov_a + cov_b - 2 * sqrtm(cov_a @ cov_b).real)
    found = frechet_distance(with_moments(mean_a, cov_a), with_moments(mean_b, cov_b))
    assert found == pytest.approx(expected, rel=1e-9)


def test_fewer_points_than_dimensions():
    """A single direction each, orthogonal: the product of the covariances is 0."""
    a, b = np.zeros((2, 5)), np.zeros((2, 5))
    a[:, 0], b[:, 1] = [-1, 1], [-3, 3]
    assert frechet_distance(a, b) == pytest.approx(2 + 18)


def test_features_are_means_over_place_and_time_and_of_changes():
    def network(frames):  # (n, H, W, 3) -> (n, 2, 1, 3): the means of the upper and the lower half
        halves = frames.reshape(len(frames), 2, -1, 3).mean(2)
        return torch.from_numpy(halves)[:, :, None]

    rng = np.random.default_rng(0)
    videos = rng.integers(0, 255, (4, 5, 16, 16, 3), np.uint8)
    found = video_features(videos, network)
    per_frame = videos.mean((2, 3))
    expected = np.concatenate([per_frame.mean(1), np.abs(np.diff(per_frame, axis=1)).mean(1)], axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    shuffled = video_features(videos[:, [0, 4, 1, 3, 2]], network)
    np.testing.assert_allclose(shuffled[:, :3], found[:, :3])
    assert (np.abs(shuffled[:, 3:] - found[:, 3:]) > 1e-3).any()  # the order counts


def test_the_command_says_what_it_is(tmp_path, capsys):
    pytest.importorskip("efficientnet_lite_pytorch")
    from clips import write_video

    from ramvid_vad.cli import COMMAND_SECTIONS, parse_command
    from ramvid_vad.commands.sample import sample
    from ramvid_vad.commands.train import train
    from ramvid_vad.spaces.backbones import FrozenFeatures

    (tmp_path / "v").mkdir()
    write_video(tmp_path / "v" / "a.mkv", np.random.default_rng(0).integers(0, 255, (9, 16, 16, 3), np.uint8))
    places = ["--data_dir", str(tmp_path / "v"), "--cache_dir", str(tmp_path / "c")]
    model = "--image_size 8 --num_channels 32 --channel_mult 1 --num_res_blocks 1 --attention_resolutions , --rgb False"
    words = [*model.split(), *places, "--max_steps", "1", "--seq_len", "6", "--log_dir", str(tmp_path / "m")]
    train(parse_command("", COMMAND_SECTIONS["video_train"], words))
    words = ["--model_path", str(tmp_path / "m"), *places, "--num_samples", "3", "--frechet", "True"]
    words += ["--save_gt", "True", "--timestep_respacing", "1", "--out_dir", str(tmp_path / "o")]
    sample(parse_command("", COMMAND_SECTIONS["video_sample"], words))
    about = json.loads((tmp_path / "o" / "frechet.json").read_text())
    made, real = (np.load(next((tmp_path / "o").glob(f"{name}_*.npz")))["arr_0"] for name in ("samples", "gt"))
    network = FrozenFeatures()
    assert about["frechet_distance"] == frechet_distance(video_features(made, network), video_features(real, network))
    assert about["network"].startswith("EfficientNet-Lite0") and "not I3D's FVD" in capsys.readouterr().out
