"""The detector of pseudo-anomalies: networks, which frame is scored where, weights, saving."""

import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from clips import write_video
from safetensors.torch import load_file
from stand_ins import ManyColours, texture

from ramvid_vad.detectors import network_training
from ramvid_vad.detectors.detector import load
from ramvid_vad.detectors.pseudo_anomalies import detector as module
from ramvid_vad.detectors.pseudo_anomalies import training
from ramvid_vad.detectors.pseudo_anomalies.autoencoder import AutoEncoder, reconstruction_loss
from ramvid_vad.detectors.pseudo_anomalies.detector import PARTS, PseudoAnomalies, _bounded, _owned
from ramvid_vad.detectors.pseudo_anomalies.inpainters import load_inpainter
from ramvid_vad.detectors.pseudo_anomalies.training import (
    drawn_clip,
    semantics,
    train_autoencoder,
    train_discriminator,
)
from ramvid_vad.detectors.registry import SAVED
from ramvid_vad.errors import InputError
from ramvid_vad.spaces import features as features_module
from ramvid_vad.video.reader import Clip


def clock():
    """Stands in for the module time of the training: a step takes a second, however fast the machine is."""
    seconds = itertools.count()
    return SimpleNamespace(monotonic=lambda: next(seconds))


def test_the_published_auto_encoder():
    """Convolutions of 27 weights between 1, 96, 128, 256 and 256 channels and back, with biases and norms."""
    network = AutoEncoder(1, 1.0)
    pairs = [(1, 96), (96, 128), (128, 256), (256, 256)]
    pairs += [(b, a) for a, b in reversed(pairs)]
    convolutions = sum(27 * a * b + b for a, b in pairs)
    norms = 2 * sum(b for _, b in pairs[:-1])
    assert sum(p.numel() for p in network.parameters()) == convolutions + norms
    kinds = [type(layer).__name__ for layer in network.layers]
    assert kinds == ["Conv3d", "BatchNorm3d", "LeakyReLU"] * 4 + ["ConvTranspose3d", "BatchNorm3d", "LeakyReLU"] * 3 + [
        "ConvTranspose3d",
        "Tanh",
    ]


@pytest.mark.parametrize("channels", [1, 2])
def test_shapes_of_the_auto_encoder(channels):
    network = AutoEncoder(channels, 0.1)
    clips = torch.randn(2, channels, 16, 32, 48)
    sizes = []
    for layer in network.layers:
        layer.register_forward_hook(lambda layer, given, made: sizes.append(tuple(made.shape[2:])))
    assert network(clips).shape == clips.shape and network(clips).abs().max() <= 1
    assert sizes[0] == (16, 16, 24) and sizes[9] == (2, 2, 3)  # time is halved three times, space four times


def test_a_pseudo_anomaly_is_to_be_undone():
    """To copy what is shown costs the change; to make the clean clip costs nothing; the slope leads towards it."""
    clean = torch.rand(1, 1, 16, 16, 16)
    shown = clean + 0.3
    assert reconstruction_loss(torch.nn.Identity(), clean, clean).item() == 0
    assert reconstruction_loss(torch.nn.Identity(), shown, clean).item() == pytest.approx(0.09)
    offset = torch.nn.Parameter(torch.zeros(()))
    reconstruction_loss(lambda x: x + offset, shown, clean).backward()
    assert offset.grad.item() == pytest.approx(0.6)  # descent lowers what is made, away from the anomaly


def test_clips_are_drawn_evenly_from_videos():
    videos = [np.arange(n, dtype=np.float16).reshape(1, n, 1, 1) + 100 * i for i, n in enumerate((20, 5, 16))]
    firsts = [drawn_clip(videos, np.random.default_rng(i))[0, :, 0, 0] for i in range(400)]
    assert {float(clip[0]) for clip in firsts} == {0, 1, 2, 3, 4, 100, 200}
    short = next(clip for clip in firsts if clip[0] == 100)
    assert short.tolist() == [100, 101, 102, 103, 104] + [104] * 11
    assert np.mean([clip[0] == 200 for clip in firsts]) == pytest.approx(1 / 7, abs=0.06)


@pytest.mark.parametrize(
    ("most", "kept", "end"),
    [(100, [0, 1, 2, 3, 4], None), (99, [0, 1, 3, 4], 24), (60, [0, 2, 4], 20), (1, [0], 1)],
)
def test_of_too_many_frames_videos_are_left_out_evenly_and_the_rest_cut(most, kept, end, monkeypatch):
    clips = [Clip(str(i)) for i in range(5)]
    monkeypatch.setattr(Clip, "about_how_many", lambda clip: 20)
    assert _bounded(clips, most) == [Clip(str(i), 0, end) for i in kept]


def test_one_long_video_or_one_of_unknown_length_is_cut(monkeypatch):
    monkeypatch.setattr(Clip, "about_how_many", lambda clip: 0 if clip.path == "?" else 9000)
    assert _bounded([Clip("long", 5)], 100) == [Clip("long", 5, 105)]
    assert _bounded([Clip("?"), Clip("?"), Clip("?")], 2) == [Clip("?", 0, 1)] * 2
    assert _bounded([Clip("?"), Clip("?", 10, 20)], 100) == [Clip("?", 0, 50), Clip("?", 10, 20)]


def test_no_more_frames_are_held_than_the_bound(made, monkeypatch, tmp_path):
    """Of training video 20, of held-out video a tenth; what is known to be less stays whole (see ``made``)."""

    class Held(Exception):
        pass

    def fit(pictures, checks, **settings):
        raise Held(len(pictures), len(checks))

    monkeypatch.setattr(module, "MOST_FRAMES", 20)
    monkeypatch.setattr(module.PatchInpainter, "fit", fit)
    with pytest.raises(Held) as held:
        PseudoAnomalies.fit(made[1], False, work=str(tmp_path), minutes=MINUTES)
    assert held.value.args == (20, 2)


def test_semantics_know_no_motion(made, monkeypatch):
    """Other motion channels, the same semantics; other appearance, others."""
    _, paths, _, detector = made
    space, real = detector.space, type(detector.space).encode
    count = space.groups["appearance"]
    before = detector.score(paths[0], maps=False).parts["semantics"]
    for changed, same in ((slice(count, None), True), (slice(count), False)):

        def encode(self, frames, changed=changed):
            for each in real(self, frames):
                each = each.copy()
                each[changed] += 1
                yield each

        monkeypatch.setattr(type(space), "encode", encode)
        assert np.array_equal(detector.score(paths[0], maps=False).parts["semantics"], before) is same
    wide = torch.zeros(2 * space.channels * 6)
    tensors = detector.tensors() | {"semantics.mean": wide, "semantics.sd": wide}
    with pytest.raises(ValueError, match="of all channels, as earlier versions"):
        PseudoAnomalies.restore(detector.settings(), tensors)


def test_semantics_know_the_middle_frame_alone(made):
    """A clip that stands still and one that moves, equal in their middle: a mean over the frames would tell them."""
    space = made[3].space
    maps = np.random.default_rng(0).standard_normal((16, space.channels, *space.grid)).astype(np.float32)
    assert np.array_equal(semantics(maps, space), semantics(np.repeat(maps[8:9], 16, 0), space))
    assert not np.array_equal(semantics(maps, space), semantics(np.repeat(maps[7:8], 16, 0), space))


@pytest.mark.parametrize("count", [1, 15, 16, 17, 18, 40, 41])
def test_every_frame_is_scored_once_about_the_middle(count):
    items = [(np.full((1, 1, 1), i), np.full((2, 1, 1), i), np.full((3, 1, 1), i)) for i in range(count)]
    seen = []
    for at, looks, moves, maps in _owned(items):
        assert looks.shape == (1, 16, 1, 1) and moves.shape == (2, 16, 1, 1) and maps.shape == (16, 3, 1, 1)
        seen += looks[0, at, 0, 0].tolist()
        if count > 16 and 11 <= seen[-1] < count - 5:
            assert (at.start, at.stop) == (7, 11)  # of them the ninth, 8 counted from 0, is the published one
    assert seen == list(range(count))


def test_a_tiny_training_lowers_the_loss_and_shows_its_share_of_pseudo_anomalies(monkeypatch, tmp_path):
    clip = texture(24, 16, 32)[..., :1].transpose(3, 0, 1, 2).astype(np.float32) / 127.5 - 1
    shown, losses = [], []

    def train(network, step, *, lr, held_out, **settings):
        """Sixty steps, however fast the machine is."""
        optimizer = torch.optim.AdamW(network.parameters(), lr=3 * lr)
        for number in range(60):
            optimizer.zero_grad()
            step(np.random.default_rng(number)).backward()
            optimizer.step()
            if number in (0, 59):
                network.eval()
                with torch.no_grad():
                    losses.append(held_out())
                network.train()

    def change(clip, rng):
        shown.append(1)
        return clip * 0

    monkeypatch.setattr(training, "train_network", train)
    train_autoencoder([clip], [clip], change, 0.05, work=str(tmp_path), minutes=1, seed=0, progress=False)
    assert losses[1] < 0.8 * losses[0]
    assert len(shown) == pytest.approx(0.2 * 240, abs=4 * (0.16 * 240) ** 0.5)


def test_the_discriminator_is_high_for_pseudo_anomalies(tmp_path, monkeypatch):
    """180 steps of a second each; the log has the cross-entropy of what was held out, by hand."""
    monkeypatch.setattr(network_training, "time", clock())
    rng = np.random.default_rng(0)
    known, held_out = (
        tuple(rng.standard_normal((n, 6)).astype(np.float32) + shift for shift in (0, 2)) for n in (20, 5)
    )
    network = train_discriminator(known, held_out, work=str(tmp_path), minutes=3, seed=0, progress=False)
    with torch.no_grad():
        normal, changed = (network(torch.from_numpy(each)).double() for each in known)
        assert changed.mean() > 1 > -1 > normal.mean()
        usual, odd = (network(torch.from_numpy(each)).double() for each in held_out)
        entropy = torch.cat([(1 + usual.exp()).log(), (1 + (-odd).exp()).log()]).mean().item()
    last = json.loads((tmp_path / network_training.LOG).read_text().splitlines()[-1])
    assert last["step"] == 180 and last["held_out"] == pytest.approx(entropy, rel=1e-5)


MINUTES = 0.5


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Of four small videos. A step takes a second; a checkpoint is kept every six."""
    folder = tmp_path_factory.mktemp("pseudo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features_module, "load_backbone", lambda name, weights="": ManyColours())
        patch.setattr(features_module, "FRAMES", 20)
        patch.setattr(module, "SIZE", (32, 48))
        patch.setattr(module, "CLIPS", 2)
        patch.setattr(module, "SHARES", {"inpainter": 0.2, "appearance": 0.35, "motion": 0.35, "discriminator": 0.1})
        patch.setattr(network_training, "time", clock())
        patch.setitem(network_training.train_network.__kwdefaults__, "save_every_minutes", 0.1)
        paths = [
            str(write_video(folder / f"{i}.mkv", texture(n, 40, 60, speed=2, seed=i)))
            for i, n in enumerate((22, 20, 18, 20))
        ]
        work = str(folder / "work")
        detector = PseudoAnomalies.fit(paths, False, work=work, minutes=MINUTES, width=0.05)
        yield folder, paths, work, detector


def test_weights_come_from_the_held_out_normal_videos_alone(made):
    _, paths, _, detector = made
    assert detector.held_out == ["2.mkv", "3.mkv"]
    parts = [detector.score(path, maps=False).parts for path in paths[2:]]
    for part in PARTS:
        logs = np.log(np.concatenate([each[part] for each in parts]))
        assert detector.scales[part].mean == pytest.approx(logs.mean(), abs=1e-4)
        assert detector.scales[part].sd == pytest.approx(logs.std(), rel=1e-3)


def test_scores_and_maps(made):
    _, paths, _, detector = made
    ticks = []
    scores = detector.score(paths[0], tick=ticks.append)
    assert scores.frames.shape == (22,) and sum(ticks) == 22 and set(scores.parts) == set(PARTS)
    assert scores.maps.shape == (22, 5, 8) and np.isfinite(scores.maps).all()
    expected = 0.0
    for part in PARTS:
        mean, sd, floor = detector.scales[part]
        expected += (np.log(np.maximum(scores.parts[part], floor)) - mean) / sd
    np.testing.assert_allclose(scores.frames, expected, atol=1e-9)
    assert detector.score(texture(3, 40, 60)).frames.shape == (3,)


def test_saved_and_loaded_it_scores_the_same(made, tmp_path):
    _, paths, _, detector = made
    detector.card = {"recipe": detector.name}
    detector.save(str(tmp_path))
    again = load(str(tmp_path), SAVED)
    for one, other in zip(*(each.score(paths[0]).__dict__.values() for each in (detector, again)), strict=True):
        np.testing.assert_equal(one, other)
    frame = texture(1, 40, 60)[0]
    loaded = load_inpainter(str(tmp_path))
    one, *others = (
        each(frame, (4, 4, 10), np.random.default_rng(0)) for each in (detector.inpainter, again.inpainter, loaded)
    )
    assert all(np.array_equal(one, other) for other in others)
    tensors = {name: value for name, value in detector.tensors().items() if name != "motion.layers.0.weight"}
    with pytest.raises(ValueError, match="Missing key"):
        PseudoAnomalies.restore(detector.settings(), tensors)


def test_stored_steps(made):
    """11 steps of either auto-encoder, 3 of the discriminator: at the last one the detector, before it another."""
    _, paths, work, detector = made
    assert PseudoAnomalies.stored_steps(work) == [6, 11] and PseudoAnomalies.stored_steps(work + "/x") == []
    last, earlier = (detector.at_step(work, step, paths) for step in (11, 6))
    expected = detector.score(paths[0])
    np.testing.assert_array_equal(last.score(paths[0]).frames, expected.frames)
    scores = earlier.score(paths[0])
    for part, folder in (("appearance", "appearance"), ("motion", "motion")):
        weights = load_file(f"{work}/{folder}/model000006.safetensors")
        assert all(torch.equal(value, weights[name]) for name, value in earlier.networks[part].state_dict().items())
        assert (scores.parts[part] != expected.parts[part]).any()
    np.testing.assert_array_equal(scores.parts["semantics"], expected.parts["semantics"])  # it has one checkpoint
    assert earlier.held_out == detector.held_out and earlier.scales["motion"] != detector.scales["motion"]


def test_held_out_losses_of_all_networks_are_logged(made):
    _, _, work, _ = made
    for folder, steps in (("inpainter", 6), ("appearance", 11), ("motion", 11), ("discriminator", 3)):
        log = Path(work, folder, network_training.LOG).read_text().splitlines()
        assert json.loads(log[-1])["step"] == steps and all(json.loads(line)["held_out"] > 0 for line in log)


def test_the_same_call_goes_on_and_other_networks_are_refused(made, monkeypatch):
    _, paths, work, detector = made
    again = PseudoAnomalies.fit(paths, False, work=work, minutes=MINUTES, width=0.05)
    np.testing.assert_array_equal(again.score(paths[0]).frames, detector.score(paths[0]).frames)
    with pytest.raises(InputError, match="of another network"):
        PseudoAnomalies.fit(paths, False, work=work, minutes=MINUTES, width=0.1)
    with pytest.raises(InputError, match="begun with other normal videos"):
        PseudoAnomalies.fit(paths[:3], False, work=work, minutes=MINUTES, width=0.05)
    with pytest.raises(InputError, match="begun with seed 123, not 7"):
        PseudoAnomalies.fit(paths, False, work=work, minutes=MINUTES, width=0.05, seed=7)
    monkeypatch.setattr(module, "PipelineInpainter", lambda folder: None)
    with pytest.raises(InputError, match="begun with pipeline '', not 'other'"):
        PseudoAnomalies.fit(paths, False, work=work, minutes=MINUTES, width=0.05, pipeline="other")


def test_a_missing_pipeline_is_said_before_the_work(made, tmp_path):
    with pytest.raises(InputError, match="not a diffusers pipeline"):
        PseudoAnomalies.fit(made[1], False, work=str(tmp_path / "work"), pipeline=str(tmp_path))
