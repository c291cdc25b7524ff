"""The simulated cluster against closed forms and a recurrence; the program around it from costs and steps to tables."""

import json
import sys
from dataclasses import replace

import cluster
import cluster_costs
import numpy as np
import pytest
from cluster_model import AHEAD, Job, Machine, Remedies, SharedDisk, saving_seconds, start, train

from ramvid_vad.errors import InputError

FAST = Machine(  # but for what a test makes slow
    link=1e30,
    hop=0.0,
    disk=1e30,
    client=1e30,
    opening=0.0,
    operations=1e30,
    ranks_per_node=8,
    jitter=0.0,
    converting=0.0,
    hashing=1e30,
    writing=1e30,
    verifying=1e30,
)
JOB = Job(ranks=16, step=0.2, gradients=8e8, checkpoint=4e9, save_interval=50, window=1e6, cache=1e10, videos=100)


AS_IT_IS = Remedies()


def trained(job, machine, remedies=AS_IT_IS, steps=40):
    return train(job, machine, remedies, steps, np.random.default_rng(0))


def transfers(disk, arriving):
    """Ends of transfers (when, bytes) that come one after the other, alone on a disk."""
    ends = [0.0] * len(arriving)
    left = sorted(range(len(arriving)), key=lambda who: arriving[who][0])
    while left or disk.waiting:
        if left and arriving[left[0]][0] <= disk.next_end():
            who = left.pop(0)
            disk.advance(arriving[who][0])
            disk.add(arriving[who][1], who)
        else:
            end = disk.next_end()
            disk.advance(end)
            ends[disk.pop()] = end
    return ends


@pytest.mark.parametrize(("readers", "seconds"), [(1, 2.5), (4, 2.5), (8, 5.0), (512, 320.0)])
def test_equal_readers_share_the_bandwidth_and_none_exceeds_its_own(readers, seconds):
    assert transfers(SharedDisk(8.0, 2.0), [(0.0, 5.0)] * readers) == pytest.approx([seconds] * readers)


def test_a_short_transfer_leaves_its_share_to_the_long_one():
    """By hand: 1 and 3 bytes at 2 bytes/s end after 1 and 2 s; one that comes at 0.5 s takes a third from then on."""
    assert transfers(SharedDisk(2.0, 2.0), [(0.0, 1.0), (0.0, 3.0)]) == pytest.approx([1.0, 2.0])
    assert transfers(SharedDisk(2.0, 2.0), [(0.0, 1.0), (0.0, 3.0), (0.5, 9.0)]) == pytest.approx([1.25, 3.25, 6.5])


def test_without_delays_a_step_is_the_exact_sum_of_its_parts():
    machine = replace(FAST, link=1e10, hop=1e-3, writing=1e9, opening=5e-3)
    whole, lost = trained(JOB, machine)
    ring = 2 * 15 * (8e8 / 16 / 1e10 + 1e-3)
    assert lost == pytest.approx({"loading": 0, "slowest rank": 0, "exchange": ring, "saving": 4.005 / 50})
    assert whole == pytest.approx(0.2 + ring + 4.005 / 50)


@pytest.mark.parametrize("ranks", [1, 8, 64])
def test_the_slowest_of_ranks_with_exponential_delays_takes_the_harmonic_number(ranks):
    """Of R delays of mean m the largest has mean m H_R and variance m^2 sum 1 / k^2."""
    steps, mean = 200, 0.1 * JOB.step
    _, lost = trained(replace(JOB, ranks=ranks), replace(FAST, jitter=0.1), Remedies(node_cache=True), steps)
    k = np.arange(1, ranks + 1)
    deviation = mean * np.sqrt((1 / k**2).sum() / steps)
    assert abs(lost["slowest rank"] - mean * (1 / k).sum()) < 4 * deviation


def test_a_disk_that_is_too_slow_sets_the_pace():
    """Each window is opened, read while 16 read, and converted, one after the other: 0.05 + 16 x 0.1 + 0.15 s."""
    machine = replace(FAST, disk=1e7, opening=0.05, converting=0.15)
    job = replace(JOB, checkpoint=0.0, save_interval=10**9)
    whole, lost = trained(job, machine)
    assert whole == pytest.approx(1.8) and lost["loading"] == pytest.approx(1.6)
    whole, lost = trained(job, replace(machine, converting=0.1), Remedies(node_cache=True))
    assert whole == pytest.approx(0.2) and lost["loading"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("reading", [0.15, 0.19, 0.25])
def test_loading_ahead_follows_its_recurrence(reading):
    """On a disk that serves each as if it were alone: a thread loads window i after window i - 1, and not before window
    i - AHEAD is taken."""
    ranks, steps = 5, 60
    job = replace(JOB, ranks=ranks, checkpoint=0.0)
    machine = replace(FAST, client=JOB.window / reading, jitter=0.3, link=1e10)
    delays = 0.3 * job.step * np.random.default_rng(0).exponential(size=(steps + 1, ranks))
    loaded, free, taken, ends = np.zeros(ranks), 0.0, [], []
    for step in range(steps + 1):
        loaded = np.maximum(loaded, taken[step - AHEAD] if step >= AHEAD else 0.0) + reading
        taken.append(np.maximum(loaded, free))
        free = (taken[-1] + job.step + delays[step]).max() + 2 * 4 * 8e8 / 5 / 1e10
        ends.append(free)
    whole, lost = trained(job, machine, steps=steps)
    assert whole == pytest.approx((ends[-1] - ends[0]) / steps)
    assert sum(lost.values()) + job.step == pytest.approx(whole)


def test_what_of_the_exchange_is_longer_than_the_backward_pass_stays():
    """A ring of 2 x 15 / 16 x 8e8 / 1e10 = 0.15 s beside two thirds of 0.15 and of 0.3 s."""
    for step, left in ((0.15, 0.05), (0.3, 0.0)):
        _, lost = trained(replace(JOB, step=step), replace(FAST, link=1e10), Remedies(hidden=True))
        assert lost["exchange"] == pytest.approx(left)


def test_parts_of_a_checkpoint_are_made_at_once_and_share_the_disk():
    machine = replace(FAST, writing=1e9, disk=8e9)
    assert saving_seconds(JOB, machine, sharded=False) == pytest.approx(4.0 + 0.5)
    assert saving_seconds(replace(JOB, ranks=4), machine, sharded=True) == pytest.approx(1.0 + 0.5)
    assert saving_seconds(JOB, machine, sharded=True) == pytest.approx(0.25 + 0.5)  # 8e9 bytes/s for all


def test_the_start_by_hand():
    machine = replace(FAST, disk=4e9, client=2e9, hashing=1e9, verifying=2e9, operations=1e3, opening=0.01, link=1e9)
    as_it_is = start(JOB, machine, Remedies())
    assert as_it_is == pytest.approx(
        {
            "rank 0 verifies the cache": 10,
            "the ranks open its files": 16 * 100 * 5 / 1e3,
            "the ranks verify it": 16 * 1e10 / 4e9,
            "rank 0 verifies the checkpoint": 2,
            "the ranks get the checkpoint": 16 * 4e9 / 4e9,
        }
    )
    by_node = start(JOB, machine, Remedies(node_cache=True))
    assert by_node["the nodes copy the cache"] == pytest.approx(5) and by_node["the ranks verify it"] == pytest.approx(
        10
    )
    once = start(JOB, machine, Remedies(rank_0_reads=True))
    assert "the ranks verify it" not in once and once["the ranks get the checkpoint"] == pytest.approx(4)


@pytest.fixture
def called(tmp_path, monkeypatch):
    """cluster.py from costs, with flags: its report."""
    costs = {"parameters": 1e8, "windows": 1, "save_interval": 2000, "window s": 0.002}
    costs |= {"gradient bytes per parameter": 4.0, "checkpoint bytes per parameter": 16.0, "writing bytes/s": 4e8}
    costs |= {"window bytes": 1.5e6, "frame bytes": 5e4, "verifying bytes/s": 1e9}
    costs |= {"verifying a checkpoint, bytes/s": 2e9}
    (tmp_path / "costs.json").write_text(json.dumps({"measured": costs}))

    def call(*flags):
        files = ["--costs", str(tmp_path / "costs.json"), "--out", str(tmp_path / "out.json")]
        monkeypatch.setattr(sys, "argv", ["cluster.py", *files, "--ranks", "2", "8", *flags])
        cluster.main()
        return json.loads((tmp_path / "out.json").read_text())

    return call


def test_steps_are_assumed_until_a_gpu_has_measured_one(called, tmp_path):
    report = called("--step_s", "0.05", "1")
    assert "not measured" in report["gpu"]
    assert [(row["GPU step s"], row["ranks"]) for row in report["steps"]] == [(0.05, 2), (0.05, 8), (1, 2), (1, 8)]
    row = {"row": "training loop: a step and what it waits for, avenue, batch 1", "status": "passed", "step ms": 300.0}
    rows = [row, {"row": "networks: the machine", "status": "passed", "gpu": "some GPU"}]
    path = tmp_path / "gpu_check.json"
    path.write_text(json.dumps({"dry": False, "rows": rows}))
    report = called("--gpu_check", str(path))
    assert report["gpu"] == "some GPU" and {row["GPU step s"] for row in report["steps"]} == {0.3}
    for dry, status, why in ((True, "passed", "dry run"), (False, "FAILED", "no answer")):
        row["status"] = status
        path.write_text(json.dumps({"dry": dry, "rows": rows}))
        with pytest.raises(InputError, match=why):
            called("--gpu_check", str(path))


@pytest.mark.parametrize(
    ("flags", "bottleneck"),
    [
        (["--link_gbit", "1"], "exchange"),
        (["--disk_gb", "0.01"], "loading"),
        (["--jitter", "3"], "slowest rank"),
        (["--client_gb", "0.0001", "--disk_gb", "1e9", "--link_gbit", "1e6", "--step_s", "60"], "saving"),
    ],
)
def test_the_first_bottleneck_is_what_was_made_slow(called, flags, bottleneck):
    assert called(*flags)["steps"][-1]["first bottleneck"] == bottleneck


def test_a_parameter_costs_four_bytes_to_exchange_and_sixteen_to_save(tmp_path):
    """float32: its gradient; itself, one average and AdamW's two moments."""
    loop, frames = cluster_costs.loop_of(
        "demo", 1, str(tmp_path), "--precision", "fp32", "--ema_rate", "0.9", "--seq_len", "8"
    )
    exchanged = cluster_costs.bytes_exchanged(loop, lambda: loop._train_step(frames, {}, [0], 1e-6))
    for _ in range(2):
        around = cluster_costs.checkpoint_seconds(loop, cluster_costs.cpu_seconds)
    parameters = round(1e6 * around["million parameters"])
    assert exchanged == 4 * parameters
    assert 16 * parameters < 1e6 * around["checkpoint MB"] < 16.2 * parameters
    assert min(around.values()) > 0
