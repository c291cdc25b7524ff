"""The allocator setting, each case in a process of its own."""

import os
import platform
import subprocess
import sys

import pytest

from ramvid_vad.runtime.allocator import SETTINGS

# Page faults of touching 64 MB that were touched, and freed, before.
FAULTS = """
import ctypes, resource, sys
from ramvid_vad.runtime.allocator import keep_freed_memory
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
def touch():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = ctypes.c_void_p(libc.malloc(ctypes.c_size_t(64 << 20)))
    ctypes.memset(block, 1, 64 << 20)
    libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
was_set = sys.argv[1] == "keep" and keep_freed_memory()
touch()
print(was_set, touch())
"""


def faults(mode: str, **environment: str) -> tuple[bool, int]:
    clean = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, mode], env=clean | environment, capture_output=True, text=True, check=True
    )
    was_set, count = done.stdout.split()
    return was_set == "True", int(count)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_freed_memory_is_reused_without_page_faults():
    was_set, kept = faults("keep")
    assert was_set
    assert kept < 100
    assert faults("leave")[1] > 1000  # 64 MB are 16,384 pages of 4 kB


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_the_users_own_setting_wins():
    was_set, count = faults("keep", MALLOC_TRIM_THRESHOLD_="100000")
    assert not was_set
    assert count > 1000
