"""What a benchmark is, and what was found of it in a folder."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ramvid_vad.video.names import in_order

Labels = dict[str, np.ndarray]
"""Per test video uint8 (frames,): 1 = abnormal."""

Size = tuple[int, int]
"""Height and width in pixels."""

MaskReader = Callable[[Size], Iterator[np.ndarray]]
"""Frame size -> the pixel masks of one video, bool (H, W) each, one per frame."""


@dataclass(frozen=True)
class Counts:
    """Published size of one split; frames is None where no figure is published."""

    videos: int
    frames: int | None = None


@dataclass(frozen=True)
class LabelSet:
    """Published totals of one label set. sha256: :func:`labels_digest` of all test videos, where it is known."""

    abnormal: int
    sha256: str = ""


@dataclass(frozen=True)
class Benchmark:
    """The published facts of one data set.

    aliases: how its folders and label files are named, lower case. numbered: videos are called 01, 02, ... ;
    otherwise they keep their own names. lengths: frames of each test video, where published.
    """

    name: str
    title: str
    citation: str
    page: str
    aliases: tuple[str, ...]
    numbered: bool
    training: Counts
    testing: Counts
    label_sets: Mapping[str, LabelSet]
    lengths: Mapping[str, int] = field(default_factory=dict)

    def standard_name(self, name: str) -> str:
        """The video's name in the standard layout: 01 for Test001, 1, 01 or 1_label, where videos are numbered."""
        if not self.numbered:
            return name
        digits = "".join(c if c.isdigit() else " " for c in name).split()
        return f"{int(digits[0]):02d}" if digits else name


@dataclass
class LabelSource:
    """Labels in some files, one set.

    read: names of all test videos in order, their lengths where known -> labels of those, of exactly these lengths
    (InputError where the files say otherwise).
    names: the videos that have a file of their own, where there is one file per video.
    """

    label_set: str
    files: list[str]
    read: Callable[[Sequence[str], Mapping[str, int]], Labels]
    names: list[str] = field(default_factory=list)


@dataclass
class Found:
    """What a folder holds of a benchmark: standard video name -> file or folder of frames, and readers.

    expected: the names of all test videos, where the files say so (split lists, one label file per video).
    """

    layout: str
    training: dict[str, str]
    testing: dict[str, str]
    labels: list[LabelSource] = field(default_factory=list)
    masks: dict[str, MaskReader] = field(default_factory=dict)
    tracks: dict[str, Callable[[], np.ndarray]] = field(default_factory=dict)
    expected: list[str] = field(default_factory=list)
    expected_training: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def labels_digest(labels: Labels) -> str:
    """SHA-256 of the labels themselves, whatever file they came from: uint8, videos in order of name, end to end."""
    joined = b"".join(labels[name].astype(np.uint8).tobytes() for name in in_order(list(labels)))
    return hashlib.sha256(joined).hexdigest()
