"""Per-frame scores of any method, from a file or a folder.

- ``.npz``: one array (n,) per video, named as the video. A ``scores.npz`` of this project holds several methods
  (``METHOD/raw/VIDEO``): name one.
- ``.npy``, ``.txt`` or a ``.csv`` of one column: the frames of all videos end to end in the natural order of their
  names (2 before 10); their lengths say where to cut.
- ``.csv`` with a heading: columns ``video``, ``score`` and, optionally, ``frame`` (from 0 or from 1, without gaps).
- a folder: ``VIDEO.npy``, ``.npz`` (one array), ``.txt`` or ``.csv`` (one score per line, or columns ``score`` and
  optionally ``frame``), or a single file as above.

Arrays of objects (pickles) are never opened.
"""

import hashlib
import io
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ramvid_vad.errors import InputError
from ramvid_vad.runtime.text import decode_text, is_prose, plain_name
from ramvid_vad.video.finding import SYSTEM
from ramvid_vad.video.names import in_order, natural_key, refuse_ambiguous, without_ending
from ramvid_vad.video.truth.number_tables import read_numbers

EXTENSIONS = (".npz", ".npy", ".csv", ".txt")


class ScoreFile(NamedTuple):
    """scores: video -> float64 (n,), finite.  joined: all videos end to end, where the file does not name them.

    One of the two is empty. sha256: of the files' bytes, in order of name.  source: file or folder, for messages.
    """

    scores: dict[str, np.ndarray]
    joined: np.ndarray
    sha256: str
    source: str


def read_scores(path: str, method: str = "", flag: str = "scores") -> ScoreFile:
    """The scores in ``path``. method: which of those in a scores.npz of this project.

    InputError, in one line: nothing there, a file that cannot be read, a score that is no finite number.
    """
    where = f"--{flag} {path}"
    if os.path.isdir(path):
        files: dict[str, str] = {}
        for file in _walk(path):
            twin = files.setdefault(_video(file, path), file)
            if twin != file:
                raise InputError(f"{where}: {twin} and {file} are scores of the same video; keep one of them")
        if not files:
            raise InputError(f"{where}: no {', '.join(EXTENSIONS)} file in this folder")
        if len(files) == 1 and (single := _read(next(iter(files.values())), method)).scores:
            return single._replace(source=path)
        parts = {video: _one_video(file, method) for video, file in files.items()}
        digest = hashlib.sha256(b"".join(content for _, content in parts.values())).hexdigest()
        return ScoreFile({video: scores for video, (scores, _) in parts.items()}, np.zeros(0), digest, path)
    if not os.path.isfile(path):
        raise InputError(f"{where}: no such file or folder: give scores as {', '.join(EXTENSIONS)} or a folder of them")
    return _read(path, method)


def cut(joined: np.ndarray, names: Sequence[str], lengths: Sequence[int], source: str) -> dict[str, np.ndarray]:
    """Scores end to end (n,) -> per video, in the order of ``names``. InputError: the total is another."""
    if sum(lengths) != len(joined):
        raise InputError(f"{source}: {len(joined)} scores, but the {len(names)} videos have {sum(lengths)} frames")
    return dict(zip(names, np.split(joined, np.cumsum(lengths)[:-1]), strict=True))


def refuse_unordered(names: Sequence[str], source: str) -> None:
    """InputError where it cannot be told in which order scores are joined."""
    remedy = (
        "give scores that name their video (.npz, .csv, a folder), or --lengths NAME=FRAMES,NAME=FRAMES,... in the "
        "order of the file"
    )
    refuse_ambiguous(names, source, remedy)


def read_lengths(text: str) -> dict[str, int] | list[int]:
    """``--lengths``: counts as 180,180,150, or with names, 1=180,2=180,10=150, or a file of either (.npy, or text)."""
    content = text
    if os.path.isfile(text):
        if text.lower().endswith(".npy"):
            content = " ".join(str(value) for value in np.ravel(_array(text, _bytes(text))))
        else:
            try:
                content = decode_text(_bytes(text))
            except UnicodeDecodeError:
                content = ""
    if "=" in content:
        pairs = [part.rpartition("=") for part in re.split(r"[\n,]", content) if part.strip()]
        names, counts = [without_ending(name.strip()) for name, _, _ in pairs], [count for *_, count in pairs]
        if len(set(names)) < len(names):
            raise InputError(f"--lengths {text}: a video stands there twice")
    else:
        names, counts = [], re.split(r"[\s,;]+", content.strip())
    try:
        lengths = [float(count) for count in counts]
    except ValueError:
        raise InputError(
            f"--lengths {text}: give frames per video as 180,180,150, or 1=180,2=180 with names, or a file of them"
        ) from None
    if not lengths or not all(length >= 1 and length.is_integer() for length in lengths):
        raise InputError(f"--lengths {text}: frames per video are whole numbers from 1 on")
    whole = [int(length) for length in lengths]
    return dict(zip(names, whole, strict=True)) if names else whole


def _walk(folder: str) -> list[str]:
    """The score files at or below a folder, in natural order: none that is hidden, a system's companion or a README."""
    found = []
    for root, below, files in os.walk(folder):
        below[:] = [name for name in below if not name.startswith(".") and name.lower() not in SYSTEM]
        found += [
            os.path.join(root, file) for file in files if file.lower().endswith(EXTENSIONS) and not file.startswith(".")
        ]
    prose = {file for file in found if file.lower().endswith((".txt", ".csv")) and is_prose(_bytes(file))}
    return sorted((file for file in found if file not in prose), key=natural_key)


def _video(path: str, folder: str) -> str:
    return without_ending(os.path.splitext(os.path.relpath(path, folder))[0].replace(os.sep, "/"))


def _bytes(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _one_video(path: str, method: str) -> tuple[np.ndarray, bytes]:
    """Scores and bytes of a file that holds one video."""
    found = _read(path, method)
    if len(found.scores) > 1:
        raise InputError(f"{path}: scores of {len(found.scores)} videos, but it is one of several files in its folder")
    return (next(iter(found.scores.values())) if found.scores else found.joined), _bytes(path)


def _read(path: str, method: str) -> ScoreFile:
    if not path.lower().endswith(EXTENSIONS):
        raise InputError(f"{path}: scores are read from {', '.join(EXTENSIONS)} or a folder of them")
    content = _bytes(path)
    digest = hashlib.sha256(content).hexdigest()
    if path.lower().endswith(".npz"):
        arrays = {plain_name(name): a for name, a in _own(arrays_in(path, content), method, path).items()}
        return ScoreFile(
            {name: one_per_frame(a, f"{path}: video {name!r}") for name, a in arrays.items()}, _NONE, digest, path
        )
    if path.lower().endswith(".npy"):
        return ScoreFile({}, one_per_frame(_array(path, content), path), digest, path)
    found = read_numbers(content, path, "score")
    if not found.by_video and not found.joined.size:
        raise InputError(f"{path}: is empty: give one score per frame")
    by_video = {video: one_per_frame(a, f"{path}: video {video!r}") for video, a in found.by_video.items()}
    return ScoreFile(by_video, found.joined if by_video else one_per_frame(found.joined, path), digest, path)


_NONE = np.zeros(0)


def _array(path: str, content: bytes) -> np.ndarray:
    try:
        return np.load(io.BytesIO(content), allow_pickle=False)
    except Exception as error:  # a damaged file surfaces as any of a dozen types
        raise InputError(f"{path}: not an array of numbers ({_line(error)}); save it with numpy.save") from None


def arrays_in(path: str, content: bytes) -> dict[str, np.ndarray]:
    """All arrays of an npz whose bytes are given; path: for messages. InputError: none, or it cannot be read."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = dict(file)
    except Exception as error:  # a damaged file surfaces as any of a dozen types
        raise InputError(f"{path}: not an npz of numbers ({_line(error)}); save it with numpy.savez") from None
    if not arrays:
        raise InputError(f"{path}: no array in it: one per video is needed")
    return arrays


def _own(arrays: dict[str, np.ndarray], method: str, path: str) -> dict[str, np.ndarray]:
    """Of this project's scores.npz, the raw scores of one method; any other npz as it is."""
    methods = list(dict.fromkeys(key.split("/raw/")[0] for key in arrays if "/raw/" in key and key[:7] != "labels/"))
    if not methods or not any(key.startswith("labels/") for key in arrays):
        return arrays
    if method not in methods:
        raise InputError(f"{path}: holds several methods: choose with --method, one of {', '.join(methods)}")
    start = f"{method}/raw/"
    return {key[len(start) :]: array for key, array in arrays.items() if key.startswith(start)}


def named_arrays(given: Mapping[Any, Any], what: str) -> dict[str, np.ndarray]:
    """What was passed for each video, as arrays by its name. InputError: two of one name, rows of several lengths."""
    arrays: dict[str, np.ndarray] = {}
    for name, values in given.items():
        if str(name) in arrays:
            raise InputError(f"{what}: two videos are called {str(name)!r}: rename one")
        try:
            arrays[str(name)] = np.asarray(values)
        except (ValueError, TypeError) as error:
            raise InputError(f"{what}: video {str(name)!r}: no array of numbers ({_line(error)})") from None
    return arrays


def one_per_frame(array: np.ndarray, where: str) -> np.ndarray:
    """float64 (n,) of finite numbers."""
    if array.dtype.kind not in "biuf" or array.size != max(array.shape, default=1) or not array.size:
        raise InputError(f"{where}: an array {array.shape} of {array.dtype} is not one score per frame")
    scores = array.reshape(-1).astype(np.float64)
    if not np.isfinite(scores).all():
        frame = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise InputError(f"{where}: score {frame} of {len(scores)} (from 0) is {scores[frame]}: no finite number")
    return scores


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:120]


def match(scores: Mapping[str, np.ndarray], lengths: Mapping[str, int], source: str) -> dict[str, np.ndarray]:
    """The scores of exactly the videos of ``lengths``, by name. InputError: one is missing or unknown."""
    missing = [name for name in lengths if name not in scores]
    strange = [name for name in scores if name not in lengths]
    if missing or strange:
        what = f"no scores of video {missing[0]!r}" if missing else f"video {strange[0]!r} has no labels"
        raise InputError(
            f"{source}: {what} ({len(scores)} videos with scores: {_few(scores)}; {len(lengths)} with labels: "
            f"{_few(lengths)}): name both alike, or take a part of the videos with --only"
        )
    return {name: scores[name] for name in lengths}


def _few(names: Mapping[str, object]) -> str:
    shown = ", ".join(in_order(list(names))[:3])
    return shown + (", ..." if len(names) > 3 else "")
