"""From residual maps to one number a frame: poolings of each map, and rules that join several (docs/study.md).

    python benchmarks/study_pooling.py --run runs/ped2_full/training --normal data/ped2/training \
        --data_dir data/ped2/testing --labels data/ped2/labels [--sigma 3] [--out FILE]

Poolings of the model's parts: mean of the map, its highest cell, boxes, several boxes together (the highest of their
standardised logarithms, and the sum), boxes as large as what moves in that row of normal video, boxes of the residual
beside its usual value for what stands in that row, WMSE (active: above the 99th or 99.9th percentile of held-out normal
maps; regions of at least 4 cells). Rules over four scores (what the recipe sums) and over these and all parts of the
model: each takes standardised scores (n, parts), of logarithms but for one.
"""

from collections.abc import Callable, Iterable

import cv2
import numpy as np
from measure import machine, print_table, run, write_report
from scipy.ndimage import gaussian_filter1d, uniform_filter
from study_maps import Study, flags

from ramvid_vad.commands.select_recipe import CANDIDATES
from ramvid_vad.detectors.free_parts import BOXES, flow
from ramvid_vad.detectors.fusion import log_scale
from ramvid_vad.detectors.infilling import RECIPE_BOXES, RECIPE_PARTS, RELATIVE
from ramvid_vad.detectors.motion import MOVING
from ramvid_vad.detectors.residual_maps import BOX, box_scores
from ramvid_vad.scoring.blobs import wmse_scores

SIDES = (1, 3, 5, 7, 9, 13)  # cells
SEVERAL = (3, 5, 7)
LEAST = 4  # cells: what moves and is smaller is no thing
SMOOTH = 3  # cells, standard deviation: rows so near have things of about the same size
PRIOR = 5.0  # things: so many count as having the mean size of all rows
FUSED_BOXES = (*RECIPE_BOXES, *((part.name, BOX) for part in CANDIDATES if part not in RECIPE_PARTS))

Maps = dict[str, np.ndarray]
Videos = list[np.ndarray]


def usual_sides(fields: Iterable[np.ndarray]) -> np.ndarray:
    """(height, width) in cells of what moves in each row of normal video, int (h, 2) >= 3; fields: speeds (h, w)."""
    total, things = None, None
    for field in fields:
        if total is None:
            total, things = np.zeros((2, len(field))), np.zeros(len(field))
        _, _, about, centres = cv2.connectedComponentsWithStats((field > MOVING).astype(np.uint8), connectivity=4)
        for (_, _, width, height, area), (_, row) in zip(about[1:], centres[1:], strict=True):
            if area >= LEAST:
                total[:, round(row)] += height, width
                things[round(row)] += 1
    everywhere = total.sum(1, keepdims=True) / max(things.sum(), 1)
    total, things = (gaussian_filter1d(each, SMOOTH, mode="nearest") for each in (total, things))
    return np.maximum(np.rint((total + PRIOR * everywhere) / (things + PRIOR)), 3).astype(int).T


def sized_scores(residual: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Highest mean over boxes whose size is that of their row, (n, h, w) -> (n,)."""
    highest = np.zeros((len(residual), len(sides)))
    for high, wide in np.unique(sides, axis=0):
        rows = (sides == (high, wide)).all(1)
        highest[:, rows] = uniform_filter(residual, (0, high, wide), mode="nearest")[:, rows].max(2)
    return highest.max(1)


def blob_scores(residual: np.ndarray, active: float) -> np.ndarray:
    """WMSE of residual maps (n, h, w): they stand for the squared differences, and ``active`` for tau squared."""
    ceiling = max(float(residual.max()), active)
    x = np.sqrt(residual / ceiling)[..., None]
    return wmse_scores(x, np.zeros_like(x), threshold=float(np.sqrt(active / ceiling)), min_area=LEAST) * ceiling


RULES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "sum": lambda z, usual: z.sum(1),
    "highest": lambda z, usual: z.max(1),
    "sum of squares above 0": lambda z, usual: (np.maximum(z, 0) ** 2).sum(1),
    "weighted by the inverse covariance": lambda z, usual: z @ np.linalg.solve(_covariance(usual), np.ones(z.shape[1])),
    "Mahalanobis distance of what is above 0": lambda z, usual: np.einsum(
        "ni,ij,nj->n", np.maximum(z, 0), np.linalg.inv(_covariance(usual)), np.maximum(z, 0)
    ),
    "product of the shares of normal frames above (Fisher)": lambda z, usual: -np.log(_share_above(z, usual)).sum(1),
}
"""z (n, parts) of one video, usual (m, parts) of held-out normal video -> (n,)."""


def _covariance(usual: np.ndarray) -> np.ndarray:
    """Of the parts, a tenth of the identity added: two videos tell little of how parts go together."""
    return np.cov(usual.T) + 0.1 * np.eye(usual.shape[1])


def _share_above(z: np.ndarray, usual: np.ndarray) -> np.ndarray:
    ordered = np.sort(usual, axis=0)
    below = np.stack([np.searchsorted(ordered[:, i], z[:, i]) for i in range(z.shape[1])], axis=1)
    return (len(usual) - below + 1) / (len(usual) + 1)


def main() -> None:
    options = flags(__doc__, "runs/benchmarks/study_pooling.json").parse_args()
    study = Study(options, CANDIDATES, free=(*BOXES, "flow"))
    sides = usual_sides(
        field for path in study.learned for field in flow(study.model.space, np.asarray(study.maps.frames(path)))
    )
    usual, test = study.of_videos(dict)
    poolings: dict[str, Callable[[Maps, str], np.ndarray]] = {
        "mean": lambda maps, part: maps[part].mean((1, 2)),
        **{f"box {side}": lambda maps, part, side=side: box_scores(maps[part], side) for side in SIDES},
        "box as large as what moves there": lambda maps, part: sized_scores(maps[part], sides),
        "box 5 of the residual beside the usual": lambda maps, part: box_scores(maps[RELATIVE + part], 5),
        "box 7 of the residual beside the usual": lambda maps, part: box_scores(maps[RELATIVE + part], 7),
    }
    for share in (0.99, 0.999):
        active = {part.name: np.quantile(np.concatenate([m[part.name] for m in usual]), share) for part in CANDIDATES}
        poolings[f"WMSE, {share:.1%} of normal cells not active"] = lambda maps, part, active=active: blob_scores(
            maps[part], float(active[part])
        )

    def pooled(pooling: str, part: str) -> tuple[Videos, Videos]:
        """Standardised logarithms of the scores of held-out normal and of test videos."""
        of = poolings[pooling]
        return _standardised([of(maps, part) for maps in usual], [of(maps, part) for maps in test])

    rows = []
    for part in (each.name for each in CANDIDATES):
        for pooling in poolings:
            rows.append(study.row(f"{part}: {pooling}", pooled(pooling, part)[1]))
        logs = [pooled(f"box {side}", part) for side in SEVERAL]
        for name, join in (("highest", np.max), ("sum", np.sum)):
            several = [join(each, axis=0) for each in zip(*(test for _, test in logs), strict=True)]
            rows.append(study.row(f"{part}: {name} of boxes {', '.join(map(str, SEVERAL))}", several))

    for which, boxes in (("four scores", RECIPE_BOXES), ("all fifteen", FUSED_BOXES)):
        scores = [([box_scores(m[n], s) for m in usual], [box_scores(m[n], s) for m in test]) for n, s in boxes]
        z_usual, z_test = _joined([_standardised(*each) for each in scores])
        for rule, join in RULES.items():
            rows.append(study.row(f"{which}: {rule}", [join(z, np.concatenate(z_usual)) for z in z_test]))
        raw_test = _joined([_standardised(*each, log=False) for each in scores])[1]
        rows.append(study.row(f"{which}: sum without logarithms", [z.sum(1) for z in raw_test]))
    print_table(f"{len(test)} videos, sigma {options.sigma:g}", rows)
    about = {"sides of boxes by row": sides.tolist(), "boxes": {n: s for n, s in FUSED_BOXES}, "free": BOXES}
    write_report(options.out, {**machine(), "sigma": options.sigma, **about, "rows": rows})


def _standardised(usual: Videos, test: Videos, log: bool = True) -> tuple[Videos, Videos]:
    """By mean and standard deviation on normal video, of the logarithms if wanted."""
    every = np.concatenate(usual)
    scale = log_scale(every) if log else lambda scores: (scores - every.mean()) / every.std()
    return [scale(each) for each in usual], [scale(each) for each in test]


def _joined(scores: list[tuple[Videos, Videos]]) -> tuple[Videos, Videos]:
    """Scores (n,) of each part and video -> (n, parts) of each video."""
    usual, test = (
        [np.stack(each, axis=1) for each in zip(*videos, strict=True)] for videos in zip(*scores, strict=True)
    )
    return usual, test


if __name__ == "__main__":
    run(main)
