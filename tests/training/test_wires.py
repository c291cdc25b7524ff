"""What the options and the data of a step come to: every wire from them into the arithmetic, pulled once."""

import json

import pytest
import torch
from test_loop import FRAMES, TINY, batches, make_loop

from ramvid_vad.models.layers import ResBlock
from ramvid_vad.runtime.randomness import standard_normal
from ramvid_vad.script_util import create_model_and_diffusion
from ramvid_vad.training.schedules import LossScale


def spied(loop, calls, outcome=None):
    """Note the arguments of every call of ``training_losses``; ``outcome`` changes the terms."""
    real = loop.diffusion.training_losses

    def training_losses(network, clean, t, anchors, noise, **keywords):
        y = keywords.pop("y")
        calls.append({"clean": clean, "t": t, "anchors": anchors, "noise": noise, "y": y} | keywords)
        calls[-1]["autocast"] = torch.is_autocast_enabled("cpu")
        terms = real(network, clean, t, anchors, noise, y=None, **keywords)
        calls[-1]["loss"] = terms["loss"].detach()
        return outcome(terms) if outcome else terms

    loop.diffusion.training_losses = training_losses
    return loop


def gradients(loop):
    return torch.cat([p.grad.flatten() for p in loop.model.parameters()])


def test_noise_belongs_to_the_sample(tmp_path):
    calls = []
    spied(make_loop(tmp_path, max_steps=2, batch_size=3, microbatch=2), calls).run()
    noise = torch.cat([call["noise"] for call in calls])
    expected = [standard_normal((3, FRAMES, 8, 8), 123, "noise", sample // 3, sample) for sample in range(6)]
    assert torch.equal(noise, torch.stack(expected))
    assert len({each.numpy().tobytes() for each in noise}) == 6


def test_anchors_and_timesteps_belong_to_the_sample(tmp_path):
    calls = []
    loop = spied(make_loop(tmp_path, max_steps=2, batch_size=3, microbatch=2), calls)
    loop.run()
    for name, expected in (
        ("anchors", [loop.anchors(sample // 3, sample) for sample in range(6)]),
        ("t", [loop.timesteps.draw(sample // 3, [sample])[0][0] for sample in range(6)]),
    ):
        assert torch.equal(torch.cat([call[name] for call in calls]), torch.stack(expected)), name


def test_dropout_is_another_on_each_rank_and_step(tmp_path, monkeypatch):
    seeds = []
    for rank in (0, 1):
        loop = make_loop(tmp_path / str(rank), max_steps=2, log_interval=100)
        monkeypatch.setattr("ramvid_vad.training.loop.processes.rank", lambda rank=rank: rank)
        monkeypatch.setattr(loop, "_save", lambda last=False: True)
        spied(loop, [], lambda terms: (seeds.append(torch.initial_seed()), terms)[1]).run()
    assert len(set(seeds)) == 4


def test_the_loss_is_weighted_by_the_sampler(tmp_path):
    """The gradient is linear in the weights of the samples."""
    found = {}
    for weights in ([1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [3.0, 3.0]):
        loop = make_loop(tmp_path, max_steps=1, clip=0)
        t, _ = loop.timesteps.draw(0, [0, 1])
        loop.timesteps.draw = lambda step, samples, t=t, weights=weights: (t, torch.tensor(weights))
        loop.run()
        found[tuple(weights)] = gradients(loop)
    both, size = found[1, 1], float(found[1, 1].norm())
    torch.testing.assert_close(found[1, 0] + found[0, 1], both, rtol=1e-4, atol=1e-5 * size)
    torch.testing.assert_close(found[3, 3], 3 * both, rtol=1e-4, atol=1e-5 * size)
    assert float((found[1, 0] - found[0, 1]).norm()) > 0.01 * size


@pytest.mark.parametrize(
    ("options", "factors"),
    [
        (dict(), [1, 1, 1, 1]),
        (dict(lr_warmup=3), [1 / 3, 2 / 3, 1, 1]),
        (dict(lr_anneal_steps=4), [1, 3 / 4, 2 / 4, 1 / 4]),
        (dict(anneal_type="step", steps_drop=2, drop=0.5), [1, 1, 0.5, 0.5]),
        (dict(anneal_type="time_based", decay=1.0), [1, 1 / 2, 1 / 3, 1 / 4]),
        (dict(anneal_type="time_based", decay=1.0, lr_warmup=2), [1 / 2, 1 / 2, 1 / 3, 1 / 4]),
    ],
)
def test_each_step_is_made_with_the_schedules_rate(tmp_path, options, factors):
    loop = make_loop(tmp_path, max_steps=4, log_interval=1, **options)
    rates, real = [], loop.optimizer.step

    def step():
        rates.append([group["lr"] for group in loop.optimizer.param_groups])
        real()

    loop.optimizer.step = step
    loop.run()
    assert [rate for (rate,) in rates] == pytest.approx([1e-2 * factor for factor in factors])
    logged = [json.loads(line)["lr"] for line in (tmp_path / "progress.jsonl").read_text().splitlines()]
    assert logged == pytest.approx([1e-2 * factor for factor in factors])


def test_the_first_step_of_adam_moves_every_weight_by_the_rate(tmp_path):
    loop = make_loop(tmp_path, max_steps=1, lr_warmup=10, clip=0)
    before = [p.detach().clone() for p in loop.model.parameters()]
    loop.run()
    moved = max(
        float((now.detach() - was).abs().max()) for now, was in zip(loop.model.parameters(), before, strict=True)
    )
    assert moved == pytest.approx(1e-2 / 10, rel=1e-2)


def test_weights_decay_where_nothing_pulls_at_them(tmp_path):
    loop = make_loop(tmp_path, max_steps=2, weight_decay=0.5)
    loop.timesteps.draw = lambda step, samples: (torch.zeros(len(samples), dtype=torch.long), torch.zeros(len(samples)))
    before = [p.detach().clone() for p in loop.model.parameters()]
    loop.run()
    for now, was in zip(loop.model.parameters(), before, strict=True):
        torch.testing.assert_close(now.detach(), was * (1 - 1e-2 * 0.5) ** 2)


def test_class_labels_are_cut_as_the_windows_are(tmp_path):
    calls = []
    loop = spied(make_loop(tmp_path, max_steps=2, batch_size=3, microbatch=2), calls)
    plain = loop.batches
    loop.batches = lambda step: ((x, where | {"y": 10 * ids}, ids) for x, where, ids in plain(step))
    loop.run()
    assert [call["y"].tolist() for call in calls] == [[0, 10], [20], [30, 40], [50]]
    for call in calls:
        assert torch.equal(call["clean"], torch.stack([next(batches(1)(y // 10))[0][0] for y in call["y"].tolist()]))


@pytest.mark.parametrize("exclude", [True, False])
def test_exclude_conditional_reaches_the_loss(tmp_path, exclude):
    calls = []
    loop = make_loop(tmp_path, max_steps=1)
    loop.exclude_conditional = exclude
    spied(loop, calls).run()
    assert [call["exclude_conditional"] for call in calls] == [exclude]


def test_the_loss_is_computed_in_float32_whatever_the_networks_precision(tmp_path):
    calls, inside = [], []
    loop = make_loop(tmp_path, max_steps=1, precision="bf16")
    next(loop.model.modules()).register_forward_pre_hook(lambda *_: inside.append(torch.is_autocast_enabled("cpu")))
    spied(loop, calls).run()
    assert inside == [True] and [call["autocast"] for call in calls] == [False]
    assert calls[0]["loss"].dtype == torch.float32
    assert (calls[0]["loss"].bfloat16().float() != calls[0]["loss"]).any(), "more digits than bfloat16 has"


def test_the_norm_that_is_logged_and_clipped_is_that_of_the_unscaled_gradient(tmp_path):
    norms = []
    for exponent in (0.0, 10.0):
        loop = make_loop(tmp_path / str(exponent), max_steps=1, log_interval=1, clip=0)
        loop.scale.exponent = exponent
        loop.run()
        norms.append(json.loads((tmp_path / str(exponent) / "progress.jsonl").read_text())["grad_norm"])
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)
    assert norms[0] == pytest.approx(float(gradients(loop).norm()), rel=1e-4)


def test_a_loss_scale_of_one_does_not_move():
    scale = LossScale(0.0)
    for finite in (True, False):
        scale.update(finite)
    assert scale.value == 1


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradient_checkpointing_computes_the_blocks_twice(checkpointing):
    model, _ = create_model_and_diffusion(**TINY, use_checkpoint=checkpointing)
    blocks, calls = [module for module in model.modules() if isinstance(module, ResBlock)], []
    for block in blocks:
        block.register_forward_pre_hook(lambda module, inputs: calls.append(module))
    model(standard_normal((1, 3, FRAMES, 8, 8), 0, "x"), torch.tensor([5])).square().sum().backward()
    assert len(calls) == (2 if checkpointing else 1) * len(blocks) > 0
