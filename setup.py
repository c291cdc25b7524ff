"""Builds the C++ kernel of ramvid_vad.ops as an optional extension; everything else stands in pyproject.toml.

The kernel is one library of plain C functions, loaded with ctypes: it needs neither torch nor Python headers, and
without a compiler the package installs all the same and runs the reference in plain PyTorch.
"""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

FLAGS = [
    "-std=c++17",
    "-O3",
    "-fPIC",
    "-fvisibility=hidden",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-Wno-maybe-uninitialized",  # false alarms inside the compiler's own intrinsics
    "-Wno-unknown-pragmas",
]
# The choice between them is made at run time: nothing is built for the building machine only.
INSTRUCTION_SETS = {
    "baseline": ["-DKERNEL_QUERIES"],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"],
}


class BuildKernel(build_ext):
    """Compiles the source once per instruction set and links one library."""

    def get_ext_filename(self, fullname: str) -> str:
        """No interpreter version in the name: the library does not know Python."""
        return str(Path(*fullname.split("."))) + ".so"

    def build_extension(self, extension: Extension) -> None:
        try:
            build_library(extension.sources[0], Path(self.get_ext_fullpath(extension.name)))
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"warning: C++ kernel not built, ramvid_vad will run its reference: {error}", file=sys.stderr)


def build_library(source: str, target: Path) -> None:
    """Without OpenMP, on one thread then, where the compiler has none."""
    compiler = find_compiler()
    try:
        compile_kernel(compiler, source, target, ["-fopenmp"])
    except subprocess.CalledProcessError:
        compile_kernel(compiler, source, target, [])


def find_compiler() -> list[str]:
    """CXX, in words, or the first compiler found."""
    compiler = os.environ.get("CXX") or next(filter(shutil.which, ("g++", "c++", "clang++")), None)
    if compiler is None:
        raise FileNotFoundError("no C++ compiler found: install g++ or set CXX")
    return compiler.split()


def compile_kernel(compiler: list[str], source: str, target: Path, openmp: list[str]) -> None:
    """Compiles `source` for all instruction sets of this architecture, side by side, into the library `target`."""
    names = list(INSTRUCTION_SETS) if platform.machine().lower() in ("x86_64", "amd64") else ["baseline"]
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        objects = {name: str(Path(folder) / f"{name}.o") for name in names}
        flags = {name: [*FLAGS, *openmp, *INSTRUCTION_SETS[name], f"-DKERNEL_ISA={name}"] for name in names}
        commands = [[*compiler, *flags[name], "-c", source, "-o", objects[name]] for name in names]
        running = [subprocess.Popen(command) for command in commands]
        codes = [process.wait() for process in running]
        if any(codes):
            raise subprocess.CalledProcessError(max(codes), compiler)
        library = str(Path(folder) / target.name)
        subprocess.run([*compiler, "-shared", *openmp, *objects.values(), "-o", library], check=True)
        # never a half-written library, nor that of another build at the same time
        os.replace(shutil.copy(library, f"{target}.{os.getpid()}.new"), target)


if __name__ == "__main__":  # benchmarks/recurrence.py takes compiler and flags from here
    setup(
        ext_modules=[
            Extension(
                "ramvid_vad.ops._cpu_kernel",
                sources=["ramvid_vad/ops/cpu_kernel.cpp"],
                depends=[f"ramvid_vad/ops/cpu_{name}.h" for name in ("vector", "layout", "scan", "conv", "norm")],
                optional=True,  # a missing library is not copied, and no error
            )
        ],
        cmdclass={"build_ext": BuildKernel},
    )
