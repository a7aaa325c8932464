"""Freed memory stays with the process, where the C library would give it back after every step
of training and every pass of a network."""

import ctypes

_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD, _M_TOP_PAD = -3, -1, -2  # of glibc's malloc.h


def keep_freed_memory(
    largest: int = 1 << 30, kept: int = (1 << 31) - 1, ahead: int = 64 << 20
) -> bool:
    """Whether this C library could be told so. A CPU's training step makes the same tensors every
    time; fetching their pages from the system anew takes a seventh of it.

    largest: of the blocks that come from the heap and stay, in bytes. kept: how much may be free at
    the heap's end; without limit by default. ahead: by how much it grows beyond what is asked for.
    """
    settings = {_M_MMAP_THRESHOLD: largest, _M_TRIM_THRESHOLD: kept, _M_TOP_PAD: ahead}
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc
        return False
    return all([mallopt(key, value) == 1 for key, value in settings.items()])
