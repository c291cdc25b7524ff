"""Half an hour of train / save / kill / go on / sample: does anything grow?

    python tests/reliability/soak.py [--minutes 30] [--seed 0] [--out docs/results/reliability/soak.json]

All the time one training run goes on untouched (it ends by ``--max_hours``). Beside it, in a loop, another one is
killed with SIGKILL at a drawn moment and gone on with by the same command for STEPS more steps; then test videos are
infilled into a fresh folder, killed once and gone on with. The cache of decoded frames is emptied before every turn, so
that kills meet the decoding too. Recorded are

- of the untouched run every 10 s: step, resident memory, open files, threads
- of every training run of the loop the same at its last step but one, so always at the same point of its life
- of every turn: files in the log and cache folders and in TMPDIR, temporary ones among them, and processes that outlive
  the command they belong to

At the end the killed run is compared, byte for byte, with one that ran through.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from kills import prepare
from victims import Run, digests, generation, sampling, training

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
from measure import machine, write_report

STEPS = 8
"""Steps of the killed training run in each turn."""


def look(pid: int) -> dict | None:
    """Resident memory in 10^6 bytes, open files and threads of a process; None: it is gone."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
            values = dict(line.split(":", 1) for line in status)
        files = len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return None
    if "VmRSS" not in values:
        return None
    return {"rss_mb": int(values["VmRSS"].split()[0]) * 1024 / 1e6, "files": files, "threads": int(values["Threads"])}


def steps_of(log_dir: Path) -> int:
    """The last step in a run's log."""
    path = log_dir / "progress.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


def left_over(top: Path) -> dict:
    """Files by place; temporary ones are counted apart."""
    places = {"log": top / "model", "cache": top / "model_cache", "long_log": top / "long", "tmpdir": top / "tmp"}
    count = {f"{name}_files": len(os.listdir(place)) for name, place in places.items()}
    count["temporary"] = sum(1 for place in places.values() for path in place.rglob("*") if _temporary(path.name))
    return count


def _temporary(name: str) -> bool:
    return name.endswith(".tmp") or name.startswith(".")


def empty(folder: Path) -> None:
    """Remove the decoded frames, but not what else is there."""
    for path in folder.glob("*.npy"):
        path.unlink()


def kill_at(run: Run, what: str, folder: Path, share: float, seconds: float) -> tuple[str, int]:
    """Kill everything at a share of the start-up and the first ``seconds`` of work; where, and how many live on."""
    if share < 0.3:
        time.sleep(share / 0.3 * 2.0)
    elif run.wait_until(lambda: run.working(what, folder)):
        time.sleep((share - 0.3) / 0.7 * seconds)
    where = "work" if run.working(what, folder) else "start"
    family = run.family()
    run.kill()
    time.sleep(0.2)
    return where if run.process.returncode else "ended before", sum(look(pid) is not None for pid in family)


def turn(top: Path, number: int, rng: np.random.Generator, environment: dict[str, str]) -> dict:
    """Train, kill, go on; sample, kill, go on."""
    target, found = STEPS * (number + 1), {}
    arguments = training(top, top / "model", "--max_steps", target)
    empty(top / "model_cache") if (top / "model_cache").exists() else None
    found["train_killed"], orphans = kill_at(
        Run(arguments, top / "out.txt", **environment), "train", top / "model", rng.random(), 1.0
    )
    run, seen = Run(arguments, top / "out.txt", **environment), None
    while run.alive():
        if steps_of(top / "model") >= target - 1:
            seen = look(run.process.pid) or seen
        time.sleep(0.01)
    if code := run.end():
        raise SystemExit(f"training ended with exit code {code}:\n{run.printed()}")
    filled = top / "filled"
    shutil.rmtree(filled, ignore_errors=True)
    arguments = sampling(top, top / "model", filled, "--stride", 6)
    empty(top / "filled_cache") if (top / "filled_cache").exists() else None
    found["sample_killed"], more = kill_at(
        Run(arguments, top / "out.txt", **environment), "sample", filled, rng.random(), 1.5
    )
    run, peak = Run(arguments, top / "out.txt", **environment), None
    while run.alive():
        now = look(run.process.pid)
        peak = max((peak, now), key=lambda each: each["rss_mb"] if each else 0)
        time.sleep(0.02)
    if code := run.end():
        raise SystemExit(f"sampling ended with exit code {code}:\n{run.printed()}")
    names = sorted(digests(filled))
    return found | {"train": seen, "sample_peak": peak, "orphans": orphans + more, "sampled": names} | left_over(top)


def change(values: list[float]) -> dict:
    """Medians of the second fifth (after the warm-up) and the last fifth."""
    fifth = max(1, len(values) // 5)
    early, late = statistics.median(values[fifth : 2 * fifth] or values), statistics.median(values[-fifth:])
    return {"early": early, "late": late, "change": late - early, "highest": max(values)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="runs/benchmarks/soak.json")
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    end = time.monotonic() + 60 * arguments.minutes
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        prepare(top, 3)
        shutil.rmtree(top / "model")
        (top / "tmp").mkdir()
        environment = {"TMPDIR": str(top / "tmp")}
        hours = ["--max_hours", arguments.minutes / 60, "--save_interval", 50, "--max_steps", 0]
        long = Run(training(top, top / "long", *hours), top / "long.txt", **environment)
        long.wait_until(lambda: long.working("train", top))
        try:
            untouched, turns = loop(top, long, end, arguments.minutes, rng, environment)
            code = long.end()
        finally:
            if long.alive():
                long.kill()
        steps = STEPS * len(turns)
        whole = Run(training(top, top / "whole", "--max_steps", steps), top / "whole.txt", **environment)
        equal = whole.end() == 0 and generation(top / "whole", steps) == generation(top / "model", steps)
        goes_on = "the same command goes on from there" in long.printed()
    report = summarize(untouched, turns) | {"equal": equal, "long_exit_code": code, "long_says_how_to_go_on": goes_on}
    for name, value in report.items():
        print(f"{name}: {value}")
    settings = {"minutes": arguments.minutes, "seed": arguments.seed, "turns": len(turns)}
    write_report(arguments.out, machine() | settings | report | {"untouched": untouched, "each_turn": turns})


def loop(
    top: Path, long: Run, end: float, minutes: float, rng: np.random.Generator, environment: dict[str, str]
) -> tuple[list[dict], list[dict]]:
    """Turns until the end; a look at the untouched run now and then."""
    untouched, turns, last = [], [], 0.0
    while time.monotonic() < end:
        found = turn(top, len(turns), rng, environment)
        turns.append({"minute": minutes - (end - time.monotonic()) / 60} | found)
        if (seen := look(long.process.pid)) and time.monotonic() - last > 10:
            last = time.monotonic()
            untouched.append({"minute": turns[-1]["minute"], "step": steps_of(top / "long"), **seen})
            print(f"turn {len(turns)}: {turns[-1]}\n  untouched: {untouched[-1]}", flush=True)
    return untouched, turns


def summarize(untouched: list[dict], turns: list[dict]) -> dict:
    """What grew: medians early and late."""
    looked = {"untouched run": untouched, "trained, last step": [t["train"] for t in turns if t["train"]]}
    looked["sampled, at peak"] = [t["sample_peak"] for t in turns if t["sample_peak"]]
    growth = {
        f"{name}: {key}": change([each[key] for each in rows])
        for name, rows in looked.items()
        for key in ("rss_mb", "files", "threads")
    }
    places = ("log_files", "cache_files", "long_log_files", "tmpdir_files", "temporary", "orphans")
    growth |= {key: change([each[key] for each in turns]) for key in places}
    landed = [each[key] for each in turns for key in ("train_killed", "sample_killed")]
    return {"growth": growth, "kills": {where: landed.count(where) for where in sorted(set(landed))}}


if __name__ == "__main__":
    main()
