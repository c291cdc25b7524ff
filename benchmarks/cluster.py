"""Training on 8, 64 and 512 GPUs, reckoned: a step, what is lost of it and to what, and how long the start takes.

    python benchmarks/cluster.py [--gpu_check runs/gpu/gpu_check.json] [--step_s 0.05 0.2 1] [--ranks 8 64 512]
        [--costs FILE] [--out runs/benchmarks/cluster.json]

The network and the windows are those of the recipe `avenue`: the thesis has one for all data sets. A simulation
(`cluster_model.py`) of what the code does, from

- the step of one GPU: as `make gpu-check` measured it; without that file, of each of --step_s seconds, assumed;
- what this machine's CPU takes for a window, a cache file and a checkpoint, and the bytes of gradients that DDP
  exchanges: measured here with the network of the recipe ped2_cpu, or read from --costs, a file this program wrote;
- the network, the file system and the jitter of a rank's steps: assumed, options of this program.

The tables name what most is lost by, and what the remedies would buy. Seed 0.
"""

import argparse

import numpy as np
from cluster_model import Job, Machine, Remedies, start, train
from measure import positive, print_table, read_report, run, write_report

from ramvid_vad.errors import InputError

OF_A_STEP = {
    "saving in parts": Remedies(sharded=True),
    "exchange hidden": Remedies(hidden=True),
    "both": Remedies(sharded=True, hidden=True),
    "and a cache on each node": Remedies(sharded=True, hidden=True, node_cache=True),
}
OF_THE_START = {
    "as it is": Remedies(),
    "a cache on each node": Remedies(node_cache=True),
    "rank 0 reads for all": Remedies(rank_0_reads=True),
}
RECIPE = "avenue"
ROW = "training loop: a step and what it waits for, {}, batch {}"  # of gpu_check.json
STEPS = 50  # simulated


def measured_step(path: str, batch: int) -> tuple[float, str]:
    """Seconds of a step that gpu-check has timed, and the GPU's name."""
    report = read_report(path, "dry", "rows")
    if report["dry"]:
        raise InputError(f"{path}: of a dry run, whose times are a CPU's at tiny sizes; run make gpu-check on a GPU")
    rows = {row["row"]: row for row in report["rows"] if row["status"] == "passed"}
    name = ROW.format(RECIPE, batch)
    if name not in rows:
        raise InputError(f"{path}: has no answer to {name!r}; run make gpu-check PART=networks")
    return rows[name]["step ms"] / 1e3, rows["networks: the machine"]["gpu"]


def machine_of(options: argparse.Namespace, costs: dict) -> Machine:
    return Machine(
        link=1e9 / 8 * options.link_gbit,
        hop=1e-6 * options.hop_us,
        disk=1e9 * options.disk_gb,
        client=1e9 * options.client_gb,
        opening=1e-3 * options.open_ms,
        operations=options.operations,
        ranks_per_node=options.ranks_per_node,
        jitter=options.jitter,
        converting=costs["windows"] * costs["window s"],
        hashing=costs["verifying bytes/s"],
        writing=costs["writing bytes/s"],
        verifying=costs["verifying a checkpoint, bytes/s"],
    )


def row_of(job: Job, machine: Machine) -> dict:
    """A line of the table of steps."""

    def step(remedies: Remedies) -> tuple[float, dict[str, float]]:
        return train(job, machine, remedies, STEPS, np.random.default_rng(0))

    whole, lost = step(Remedies())
    row = {"GPU step s": job.step, "ranks": job.ranks, "step s": whole, "GPU's share": job.step / whole}
    row |= lost | {"first bottleneck": max(lost, key=lost.__getitem__)}
    return row | {f"step s, {name}": step(remedies)[0] for name, remedies in OF_A_STEP.items()}


def starts(job: Job, machine: Machine) -> list[dict]:
    """Lines of the table of starts."""
    rows = []
    for name, remedies in OF_THE_START.items():
        parts = start(job, machine, remedies)
        longest = max(parts, key=parts.__getitem__)
        rows.append({"ranks": job.ranks, "start": name, "s": sum(parts.values())} | {"longest": longest})
        rows[-1] |= {"s of that": parts[longest]}
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu_check", default="", help="JSON file of make gpu-check on a GPU")
    parser.add_argument("--step_s", nargs="+", type=float, default=[0.05, 0.2, 1.0], help="steps assumed without it")
    parser.add_argument("--ranks", nargs="+", type=positive, default=[8, 64, 512])
    parser.add_argument("--costs", default="", help="measured costs: what an earlier call wrote")
    parser.add_argument("--link_gbit", type=float, default=200.0, help="of a rank's link, each way")
    parser.add_argument("--hop_us", type=float, default=10.0, help="microseconds of a message, whatever its size")
    parser.add_argument("--disk_gb", type=float, default=10.0, help="GB/s of the shared file system in all")
    parser.add_argument("--client_gb", type=float, default=2.0, help="GB/s of it that one rank can have")
    parser.add_argument("--open_ms", type=float, default=5.0, help="milliseconds to open a file there")
    parser.add_argument("--operations", type=float, default=20000.0, help="openings and the like per second there")
    parser.add_argument("--ranks_per_node", type=positive, default=8, help="GPUs in a node")
    parser.add_argument("--jitter", type=float, default=0.02, help="mean delay of a rank's step, as a share of it")
    parser.add_argument("--videos", type=positive, default=330, help="of the training set; default: ShanghaiTech's")
    parser.add_argument("--frames", type=positive, default=274515, help="in all of them together")
    parser.add_argument("--out", default="runs/benchmarks/cluster.json", help="JSON file")
    options = parser.parse_args()
    if options.costs:
        costs = read_report(options.costs, "measured")["measured"]
    else:
        from cluster_costs import measured

        costs = measured(RECIPE)
    gpu, steps = "GPU step not measured: each is assumed", options.step_s
    if options.gpu_check:
        seconds, gpu = measured_step(options.gpu_check, costs["windows"])
        steps = [seconds]
    machine = machine_of(options, costs)
    jobs = [
        Job(
            ranks=ranks,
            step=seconds,
            gradients=costs["gradient bytes per parameter"] * costs["parameters"],
            checkpoint=costs["checkpoint bytes per parameter"] * costs["parameters"],
            save_interval=costs["save_interval"],
            window=costs["windows"] * costs["window bytes"],
            cache=options.frames * costs["frame bytes"],
            videos=options.videos,
        )
        for seconds in steps
        for ranks in options.ranks
    ]
    rows = [row_of(job, machine) for job in jobs]
    begun = [row for job in jobs[: len(options.ranks)] for row in starts(job, machine)]
    print_table("measured on this machine", [costs])
    print_table(f"a step, and what is lost of it, s; {gpu}", rows)
    print_table("the start of a run that goes on, s", begun)
    report = {"options": vars(options), "gpu": gpu, "measured": costs, "steps": rows, "starts": begun}
    write_report(options.out, report)


if __name__ == "__main__":
    run(main)
