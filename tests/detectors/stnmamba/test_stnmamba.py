"""The network's size and ladder, its training, and the detector: scores, protocol, saving."""

import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from clips import write_video
from safetensors.torch import load_file
from stand_ins import texture

from ramvid_vad.detectors import network_training
from ramvid_vad.detectors.detector import load
from ramvid_vad.detectors.registry import FITTED, SAVED
from ramvid_vad.detectors.stnmamba import detector as module
from ramvid_vad.detectors.stnmamba import network as network_module
from ramvid_vad.detectors.stnmamba.blocks import ChannelAwareBlock, MultiScaleBlock
from ramvid_vad.detectors.stnmamba.detector import STNMambaDetector
from ramvid_vad.detectors.stnmamba.interaction import Concatenation, FusionBlock
from ramvid_vad.detectors.stnmamba.memory import MemoryBank, memory_losses
from ramvid_vad.detectors.stnmamba.network import LADDER, STNMamba
from ramvid_vad.detectors.stnmamba.training import as_input, drawn_window, loss_of
from ramvid_vad.errors import InputError
from ramvid_vad.models.ss2d import SS2D
from ramvid_vad.runtime.randomness import stream

NAMES = ["prediction", "memory 1", "memory 2", "memory 3", "memory 4"]


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(network_module, "WIDTHS", (8, 16, 32, 64))
    monkeypatch.setattr(module, "SIZE", (32, 32))


def fresh(rung=LADDER[-1]):
    torch.manual_seed(0)
    return STNMamba(rung)


def test_parameters_and_operations_are_the_published_ones():
    """7.2 million and 1.5 G within a tenth. A G of operations is one of multiply-adds of convolutions and matrix
    products, as profilers count them; they do not see the recurrence of the scan, which is counted here by its
    definition: for each of N states one to advance it and one to read it, and one for D."""
    from torch.utils.flop_counter import FlopCounterMode

    network = fresh().eval()
    scans = []
    for layer in network.modules():
        if isinstance(layer, SS2D):
            layer.register_forward_hook(
                lambda scan, given, made: scans.append(4 * made.numel() * (2 * scan.d_state + 1))
            )
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        predicted, _ = network(torch.zeros(1, 4, 256, 256, 3))
    assert predicted.shape == (1, 256, 256, 3)
    assert sum(each.numel() for each in network.parameters()) == pytest.approx(7.2e6, rel=0.1)
    assert counter.get_total_flops() / 2 == pytest.approx(1.5e9, rel=0.1)
    assert len(scans) == 4 * (2 + 2 + 2 + 1)  # stages x blocks of both encoders and the decoder, and the fusion
    tokens = [4096 // 4**level for level in range(4)]
    channels = [32 * 2**level for level in range(4)]
    each = sum(33 * 4 * t * (6 * 2 * c + c) for t, c in zip(tokens, channels, strict=True))  # inner width 2 c, but c
    assert sum(scans) == each


def test_each_rung_adds_what_it_is_named_for(small):
    kinds = (MultiScaleBlock, ChannelAwareBlock, FusionBlock, MemoryBank)
    expected = {
        "baseline": (0, 0, 0, 0),
        "multi_scale": (8, 0, 0, 0),
        "channel_aware": (8, 8, 0, 0),
        "fusion": (8, 8, 1, 0),
        "memory": (8, 8, 1, 1),
        "multi_level": (8, 8, 4, 4),
    }
    assert tuple(expected) == LADDER
    for rung, counts in expected.items():
        layers = list(fresh(rung).modules())
        assert tuple(sum(isinstance(layer, kind) for layer in layers) for kind in kinds) == counts
        assert sum(isinstance(layer, Concatenation) for layer in layers) == (counts[2] == 0)
    with pytest.raises(ValueError, match="choose one of baseline, multi_scale"):
        STNMamba("top")


@pytest.mark.parametrize("rung", LADDER)
def test_what_the_decoder_sees(small, rung):
    """Up to "memory" the deepest level alone, then all four; every input takes part in the prediction."""
    network = fresh(rung).eval()
    torch.nn.init.ones_(network.decoder.picture[1].weight)  # it starts at zero
    frames = torch.randn(1, 4, 32, 32, 3, requires_grad=True)
    seen = []
    network.decoder.register_forward_hook(lambda decoder, given, made: seen.extend(given[0]))
    predicted, queries = network(frames)
    assert [each is not None for each in seen] == ([True] * 4 if rung == "multi_level" else [False] * 3 + [True])
    assert [each.shape[1] for each in queries] == {"memory": [1], "multi_level": [64, 16, 4, 1]}.get(rung, [])
    gradient = torch.autograd.grad(predicted.sum(), frames)[0]
    assert (gradient.abs().amax((0, 2, 3, 4)) > 0).all()


def test_the_temporal_encoder_sees_differences_alone(small):
    network = fresh().eval()
    given = []
    network.temporal.register_forward_hook(lambda encoder, inputs, made: given.append(inputs[0]))
    frames = torch.rand(1, 4, 32, 32, 3)
    with torch.no_grad():
        network(frames)
        network(frames + 0.25)
    assert given[0].shape == (1, 32, 32, 9)
    assert torch.allclose(given[0], given[1], atol=1e-6)
    for k in range(3):
        assert torch.equal(given[0][..., 3 * k : 3 * k + 3], frames[:, k + 1] - frames[:, k])


def test_the_loss_by_hand(small):
    network = fresh().eval()
    windows = torch.rand(2, 5, 32, 32, 3) * 2 - 1
    with torch.no_grad():
        predicted, queries = network(windows[:, :4])
        expected = (predicted - windows[:, 4]).square().mean()
        for asked, memory in zip(queries, network.memories, strict=True):
            expected = expected + 0.1 * sum(memory_losses(asked, memory.items))
        assert loss_of(network, windows).item() == pytest.approx(expected.item(), rel=1e-6)


def test_thirty_steps_lower_the_loss_and_write_the_memories(small):
    network = fresh().train()
    before = [memory.items.clone() for memory in network.memories]
    video = texture(30, 32, 32)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    errors = []
    for number in range(30):
        windows = as_input(np.stack([drawn_window([video], np.random.default_rng([number, i])) for i in range(2)]))
        if number in (0, 29):
            with torch.no_grad():
                errors.append(F.mse_loss(network.eval()(windows[:, :4])[0], windows[:, 4]).item())
            network.train()
        optimizer.zero_grad()
        loss_of(network, windows).backward()
        optimizer.step()
    assert errors[1] < 0.7 * errors[0]
    assert all(not torch.equal(memory.items, items) for memory, items in zip(network.memories, before, strict=True))
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_the_log_has_the_error_of_repeating_the_last_frame(made):
    """Of the eight held-out windows whose prediction error it has."""
    paths, work, _ = made
    videos = [np.stack([module.resize_frame(f, (32, 32)) for f in module.colour(path)]) for path in paths[2:]]
    windows = np.stack([drawn_window(videos, stream(123, "held out", i)) for i in range(8)]) / 127.5 - 1
    first, last = (json.loads(line) for line in (Path(work) / "network" / "training.jsonl").read_text().splitlines())
    assert first["last_frame_repeated"] == pytest.approx(((windows[:, 3] - windows[:, 4]) ** 2).mean(), rel=1e-5)
    assert "last_frame_repeated" not in last and last["held_out"] > 0


def test_a_file_in_the_place_of_the_folder_is_one_line(tmp_path):
    paths = [str(write_video(tmp_path / f"{i}.mkv", texture(60, 40, 60))) for i in range(3)]
    (tmp_path / "training").write_text("")
    with pytest.raises(InputError, match=r"training/normal_videos\.json: cannot be written"):
        STNMambaDetector.fit(paths, False, work=str(tmp_path / "training"), minutes=0.01)


def test_windows_are_drawn_evenly():
    videos = [np.arange(n).reshape(n, 1, 1, 1) + 100 * i for i, n in enumerate((5, 8))]
    firsts = [int(drawn_window(videos, np.random.default_rng(i))[0, 0, 0, 0]) for i in range(300)]
    assert set(firsts) == {0, 100, 101, 102, 103}
    assert np.mean([first == 0 for first in firsts]) == pytest.approx(0.2, abs=0.08)
    assert drawn_window(videos[:1], np.random.default_rng(0)).ravel().tolist() == [0, 1, 2, 3, 4]


MINUTES = 4 / 60


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Four small videos, and a detector of them: four steps of a second each, a checkpoint every two."""
    seconds = itertools.count()
    folder = tmp_path_factory.mktemp("stnmamba")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network_module, "WIDTHS", (8, 16, 32, 64))
        patch.setattr(module, "SIZE", (32, 32))
        patch.setattr(network_training, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
        patch.setitem(network_training.train_network.__kwdefaults__, "save_every_minutes", 2 / 60)
        paths = [
            str(write_video(folder / f"{i}.mkv", texture(n, 40, 60, seed=i))) for i, n in enumerate((27, 10, 14, 9))
        ]
        work = str(folder / "work")
        yield paths, work, STNMambaDetector.fit(paths, False, work=work, minutes=MINUTES)


def test_scales_come_from_held_out_normal_video(made):
    paths, work, detector = made
    assert detector.held_out == ["2.mkv", "3.mkv"] and list(detector.scales) == NAMES
    parts = [detector.score(path, maps=False).parts for path in paths[2:]]
    for name in NAMES:
        logs = np.log(np.concatenate([each[name][4:] for each in parts]))
        assert detector.scales[name].mean == pytest.approx(logs.mean(), abs=1e-6)
        assert detector.scales[name].sd == pytest.approx(logs.std(), rel=1e-4)
    assert not (module.os.path.exists(module.os.path.join(work, "frames")))


def test_the_score_is_four_fifths_prediction_and_one_fifth_memory(made):
    """The prediction's part is the negative PSNR, standardised: PSNR = 10 log10(4 / error) in [-1, 1]."""
    paths, _, detector = made
    scores = detector.score(paths[0])
    usual = np.concatenate([detector.score(path, maps=False).parts["prediction"][4:] for path in paths[2:]])
    psnr, normal = (10 * np.log10(4 / each) for each in (scores.parts["prediction"], usual))
    at_least = np.minimum(psnr, normal.max())  # better than any normal frame counts as the best of them
    memory = [detector.scales[name](scores.parts[name]) for name in NAMES[1:]]
    expected = 0.8 * (normal.mean() - at_least) / normal.std() + 0.2 * np.mean(memory, 0)
    np.testing.assert_allclose(scores.frames, expected, rtol=1e-4, atol=1e-4)
    assert scores.maps.shape == (27, 5, 8) and np.isfinite(scores.maps).all()


def test_parts_of_a_frame_restated(made):
    paths, _, detector = made
    frames = list(module.colour(paths[0]))
    windows = as_input(np.stack([module.resize_frame(frame, (32, 32)) for frame in frames]))
    parts = detector.score(paths[0], maps=False).parts
    with torch.no_grad():
        predicted, queries = detector.network(windows[None, 3:7])
    assert parts["prediction"][7] == pytest.approx((predicted[0] - windows[7]).square().mean().item(), rel=1e-5)
    for name, asked, memory in zip(NAMES[1:], queries, detector.network.memories, strict=True):
        nearest = torch.cdist(asked[0], memory.items).min(1).values.square().mean()
        assert parts[name][7] == pytest.approx(nearest.item(), rel=1e-3)
    with torch.no_grad():
        first, _ = detector.network(torch.stack([windows[0], windows[0], windows[0], windows[1]])[None])
    assert parts["prediction"][2] == pytest.approx((first[0] - windows[2]).square().mean().item(), rel=1e-5)


def test_no_score_depends_on_a_later_frame_or_on_what_was_scored_before(made):
    paths, _, detector = made
    frames = list(module.colour(paths[0]))
    whole = detector.score(frames)
    for count in (1, 4, 7):
        part = detector.score(frames[:count])
        np.testing.assert_array_equal(part.frames, whole.frames[:count])
        np.testing.assert_array_equal(part.maps, whole.maps[:count])
    changed = [*frames[:6], *(255 - frame for frame in frames[6:])]
    np.testing.assert_array_equal(detector.score(changed).frames[:6], whole.frames[:6])
    items = [memory.items.clone() for memory in detector.network.memories]
    detector.score(changed)
    assert all(torch.equal(m.items, i) for m, i in zip(detector.network.memories, items, strict=True))
    np.testing.assert_array_equal(detector.score(frames).frames, whole.frames)


def test_saved_and_loaded_it_scores_the_same(made, small, tmp_path):
    paths, _, detector = made
    detector.card = {"recipe": detector.name}
    detector.save(str(tmp_path))
    again = load(str(tmp_path), SAVED)
    one, other = (each.score(paths[0]) for each in (detector, again))
    np.testing.assert_array_equal(one.frames, other.frames)
    np.testing.assert_array_equal(one.maps, other.maps)
    assert again.held_out == detector.held_out and again.about() == detector.about()
    settings = detector.settings()
    for wrong in (settings | {"rung": "top"}, settings | {"rung": "memory"}, settings | {"log_scales": {}}):
        with pytest.raises(ValueError):
            STNMambaDetector.restore(wrong, detector.tensors())
    tensors = {name: value for name, value in detector.tensors().items() if name != "memories.0.items"}
    with pytest.raises(ValueError, match="Missing key"):
        STNMambaDetector.restore(settings, tensors)


def test_stored_steps_and_the_same_call_again(made, small):
    paths, work, detector = made
    assert STNMambaDetector.stored_steps(work) == [2, 4]
    last, earlier = (detector.at_step(work, step, paths) for step in (4, 2))
    np.testing.assert_array_equal(last.score(paths[1]).frames, detector.score(paths[1]).frames)
    assert (earlier.score(paths[1]).frames != detector.score(paths[1]).frames).any()
    weights = load_file(f"{work}/network/model000002.safetensors")
    assert all(torch.equal(value, weights[name]) for name, value in earlier.network.state_dict().items())
    assert earlier.held_out == detector.held_out and earlier.scales != detector.scales
    again = STNMambaDetector.fit(paths, False, work=work, minutes=MINUTES)
    np.testing.assert_array_equal(again.score(paths[1]).frames, detector.score(paths[1]).frames)
    with pytest.raises(InputError, match="begun with rung 'multi_level', not 'baseline'"):
        STNMambaDetector.fit(paths, False, work=work, minutes=MINUTES, rung="baseline")
    with pytest.raises(InputError, match="begun with other normal videos"):
        STNMambaDetector.fit(paths[:3], False, work=work, minutes=MINUTES)
    with pytest.raises(InputError, match="begun with seed 123, not 7"):
        STNMambaDetector.fit(paths, False, work=work, minutes=MINUTES, seed=7)
    assert STNMambaDetector.stored_steps(work + " of none") == []


def test_without_memory_the_prediction_stands_alone(small, made, tmp_path):
    paths, _, _ = made
    detector = STNMambaDetector.fit(paths, False, work=str(tmp_path), minutes=0.005, rung="baseline")
    scores = detector.score(paths[0])
    assert list(detector.scales) == list(scores.parts) == ["prediction"]
    np.testing.assert_allclose(scores.frames, 0.8 * detector.scales["prediction"](scores.parts["prediction"]))


def test_a_video_too_short_to_predict_from_is_one_line(small, tmp_path):
    paths = [str(write_video(tmp_path / f"{i}.mkv", texture(n, 40, 60))) for i, n in enumerate((3, 4, 60, 60))]
    with pytest.raises(InputError, match="more than 4 frames in a row"):
        STNMambaDetector.fit(paths, False, work=str(tmp_path / "work"), minutes=0.01)


def test_the_command_knows_it_by_name():
    assert FITTED["stnmamba"] is SAVED["stnmamba"] is STNMambaDetector
