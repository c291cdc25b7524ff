"""ShanghaiTech Campus: training/videos/01_001.avi, testing/{frames/01_0014/000.jpg, test_frame_mask, test_pixel_mask}.

Names are SCENE_VIDEO. The tracks that RBDC and TBDC need are published by Georgescu et al. (PAMI 2021).
"""

from ramvid_vad.video.benchmarks.layouts import find_common
from ramvid_vad.video.benchmarks.model import Benchmark, Found
from ramvid_vad.video.benchmarks.tree import Tree
from ramvid_vad.video.names import in_order


def find(benchmark: Benchmark, tree: Tree) -> Found:
    """The shared layouts are the official one."""
    found = find_common(benchmark, tree)
    if tree.folder("testing/frames") and tree.folder("test_frame_mask"):
        found.layout = "official"
        labelled = {path.stem for path in tree.named_files("test_frame_mask/*.npy")}
        found.expected = in_order(list(labelled | set(found.testing)))
    return found
