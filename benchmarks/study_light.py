"""Does the light differ from video to video, and does it help to subtract what a video itself has shown?

    python benchmarks/study_light.py --run runs/ped2_full/training --normal data/ped2/training \
        --data_dir data/ped2/testing --labels data/ped2/labels [--sigma 3] [--out FILE]

Of each video how far the mean of each place lies from that of the videos learned from (mean square of appearance, whose
variance is near 1), and what is left around its own. Then parts of the model on maps as they are; less the mean of the
video's own places over the frames so far, as a camera could; and less that over the whole video.
"""

from pathlib import Path

import numpy as np
from measure import machine, print_table, run, write_report
from study_maps import Study, flags

from ramvid_vad.detectors.fusion import log_scale
from ramvid_vad.detectors.residual_maps import Part, box_scores

PARTS = (
    *(Part(kind, level, "appearance") for kind, level in (("none", 0.7), ("prediction", None))),
    Part("none", 0.7, "motion"),
    Part("motion_given_appearance", None, "motion"),
)
SIDES = (5, 7)


def so_far(looks: np.ndarray) -> np.ndarray:
    """Mean of each place over the frames up to each one, (n, K, h, w)."""
    return np.cumsum(looks, axis=0) / np.arange(1, len(looks) + 1)[:, None, None, None]


WAYS = {
    "as they are": lambda looks: 0,
    "less the mean so far": so_far,
    "less the mean of the video": lambda looks: looks.mean(0),
}


def main() -> None:
    options = flags(__doc__, "runs/benchmarks/study_light.json").parse_args()
    study = Study(options, PARTS, free=())
    axes = study.model.space.groups["appearance"]

    def maps(path: str) -> np.ndarray:
        return np.array(study.maps.frames(path), dtype=np.float32)

    light = []
    for use, paths in (("learned", study.learned), ("held out", study.held_out), ("test", study.test)):
        for path in paths:
            looks = maps(path)[:, :axes]
            own = looks.mean(0)
            around = float(np.square(looks - own).mean())
            light.append(
                {"video": Path(path).name, "use": use, "own places": float(np.square(own).mean()), "around": around}
            )
    print_table("Mean square of appearance", light)
    rows = []
    for way, mean in WAYS.items():

        def scores(path: str, mean=mean) -> dict[str, np.ndarray]:
            changed = maps(path)
            changed[:, :axes] -= mean(changed[:, :axes])
            residuals = study.residuals_of(changed.astype(np.float16), path)
            return {f"{name} box {side}": box_scores(residuals[name], side) for name in residuals for side in SIDES}

        usual, test = ([scores(path) for path in paths] for paths in (study.held_out, study.test))
        for name in usual[0]:
            scale = log_scale(np.concatenate([each[name] for each in usual]))
            rows.append({"maps": way, **study.row(name, [scale(each[name]) for each in test])})
    print_table(f"{len(study.test)} videos, sigma {options.sigma:g}", rows)
    write_report(options.out, {**machine(), "sigma": options.sigma, "light": light, "rows": rows})


if __name__ == "__main__":
    run(main)
