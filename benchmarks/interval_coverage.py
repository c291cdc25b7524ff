"""How often a 95 % interval over few videos holds the truth: micro AUC, and the difference of two equally good methods.

Videos of 100 frames, 30 of them abnormal; in each, abnormal frames score higher by an effect of its own, and all frames
by an offset of its own. The truth is that of 20,000 such videos; of the difference, 0. From the same draws: the
percentiles, which this project printed until 2026-11-28, Hesterberg's expanded percentiles, and the t-interval of
today, at 3 videos too, where none is given.

    python benchmarks/interval_coverage.py [--out runs/benchmarks/interval_coverage.json]    # half an hour on one core
"""

import argparse
from collections.abc import Callable

import numpy as np
from measure import run, write_report
from scipy.special import ndtr, stdtrit

from ramvid_vad.evaluation import frame_metrics
from ramvid_vad.evaluation.statistics import bootstrap

SEED, REPETITIONS, DRAWS = 0, 300, 1000  # draws: the default of --bootstrap; fewer cut the expanded percentiles off
WAYS = ("percentile", "expanded percentile", "now")
Effect = Callable[[np.random.Generator], float]
KINDS: dict[str, tuple[Effect, float]] = {  # effect, standard deviation of the offset
    "effect 1 ± 1": (lambda rng: rng.normal(1, 1), 0.7),
    "effect 2.5 ± 1": (lambda rng: rng.normal(2.5, 1), 0.5),
    "one in five fails": (lambda rng: 3.0 * (rng.random() < 0.8), 0.5),
}


def videos(rng: np.random.Generator, count: int, effect: Effect, offset: float) -> tuple[list, list, list]:
    """Scores of two methods, and labels."""
    first, second, labels = [], [], []
    for _ in range(count):
        y = np.zeros(100, np.uint8)
        start = rng.integers(0, 60)
        y[start : start + 30] = 1
        labels.append(y)
        for scores in (first, second):
            scores.append(rng.normal(size=100) + effect(rng) * y + offset * rng.normal())
    return first, second, labels


def covered(rng: np.random.Generator, count: int, truth: float, effect: Effect, offset: float) -> np.ndarray:
    """Whether each interval holds the truth: of the figure, and of the difference, by each of the three ways."""
    *methods, labels = videos(rng, count, effect, offset)
    seed = int(rng.integers(2**31))  # the same videos in each draw of both
    drawn = [bootstrap.bootstrap(scores, labels, DRAWS, seed)["micro_auc"] for scores in methods]
    whole = [frame_metrics(scores, labels)["micro_auc"] for scores in methods]
    tail = ndtr(-np.sqrt(count / (count - 1)) * stdtrit(count - 1, 0.975))
    held = []
    for figure, draws, target in ((whole[0], drawn[0], truth), (whole[1] - whole[0], drawn[1] - drawn[0], 0.0)):
        (now,) = bootstrap.intervals_of({"": figure}, {"": draws}, {"": count}, differences=target == 0).values()
        ends = [np.quantile(draws, [share, 1 - share]) for share in (0.025, tail)]
        held.append([low <= target <= high for low, high in (*ends, now)])
    return np.array(held)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="runs/benchmarks/interval_coverage.json", help="JSON file")
    arguments = parser.parse_args()
    bootstrap.FEWEST = 0
    print(
        "| videos | " + " | ".join(f"{kind}: {what}" for kind in KINDS for what in ("micro AUC", "difference")) + " |"
    )
    truths, rows = {}, []
    for kind, given in KINDS.items():
        scores, _, labels = videos(np.random.default_rng(SEED), 20_000, *given)
        truths[kind] = frame_metrics(scores, labels)["micro_auc"]
    for count in (3, 5, 8, 12, 21):
        cells = []
        for kind, given in KINDS.items():
            rng = np.random.default_rng([SEED, count])
            held = np.mean([covered(rng, count, truths[kind], *given) for _ in range(REPETITIONS)], axis=0)
            cells += [" / ".join(f"{100 * share:.0f}" for share in of) for of in held]
            rows += [
                {"videos": count, "kind": kind, "of": of, "held": dict(zip(WAYS, shares, strict=True))}
                for of, shares in zip(("micro AUC", "difference"), held.tolist(), strict=True)
            ]
        print(f"| {count} | " + " | ".join(cells) + " |", flush=True)
    print(" / ".join(WAYS) + "; true micro AUC:", ", ".join(f"{100 * t:.1f}" for t in truths.values()))
    about = {"seed": SEED, "repetitions": REPETITIONS, "draws": DRAWS, "true micro AUC": truths}
    write_report(arguments.out, {**about, "rows": rows})


if __name__ == "__main__":
    run(main)
