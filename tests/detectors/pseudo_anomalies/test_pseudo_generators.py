"""Pseudo-anomalies: what is not in the region stays byte for byte; the region is what the model or the mixture says."""

import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from stand_ins import texture

from ramvid_vad.detectors.pseudo_anomalies import inpainters
from ramvid_vad.detectors.pseudo_anomalies.inpainters import PATCH, PatchInpainter, PipelineInpainter, load_inpainter
from ramvid_vad.detectors.pseudo_anomalies.spatial import around, infilled, region
from ramvid_vad.detectors.pseudo_anomalies.temporal import ALPHA, FASTEST, flows, mixed
from ramvid_vad.errors import InputError


@pytest.fixture(scope="module")
def inpainter():
    torch.manual_seed(0)
    return PatchInpainter()


def test_regions_lie_within_and_take_every_size():
    rng = np.random.default_rng(0)
    places = np.array([region((40, 60), rng) for _ in range(2000)])
    y, x, side = places.T
    assert y.min() == 0 and x.min() == 0 and (y + side).max() == 40 and (x + side).max() == 60
    assert side.min() == 6 and side.max() == 20  # 0.15 and 0.5 of 40


@pytest.mark.parametrize("place", [(0, 0, 10), (30, 50, 10), (12, 20, 10), (0, 0, 40)])
def test_what_is_seen_around_a_region_holds_it(place):
    y, x, whole = around(place, (40, 60))
    assert whole == min(2 * place[2], 40) and 0 <= y <= 40 - whole and 0 <= x <= 60 - whole
    assert y <= place[0] and x <= place[1] and place[0] + place[2] <= y + whole and place[1] + place[2] <= x + whole


@pytest.mark.parametrize("channels", [1, 3])
def test_infilling_leaves_the_rest_untouched_byte_for_byte(inpainter, channels):
    clip = texture(6, 40, 60)[..., :channels]
    before = clip.copy()
    seed = 3
    y, x, side = region((40, 60), np.random.default_rng(seed))
    made = infilled(clip, inpainter, np.random.default_rng(seed))
    again = infilled(clip, inpainter, np.random.default_rng(seed))
    assert np.array_equal(clip, before) and np.array_equal(made, again) and made.dtype == np.uint8
    inside = np.zeros((40, 60), bool)
    inside[y : y + side, x : x + side] = True
    assert np.array_equal(made[:, ~inside], clip[:, ~inside])
    assert (made[3][inside] != clip[3][inside]).mean() > 0.5
    square = made[:, y : y + side, x : x + side]
    assert (square == square[:1]).all()  # one picture in every frame


def test_the_model_sees_the_hidden_square_alone_as_hidden(inpainter, monkeypatch):
    """What it is given around the square is the frame; what was in the square does not matter."""
    frame = texture(1, 40, 60)[0, ..., :1]
    other = frame.copy()
    other[10:20, 20:30] = 255 - other[10:20, 20:30]
    made = [inpainter(each, (10, 20, 10), np.random.default_rng(0)) for each in (frame, other)]
    assert np.array_equal(*made)
    seen = []

    def sampler(diffusion, model, clean, given, noise):
        seen.append((clean, given))
        return torch.where(given, clean, torch.zeros_like(clean))

    monkeypatch.setattr(inpainters, "sample_dpmpp_2m", sampler)
    assert set(np.unique(inpainter(frame, (10, 20, 10), np.random.default_rng(0)))) <= {127, 128}
    clean, given = seen[0]
    assert clean.shape == (1, 1, 1, PATCH, PATCH)
    hidden = ~given[0, 0, 0]
    assert hidden.sum() == (PATCH // 2) ** 2 and hidden[8:24, 8:24].all()
    expected = cv2.resize(frame[5:25, 15:35, 0], (PATCH, PATCH), interpolation=cv2.INTER_AREA) / 127.5 - 1
    np.testing.assert_allclose(clean[0, 0, 0].numpy(), expected, atol=1e-6)


def test_a_tiny_training_of_the_inpainter_lowers_its_loss(monkeypatch, tmp_path):
    logged = []

    def train(network, step, *, lr, held_out, **settings):
        """Twelve steps, however fast the machine is."""
        logged.append(held_out())
        optimizer = torch.optim.AdamW(network.parameters(), lr=3 * lr)
        for number in range(12):
            optimizer.zero_grad()
            step(np.random.default_rng(number)).backward()
            optimizer.step()
        network.eval()
        logged.extend((held_out(), held_out()))

    monkeypatch.setattr(inpainters, "train_network", train)
    frames = np.stack([texture(1, 40, 60, seed=i)[0, ..., 0] for i in range(4)])
    torch.manual_seed(0)
    fresh = PatchInpainter()
    trained = PatchInpainter.fit(frames[:3], frames[3:], work=str(tmp_path), minutes=1, progress=False)
    with torch.no_grad():
        before, after = (
            np.mean([each.loss(frames, np.random.default_rng(i)).item() for i in range(3)]) for each in (fresh, trained)
        )
    assert after < 0.95 * before
    assert logged[2] == logged[1] < logged[0]  # the same patches, levels and noise every time
    restored = PatchInpainter.restore(trained.network.state_dict())
    frame = frames[0][..., None]
    made = [each(frame, (5, 5, 12), np.random.default_rng(0)) for each in (trained, restored)]
    assert np.array_equal(*made)
    with pytest.raises(ValueError, match="Missing key"):
        PatchInpainter.restore({})


def test_a_pipeline_of_diffusers(monkeypatch, tmp_path):
    """It gets the frame, a white square and no prompt; only the square of its picture is taken."""
    calls = []

    class Pipeline:
        @classmethod
        def from_pretrained(cls, folder, local_files_only):
            assert folder == str(tmp_path) and local_files_only
            return cls()

        def set_progress_bar_config(self, disable):
            assert disable

        def __call__(self, prompt, image, mask_image, generator):
            calls.append((prompt, np.asarray(image), np.asarray(mask_image), generator.initial_seed()))
            return SimpleNamespace(images=[Image.new("RGB", (8, 8), (10, 20, 30))])

    monkeypatch.setitem(sys.modules, "diffusers", SimpleNamespace(AutoPipelineForInpainting=Pipeline))
    clip = texture(4, 40, 60)
    made = infilled(clip, PipelineInpainter(str(tmp_path)), np.random.default_rng(0))
    prompt, image, mask, _ = calls[0]
    assert prompt == "" and np.array_equal(image, clip[2])
    assert set(np.unique(mask)) == {0, 255}
    assert (made[:, mask == 255] == (10, 20, 30)).all() and np.array_equal(made[:, mask == 0], clip[:, mask == 0])
    grey = infilled(clip[..., :1], PipelineInpainter(str(tmp_path)), np.random.default_rng(0))
    assert grey.shape == (4, 40, 60, 1) and np.array_equal(grey[:, mask == 0], clip[..., :1][:, mask == 0])


def test_a_missing_pipeline_is_one_line(monkeypatch, tmp_path):
    with pytest.raises(InputError, match="neither a fitted detector"):
        load_inpainter(str(tmp_path))
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(InputError, match="not a diffusers pipeline for inpainting"):
        load_inpainter(str(tmp_path))
    with pytest.raises(InputError, match="not a diffusers pipeline for inpainting"):
        PipelineInpainter(str(tmp_path))
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(InputError, match="needs the package diffusers: pip install diffusers"):
        PipelineInpainter(str(tmp_path))


def test_mixup_leaves_the_rest_untouched_and_mixes_within():
    rng = np.random.default_rng(0)
    clip, other = np.full((2, 16, 32, 48), 0.5, np.float32), np.full((2, 16, 32, 48), -0.5, np.float32)
    shares = []
    for seed in range(300):
        made = mixed(clip, other, np.random.default_rng(seed))
        y, x, side = region((32, 48), np.random.default_rng(seed))
        inside = np.zeros((32, 48), bool)
        inside[y : y + side, x : x + side] = True
        assert made[:, :, ~inside].tobytes() == clip[:, :, ~inside].tobytes()
        values = np.unique(made[:, :, inside])
        assert len(values) == 1 and values[0] <= 0  # at most half of its own flow stays
        shares.append(values[0] + 0.5)
    drawn = rng.beta(ALPHA, ALPHA, 40_000)
    assert np.mean(shares) == pytest.approx(np.minimum(drawn, 1 - drawn).mean(), abs=0.03)


def test_what_is_mixed_in_comes_from_one_square_in_another_order():
    clip = np.zeros((2, 16, 20, 20), np.float32)
    other = np.broadcast_to(np.arange(16, dtype=np.float32)[None, :, None, None], (2, 16, 20, 20)) + 1
    made = mixed(clip, other, np.random.default_rng(1))
    y, x, _ = region((20, 20), np.random.default_rng(1))
    course = made[0, :, y, x]
    share = course.max() / 16
    assert sorted((course / share).round().tolist()) == list(range(1, 17))
    assert not (np.diff(course) > 0).all()


def test_flow_has_the_sign_and_the_scale_of_the_motion():
    """The texture moves two pixels to the right a frame; flow points to where it was."""
    frames = texture(5, 64, 96, speed=2)[..., :1]
    found = list(flows(frames, (32, 48)))
    assert len(found) == 5 and found[0].shape == (2, 32, 48) and np.array_equal(found[0], found[1])
    assert np.median(found[2][0]) == pytest.approx(-2 / FASTEST, abs=0.03)
    assert np.median(found[2][1]) == pytest.approx(0, abs=0.02)
    still = list(flows(frames[:1], (32, 48)))
    assert len(still) == 1 and not still[0].any()
    assert list(flows([], (32, 48))) == []
