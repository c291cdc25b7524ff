"""Training and sampling killed with SIGKILL again and again, each time gone on with by the same command.

    python tests/reliability/kills.py [--kills 25] [--seed 0] [--ranks 1,2] [--out docs/results/reliability/kills.json]

One run of each kind is left alone; the other is killed ``--kills`` times and then ends. If it is done before that,
another one begins in a new folder and takes the kills that are left. The bytes of the last checkpoint (model, every
average, optimizer, manifest) and of every reconstruction must be the same. A kill is one of

- start: a moment drawn from the whole start-up, most of which are imports
- data: a moment drawn from its second part, in which videos are decoded and the checkpoint is read
- work: a moment drawn from the time in which a few steps or windows are computed
- write: just before a drawn call of ``os.fsync`` or ``os.replace`` on a temporary file, so inside a save; the hook is a
  ``sitecustomize.py`` of this harness, the package knows nothing of it

With two ranks a drawn one of them is killed and the launcher or the lifeline must end the other, or all are at once.
Everything drawn is a function of ``--seed``; moments in time differ a little from machine to machine, as they should.
"""

import argparse
import collections
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from victims import HOOK, Run, digests, generation, sampling, training

from ramvid_vad.demo.street import generate
from ramvid_vad.runtime.files import GRACE

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
from measure import machine, print_table, write_report

KINDS = ("start", "data", "write", "work")  # the first four kills
SHARES = (0.15, 0.2, 0.4, 0.25)
IMPORTED = {"train": "logs and checkpoints go to", "sample": "using the averaged weights"}
"""What a command prints between its imports and its data."""
SPAN = {"train": 3.0, "sample": 4.0}  # steps or windows after which a kill of kind "work" comes at the latest
CALLS = {"train": 22, "sample": 4}  # two saves of five files; two or three windows


def make_scene(top: Path, kills: int) -> None:
    """Enough windows to sample for some kills; how many a machine does between two of them is not known."""
    generate(str(top / "scene"), size=(32, 48), num_train=3, num_test=3, frames=20, test_frames=30 + 15 * kills)


def draw_plan(kills: int, seed: int, ranks: int) -> list[dict]:
    """kind; a share of the span of time, or of the calls, at which it comes; the rank that is killed, None: all."""
    rng = np.random.default_rng([seed, ranks])
    kinds = [*KINDS, *rng.choice(KINDS, size=max(0, kills - len(KINDS)), p=SHARES)][:kills]
    victims = [None, *range(ranks)] if ranks > 1 else [None]
    return [
        {"kind": str(kind), "share": float(rng.random()), "rank": victims[int(rng.integers(len(victims)))]}
        for kind in kinds
    ]


def where(what: str, run: Run, folder: Path) -> str:
    """The stage that a command has reached, from what it has printed and the temporary files it has begun."""
    if not run.working(what, folder):
        return "start: data and checkpoint" if IMPORTED[what] in run.printed() else "start: imports"
    return "inside a write" if run.wrote(folder, "*.tmp") else "steps" if what == "train" else "windows"


def kill_once(what: str, arguments: list[str], top: Path, folder: Path, ranks: int, kill: dict, pace: dict) -> dict:
    """One run with one kill; what happened. ``pace``: see ``unbroken``."""
    told = top / "told"
    told.unlink(missing_ok=True)
    hook = {}
    if kill["kind"] == "write":
        call = 1 + int(kill["share"] * CALLS[what])
        hook = {"PYTHONPATH": str(top / "hook"), "KILL_AT_CALL": str(call), "KILL_TOLD": str(told)}
    run = Run(arguments, top / "killed.txt", ranks, **hook)
    landed, rank = "", kill["rank"]
    if kill["kind"] == "write":
        code = run.end()
        killed_at = time.monotonic()
        landed = f"inside a write: before {told.read_text().split()[0]}" if told.exists() else ""
        rank = "the one that writes" if ranks > 1 else None
    else:
        if kill["kind"] == "start":
            time.sleep(kill["share"] * pace["start"])
        elif kill["kind"] == "data":
            run.wait_for(IMPORTED[what])
            time.sleep(kill["share"] * pace["data"])
        else:
            run.wait_until(lambda: run.working(what, folder))
            time.sleep(kill["share"] * SPAN[what] * pace["unit"])
        if run.alive():
            landed = where(what, run, folder)
            rank = None if rank not in run.ranks() else rank
            killed_at = time.monotonic()
            run.kill(rank)
        code = run.end()
    if landed and code == 0:
        raise SystemExit(f"killed in {landed}, and yet exit code 0:\n{run.printed()}")
    if not landed and code:
        raise SystemExit(f"ended by itself with exit code {code}:\n{run.printed()}")
    others = time.monotonic() - killed_at if landed and kill["kind"] != "write" and rank is not None else None
    return kill | {"landed": landed, "rank": rank, "seconds_until_all_ended": others}


def unbroken(what: str, arguments: list[str], top: Path, folder: Path, ranks: int, units: int) -> dict:
    """Run to the end; its pace: seconds of start-up, of the data's part of it, and of one step or window."""
    run = Run(arguments, top / "whole.txt", ranks)
    run.wait_for(IMPORTED[what])
    imported = time.monotonic() - run.started
    run.wait_until(lambda: run.working(what, folder))
    start = time.monotonic() - run.started
    code = run.end()
    if code:
        raise SystemExit(f"the unbroken run ended with exit code {code}:\n{run.printed()}")
    return {"start": start, "data": start - imported, "unit": (time.monotonic() - run.started - start) / units}


def logged(log_dir: Path) -> list[tuple]:
    """(step, loss) of every log line; a run that goes on must leave one line per step."""
    lines = map(json.loads, (log_dir / "progress.jsonl").read_text().splitlines())
    return [(line["step"], line["loss"]) for line in lines]


def age(folder: Path) -> None:
    """Make what killed processes left as old as it would be by now if a run that goes on took its time to come."""
    for path in folder.rglob("*.tmp"):
        then = path.stat().st_mtime - GRACE
        os.utime(path, (then, then))


def campaign(what: str, top: Path, ranks: int, plan: list[dict]) -> dict:
    """The unbroken run, the killed ones, and what they left."""
    whole, broken = top / f"{what}{ranks}_whole", [top / f"{what}{ranks}_broken"]
    steps = 4 * len(plan) + 4
    units = steps if what == "train" else 3 * len(plan)

    def command(folder: Path) -> list[str]:
        if what == "train":
            return training(top, folder, "--max_steps", steps)
        return sampling(top, top / "model", folder)

    pace = unbroken(what, command(whole), top, whole, ranks, units)
    kills = []
    for kill in plan:
        made = kill_once(what, command(broken[-1]), top, broken[-1], ranks, kill, pace)
        if not made["landed"]:  # it was done: the kill is for another one
            broken.append(top / f"{what}{ranks}_broken_{len(broken)}")
            made = kill_once(what, command(broken[-1]), top, broken[-1], ranks, kill, pace)
        kills.append(made)
        print(f"{what}, {ranks} ranks: {kill['kind']} {made['rank']}: {made['landed'] or 'ended before'}", flush=True)
    age(broken[-1])
    last = Run(command(broken[-1]), top / "last.txt", ranks)
    if code := last.end():
        raise SystemExit(f"the last run ended with exit code {code}:\n{last.printed()}")
    if what == "train":
        left = [(generation(folder, steps), logged(folder)) for folder in (whole, *broken)]
    else:
        left = [digests(folder) for folder in (whole, *broken)]
    return {
        "what": what,
        "ranks": ranks,
        "kills": sum(bool(kill["landed"]) for kill in kills),
        "landed": dict(sorted(collections.Counter(kill["landed"] or "ended before" for kill in kills).items())),
        "killed_runs": len(broken),
        "equal": all(each == left[0] for each in left[1:]),
        "files_compared": len(left[0][0] if what == "train" else left[0]),
        "left_over": sorted(str(path.relative_to(top)) for folder in broken for path in folder.rglob("*.tmp")),
        "longest_until_all_ended": max((k["seconds_until_all_ended"] or 0 for k in kills), default=0),
        "pace": pace,
        "plan": kills,
    }


def prepare(top: Path, kills: int) -> None:
    """The scene, the hook, and a trained model to sample from."""
    make_scene(top, kills)
    (top / "hook").mkdir()
    (top / "hook/sitecustomize.py").write_text(HOOK)
    run = Run(training(top, top / "model", "--max_steps", 2), top / "model.txt")
    if code := run.end():
        raise SystemExit(f"exit code {code}:\n{run.printed()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=25, help="of each run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ranks", default="1,2", help="numbers of ranks, comma-separated; more than 1 under mpirun")
    parser.add_argument("--out", default="runs/benchmarks/kills.json")
    arguments = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        prepare(top, arguments.kills)
        for ranks in map(int, arguments.ranks.split(",")):
            plan = draw_plan(arguments.kills, arguments.seed, ranks)
            results += [campaign(what, top, ranks, plan) for what in ("train", "sample")]
    shown = ("what", "ranks", "kills", "killed_runs", "equal", "files_compared", "longest_until_all_ended")
    print_table("killed and unbroken runs", [{key: result[key] for key in shown} for result in results])
    print_table("where the kills landed", [{"what": f"{r['what']} {r['ranks']}", **_spread(r)} for r in results])
    write_report(arguments.out, machine() | {"seed": arguments.seed, "results": results})
    if not all(
        result["equal"] and not result["left_over"] and result["kills"] >= arguments.kills for result in results
    ):
        raise SystemExit("not equal, left-overs, or too few kills: see the report")


def _spread(result: dict) -> dict:
    stages = ("start: imports", "start: data and checkpoint", "steps", "windows", "inside a write", "ended before")
    landed = result["landed"].items()
    return {stage: sum(count for name, count in landed if name.startswith(stage)) for stage in stages}


if __name__ == "__main__":
    main()
