"""What keeps a GPU from waiting changes no number: noise drawn ahead, one reading a step, ranks that share a GPU."""

import pytest
import torch

from ramvid_vad.runtime import processes
from ramvid_vad.runtime.randomness import StepNoise, standard_normal
from ramvid_vad.runtime.ranks.launchers import Place, launched
from ramvid_vad.training.schedules import global_norm


@pytest.mark.parametrize("threads", [0, 3])
def test_noise_is_the_same_whether_or_not_it_was_drawn_ahead(threads):
    noise = StepNoise(7, stride=4, threads=threads)
    steps = [
        (0, [0, 1], (2, 3)),
        (1, [4, 5], (2, 3)),
        (2, [8, 9], (3, 2)),
        (9, [36, 37], (3, 2)),
        (10, [1, 41], (3, 2)),
    ]
    for step, samples, shape in steps:  # as foreseen, another shape, a leap, other samples
        expected = torch.stack([standard_normal(shape, 7, "noise", step, sample) for sample in samples])
        assert torch.equal(noise(shape, step, samples), expected)


def test_the_next_steps_noise_is_drawn_before_it_is_asked_for(monkeypatch):
    noise, expected = StepNoise(0, stride=2, threads=1), StepNoise(0, stride=2)((2,), 1, [2, 3])
    noise((2,), 0, [0, 1])
    for future in noise._ahead.values():
        future.result()
    monkeypatch.setattr("ramvid_vad.runtime.randomness.standard_normal", None)  # nothing can be drawn any more
    assert torch.equal(noise((2,), 1, [2, 3]), expected)


def test_the_norm_of_all_gradients_is_one_number():
    torch.manual_seed(0)
    gradients = [torch.randn(3, 4), torch.randn(5).bfloat16()]
    expected = torch.cat([each.float().flatten() for each in gradients]).norm()
    torch.testing.assert_close(global_norm(gradients), expected)
    assert global_norm([]).isnan() and global_norm([torch.tensor([1.0, torch.inf])]).isinf()


@pytest.mark.parametrize(
    ("ranks_here", "gpus", "backend"), [(1, 0, "gloo"), (2, 0, "gloo"), (2, 1, "gloo"), (2, 2, "nccl")]
)
def test_ranks_that_share_a_gpu_meet_by_gloo(monkeypatch, ranks_here, gpus, backend):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert processes.backend_for(Place("mpirun", 0, 4, 0, ranks_here)) == backend


def test_how_many_ranks_are_on_this_node(monkeypatch):
    for name, value in (("RANK", 3), ("WORLD_SIZE", 8), ("LOCAL_RANK", 1), ("LOCAL_WORLD_SIZE", 2)):
        monkeypatch.setenv(name, str(value))
    assert (launched().local_rank, launched().local_size) == (1, 2)
    monkeypatch.delenv("LOCAL_WORLD_SIZE")
    assert launched().local_size == 1
