"""Windowed infilling: every frame gets its own reconstruction, whatever the batch, the rank or the kill."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from ramvid_vad import inference, infill_videos
from ramvid_vad.diffusion.anchors import selective_anchors
from ramvid_vad.errors import InputError
from ramvid_vad.inference import generate, infill
from ramvid_vad.infill_videos import FolderInfilling
from ramvid_vad.options import SampleOptions
from ramvid_vad.reconstructions import find_reconstructions
from ramvid_vad.runtime.files import temporary_beside
from ramvid_vad.runtime.randomness import standard_normal
from ramvid_vad.script_util import create_model_and_diffusion
from ramvid_vad.video.windows import merge_max

SIZE = (8, 8)
ANCHORS = selective_anchors(30)


class Frames:
    """Stands in for the cache: video k of n frames; pixel value = frame index."""

    def __init__(self, lengths):
        self.lengths = lengths

    def entry(self, path):
        return f"{path}-{self.lengths[int(path)]}.npy"

    def frames(self, path):
        n = self.lengths[int(path)]
        return np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None, None], (n, *SIZE, 1))


def make(out_dir, lengths=(30, 47, 7), settings=None, **options):
    names = [f"scene/{i:02d}" for i in range(len(lengths))]
    paths = [str(i) for i in range(len(lengths))]
    return FolderInfilling(
        str(out_dir),
        names,
        paths,
        Frames(lengths),
        selective_anchors(30),
        SampleOptions(**({"batch_size": 3} | options)),
        {"image_size": [8, 8], "rgb": False, "keep_aspect": False} | (settings or {"model": "x"}),
    )


@pytest.fixture
def network():
    torch.manual_seed(0)
    model, diffusion = create_model_and_diffusion(
        image_size="8",
        num_channels=32,
        channel_mult="1,1,1",
        num_res_blocks=1,
        attention_resolutions="",
        mixer="attention",
        rgb=False,
        timestep_respacing="2",
    )
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    return model.eval(), diffusion


def load(out_dir, name):
    with np.load(os.path.join(out_dir, name + ".npz"), allow_pickle=False) as file:
        return dict(file)


def test_a_reconstruction_that_encodes_its_index_lands_at_its_own_frame(tmp_path, monkeypatch, network):
    """Every generated frame says which frame it is (its window's start + its position); the table must say the same."""

    def encode(model, diffusion, clean, anchors, places, sampling, **_):
        index = torch.tensor([[start + t for t in range(clean.shape[2])] for _, start in places])
        return (index / 127.5 - 1)[:, None, :, None, None].expand_as(clean).clone()

    monkeypatch.setattr(infill_videos, "infill", encode)
    lengths = (1, 7, 29, 30, 31, 45, 100, 180)
    job = make(tmp_path, lengths)
    job.run(*network, torch.device("cpu"), "fp32")
    assert job.missing() == []
    for name, n in zip(job.names, lengths, strict=True):
        result = load(tmp_path, name)
        assert result["reconstructions"].shape == (len(result["frame"]), *SIZE, 1)
        np.testing.assert_array_equal(result["reconstructions"][:, 0, 0, 0], result["frame"])
        np.testing.assert_array_equal(result["starts"][result["window"]] + result["index"], result["frame"])
        assert set(result["frame"]) == set(range(n)), "every frame is reconstructed at least once"
        np.testing.assert_array_equal(np.bincount(result["frame"], minlength=n), result["times_masked"])
        assert not result["anchors"][result["index"]].any(), "an anchor is no reconstruction"
        np.testing.assert_array_equal(merge_max(result["frame"], result["frame"], n), np.arange(n))


def test_without_extra_windows_frames_that_are_always_given_are_missing(tmp_path, network):
    job = make(tmp_path, (45,), extra_windows=False)
    job.run(*network, torch.device("cpu"), "fp32")
    result = load(tmp_path, job.names[0])
    assert np.flatnonzero(result["times_masked"] == 0).tolist() == [0, 1, 10, 11, 35, 36, 43, 44]


def test_batch_size_and_ranks_do_not_change_a_frame(tmp_path, network):
    one = make(tmp_path / "one")
    one.run(*network, torch.device("cpu"), "fp32")
    for batch_size, ranks in ((1, 1), (5, 2), (2, 3)):
        folder = tmp_path / f"{batch_size}_{ranks}"
        pending = make(folder, batch_size=batch_size).pending()
        for rank in range(ranks):
            job = make(folder, batch_size=batch_size)
            job.run(*network, torch.device("cpu"), "fp32", pending[rank::ranks], progress=rank == 0)
        assert job.missing() == []
        for name in job.names:
            difference = (
                load(folder, name)["reconstructions"].astype(int) - load(tmp_path / "one", name)["reconstructions"]
            )
            # another batch size may round the last float bit differently: at most one grey level, and rarely
            assert np.abs(difference).max() <= 1
            assert (difference != 0).mean() < 1e-3


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(tmp_path, monkeypatch, network):
    whole = make(tmp_path / "whole")
    whole.run(*network, torch.device("cpu"), "fp32")

    calls = 0

    def dies(*args, **keywords):
        nonlocal calls
        calls += 1
        if calls > 2:
            raise KeyboardInterrupt
        return infill(*args, **keywords)

    monkeypatch.setattr(infill_videos, "infill", dies)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "cut").run(*network, torch.device("cpu"), "fp32")
    monkeypatch.setattr(infill_videos, "infill", infill)
    again = make(tmp_path / "cut")
    assert again.missing()
    again.run(*network, torch.device("cpu"), "fp32")
    for name in whole.names:
        a, b = (tmp_path / part / f"{name}.npz" for part in ("whole", "cut"))
        assert a.read_bytes() == b.read_bytes()


def test_finished_windows_are_not_computed_again(tmp_path, monkeypatch, network):
    make(tmp_path).run(*network, torch.device("cpu"), "fp32")
    monkeypatch.setattr(infill_videos, "infill", lambda *_: pytest.fail("computed again"))
    make(tmp_path).run(*network, torch.device("cpu"), "fp32")


def test_what_killed_runs_left_is_cleared_away_at_the_end_and_nothing_else(tmp_path, network):
    job = make(tmp_path)
    job.run(*network, torch.device("cpu"), "fp32")
    kept = {path.name for path in tmp_path.iterdir()} - {".parts"}
    left = Path(temporary_beside(str(tmp_path / "any")))
    left.touch()
    (tmp_path / "mine.tmp").touch()
    job.finish()
    assert {path.name for path in tmp_path.iterdir()} == kept | {"mine.tmp"}


def test_a_folder_with_another_result_is_refused(tmp_path):
    make(tmp_path, settings={"model": "a", "seed": 1})
    with pytest.raises(InputError, match="another seed"):
        make(tmp_path, settings={"model": "a", "seed": 2})
    assert json.loads((tmp_path / "settings.json").read_text())["seed"] == 1


def test_anchors_are_given_and_masked_frames_are_not(network):
    """The result holds the anchors as given, and does not depend on what stands at the masked frames."""
    model, diffusion = network
    anchors = selective_anchors(30)
    clean = torch.linspace(-1, 1, 30).view(1, 1, 30, 1, 1).expand(1, 1, 30, *SIZE).clone()
    other = torch.where(anchors[:, None, None], clean, torch.rand_like(clean))
    first = infill(model, diffusion, clean, anchors, [(1, 0)], SampleOptions())
    second = infill(model, diffusion, other, anchors, [(1, 0)], SampleOptions())
    assert torch.equal(first, second)
    assert torch.equal(first[:, :, anchors], clean[:, :, anchors])
    assert not torch.equal(first[:, :, ~anchors], clean[:, :, ~anchors])
    changed = infill(model, diffusion, clean.flip(2), anchors, [(1, 0)], SampleOptions())
    assert not torch.equal(changed[:, :, ~anchors], first[:, :, ~anchors])


def test_timesteps_are_embedded_once_and_each_call_gets_its_own(network, monkeypatch):
    model, diffusion = network
    assert diffusion.num_timesteps > 1
    clean, places, embedded = torch.rand(2, 1, 30, *SIZE) * 2 - 1, [(0, 0), (1, 0)], []

    def run(network):
        return infill(network, diffusion, clean, selective_anchors(30), places, SampleOptions())

    hook = model.time_embed.register_forward_hook(lambda *_: embedded.append(1))
    try:
        once = run(model)
        assert len(embedded) == 1
        each = run(lambda *inputs, **keywords: model(*inputs, **keywords))
        assert len(embedded) == 1 + diffusion.num_timesteps
    finally:
        hook.remove()
    assert (once - each).abs().max() < 1e-4
    blind = model.modulations  # a network that always gets those of the first timestep
    monkeypatch.setattr(model, "modulations", lambda t, y=None: [m[:1].expand(len(t), -1) for m in blind(t, y)])
    assert (run(model) - each).abs().max() > 1e-2


def test_a_frame_has_the_same_noise_in_every_window(network):
    diffusion = network[1]
    seen = {}

    def spy(x, t, **_):
        seen.setdefault("x", x.clone())
        return torch.zeros_like(x)

    clean = torch.zeros(1, 1, 30, *SIZE)
    starts = {}
    for start in (0, 15):
        seen.clear()
        infill(spy, diffusion, clean, torch.zeros(30, dtype=torch.bool), [(9, start)], SampleOptions(seed=3))
        starts[start] = seen["x"]
    assert torch.equal(starts[0][:, :, 15:], starts[15][:, :, :15])
    assert not torch.equal(starts[0][:, :, :15], starts[15][:, :, :15])


def test_generated_samples_do_not_depend_on_ranks(network):
    model, diffusion = network
    anchors = torch.zeros(6, dtype=torch.bool)

    def run(rank, world):
        options, shape = SampleOptions(batch_size=1), (1, 6, *SIZE)
        none = iter([None] * 5)
        return generate(model, diffusion, none, shape, anchors, options, torch.device("cpu"), "fp32", rank, world)

    shares = [run(0, 2), run(1, 2)]
    assert [set(share) for share in shares] == [{0, 2, 4}, {1, 3}]
    whole, parts = run(0, 1), shares[0] | shares[1]
    assert whole.keys() == parts.keys() == set(range(5))
    assert all(np.array_equal(whole[i], parts[i]) for i in whole)
    assert not np.array_equal(whole[0], whole[1])


def test_a_folder_made_from_other_videos_is_refused(tmp_path):
    make(tmp_path, (30, 47))
    with pytest.raises(InputError, match="another videos"):
        make(tmp_path, (30, 46))


def test_an_unwritable_folder_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot be written"):
        make(tmp_path / "file" / "out")
    shutil.rmtree(tmp_path, ignore_errors=True)


def test_a_class_conditional_model_draws_a_class_for_every_sample():
    torch.manual_seed(0)
    model, _ = create_model_and_diffusion(
        image_size="8", num_channels=32, channel_mult="1,1,1", num_res_blocks=1, rgb=False, class_cond=True
    )
    seen = []
    model.label_emb.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].tolist()))
    diffusion = create_model_and_diffusion(timestep_respacing="1")[1]
    none, anchors = iter([None] * 3), torch.zeros(2, dtype=torch.bool)
    generate(model, diffusion, none, (1, 2, *SIZE), anchors, SampleOptions(batch_size=2), torch.device("cpu"), "fp32")
    classes = [label for call in seen for label in call]
    assert len(classes) == 3 and len({*classes}) > 1
    with pytest.raises(ValueError, match="class y"):
        model(torch.zeros(1, 1, 2, *SIZE), torch.zeros(1))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"sampler": "ddim"}),
        ({}, {"resample_steps": 2}),
        ({}, {"clip_denoised": False}),
        ({}, {"seed": 1}),
        ({"sampler": "ddim"}, {"sampler": "ddim", "eta": 1.0}),
        ({"sampler": "ddim"}, {"sampler": "ddim", "resample_steps": 2}),
        ({"sampler": "ddim"}, {"sampler": "ddim", "clip_denoised": False}),
    ],
)
def test_every_sampling_option_changes_the_windows(network, before, after):
    clean, anchors = torch.zeros(1, 1, 10, *SIZE), torch.arange(10) < 2
    first, second = (infill(*network, clean, anchors, [(1, 0)], SampleOptions(**each)) for each in (before, after))
    assert (first - second).abs().max() > 1e-3


def test_dropout_is_off_while_sampling(tmp_path):
    """A network as it was trained, with dropout on, gives what the same network gives without."""
    torch.manual_seed(0)
    small = {"image_size": "8", "num_channels": 32, "channel_mult": "1", "num_res_blocks": 1, "rgb": False}
    model, diffusion = create_model_and_diffusion(
        **small, attention_resolutions="", dropout=0.9, timestep_respacing="2"
    )
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    cpu, anchors, none = torch.device("cpu"), torch.arange(6) < 2, [None]
    shape, options = (1, 6, *SIZE), SampleOptions(num_samples=1)
    filled, made = [], []
    for number, mode in enumerate((True, False)):
        job = make(tmp_path / str(number), (30,))
        job.run(model.train(mode), diffusion, cpu, "fp32")
        filled.append(load(job.out_dir, job.names[0])["reconstructions"])
        made.append(generate(model.train(mode), diffusion, iter(none), shape, anchors, options, cpu, "fp32")[0])
    np.testing.assert_array_equal(*filled)
    np.testing.assert_array_equal(*made)


@pytest.mark.parametrize(
    ("options", "draws"),
    [
        ({}, 3),
        ({"resample_steps": 3}, 11),
        ({"sampler": "ddim"}, 1),
        ({"sampler": "heun"}, 1),
        ({"sampler": "dpmpp_2m"}, 1),
        ({"sampler": "ddim", "eta": 0.5}, 2),
        ({"sampler": "ddim", "eta": 0.5, "resample_steps": 3}, 8),
    ],
)
def test_noise_is_drawn_for_hidden_frames_once_and_none_in_vain(network, monkeypatch, options, draws):
    """Two steps. Ancestral: the start and each step; RePaint, r times each step and r - 1 steps back; DDIM: the start,
    with eta each step but the last."""
    asked, seen = [], []

    def spy(shape, seed, purpose, *place):
        asked.append(place)
        return standard_normal(shape, seed, purpose, *place)

    def blind(x, t, **_):
        seen.append(x.clone())
        return torch.zeros_like(x)

    monkeypatch.setattr(inference, "standard_normal", spy)
    anchors, sampling = torch.arange(10) % 5 < 2, SampleOptions(seed=7, **options)
    clean = torch.full((2, 1, 10, *SIZE), 0.25)
    infill(blind, network[1], clean, anchors, [(9, 0), (9, 5)], sampling)
    frames = {0 + t for t in range(10) if t % 5 >= 2} | {5 + t for t in range(10) if t % 5 >= 2}
    assert sorted(asked) == sorted((9, frame, draw) for frame in frames for draw in range(draws))
    for number, first in enumerate((0, 5)):
        for t in range(10):
            start = standard_normal((1, *SIZE), 7, "sample", 9, first + t, 0) if t % 5 >= 2 else clean[number, :, t]
            torch.testing.assert_close(seen[0][number, :, t], start, atol=1e-6, rtol=1e-5)


def test_a_failure_while_noise_is_drawn_ends_the_sampling(network, monkeypatch):
    def fails(shape, seed, purpose, key, frame, draw):
        if draw == 2:
            raise MemoryError("no room")
        return standard_normal(shape, seed, purpose, key, frame, draw)

    monkeypatch.setattr(inference, "standard_normal", fails)
    with pytest.raises(MemoryError, match="no room"):
        infill(*network, torch.zeros(1, 1, 6, *SIZE), torch.arange(6) < 2, [(1, 0)], SampleOptions())


def test_no_frame_is_generated_beside_a_copy_of_itself(tmp_path, network, monkeypatch):
    """Every frame is of one value, its number: what the network is shown clean is none of what it is to generate."""
    seen = []

    def spy(model, diffusion, clean, anchors, places, *_, **__):
        shown = torch.round((clean[:, 0, :, 0, 0] + 1) * 127.5).int()
        for number, (_, start) in enumerate(places):
            hidden = {start + t for t in range(30) if not ANCHORS[t] and 0 <= start + t < 47}
            seen.append(not hidden & set(shown[number][anchors[number]].tolist()))
            assert anchors[number].sum() >= 6
        return clean

    monkeypatch.setattr(infill_videos, "infill", spy)
    make(tmp_path, (47,)).run(*network, torch.device("cpu"), "fp32")
    assert len(seen) == 5 and all(seen)


def test_a_video_file_that_does_not_open_is_made_again(tmp_path, network, monkeypatch):
    monkeypatch.setattr(infill_videos, "infill", lambda model, diffusion, clean, *_, **__: clean)
    job = make(tmp_path)
    job.run(*network, torch.device("cpu"), "fp32")
    job.finish()
    whole = (tmp_path / f"{job.names[1]}.npz").read_bytes()
    for damaged in (b"", whole[:-100]):
        (tmp_path / f"{job.names[1]}.npz").write_bytes(damaged)
        again = make(tmp_path)
        assert again.missing() == [job.names[1]]
        again.run(*network, torch.device("cpu"), "fp32")
        assert (tmp_path / f"{job.names[1]}.npz").read_bytes() == whole


def test_videos_below_a_folder_called_parts_are_kept(tmp_path, network, monkeypatch):
    monkeypatch.setattr(infill_videos, "infill", lambda model, diffusion, clean, *_, **__: clean)
    cache = Frames((30, 31))
    options = SampleOptions(batch_size=3)
    settings = {"image_size": [8, 8], "rgb": False, "keep_aspect": False}
    job = FolderInfilling(
        str(tmp_path), ["parts/01", "02"], ["0", "1"], cache, selective_anchors(30), options, settings
    )
    job.run(*network, torch.device("cpu"), "fp32")
    job.finish()
    assert job.missing() == []
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"settings.json", "parts/01.npz", "02.npz"}
    assert set(find_reconstructions(str(tmp_path), ["parts/01", "02"])) == {"parts/01", "02"}


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '"a"', "[" * 100_000, "\0", "1e999"])
def test_settings_that_are_damaged_are_one_line(tmp_path, text):
    (tmp_path / "settings.json").write_text(text)
    with pytest.raises(InputError, match=r"settings\.json: damaged \(.*\); remove it, or give another --out_dir"):
        make(tmp_path)
