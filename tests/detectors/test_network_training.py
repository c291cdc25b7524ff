"""The training that peers' networks share: it learns, it goes on, it keeps what it had, it says what is wrong."""

import json
import math
import os
import signal
import time

import numpy as np
import pytest
import torch

from ramvid_vad.detectors import network_training as module
from ramvid_vad.detectors.network_training import LOG, train_network
from ramvid_vad.errors import InputError, RunError
from ramvid_vad.runtime import signals
from ramvid_vad.runtime.signals import Terminated


class Clock:
    """A second for each look: a step takes one."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        self.now += 1
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setattr(module, "time", Clock())


def line():
    torch.manual_seed(0)
    return torch.nn.Linear(2, 1)


def fitted(network, folder, *, rates=None, drawn=None, **settings):
    """y = x0 - x1. rates, drawn: get the rate and a random number of each step."""

    def step(rng):
        x = torch.from_numpy(rng.standard_normal((16, 2), dtype=np.float32))
        if drawn is not None:
            drawn.append(float(x[0, 0]))
        return (network(x)[:, 0] - (x[:, 0] - x[:, 1])).square().mean()

    given = {"minutes": 1, "lr": 0.1, "seed": 0, "progress": False} | settings
    train_network(network, step, folder=str(folder), **given)
    return network


def test_it_learns_and_keeps_every_generation(tmp_path):
    compared = {"chance": 9.5}
    network = fitted(line(), tmp_path, lr=0.2, held_out=lambda: 7.5, compared=compared, save_every_minutes=20 / 60)
    np.testing.assert_allclose(network.weight.detach().numpy(), [[1, -1]], atol=0.1)
    lines = [json.loads(each) for each in (tmp_path / LOG).read_text().splitlines()]
    assert [each["step"] for each in lines] == [20, 40, 60] and {each["held_out"] for each in lines} == {7.5}
    assert [each.get("chance") for each in lines] == [9.5, None, None]
    assert lines[2]["loss"] < lines[0]["loss"] / 10
    assert sorted(path.name for path in tmp_path.glob("checkpoint*")) == [
        f"checkpoint0000{n}.json" for n in (20, 40, 60)
    ]
    assert not network.training


def test_two_generations_can_be_gone_on_from_and_all_have_weights(tmp_path):
    network = fitted(line(), tmp_path, save_every_minutes=15 / 60)
    assert sorted(path.name[:9] for path in tmp_path.glob("opt*")) == ["opt000045", "opt000060"]
    assert list(module.seconds_at_steps(str(tmp_path))) == [15, 30, 45, 60]
    earlier = line()
    module.restore_step(earlier, str(tmp_path), 15)
    assert not torch.equal(earlier.weight, network.weight)
    newest = tmp_path / "model000060.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    drawn = []
    again = fitted(line(), tmp_path, drawn=drawn, save_every_minutes=15 / 60)
    assert len(drawn) == 15 and torch.equal(again.weight, network.weight)


def test_the_rate_is_a_cosine_over_the_time(tmp_path, monkeypatch):
    rates, decays = [], {}
    real = torch.optim.AdamW.step

    def noted(self, *given, **more):
        rates.append(self.param_groups[0]["lr"])
        decays.update({name: group["weight_decay"] for group in self.param_groups for name in group["param_names"]})
        return real(self, *given, **more)

    monkeypatch.setattr(torch.optim.AdamW, "step", noted)
    fitted(line(), tmp_path, weight_decay=0.25)
    assert decays == {"weight": 0.25, "bias": 0}
    np.testing.assert_allclose(rates, [0.05 * (1 + math.cos(math.pi * i / 60)) for i in range(60)])


def test_an_interrupted_training_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    whole = fitted(line(), tmp_path / "whole", save_every_minutes=0.5)

    def broken(*given, **more):
        if given[1] == 60:
            raise KeyboardInterrupt
        return save(*given, **more)

    save = module.save_checkpoint
    monkeypatch.setattr(module, "save_checkpoint", broken)
    with pytest.raises(KeyboardInterrupt):
        fitted(line(), tmp_path / "parts", save_every_minutes=0.5)
    monkeypatch.setattr(module, "save_checkpoint", save)
    parts = fitted(line(), tmp_path / "parts", save_every_minutes=0.5)
    assert torch.equal(whole.weight, parts.weight) and torch.equal(whole.bias, parts.bias)
    assert (tmp_path / "whole" / LOG).read_text() == (tmp_path / "parts" / LOG).read_text()
    again = fitted(line(), tmp_path / "parts", save_every_minutes=0.5)
    assert torch.equal(whole.weight, again.weight)


@pytest.mark.parametrize(("number", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_a_signal_ends_it_after_a_checkpoint_from_which_it_goes_on(tmp_path, number, kind):
    """It comes within the fifth step, long before a checkpoint is due, and is waited for there."""
    whole = fitted(line(), tmp_path / "whole")
    drawn = []

    class Stopped(list):
        def append(self, value):
            super().append(value)
            if len(self) == 5:
                os.kill(os.getpid(), number)
                while not signals._heard:  # another thread hears of it
                    time.sleep(0.001)

    with pytest.raises(kind, match="goes on from step 5") as raised:
        fitted(line(), tmp_path / "parts", drawn=Stopped())
    assert raised.type is kind and len((tmp_path / "parts" / LOG).read_text().splitlines()) == 1
    again = fitted(line(), tmp_path / "parts", drawn=drawn)
    assert len(drawn) == 55 and torch.equal(whole.weight, again.weight)


@pytest.mark.parametrize("text", [None, "{", '{"step": 60}', "3", '{"step": "60", "seconds": "60"}'])
def test_a_damaged_log_is_one_line(tmp_path, text):
    fitted(line(), tmp_path)
    if text is None:
        (tmp_path / LOG).unlink()
    else:
        (tmp_path / LOG).write_text(text)
        with pytest.raises(InputError, match=r"training\.jsonl: missing or damaged"):
            module.seconds_at_steps(str(tmp_path))
    with pytest.raises(InputError, match=r"training\.jsonl: missing or damaged .*: give another folder"):
        fitted(line(), tmp_path, minutes=2)


def test_random_numbers_are_those_of_seed_and_step(tmp_path):
    draws = []
    for number, seed in enumerate((0, 0, 1)):
        draws.append([])
        fitted(line(), tmp_path / str(number), drawn=draws[-1], seed=seed)
    assert draws[0] == draws[1] != draws[2] and len(set(draws[0])) == 60


def test_what_is_wrong_is_one_line(tmp_path):
    fitted(line(), tmp_path / "run")
    with pytest.raises(InputError, match="of another network"):
        fitted(torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1)), tmp_path / "run", minutes=2)
    network = line()
    with pytest.raises(RunError, match="the loss of step 0 is nan"):
        train_network(
            network,
            lambda rng: network.weight.sum() * float("nan"),
            minutes=1,
            folder=str(tmp_path / "nan"),
            lr=0.1,
            progress=False,
        )
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        fitted(line(), tmp_path / "file" / "below")
