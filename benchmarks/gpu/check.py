"""All that a GPU can settle, in parts of at most eight minutes. See docs/gpu.md.

    python benchmarks/gpu/check.py [--part correct scan networks train_pixels train_features ranks] [--dry]
        [--minutes 8] [--out runs/gpu]

`--part fast` is scan and networks, `--part train` both trainings.

Each part is a process of its own, so that a fault of the GPU in one leaves the others alone; in a dry run one process
asks all, for most of its time would go by importing PyTorch. Writes gpu_check.json and gpu_check.md into --out, with
what a part had answered if it was cut off. Exit code 1: a row failed.

It runs from a plain copy of the tree: the package need not be installed. What it needs besides PyTorch with CUDA
and Triton and numpy (safetensors, tqdm, PyYAML, scipy, opencv-python-headless), and the machine has not, may lie as
wheels in the folder wheels/ beside README.md; they are unpacked into a folder of their own. --dry: on the CPU, at
tiny sizes.
"""

import argparse
import contextlib
import importlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

PARTS = ("correct", "scan", "networks", "train_pixels", "train_features", "ranks")
EXACT = ("correct", "ranks")  # compared with float32 on a CPU or of one rank; what is timed runs as PyTorch has it
SEVERAL = {"fast": ("scan", "networks"), "train": ("train_pixels", "train_features")}
NEEDS = {"torch": "torch", "numpy": "numpy", "safetensors": "safetensors", "tqdm": "tqdm"}
NEEDS |= {"yaml": "PyYAML", "scipy": "scipy", "cv2": "opencv-python-headless"}
ROOT = Path(__file__).resolve().parents[2]
FOLDERS = [ROOT, ROOT / "benchmarks", ROOT / "benchmarks" / "gpu", ROOT / "tests", ROOT / "tests" / "ops"]
GRACE = 20.0  # seconds that a part may take beyond its minutes, for the question under way


def unpacked(out: Path) -> list[Path]:
    """The wheels laid beside, each unpacked in ``out``: a wheel is a zip file of what goes on the path."""
    folder = out / "unpacked_wheels"
    for wheel in sorted((ROOT / "wheels").glob("*.whl")):
        with zipfile.ZipFile(wheel) as files:
            files.extractall(folder)
    return [folder] if folder.exists() else []


def run_part(name: str, out: Path, dry: bool, minutes: float) -> None:
    """Ask the questions of one part, in this process."""
    from rows import Rows, Skip

    rows = Rows(out / f"{name}.json", dry, time.monotonic() + 60 * minutes)

    def absent() -> dict:
        lacking = [NEEDS[module] for module in NEEDS if importlib.util.find_spec(module) is None]
        if lacking:
            raise Skip(f"lacks {', '.join(lacking)}: lay their wheels into wheels/")
        import torch

        if not dry and not torch.cuda.is_available():
            raise Skip("PyTorch sees no CUDA device")
        import ramvid_vad

        about = {"torch": torch.__version__, "python": sys.version.split()[0], "tree": str(ROOT)}
        about |= {"package": str(Path(ramvid_vad.__file__).parent), "cores": len(os.sched_getaffinity(0))}
        if not dry:
            about |= {"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda}
            about |= {"triton": importlib.util.find_spec("triton") is not None}
            if name in EXACT:
                torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
            tf32 = {"products": torch.backends.cuda.matmul.allow_tf32, "convolutions": torch.backends.cudnn.allow_tf32}
            about |= {"TF32": tf32}
        return about

    rows.ask(f"{name}: the machine", absent)
    if rows.rows[0]["status"] == "passed":
        importlib.import_module(f"{name.split('_')[0]}_part").questions(rows, out)


def collect(name: str, out: Path, code: int | None) -> list[dict]:
    """The rows of a part that has ended; one more if it did not end by itself."""
    path = out / f"{name}.json"
    rows = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    if code != 0:
        why = "cut off at its time limit" if code is None else f"ended with exit code {code}"
        rows.append({"row": f"{name}: the part", "status": "FAILED", "why": why, "seconds": 0})
    return [{"part": name} | row for row in rows]


def table(rows: list[dict]) -> str:
    from rows import shown

    lines = ["| part | question | status | figures |", "| --- | --- | --- | --- |"]
    for row in rows:
        about = {"part", "row", "status", "why", "seconds"}
        figures = [f"{key} {shown(value)}" for key, value in row.items() if key not in about]
        text = "; ".join(([row["why"]] if row["why"] else []) + figures).replace("|", "\\|").replace("\n", " ")
        lines.append(f"| {row['part']} | {row['row']} | {row['status']} | {text} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", nargs="+", choices=[*PARTS, *SEVERAL], default=PARTS)
    parser.add_argument("--dry", action="store_true", help="on the CPU, at tiny sizes")
    parser.add_argument("--minutes", type=float, default=8.0, help="of each part, at most")
    parser.add_argument("--out", default="runs/gpu", help="folder for the results; arrays for training lie there too")
    parser.add_argument("--only", nargs="+", default=[], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    out = Path(arguments.out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    for name in arguments.only:
        run_part(name, out, arguments.dry, arguments.minutes)
    if arguments.only:
        return
    before = os.environ.get("PYTHONPATH")
    places = [*map(str, [*FOLDERS, *unpacked(out)]), *([before] if before else [])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places)}
    environment |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""} if arguments.dry else {}
    sys.path[:0] = places
    rows = []
    names = [each for part in arguments.part for each in SEVERAL.get(part, (part,))]
    for together in [names] if arguments.dry else [[name] for name in names]:
        for name in together:
            (out / f"{name}.json").unlink(missing_ok=True)
        command = [sys.executable, __file__, "--out", str(out), "--minutes", str(arguments.minutes)]
        command += ["--only", *together, *["--dry"] * arguments.dry]
        part = subprocess.Popen(command, env=environment, start_new_session=True)
        try:
            code: int | None = part.wait(len(together) * (60 * arguments.minutes + GRACE))
        except subprocess.TimeoutExpired:
            code = None
        with contextlib.suppress(ProcessLookupError):  # what it has started and left, such as ranks
            os.killpg(part.pid, signal.SIGKILL)
        part.wait()
        rows += [row for name in together for row in collect(name, out, code)]
    (out / "gpu_check.json").write_text(json.dumps({"dry": arguments.dry, "rows": rows}, indent=1) + "\n")
    (out / "gpu_check.md").write_text(table(rows))
    counts = {
        status: sum(row["status"] == status for row in rows) for status in dict.fromkeys(r["status"] for r in rows)
    }
    print(f"{out / 'gpu_check.md'}: " + ", ".join(f"{count} {status}" for status, count in counts.items()))
    sys.exit(1 if counts.get("FAILED") else 0)


if __name__ == "__main__":
    main()
