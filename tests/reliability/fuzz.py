"""Damaged files by the thousand, for every reader of files from elsewhere: nothing but "read" or one clear refusal.

    python tests/reliability/fuzz.py [--inputs 20000] [--seed 0] [--only video] [--out runs/benchmarks/fuzz.json]

Small real files of every kind are made on the spot and mutated: bits flipped, ranges zeroed, overwritten or deleted,
the end cut off, parts of another file spliced in, numbers (length fields, digits) replaced by awkward ones. Input i is
a pure function of (seed, i). Each is read in a forked process with MEMORY more address space than it starts with; a
reader that takes longer than SECONDS is killed. An outcome is

- read: an answer; a video with fewer frames than it had is counted as shorter as well
- refused: InputError in one line
- exception: anything else that was raised; crash: the process died; hang: it was killed; memory: above MEMORY at peak.
"""

import argparse
import collections
import gc
import json
import os
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ramvid_vad.errors import InputError

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
from measure import machine, print_table, write_report

SECONDS = 10.0
"""Longest time for one input, thousands of times what a whole file takes."""
MEMORY = 2**30
"""Bytes, resident at peak, that an input may add to the process; five frames of the largest size allowed."""
FRAMES = 13
AWKWARD = (0, 1, 2, 3, 127, 128, 255, 32768, 65535, 10**6, 2**31 - 1, 2**31, 2**32 - 1, 2**48, 2**63 - 1, 2**64 - 1)
WORDS = (b"nan", b"inf", b"-1", b"1e999", b"9" * 30, b"0x10", b"", b"\0", b"[", b'"', b",", b":", b"{", b"1_0", b"\xff")
VIDEOS = {  # name: codec, pixel format, options of the container, options of the codec
    "h264.mp4": ("libx264", "yuv420p", {"movflags": "faststart"}, {"qp": "25", "g": "6"}),
    "fragmented.mp4": ("libx264", "yuv420p", {"movflags": "frag_keyframe+empty_moov"}, {"qp": "25", "g": "6"}),
    "hevc.mp4": ("libx265", "yuv420p", {}, {"x265-params": "log-level=none:pools=none"}),
    "h264.mkv": ("libx264", "yuv420p", {}, {"qp": "25", "g": "6"}),
    "ffv1.mkv": ("ffv1", "bgr0", {}, {}),
    "xvid.avi": ("mpeg4", "yuv420p", {}, {}),
    "mjpeg.avi": ("mjpeg", "yuvj420p", {}, {}),
    "raw.avi": ("rawvideo", "bgr24", {}, {}),
    "vp8.webm": ("libvpx", "yuv420p", {}, {}),
    "vp9.webm": ("libvpx-vp9", "yuv420p", {}, {}),
    "prores.mov": ("prores_ks", "yuv422p10le", {}, {}),
    "mpeg2.mpg": ("mpeg2video", "yuv420p", {}, {}),
    "animation.gif": ("gif", "rgb8", {}, {}),
}
GROUPS = ("video", "pictures", "labels", "scores", "settings", "weights", "reconstructions", "caches")
OUTCOMES = ("read", "refused", "exception", "crash", "hang", "memory", "shorter")

Seed = tuple[str, str, bytes, Callable[[str], object]]
"""Group, file name, content, and the reader that is given its path."""


# --- real files


def seeds(folder: Path) -> list[Seed]:
    """A real file of every kind that is read, made in ``folder``."""
    return [
        *_videos(folder),
        *_pictures(folder),
        *_labels(folder),
        *_scores(folder),
        *_others(folder),
        *_reconstructions(folder),
        *_caches(folder),
    ]


def scene(frames: int = FRAMES) -> np.ndarray:
    """uint8 (frames, 48, 64, 3): a pattern that moves."""
    t, y, x = np.ogrid[:frames, :48, :64]
    parts = np.broadcast_arrays(128 + 80 * np.sin((x + 3 * t) / 5), 5 * y + t, 4 * x + 2 * t)
    return np.clip(np.stack(parts, -1), 0, 255).astype(np.uint8)


def _videos(folder: Path) -> Iterator[Seed]:
    import av

    from ramvid_vad.video.reader import read_frames

    def read(path: str) -> int:
        return sum(1 for _ in read_frames(path))

    for name, (codec, pix_fmt, container_options, codec_options) in VIDEOS.items():
        with av.open(str(folder / name), "w", options=container_options) as container:
            stream = container.add_stream(codec, rate=25, options=codec_options)
            stream.height, stream.width, stream.pix_fmt = 48, 64, pix_fmt
            for array in scene():
                container.mux(stream.encode(av.VideoFrame.from_ndarray(array, format="rgb24")))
            container.mux(stream.encode())
        yield "video", name, (folder / name).read_bytes(), read


def _pictures(folder: Path) -> Iterator[Seed]:
    from PIL import Image

    from ramvid_vad.video.reader import read_image

    for name in ("a.png", "a.jpg", "a.tif", "a.bmp"):
        Image.fromarray(scene(1)[0]).save(folder / name)
        yield "pictures", name, (folder / name).read_bytes(), read_image


def _labels(folder: Path) -> Iterator[Seed]:
    from scipy.io import savemat

    from ramvid_vad.video.benchmarks import annotations
    from ramvid_vad.video.truth.labels import parse_labels
    from ramvid_vad.video.truth.masks import load_masks, load_tracks, save_masks

    labels = (np.arange(40) % 9 > 5).astype(np.uint8)
    np.save(folder / "labels.npy", labels)
    np.save(folder / "masks.npy", scene(5)[..., 0] > 128)
    save_masks(folder / "masks.npz", scene(5)[..., 0] > 128)
    cells = np.empty((1, 3), object)
    cells[0, :] = [np.array([[3.0], [9]]), np.array([[1.0, 20], [4, 30]]), np.zeros((2, 0))]
    savemat(folder / "ranges.mat", {"gt": cells})
    savemat(folder / "packed.mat", {"gt": cells}, do_compression=True)
    savemat(folder / "volume.mat", {"volLabel": cells})
    (folder / "labels.txt").write_text("\n".join(map(str, labels)))
    (folder / "labels.csv").write_text(",".join(map(str, labels)))
    (folder / "ucsd.m").write_text(
        "TestVideoFile = {};\n"
        + "".join(f"TestVideoFile{{end+1}}.gt_frame = [{a}:{a + 50}, 140:{180 + a}];\n" for a in range(1, 12))
    )
    (folder / "tracks.txt").write_text("".join(f"{i // 9},{i},{i},2,{i + 9},20\n" for i in range(30)))
    (folder / "spans.txt").write_text("1,5,90\n2,10,200\n3,0,7\n")

    def parse(path: str) -> object:
        return parse_labels(Path(path).read_bytes(), path)

    readers: dict[str, Callable[[str], object]] = {
        "labels.npy": parse,
        "labels.txt": parse,
        "labels.csv": parse,
        "masks.npy": lambda path: list(annotations.array_masks(path)),
        "masks.npz": load_masks,
        "ranges.mat": annotations.matlab_ranges,
        "packed.mat": annotations.matlab_ranges,
        "volume.mat": lambda path: list(annotations.avenue_volume(path)),
        "ucsd.m": annotations.ucsd_ranges,
        "tracks.txt": load_tracks,
        "spans.txt": annotations.ubnormal_tracks,
    }
    for name, read in readers.items():
        yield "labels", name, (folder / name).read_bytes(), read


def _scores(folder: Path) -> Iterator[Seed]:
    from ramvid_vad.evaluation.inputs.score_files import read_lengths, read_scores

    values = np.linspace(0, 1, 30)
    np.save(folder / "scores.npy", values)
    np.savez(folder / "scores.npz", **{"01": values, "02": values[:9]})
    np.savez_compressed(folder / "packed.npz", **{"01": values, "02": values[:9]})
    (folder / "scores.txt").write_text("\n".join(map(str, values)))
    rows = [f"{video},{frame},{frame / 7}" for video in ("01", "02") for frame in range(12)]
    (folder / "scores.csv").write_text("video,frame,score\n" + "\n".join(rows) + "\n")
    (folder / "lengths.txt").write_text("180,180,150")
    for name in ("scores.npy", "scores.npz", "packed.npz", "scores.txt", "scores.csv"):
        yield "scores", name, (folder / name).read_bytes(), read_scores
    yield "scores", "lengths.txt", (folder / "lengths.txt").read_bytes(), read_lengths


def _others(folder: Path) -> Iterator[Seed]:
    import torch
    from safetensors.torch import save_file

    from ramvid_vad.infill_videos import read_settings
    from ramvid_vad.loading import known_config
    from ramvid_vad.options import GROUPS as SECTIONS
    from ramvid_vad.options.config_file import read_config
    from ramvid_vad.training.weights import load_weights, read_json

    (folder / "config.yaml").write_text(
        "model:\n  image_size: 128x192\n  rgb: false\ntrain:\n  lr: 1.0e-4\n  seed: 3\n"
    )
    tensors = {"a.weight": torch.arange(12.0).reshape(3, 4), "a.bias": torch.zeros(3)}
    save_file(tensors, folder / "model.safetensors", metadata={"config": '{"model": {"rgb": true}}'})
    torch.save(tensors, folder / "model.pt")
    yield "settings", "config.yaml", (folder / "config.yaml").read_bytes(), read_config
    config = {name: asdict(SECTIONS[name]()) for name in ("model", "diffusion", "video", "anchors")}
    for name, read in {
        "checkpoint.json": lambda path: known_config(read_json(Path(path).read_text("utf-8", "replace"), path), path),
        "settings.json": read_settings,
    }.items():
        yield "settings", name, json.dumps(config, indent=1).encode(), read
    for name in ("model.safetensors", "model.pt"):
        yield "weights", name, (folder / name).read_bytes(), load_weights


def _reconstructions(folder: Path) -> Iterator[Seed]:
    from ramvid_vad.diffusion.anchors import selective_anchors
    from ramvid_vad.reconstructions import load_reconstruction, write_reconstruction
    from ramvid_vad.video.windows import covering_starts, masked_rows
    from ramvid_vad.window_files import read_part, write_part

    anchors, settings = selective_anchors(8).numpy(), {"image_size": "8x8", "rgb": True, "keep_aspect": False}
    starts = covering_starts(20, 8, 4, anchors)
    counts = [len(masked_rows(20, [start], anchors)[0]) for start in starts]
    frames = [np.full((count, 8, 8, 3), 7, np.uint8) for count in counts]
    write_reconstruction(str(folder / "01.npz"), frames, starts, anchors, 20, settings)
    with np.load(folder / "01.npz") as whole:
        np.savez_compressed(folder / "old.npz", **whole)
    write_part(str(folder / "part.npz"), frames[0])

    def load(path: str) -> object:
        read = load_reconstruction(path)
        return read.frames[np.arange(len(read.frames))]

    for name in ("01.npz", "old.npz"):
        yield "reconstructions", name, (folder / name).read_bytes(), load
    yield "reconstructions", "part.npz", (folder / "part.npz").read_bytes(), lambda path: read_part(path, counts[0])


def _caches(folder: Path) -> Iterator[Seed]:
    """An entry of the frame cache in the place of a whole one: it is taken if it is that, else decoded again."""
    from PIL import Image

    from ramvid_vad.video.cache import FrameCache

    (folder / "video").mkdir()
    for number, frame in enumerate(scene(3)):
        Image.fromarray(frame).save(folder / "video" / f"{number}.png")
    video = str(folder / "video")
    cache = FrameCache(str(folder / "cache"), (12, 16))
    expected = np.array(cache.frames(video))

    def read(path: str) -> object:
        os.replace(path, cache.entry(video))
        if not np.array_equal(FrameCache(cache.cache_dir, (12, 16)).frames(video), expected):
            raise AssertionError("other frames than the video's")
        return expected

    yield "caches", "entry.npy", Path(cache.entry(video)).read_bytes(), read


# --- damage


def mutate(data: bytes, others: list[bytes], rng: np.random.Generator) -> tuple[str, bytes]:
    """One to three kinds of damage, and what they were."""
    done = []
    for _ in range(int(rng.integers(1, 4))):
        name = str(rng.choice(list(DAMAGE)))
        data = DAMAGE[name](data or b"\0", others, rng)
        done.append(name)
    return "+".join(done), data


def _range(data: bytes, rng: np.random.Generator) -> slice:
    """A part, mostly a short one."""
    start = int(rng.integers(len(data)))
    return slice(start, start + 1 + int(len(data) * rng.random() ** 4))


def _flip(data: bytes, others: list[bytes], rng: np.random.Generator) -> bytes:
    changed = np.frombuffer(data, np.uint8).copy()
    for place in rng.integers(len(data), size=int(rng.integers(1, 9))):
        changed[place] ^= 1 << int(rng.integers(8))
    return changed.tobytes()


def _number(data: bytes, others: list[bytes], rng: np.random.Generator) -> bytes:
    """A length field, perhaps: mostly near the beginning, where they are."""
    size = int(rng.choice([1, 2, 4, 8]))
    start = int(len(data) * rng.random() ** 2)
    value = AWKWARD[int(rng.integers(len(AWKWARD)))] % 256**size
    field = value.to_bytes(size, "big" if rng.random() < 0.5 else "little")
    return (data[:start] + field + data[start + size :])[: max(len(data), size)]


def _word(data: bytes, others: list[bytes], rng: np.random.Generator) -> bytes:
    """Something that a text holds no number in, in place of a digit if there is one."""
    digits = [i for i, byte in enumerate(data[:20_000]) if 48 <= byte < 58]
    place = digits[int(rng.integers(len(digits)))] if digits else int(rng.integers(len(data)))
    return data[:place] + WORDS[int(rng.integers(len(WORDS)))] + data[place + 1 :]


def _splice(data: bytes, others: list[bytes], rng: np.random.Generator) -> bytes:
    other = others[int(rng.integers(len(others)))]
    here = _range(data, rng)
    return data[: here.start] + other[_range(other, rng)] + data[here.stop if rng.random() < 0.5 else here.start :]


def _fill(data: bytes, here: slice, filling: bytes) -> bytes:
    return data[: here.start] + filling + data[here.start + len(filling) :]


DAMAGE: dict[str, Callable[[bytes, list[bytes], np.random.Generator], bytes]] = {
    "flip": _flip,
    "truncate": lambda data, others, rng: data[: int(rng.integers(len(data)))],
    "zero": lambda data, others, rng: _fill(data, here := _range(data, rng), bytes(len(data[here]))),
    "noise": lambda data, others, rng: _fill(data, here := _range(data, rng), rng.bytes(len(data[here]))),
    "delete": lambda data, others, rng: data[: (here := _range(data, rng)).start] + data[here.stop :],
    "splice": _splice,
    "number": _number,
    "word": _word,
}


# --- reading under limits


def make_input(files: list[Seed], seed: int, number: int) -> tuple[Seed, str, bytes]:
    """Input ``number``: the file it was made of, its damage and its content."""
    rng = np.random.default_rng([seed, number])
    chosen = files[number % len(files)]
    damage, data = mutate(chosen[2], [file[2] for file in files if file[0] == chosen[0]], rng)
    return chosen, damage, data


def examine(files: list[Seed], seed: int, number: int, folder: str) -> dict[str, object]:
    """Read one input here. outcome: of OUTCOMES; detail; seconds; bytes added at peak."""
    (group, name, original, read), damage, data = make_input(files, seed, number)
    path = os.path.join(folder, name)
    Path(path).write_bytes(data)
    before = _reset_peak()
    start, detail = time.perf_counter(), ""
    try:
        answer = read(path)
        outcome = "shorter" if group == "video" and answer < FRAMES and data != original else "read"
        detail = f"{answer} frames" if outcome == "shorter" else ""
        del answer
    except InputError as error:
        outcome = "refused" if "\n" not in str(error) and len(str(error)) < 1000 else "exception"
        detail = "" if outcome == "refused" else f"a message of {len(str(error))} characters"
    except Exception as error:
        outcome, detail = "exception", f"{type(error).__name__}: {error}"[:300] + " | " + _place(error)
    took, added = time.perf_counter() - start, max(_peak() - before, 0)
    outcome = "memory" if added > MEMORY else outcome
    return {
        "number": number, "group": group, "file": name, "damage": damage, "outcome": outcome, "detail": detail,
        "seconds": took, "bytes": added,
    }  # fmt: skip


def _place(error: Exception) -> str:
    return " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in traceback.extract_tb(error.__traceback__)[:-4:-1])


def _reset_peak() -> int:
    """Make the largest resident size count from here; returns the present one in bytes."""
    gc.collect(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _peak()


def _peak() -> int:
    with open("/proc/self/status", encoding="ascii") as status:
        return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) * 1024


def _read_all(files: list[Seed], seed: int, numbers: range, folder: str, answers: int) -> None:
    """The forked process: one JSON line per input."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with open("/proc/self/statm", encoding="ascii") as sizes:
        used = int(sizes.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2 * MEMORY, used + 2 * MEMORY))
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1), os.dup2(null, 2)
    warnings.simplefilter("ignore")
    for number in numbers:
        os.write(answers, json.dumps(examine(files, seed, number, folder)).encode() + b"\n")


def run(files: list[Seed], seed: int, inputs: int, folder: str) -> Iterator[dict[str, object]]:
    """What became of each input, in order; a process that died or hung is followed by a new one."""
    number = 0
    while number < inputs:
        readable, writable = os.pipe()
        gc.collect()  # of PyAV: the child has none of its threads and would wait for them for ever
        child = os.fork()
        if not child:
            try:
                os.close(readable)
                _read_all(files, seed, range(number, inputs), folder, writable)
            finally:
                os._exit(0)
        os.close(writable)
        with os.fdopen(readable, "rb", buffering=0) as answers:
            while number < inputs:
                if not select.select([answers], [], [], SECONDS)[0]:
                    os.kill(child, signal.SIGKILL)
                    outcome, detail = "hang", f"more than {SECONDS:g} s"
                elif line := answers.readline():
                    yield json.loads(line)
                    number += 1
                    continue
                else:
                    outcome, detail = "crash", ""
                break
            else:
                outcome = ""
        status = os.waitpid(child, 0)[1]
        if outcome:
            (group, name, *_), damage, _ = make_input(files, seed, number)
            detail = detail or f"signal {os.WTERMSIG(status)}, exit code {os.waitstatus_to_exitcode(status)}"
            yield {
                "number": number, "group": group, "file": name, "damage": damage, "outcome": outcome, "detail": detail,
                "seconds": SECONDS if outcome == "hang" else 0.0, "bytes": 0,
            }  # fmt: skip
            number += 1


def summary(results: list[dict]) -> list[dict[str, object]]:
    """One row per group of readers."""
    rows = []
    for group in [*GROUPS, "all"]:
        part = [result for result in results if group in (result["group"], "all")]
        if part:
            counts = collections.Counter(result["outcome"] for result in part)
            counts["read"] += counts["shorter"]
            rows.append(
                {"files": group, "inputs": len(part)}
                | {outcome: counts[outcome] for outcome in OUTCOMES}
                | {"peak MB": max(r["bytes"] for r in part) / 1e6, "longest s": max(r["seconds"] for r in part)}
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=20_000, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="of the damage")
    parser.add_argument("--only", default="", choices=("", *GROUPS), help="one group of readers")
    parser.add_argument("--out", default="runs/benchmarks/fuzz.json", help="where the figures go")
    arguments = parser.parse_args()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        files = [file for file in seeds(Path(folder)) if arguments.only in ("", file[0])]
        for group, name, _, read in files:
            if group == "video" and read(os.path.join(folder, name)) != FRAMES:
                raise SystemExit(f"{name}: the whole file does not give {FRAMES} frames")
        results = list(run(files, arguments.seed, arguments.inputs, folder))
    rows = summary(results)
    print_table(f"{arguments.inputs} inputs, seed {arguments.seed}", rows)
    noted = [result for result in results if result["outcome"] not in ("read", "refused")]
    for result in [result for result in noted if result["outcome"] != "shorter"][:40]:
        print(f"input {result['number']}: {result['file']} {result['damage']}: {result['outcome']} {result['detail']}")
    report = {
        "command": f"tests/reliability/fuzz.py --inputs {arguments.inputs} --seed {arguments.seed}",
        **{key: value for key, value in machine().items() if key in ("cores", "threads")},
        "limit_seconds": SECONDS,
        "limit_bytes": MEMORY,
        "minutes": (time.perf_counter() - start) / 60,
        "rows": rows,
        "shorter": collections.Counter(result["file"] for result in noted if result["outcome"] == "shorter"),
        "noted": [result for result in noted if result["outcome"] != "shorter"],
    }
    write_report(arguments.out, report)
    if report["noted"]:
        raise SystemExit(f"{len(report['noted'])} inputs were neither read nor refused")


if __name__ == "__main__":
    main()
