"""The optimizer's memory comes back bit for bit, by name, or is refused."""

import json

import pytest
import torch

from ramvid_vad.errors import InputError
from ramvid_vad.training.optimizer_state import from_ramvid, optimizer_state, pack, restore_optimizer, unpack


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))


def step(model, optimizer, number):
    generator = torch.Generator().manual_seed(number)
    optimizer.zero_grad()
    model(torch.randn(5, 3, generator=generator)).square().mean().backward()
    optimizer.step()


def through_json(state):
    """As a file keeps it: tensors and text."""
    tensors, metadata = pack(state, {"scale": 0.1})
    assert all(isinstance(value, torch.Tensor) for value in tensors.values()) and len(metadata) == 1
    state, extra = unpack({k: v.clone() for k, v in tensors.items()}, json.loads(json.dumps(metadata)), "opt")
    assert extra == {"scale": 0.1}
    return state


@pytest.mark.parametrize(
    "make",
    [
        lambda named: torch.optim.AdamW(named, lr=1e-2, weight_decay=0.1),
        lambda named: torch.optim.AdamW(named, lr=1e-2, amsgrad=True),
        lambda named: torch.optim.SGD(named, lr=1e-2, momentum=0.9),
        lambda named: torch.optim.RMSprop(named, lr=1e-2, centered=True),
    ],
    ids=["adamw", "amsgrad", "sgd", "rmsprop"],
)
def test_resumed_run_equals_unbroken_run_to_the_bit(make):
    unbroken = network()
    optimizer = make([*unbroken.named_parameters()])
    for number in range(6):
        step(unbroken, optimizer, number)

    first = network()
    optimizer = make([*first.named_parameters()])
    for number in range(3):
        step(first, optimizer, number)
    saved = through_json(optimizer_state(optimizer))
    second = network()
    second.load_state_dict(first.state_dict())
    resumed = make([*second.named_parameters()])
    restore_optimizer(resumed, saved)
    for number in range(3, 6):
        step(second, resumed, number)
    for a, b in zip(unbroken.parameters(), second.parameters(), strict=True):
        assert a.detach().numpy().tobytes() == b.detach().numpy().tobytes()


def test_names_decide_not_the_order():
    model = network()
    optimizer = torch.optim.AdamW(model.named_parameters())
    step(model, optimizer, 0)
    saved = through_json(optimizer_state(optimizer))
    other = torch.optim.AdamW([*model.named_parameters()][::-1])
    restore_optimizer(other, saved)
    for parameter in model.parameters():
        for key in ("exp_avg", "exp_avg_sq", "step"):
            assert torch.equal(other.state[parameter][key], optimizer.state[parameter][key])


def test_restored_state_is_a_copy_and_options_win():
    model = network()
    optimizer = torch.optim.AdamW(model.named_parameters(), lr=1e-2)
    step(model, optimizer, 0)
    saved = optimizer_state(optimizer)
    before = saved["0.weight"]["exp_avg"].clone()
    resumed = torch.optim.AdamW(model.named_parameters(), lr=5e-3, weight_decay=0.7)
    restore_optimizer(resumed, saved)
    step(model, resumed, 1)
    assert torch.equal(saved["0.weight"]["exp_avg"], before)
    assert resumed.param_groups[0]["lr"] == 5e-3 and resumed.param_groups[0]["weight_decay"] == 0.7


def test_parameters_never_stepped_stay_without_state():
    model = network()
    optimizer = torch.optim.AdamW(model.named_parameters())
    model[2].requires_grad_(False)
    step(model, optimizer, 0)
    saved = through_json(optimizer_state(optimizer))
    assert saved["2.weight"] == {} and set(saved["0.weight"]) == {"step", "exp_avg", "exp_avg_sq"}
    resumed = torch.optim.AdamW(model.named_parameters())
    restore_optimizer(resumed, saved)
    assert model[0].weight in resumed.state and model[2].weight not in resumed.state


def test_state_of_another_model_is_refused():
    model = network()
    optimizer = torch.optim.AdamW(model.named_parameters())
    step(model, optimizer, 0)
    saved = optimizer_state(optimizer)
    renamed = {name.replace("0.", "first."): value for name, value in saved.items()}
    with pytest.raises(InputError, match=r"only the model has 0\.bias"):
        restore_optimizer(optimizer, renamed)
    with pytest.raises(InputError, match="only the checkpoint has extra"):
        restore_optimizer(optimizer, saved | {"extra": {}})
    saved["2.weight"]["exp_avg"] = torch.zeros(9)
    with pytest.raises(InputError, match=r"exp_avg of 2\.weight is \(9,\), the parameter \(2, 4\)"):
        restore_optimizer(optimizer, saved)
    with pytest.raises(ValueError, match="names for 0 of"):
        optimizer_state(torch.optim.AdamW(model.parameters()))


def test_files_of_others_are_refused():
    for tensors, metadata in [
        ({}, {}),
        ({}, {"parameters": "[]"}),
        ({}, {"parameters": "{"}),
        ({}, {"training": "[]"}),
        ({}, {"training": '{"parameters": {}}'}),
        ({}, {"training": '{"parameters": {}, "extra": [1]}'}),
        ({"no slash": torch.zeros(1)}, {"parameters": "{}"}),
        ({"exp_avg/unknown": torch.zeros(1)}, {"parameters": "{}"}),
    ]:
        with pytest.raises(InputError, match="not an optimizer state"):
            unpack(tensors, metadata, "opt")


def test_ramvid_numbers_follow_the_model_file():
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    step(model, optimizer, 0)
    names = [name for name, _ in model.named_parameters()]
    state = from_ramvid(optimizer.state_dict(), names, "opt000001.pt")
    for name, parameter in model.named_parameters():
        assert torch.equal(state[name]["exp_avg"], optimizer.state[parameter]["exp_avg"])
    old = {"state": {0: {"step": 7, "exp_avg": torch.ones(2), "exp_avg_sq": torch.ones(2)}}}  # step was a number once
    single = torch.nn.Parameter(torch.zeros(2))
    resumed = torch.optim.AdamW([("w", single)])
    restore_optimizer(resumed, from_ramvid(old | {"param_groups": [{"params": [0]}]}, ["w"], "opt"))
    single.sum().backward()
    resumed.step()
    assert resumed.state[single]["step"] == 8
    with pytest.raises(InputError, match="state of 4 tensors for a model of 9"):
        from_ramvid(optimizer.state_dict(), [*"abcdefghi"], "opt")
    for wrong in ({"w": torch.zeros(1)}, [1], {"state": [], "param_groups": [{"params": [0]}]}, {"param_groups": 3}):
        with pytest.raises(InputError, match="not an optimizer state"):
            from_ramvid(wrong, names, "opt")
