"""The published facts of the five benchmarks, and of one's own data (of which nothing is published)."""

from collections.abc import Callable

from ramvid_vad.errors import InputError
from ramvid_vad.video.benchmarks import layouts
from ramvid_vad.video.benchmarks.model import Benchmark, Counts, Found, LabelSet
from ramvid_vad.video.benchmarks.readers import avenue, shanghaitech, ubnormal, ucsd
from ramvid_vad.video.benchmarks.tree import Tree

_UCSD_PAGE = "http://www.svcl.ucsd.edu/projects/anomaly/dataset.html"
_UCSD = "Mahadevan, Li, Bhalodia, Vasconcelos: Anomaly detection in crowded scenes, CVPR 2010"


def _lengths(*frames: int) -> dict[str, int]:
    return {f"{number:02d}": length for number, length in enumerate(frames, 1)}


PED1 = Benchmark(
    "ped1",
    "UCSD Ped1",
    _UCSD,
    _UCSD_PAGE,
    aliases=("ped1", "ucsdped1"),
    numbered=True,
    training=Counts(34, 6800),
    testing=Counts(36, 7200),
    label_sets={"official": LabelSet(4045, "d8def9172b14d82e3a7cede4add1d4bee6cdd8d48a82b14055efc5f5440ea3a3")},
    lengths=_lengths(*[200] * 36),
)
PED2 = Benchmark(
    "ped2",
    "UCSD Ped2",
    _UCSD,
    _UCSD_PAGE,
    aliases=("ped2", "ucsdped2"),
    numbered=True,
    training=Counts(16, 2550),
    testing=Counts(12, 2010),
    label_sets={"official": LabelSet(1648, "f35e7b80960fbce0b553b09f035d06255d546fdd2df746bb16c0a1ec18ec757f")},
    lengths=_lengths(180, 180, 150, 180, 150, 180, 180, 180, 120, 150, 180, 180),
)
AVENUE = Benchmark(
    "avenue",
    "CUHK Avenue",
    "Lu, Shi, Jia: Abnormal event detection at 150 FPS in Matlab, ICCV 2013",
    "http://www.cse.cuhk.edu.hk/leojia/projects/detectabnormal/dataset.html "
    "(labels liu2018: https://github.com/StevenLiuWen/ano_pred_cvpr2018)",
    aliases=("avenue",),
    numbered=True,
    training=Counts(16, 15328),
    testing=Counts(21, 15324),
    label_sets={
        "liu2018": LabelSet(3867, "2a85001dd39effd4ee0ec9f9fee7291c8bf5adb070a15b20a8369fb4c5727207"),
        "vollabel": LabelSet(3712, "d00ae77ec3b6292810ec20db16ab698e4e5bfe764fc9a80bbfbf70b82bf4f5b1"),
    },
    lengths=_lengths(
        *(1439, 1211, 923, 947, 1007, 1283, 605, 36, 1175, 841, 472),
        *(1271, 549, 507, 1001, 740, 426, 294, 248, 273, 76),
    ),
)
SHANGHAITECH = Benchmark(
    "shanghaitech",
    "ShanghaiTech Campus",
    "Luo, Liu, Gao: A revisit of sparse coding based anomaly detection in stacked RNN framework, ICCV 2017",
    "https://svip-lab.github.io/dataset/campus_dataset.html (tracks: https://github.com/lilygeorgescu/AED)",
    aliases=("shanghaitech", "shanghai"),
    numbered=False,
    training=Counts(330, 274515),
    testing=Counts(107, 40791),
    label_sets={"official": LabelSet(17326)},
)
UBNORMAL = Benchmark(
    "ubnormal",
    "UBnormal",
    "Acsintoae et al.: UBnormal: new benchmark for supervised open-set video anomaly detection, CVPR 2022",
    "https://github.com/lilygeorgescu/UBnormal",
    aliases=("ubnormal", "ub"),
    numbered=False,
    training=Counts(186),
    testing=Counts(211, 92640),
    label_sets={"official": LabelSet(49850)},
)
OWN = Benchmark(
    "own",
    "own data",
    "",
    "docs/data.md",
    aliases=(),
    numbered=False,
    training=Counts(0),
    testing=Counts(0),
    label_sets={},
)

BENCHMARKS: dict[str, Benchmark] = {b.name: b for b in (PED1, PED2, AVENUE, SHANGHAITECH, UBNORMAL, OWN)}

_FIND: dict[str, Callable[[Benchmark, Tree], Found]] = {
    "ped1": ucsd.find,
    "ped2": ucsd.find,
    "avenue": avenue.find,
    "shanghaitech": shanghaitech.find,
    "ubnormal": ubnormal.find,
    "own": layouts.find_common,
}


def find_parts(benchmark: Benchmark, source: str) -> Found:
    """What ``source`` holds of a benchmark, which may be labels alone. InputError: two candidates for one thing."""
    return _FIND[benchmark.name](benchmark, Tree(source))


def find(benchmark: Benchmark, source: str) -> Found:
    """What ``source`` holds of a benchmark. InputError: no test video, or two candidates for one thing."""
    found = find_parts(benchmark, source)
    if not found.testing:
        raise InputError(
            f"--source {source}: no test video of {benchmark.title} in a known layout (docs/data.md lists them); "
            f"the authors offer it at {benchmark.page}"
        )
    return found
