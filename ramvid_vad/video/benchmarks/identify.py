"""Which published label set a folder of label files holds: by its content, else by its name."""

import hashlib
import os
from typing import NamedTuple

from ramvid_vad.errors import InputError
from ramvid_vad.video.benchmarks.catalogue import BENCHMARKS
from ramvid_vad.video.names import in_order
from ramvid_vad.video.truth.labels import is_label_file, label_bytes, parse_labels


class LabelSetName(NamedTuple):
    """benchmark, name: "" where not known. by_content: the labels are bit for bit those that are published."""

    benchmark: str
    name: str
    by_content: bool


def name_label_set(labels_dir: str) -> LabelSetName:
    """The set in ``labels_dir``; a folder labels_SET of the standard layout names it where its content does not.

    All files of the folder count, those of absent videos too. InputError: a folder that is named after one set of a
    benchmark and holds another one. Remote folders are known by name only.
    """
    folder = "" if os.path.isfile(labels_dir) else os.path.basename(labels_dir.rstrip("/"))
    said = folder[len("labels_") :] if folder.startswith("labels_") else ""
    digest = _digest(labels_dir)
    for benchmark in BENCHMARKS.values():
        for name, published in benchmark.label_sets.items():
            if not digest or published.sha256 != digest:
                continue
            if said != name and said in benchmark.label_sets:
                raise InputError(
                    f"--labels {labels_dir}: named {said!r}, but these are the labels {name!r} of {benchmark.title}: "
                    "rename the folder or give the other one"
                )
            return LabelSetName(benchmark.name, name, True)
    return LabelSetName("", said, False)


def _digest(folder: str) -> str:
    """SHA-256 of all labels of a local folder, as ``labels_digest`` has it; "" where they cannot be read as one set."""
    if not os.path.isdir(folder):
        return ""
    digest = hashlib.sha256()
    for path in in_order([os.path.join(folder, file) for file in os.listdir(folder)]):
        try:
            if is_label_file(path):
                digest.update(parse_labels(label_bytes(path), path).tobytes())
        except InputError:  # it is read again, and complained about, if it is that of a video
            return ""
    return digest.hexdigest()
