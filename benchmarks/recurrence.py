"""What the exponential costs: the scan's inner loop alone, on one core, with one way after another to take exp(dt A).

    python benchmarks/recurrence.py [--out runs/benchmarks/recurrence.json]

Needs a C++ compiler and a processor with AVX-512. `recurrence.cpp` includes the kernel's own vector functions; a vector
is 16 channels of one state at one token. Everything lies in the first-level cache, the ways take turns, medians.

- `cycles`, `ns`: per vector. `ms on two cores`: of all vectors of (1, 256, 7680), N = 16, if two cores did nothing
  else: no softplus, no gate, no call, no memory.
- `largest error`, `mean error`: relative, of exp over [-4, 0]. A state that decays slowly sums up thousands of tokens,
  and with them the mean error near 0.
"""

import argparse
import json
import runpy
import subprocess
import tempfile
from pathlib import Path

from measure import machine, print_table, run, write_report

from ramvid_vad.ops.cpu_library import instruction_set

SOURCE = Path(__file__).with_suffix(".cpp")
VECTORS = 256 * 7680 * 16 // 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="runs/benchmarks/recurrence.json", help="JSON file")
    arguments = parser.parse_args()
    if instruction_set() != "avx512":
        print(f"this processor runs {instruction_set()}, the ways compared here are of AVX-512: nothing was timed")
        return
    kernel = runpy.run_path(str(SOURCE.parents[1] / "setup.py"))  # compiled as the kernel is
    flags = [*kernel["FLAGS"], *kernel["INSTRUCTION_SETS"]["avx512"]]
    with tempfile.TemporaryDirectory() as folder:
        program = str(Path(folder) / "recurrence")
        subprocess.run([*kernel["find_compiler"](), *flags, str(SOURCE), "-o", program], check=True)
        lines = subprocess.run([program], check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    rows = [
        {
            "exp(dt A)": way["way"],
            "cycles": way["cycles"],
            "ns": way["ns"],
            "ms on two cores": way["ns"] * VECTORS / 2 / 1e6,
            "largest error": way["error"] if way["error"] < 1 else "-",
            "mean error": way["bias"] if way["error"] < 1 else "-",
        }
        for way in map(json.loads, lines)
    ]
    print_table("one vector of the recurrence, AVX-512; medians", rows)
    write_report(arguments.out, machine() | {"vectors": VECTORS, "ways": rows})


if __name__ == "__main__":
    run(main)
