"""The training loop on a tiny network: exact resume, scales, skips, budgets."""

import json
import math
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from ramvid_vad.diffusion.anchors import AnchorPattern
from ramvid_vad.errors import InputError, RunError
from ramvid_vad.options import TrainOptions
from ramvid_vad.runtime.files import sha256_of
from ramvid_vad.runtime.logger import Logger
from ramvid_vad.runtime.randomness import standard_normal
from ramvid_vad.script_util import create_model_and_diffusion
from ramvid_vad.training.checkpoints import find_latest, load_checkpoint
from ramvid_vad.training.loop import TrainLoop
from ramvid_vad.training.schedules import LossScale, SecondMomentTimesteps, UniformTimesteps, learning_rate

FRAMES = 6
EARLIER = r"begin from an earlier checkpoint \(--resume_checkpoint FILE --log_dir NEW\), or anew, with a lower --lr"
TINY = dict(
    image_size="8",
    num_channels=32,
    channel_mult="1",
    num_res_blocks=1,
    attention_resolutions="8",
    mixer="mamba",
    d_state=2,
)


def batches(batch_size, poison=()):
    """Batches as a pure function of the step; the steps in ``poison`` hold a NaN."""

    def iterate(start_step):
        step = start_step
        while True:
            ids = range(step * batch_size, (step + 1) * batch_size)
            frames = torch.stack([standard_normal((3, FRAMES, 8, 8), 0, "data", i).clamp(-1, 1) for i in ids])
            if step in poison:
                frames[0, 0, 3] = math.nan
            where = {"video": torch.tensor([i % 2 for i in ids]), "start": torch.full((batch_size,), step)}
            yield frames, where, torch.tensor(list(ids))
            step += 1

    return iterate


def make_loop(folder, resumed=None, poison=(), precision="fp32", **options):
    torch.manual_seed(0)
    model, diffusion = create_model_and_diffusion(**TINY)
    options = TrainOptions(**{"lr": 1e-2, "batch_size": 2, "ema_rate": "0.5,0.9", "save_interval": 1000} | options)
    if resumed is not None:
        resumed = load_checkpoint(find_latest(str(resumed)), ["0.5", "0.9"])
    return TrainLoop(
        model,
        diffusion,
        batches(options.batch_size, poison),
        AnchorPattern("random", FRAMES, max_given=3, unconditional_rate=0.2, seed=options.seed),
        options,
        precision=precision,
        exclude_conditional=True,
        logger=Logger(str(folder)),
        config={},
        resumed=resumed,
        names=("street/07", "yard"),
    )


def state(loop):
    """Everything that a resumed run must have again."""
    found = {f"model/{k}": v for k, v in loop.model.state_dict().items()}
    for rate, average in loop.ema.items():
        found |= {f"ema{rate}/{k}": v for k, v in average.state_dict().items()}
    for index, entry in loop.optimizer.state_dict()["state"].items():
        found |= {f"opt{index}/{k}": v for k, v in entry.items()}
    return found


def assert_same(a, b):
    a, b = state(a), state(b)
    assert a.keys() == b.keys()
    for key in a:
        assert torch.equal(a[key], b[key]), key


@pytest.mark.parametrize("sampler", ["uniform", "loss-second-moment"])
def test_a_resumed_run_equals_an_unbroken_one_bit_for_bit(tmp_path, sampler):
    unbroken = make_loop(tmp_path / "a", max_steps=7, schedule_sampler=sampler)
    assert unbroken.run() == 7
    make_loop(tmp_path / "b", max_steps=3, schedule_sampler=sampler).run()
    make_loop(tmp_path / "b", tmp_path / "b", max_steps=5, schedule_sampler=sampler).run()
    last = make_loop(tmp_path / "b", tmp_path / "b", max_steps=7, schedule_sampler=sampler)
    assert last.step == 5
    last.run()
    assert_same(unbroken, last)
    assert last.timesteps.state() == unbroken.timesteps.state()


def test_microbatches_add_up_to_the_batch(tmp_path):
    whole = make_loop(tmp_path / "a", max_steps=1, batch_size=3)
    parts = make_loop(tmp_path / "b", max_steps=1, batch_size=3, microbatch=2)
    whole.run()
    parts.run()
    for a, b in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-5 * float(a.grad.norm()) + 1e-9)


def test_gradients_are_unscaled_before_they_are_clipped(tmp_path):
    """A scale that is a power of two must not show; clipping scaled gradients (RaMViD's order) would."""
    plain = make_loop(tmp_path / "a", max_steps=3, clip=0.05)
    scaled = make_loop(tmp_path / "b", max_steps=3, clip=0.05)
    scaled.scale.exponent = 10.0
    plain.run()
    scaled.run()
    assert_same(plain, scaled)


def test_the_gradient_norm_is_clipped(tmp_path):
    loop = make_loop(tmp_path, clip=1e-3, max_steps=1)
    loop.run()
    norm = torch.sqrt(sum((p.grad**2).sum() for p in loop.model.parameters()))
    torch.testing.assert_close(norm, torch.tensor(1e-3), rtol=1e-2, atol=0)


def test_a_step_that_is_not_finite_changes_nothing(tmp_path):
    before = make_loop(tmp_path / "a", max_steps=2)
    before.run()
    after = make_loop(tmp_path / "b", max_steps=3, poison={2}, precision="fp16", fp16_scale_growth=1.0)
    # fp16's rounding is not the question here: the network runs in float32, the scale is fp16's
    after.precision = "fp32"
    after.scale.exponent = 3.0
    after.run()
    assert_same(before, after)
    assert after.scale.exponent == 3.0 + 2 - 1
    assert "non-finite" in (tmp_path / "b" / "log.txt").read_text()


def test_too_many_steps_that_are_not_finite_end_the_run_with_a_dump(tmp_path):
    loop = make_loop(tmp_path, poison={1, 2, 3}, max_skipped_steps=3, max_steps=9)
    with pytest.raises(RunError, match=r"3 steps in a row .* see .*nonfinite000003_rank0\.json"):
        loop.run()
    dump = json.loads((tmp_path / "nonfinite000003_rank0.json").read_text())
    assert dump["samples"] == [{"id": 6, "video": "street/07", "start": 3}, {"id": 7, "video": "yard", "start": 3}]
    assert dump["step"] == 3 and dump["loss_scale"] == 1.0 and len(dump["timesteps"]) == 2
    # the poisoned sample shows; the gradient is of both
    assert dump["losses"][0] == "nan" and math.isfinite(dump["losses"][1]) and dump["gradient_norm"] == "nan"


def kept(folder):
    """The steps of the checkpoints in a folder."""
    return sorted(int(path.name[10:16]) for path in folder.glob("checkpoint*.json"))


def test_skipped_steps_are_not_saved_and_push_no_good_checkpoint_out(tmp_path):
    loop = make_loop(tmp_path, poison={*range(3, 9)}, save_interval=1, keep_checkpoints=2, max_skipped_steps=6)
    with pytest.raises(RunError, match=rf"6 steps in a row.*; {EARLIER}"):
        loop.run()
    assert kept(tmp_path) == [2, 3]


@pytest.mark.parametrize(
    ("precision", "options", "says"),
    [
        ("fp32", dict(max_skipped_steps=2), "; try a lower --lr or --precision bf16$"),
        ("bf16", dict(max_skipped_steps=2), "; try a lower --lr$"),
        ("fp32", dict(max_steps=5), rf"the checkpoint is of step 3; {EARLIER} or --precision bf16$"),
        ("bf16", dict(max_steps=5), rf"the checkpoint is of step 3; {EARLIER}$"),
    ],
)
def test_what_is_advised_after_divergence_can_have_an_effect(tmp_path, precision, options, says):
    loop = make_loop(tmp_path, poison={*range(3, 9)}, precision=precision, save_interval=5, **options)
    with pytest.raises(RunError, match=says):
        loop.run()


def test_the_speed_is_that_of_the_steps_since_the_last_line(tmp_path, monkeypatch):
    make_loop(tmp_path, max_steps=3).run()
    loop = make_loop(tmp_path, tmp_path, max_steps=8, log_interval=4)
    monkeypatch.setattr("ramvid_vad.training.loop.time.monotonic", lambda: 10.0 * loop.step)
    loop.run()
    lines = [json.loads(line) for line in (tmp_path / "progress.jsonl").read_text().splitlines()]
    assert [(line["step"], line["steps_per_second"]) for line in lines] == [(4, 0.1), (8, 0.1)]


def test_the_signal_that_another_rank_heard_is_known_by_name(tmp_path, monkeypatch):
    loop = make_loop(tmp_path, max_steps=9)
    monkeypatch.setattr("ramvid_vad.training.loop.processes.any_true", lambda mine: mine or loop.step >= 2)
    gather = "ramvid_vad.training.loop.processes.all_gather_object"
    monkeypatch.setattr(gather, lambda mine: [mine, "SIGTERM"] if isinstance(mine, str) else [mine])
    assert loop.run() == 2 and loop.stop.name == "SIGTERM"


def test_a_save_that_comes_while_skipping_is_of_the_last_good_step(tmp_path):
    """And the run that goes on from it meets the skipped steps again, and ends as an unbroken one."""
    unbroken = make_loop(tmp_path / "a", poison={3, 4}, precision="fp16", max_steps=7, save_interval=1)
    broken = make_loop(tmp_path / "b", poison={3, 4}, precision="fp16", max_steps=5, save_interval=5)
    for loop in (unbroken, broken):
        loop.precision, loop.scale.exponent = "fp32", 3.0  # fp16's rounding is not the question here
        loop._keep()
    unbroken.run()
    assert broken.run() == 5 and kept(tmp_path / "b") == [3]
    assert "the last 2 steps were skipped" in (tmp_path / "b" / "log.txt").read_text()
    last = make_loop(tmp_path / "b", tmp_path / "b", poison={3, 4}, precision="fp16", max_steps=7)
    last.precision = "fp32"
    assert last.step == 3 and last.run() == 7
    assert_same(unbroken, last)
    assert unbroken.scale.exponent == last.scale.exponent == pytest.approx(3 - 2 + 5e-3)


def test_the_count_of_skipped_steps_survives_a_restart(tmp_path):
    """Two good steps, then none: stopped after three skips and started again, the fourth in a row ends it."""
    poison = {*range(2, 100)}
    with pytest.raises(RunError, match=r"the last 3 steps were skipped.*the checkpoint is of step 2"):
        make_loop(tmp_path, poison=poison, max_steps=5).run()
    with pytest.raises(RunError, match="4 steps in a row"):
        make_loop(tmp_path, tmp_path, poison=poison, max_steps=99, max_skipped_steps=4).run()
    assert kept(tmp_path) == [2]


def test_a_run_that_only_skips_fails(tmp_path):
    for precision in ("fp32", "fp16"):
        loop = make_loop(tmp_path, poison={0, 1}, precision=precision, max_steps=2)
        with pytest.raises(RunError, match=r"the last 2 steps were skipped.*nothing was learned"):
            loop.run()
    assert kept(tmp_path) == []


@pytest.mark.parametrize("where", ["model", "average", "optimizer"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_state_that_is_not_finite_is_never_saved(tmp_path, where, value):
    loop = make_loop(tmp_path, save_interval=2, max_steps=8)
    real = loop._train_step

    def train_step(*arguments):
        real(*arguments)
        if loop.step == 2:
            state = {
                "model": loop.model.state_dict(),
                "average": loop.ema["0.9"].state_dict(),
                "optimizer": {"exp_avg": next(iter(loop.optimizer.state.values()))["exp_avg"]},
            }[where]
            next(iter(state.values())).view(-1)[0] = value

    loop._train_step = train_step
    with pytest.raises(RunError, match=r"diverged, nothing was saved.*is not finite.*lower --lr"):
        loop.run()
    assert kept(tmp_path) == [2]


def test_a_checkpoint_of_a_diverged_run_is_passed_over(tmp_path):
    """As version 0.1 wrote them: whole, with its checksums right."""
    make_loop(tmp_path, max_steps=4, save_interval=2).run()
    model = load_file(tmp_path / "model000004.safetensors")
    next(iter(model.values())).view(-1)[3] = math.nan
    save_file(model, tmp_path / "model000004.safetensors", metadata={"config": "{}"})
    manifest = json.loads((tmp_path / "checkpoint000004.json").read_text())
    manifest["files"]["model000004.safetensors"]["sha256"] = sha256_of([str(tmp_path / "model000004.safetensors")])
    (tmp_path / "checkpoint000004.json").write_text(json.dumps(manifest))
    lines = []
    assert find_latest(str(tmp_path), lines.append).step == 2
    assert len(lines) == 1 and "step 4" in lines[0] and "is not finite" in lines[0]
    with pytest.raises(InputError, match="is not finite"):
        load_checkpoint(str(tmp_path / "model000004.safetensors"), ["0.5"])


def test_fp32_resumed_as_fp16_starts_at_the_scale_of_fp16(tmp_path):
    make_loop(tmp_path, max_steps=2).run()
    assert make_loop(tmp_path, tmp_path, precision="fp16").scale.exponent == 20
    going_on = make_loop(tmp_path, tmp_path, precision="fp16", max_steps=3)
    going_on.precision, going_on.scale.exponent = "fp32", 7.0
    going_on.run()
    assert make_loop(tmp_path, tmp_path, precision="fp16").scale.exponent == pytest.approx(7.001)
    assert make_loop(tmp_path, tmp_path).scale.value == 1


def test_a_dump_that_cannot_be_written_does_not_hide_the_error(tmp_path):
    loop = make_loop(tmp_path / "run", poison={0}, max_skipped_steps=1, max_steps=9)
    shutil.rmtree(tmp_path / "run")
    (tmp_path / "run").write_text("a file where the folder was")
    with pytest.raises(RunError, match=r"1 steps in a row .* could not be written .*\"video\": \"street/07\""):
        loop.run()


def test_a_loss_that_is_not_finite_is_skipped_though_its_gradient_is_finite(tmp_path, monkeypatch):
    loop = make_loop(tmp_path, max_steps=3)
    real, calls = loop.diffusion.training_losses, 0

    def training_losses(*inputs, **keywords):
        nonlocal calls
        calls += 1
        terms = real(*inputs, **keywords)
        return terms | {"loss": terms["loss"] + math.inf} if calls == 2 else terms

    monkeypatch.setattr(loop.diffusion, "training_losses", training_losses)
    loop.run()
    assert "step 1: non-finite loss or gradient" in (tmp_path / "log.txt").read_text()
    steps = {int(entry["step"]) for entry in loop.optimizer.state_dict()["state"].values()}
    assert steps == {2} and all(p.isfinite().all() for p in loop.model.parameters())


def test_the_loss_scale_has_a_floor_and_recovers():
    scale = LossScale(growth=0.5)
    for _ in range(100):
        scale.update(finite=False)
    assert scale.value == 2.0**-8
    for _ in range(4):
        scale.update(finite=True)
    assert scale.value == 2.0**-6


def test_averages_follow_the_weights(tmp_path):
    loop = make_loop(tmp_path, max_steps=1, ema_warmup=False)
    start = {k: v.clone() for k, v in loop.model.state_dict().items()}
    loop.run()
    for key, now in loop.model.state_dict().items():
        torch.testing.assert_close(loop.ema["0.9"].state_dict()[key], 0.9 * start[key] + 0.1 * now)


def test_averages_warm_up(tmp_path):
    """At step t the rate is min(rate, (1 + t) / (10 + t)): 1/10, 2/11, 3/12; also over a restart."""
    loop = make_loop(tmp_path, max_steps=0)
    weights = [{k: v.clone() for k, v in loop.model.state_dict().items()}]
    for end in (1, 2, 3):
        loop = make_loop(tmp_path, tmp_path if end > 1 else None, max_steps=end)
        loop.run()
        weights.append({k: v.clone() for k, v in loop.model.state_dict().items()})
    for key, expected in weights[0].items():
        for step in range(3):
            rate = min(0.9, (1 + step) / (10 + step))
            expected = rate * expected + (1 - rate) * weights[step + 1][key]
        torch.testing.assert_close(loop.ema["0.9"].state_dict()[key], expected)


def test_it_learns(tmp_path):
    loop = make_loop(tmp_path, max_steps=60, log_interval=20)
    loop.run()
    losses = [json.loads(line)["loss"] for line in (tmp_path / "progress.jsonl").read_text().splitlines()]
    assert len(losses) == 3
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(
    ("options", "step", "expected"),
    [
        (dict(), 1000, 1.0),
        (dict(lr_anneal_steps=100), 25, 0.75),
        (dict(anneal_type="linear", lr_anneal_steps=100), 100, 0.0),
        (dict(anneal_type="step", steps_drop=10, drop=0.5), 25, 0.25),
        (dict(anneal_type="time_based", decay=0.1), 10, 0.5),
        (dict(lr_warmup=10), 4, 0.5),
    ],
)
def test_learning_rates(options, step, expected):
    assert learning_rate(step, TrainOptions(lr=1.0, **options)) == pytest.approx(expected)


def test_a_linear_decay_ends_the_run(tmp_path):
    assert make_loop(tmp_path, lr_anneal_steps=4).run() == 4


def test_timesteps_are_a_function_of_seed_step_and_sample():
    a, b = UniformTimesteps(1000, 3), UniformTimesteps(1000, 3)
    b.draw(0, [5, 6, 7])
    assert a.draw(4, [1, 2])[0].tolist() == [b.draw(4, [1])[0].item(), b.draw(4, [2])[0].item()]
    drawn = a.draw(0, list(range(4000)))[0]
    assert drawn.min() >= 0 and drawn.max() <= 999
    assert abs(drawn.float().mean() - 499.5) < 4 * 1000 / math.sqrt(12 * 4000)


def test_importance_sampling_keeps_the_expected_loss():
    sampler = SecondMomentTimesteps(4, seed=0)
    truth = [1.0, 2.0, 4.0, 8.0]
    for _ in range(10):
        for timestep, loss in enumerate(truth):
            sampler.update(timestep, loss)
    t, weight = sampler.draw(0, list(range(20000)))
    share = torch.bincount(t, minlength=4) / len(t)
    expected = torch.tensor(truth) / sum(truth) * 0.999 + 0.001 / 4
    torch.testing.assert_close(share, expected, atol=0.015, rtol=0)
    assert (torch.tensor(truth)[t] * weight).mean() == pytest.approx(sum(truth) / 4, rel=0.02)
