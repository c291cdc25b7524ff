"""The C library's allocator, told to keep what is freed.

A network's tensors come and go with every call. glibc gives memory of that size back to the system at once, and the
next call pays for fresh pages: the kernel zeroes them one by one, which cost up to a third of a training step and made
the scan's cost per token grow with its length (docs/performance.md). Kept, they are there, and the process stays as
large as its largest step.
"""

import ctypes
import os
import platform

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h
SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """From here on this process reuses freed memory; returns whether that was set.

    Does nothing where the C library is not glibc, or where the user has set its allocator (environment variables
    MALLOC_..., GLIBC_TUNABLES).
    """
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in SETTINGS):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # never a mapping of its own, which ends with the tensor; never a shorter heap
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, -1))
