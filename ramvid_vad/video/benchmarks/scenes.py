"""Which scene, that is which camera, a video of a data set of many scenes shows: its name says it."""

import os
import re

SCENES = {
    "shanghaitech": re.compile(r"(\d+)_\d+"),  # 01_0014
    "ubnormal": re.compile(r"(?:ab)?normal_scene_(\d+)_.+"),  # abnormal_scene_10_scenario_3_fog
}


def scene_of(benchmark: str, name: str) -> str | None:
    """The number of the scene as it stands in the video's name, of whose folders nothing is read.

    None: the videos of this benchmark show one scene, or the name is not as its authors give them.
    """
    found = SCENES[benchmark].fullmatch(os.path.basename(name)) if benchmark in SCENES else None
    return found[1] if found else None
