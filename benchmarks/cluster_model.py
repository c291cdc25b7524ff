"""Training on R ranks as a sequence of events: loading, the slowest rank, the exchange, saving; and how it starts.

What is modelled is what the code does (video/datasets.py, training/loop.py, training/checkpoints.py):

- A rank has one loading thread that is two windows ahead. A window costs the time to open its file, its bytes from the
  shared file system, and the conversion on the CPU.
- A step takes its time on the GPU and an exponentially distributed delay. The exchange begins when the last rank is
  there, in a ring: 2 (R - 1) messages, each of 1 / R of the gradients.
- Every save_interval steps a checkpoint is written while all wait: by rank 0, or, as a remedy, by all, a part each.
- At the start rank 0 verifies the cache and the checkpoint; then every rank reads and verifies the cache again, and
  loads the checkpoint.

The file system serves all that read at once alike: of n each has 1 / n of its bandwidth, and no more than one reader
can take. What is read in one go is read ahead while the CPU works, so that the slower of both counts; a checkpoint is
made on the CPU and then written. Seconds and bytes throughout.
"""

import heapq
from dataclasses import dataclass

import numpy as np

AHEAD = 2  # windows that a rank's thread prepares in advance
BACKWARD = 2 / 3  # of a step
OPERATIONS = 5  # on a cache file at the start: two looks at its video, two openings, the time of its last use
CAUSES = ("loading", "slowest rank", "exchange", "saving")


@dataclass(frozen=True)
class Machine:
    """The network and the file system (assumed), and what a CPU takes (measured)."""

    link: float  # bytes/s that a rank sends, and gets as many
    hop: float  # seconds of a message, whatever its size
    disk: float  # bytes/s of the shared file system, all readers or writers together
    client: float  # bytes/s that one reader or writer can have of it
    opening: float  # seconds to open a file
    operations: float  # openings and the like per second, all ranks together
    ranks_per_node: int
    jitter: float  # mean delay of a rank's step, as a share of the step
    converting: float  # seconds of a window on the CPU
    hashing: float  # bytes/s of a cache file verified
    writing: float  # bytes/s of a checkpoint made, checked and hashed
    verifying: float  # bytes/s of a checkpoint verified


@dataclass(frozen=True)
class Job:
    """What is trained on how many ranks."""

    ranks: int
    step: float  # seconds of a step on the GPU, without exchange
    gradients: float  # bytes
    checkpoint: float  # bytes
    save_interval: int  # steps
    window: float  # bytes of a rank's windows of one step
    cache: float  # bytes of all videos, decoded
    videos: int


@dataclass(frozen=True)
class Remedies:
    """What the code does not do, or the cluster's user has not done."""

    node_cache: bool = False  # a copy of the cache on every node's own disk, made at the start
    sharded: bool = False  # every rank saves its part of a checkpoint
    hidden: bool = False  # gradients are exchanged while the backward pass goes on
    rank_0_reads: bool = False  # at the start, for all: they believe what it verified, and are sent the checkpoint


class SharedDisk:
    """Transfers under way at once, each with the same rate: ``min(client, total / n)``."""

    def __init__(self, total: float, client: float):
        self.total, self.client = total, client
        self.now = self.served = 0.0  # served: bytes that a transfer of the first moment would have by now
        self.waiting: list[tuple[float, int]] = []

    def rate(self) -> float:
        return min(self.client, self.total / max(len(self.waiting), 1))

    def advance(self, time: float) -> None:
        self.served += self.rate() * (time - self.now)
        self.now = time

    def add(self, size: float, who: int) -> None:
        heapq.heappush(self.waiting, (self.served + size, who))

    def next_end(self) -> float:
        """When the next transfer ends if none is added."""
        return self.now + max(self.waiting[0][0] - self.served, 0.0) / self.rate() if self.waiting else np.inf

    def pop(self) -> int:
        return heapq.heappop(self.waiting)[1]


def exchange_seconds(job: Job, machine: Machine) -> float:
    """A ring: each rank passes on 1 / R of the gradients 2 (R - 1) times."""
    hops = 2 * (job.ranks - 1)
    return hops * (job.gradients / job.ranks / machine.link + machine.hop)


def saving_seconds(job: Job, machine: Machine, sharded: bool) -> float:
    """While all wait."""
    writers = job.ranks if sharded else 1
    rate = min(machine.client, machine.disk / writers)
    return job.checkpoint / writers * (1 / machine.writing + 1 / rate) + machine.opening


def train(
    job: Job, machine: Machine, remedies: Remedies, steps: int, rng: np.random.Generator
) -> tuple[float, dict[str, float]]:
    """(seconds per step in all, those by cause), means over ``steps``, after a first that does not count.

    The causes are those of the rank for which the others wait: its wait for a window, then its delay. A checkpoint
    counts with 1 / save_interval of its time.
    """
    ranks, own_disk = job.ranks, remedies.node_cache
    delays = machine.jitter * job.step * rng.exponential(size=(steps + 1, ranks))
    exchange = max(0.0, exchange_seconds(job, machine) - BACKWARD * job.step * remedies.hidden)
    saving = saving_seconds(job, machine, remedies.sharded) / job.save_interval
    disk = SharedDisk(machine.disk, machine.client)
    events: list[tuple[float, str, int]] = []  # (when, what, rank)
    asked, ready, taken = (np.zeros(ranks, int) for _ in range(3))  # windows of each rank
    begun, end = np.zeros(ranks), np.zeros(ranks)  # of its step
    waiting = np.ones(ranks, bool)  # for a window
    free, first = 0.0, 0.0  # when all could begin this step, and the first that counts
    computed, done = 0, 0  # ranks of this step, steps that count
    lost = dict.fromkeys(CAUSES, 0.0) | {"exchange": steps * exchange, "saving": steps * saving}

    def load(rank: int, now: float) -> None:
        """Its thread opens the file of the next window, unless it is at work or far enough ahead."""
        if asked[rank] == ready[rank] < taken[rank] + AHEAD:
            asked[rank] += 1
            opening = 0.0 if own_disk else machine.opening
            heapq.heappush(events, (now + opening, "read" if own_disk else "opened", rank))

    def compute(rank: int, now: float) -> None:
        if waiting[rank] and ready[rank] > taken[rank]:
            begun[rank], end[rank] = now, now + job.step + delays[taken[rank], rank]
            waiting[rank] = False
            taken[rank] += 1
            heapq.heappush(events, (end[rank], "computed", rank))
            load(rank, now)

    for rank in range(ranks):
        load(rank, 0.0)
    while done < steps:
        if events and events[0][0] <= disk.next_end():
            now, what, rank = heapq.heappop(events)
            disk.advance(now)
        else:
            now, what = disk.next_end(), "read"
            disk.advance(now)
            rank = disk.pop()
        if what == "opened":
            disk.add(job.window, rank)
        elif what == "read":
            heapq.heappush(events, (now + machine.converting, "ready", rank))
        elif what == "ready":
            ready[rank] += 1
            load(rank, now)
            compute(rank, now)
        elif what == "exchanged":
            free, computed = now, 0
            first = first or now
            waiting[:] = True
            for each in range(ranks):
                compute(each, now)
        elif (computed := computed + 1) == ranks:
            if first:
                done += 1
                last = int(end.argmax())
                lost["loading"] += begun[last] - free
                lost["slowest rank"] += end[last] - begun[last] - job.step
            heapq.heappush(events, (now + exchange, "exchanged", -1))
    return (now + exchange - first) / steps + saving, {cause: seconds / steps for cause, seconds in lost.items()}


def start(job: Job, machine: Machine, remedies: Remedies) -> dict[str, float]:
    """Seconds of a run that goes on, from the ranks' meeting to their first step, by what is done."""
    alone, each = min(machine.client, machine.disk), min(machine.client, machine.disk / job.ranks)
    nodes = -(-job.ranks // machine.ranks_per_node)
    touched = job.ranks * job.videos * OPERATIONS
    found = {"rank 0 verifies the cache": job.cache / min(alone, machine.hashing)}
    if remedies.node_cache:
        found["the nodes copy the cache"] = job.cache / min(machine.client, machine.disk / nodes)
    found["the ranks open its files"] = max(touched / machine.operations, OPERATIONS * job.videos * machine.opening)
    if not remedies.rank_0_reads:
        found["the ranks verify it"] = job.cache / min(np.inf if remedies.node_cache else each, machine.hashing)
    found["rank 0 verifies the checkpoint"] = job.checkpoint / min(alone, machine.verifying)
    rate = min(alone, machine.link) if remedies.rank_0_reads else each
    found["the ranks get the checkpoint"] = job.checkpoint / rate
    return found
