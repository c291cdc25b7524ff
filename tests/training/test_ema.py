"""The average of the weights against its closed form."""

import math

import pytest
import torch

from ramvid_vad.training.ema import EMA


def test_closed_form_of_constant_weights():
    ema = EMA(0.9, {"w": torch.zeros(3)})
    for _ in range(5):
        ema.update({"w": torch.ones(3)})
    torch.testing.assert_close(ema.state_dict()["w"], torch.full((3,), 1 - 0.9**5))


def test_each_update_is_rate_times_old_plus_rest_times_new():
    generator = torch.Generator().manual_seed(0)
    w = [torch.randn(4, generator=generator) for _ in range(4)]
    ema, expected = EMA(0.75, {"w": w[0]}), w[0].double()
    for new in w[1:]:
        ema.update({"w": new})
        expected = 0.75 * expected + 0.25 * new.double()
    torch.testing.assert_close(ema.state_dict()["w"].double(), expected, rtol=1e-6, atol=1e-7)


def test_a_warm_up_forgets_the_random_start():
    """Of the start w_0 = 1 is left the product of the rates: 1/10 * 2/11 * ... * n/(9+n) = 9! n! / (n+9)!."""
    ema = EMA(0.9999, {"w": torch.ones(1)})
    for step in range(20):
        ema.update({"w": torch.zeros(1)}, step)
    left = math.factorial(9) * math.factorial(20) / math.factorial(29)
    assert ema.state_dict()["w"].item() == pytest.approx(left, rel=1e-5)
    late = EMA(0.5, {"w": torch.ones(1)})
    late.update({"w": torch.zeros(1)}, 8)  # 9/18: from here on the rate itself
    late.update({"w": torch.zeros(1)}, 1000)
    assert late.state_dict()["w"].item() == 0.25


def test_float32_shadow_keeps_what_bfloat16_would_lose():
    ema = EMA(0.9999, {"w": torch.ones(1, dtype=torch.bfloat16)})
    for _ in range(100):
        ema.update({"w": torch.zeros(1, dtype=torch.bfloat16)})
    value = ema.state_dict()["w"]
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(0.9999**100, rel=1e-5)


def test_is_a_copy_and_counters_follow_the_model():
    model = torch.nn.BatchNorm1d(2)
    ema = EMA(0.5, model.state_dict())
    with torch.no_grad():
        model.weight.fill_(3)
        model.num_batches_tracked.fill_(7)
    assert ema.state_dict()["weight"].tolist() == [1, 1]
    ema.update(model.state_dict())
    assert ema.state_dict()["weight"].tolist() == [2, 2]
    assert ema.state_dict()["num_batches_tracked"].item() == 7


def test_load_state_dict_copies_and_refuses_other_weights():
    ema = EMA(0.5, {"w": torch.zeros(2)})
    source = torch.tensor([1.0, 2.0])
    ema.load_state_dict({"w": source})
    source.zero_()
    assert ema.state_dict()["w"].tolist() == [1, 2]
    for other in ({}, {"w": source, "v": source}, {"w": torch.zeros(3)}):
        with pytest.raises(ValueError, match="not the same weights"):
            ema.load_state_dict(other)
    with pytest.raises(ValueError, match=r"\[0, 1\)"):
        EMA(1.0, {})
