"""Freed memory stays with the process, where the C library would give it back after every step
of training and every pass of a network."""

import ctypes

# Of glibc's malloc.h. Blocks of up to 1 GiB come from the heap, which grows by 64 MiB or more and
# never shrinks.
_SETTINGS = {-3: 1 << 30, -1: (1 << 31) - 1, -2: 64 << 20}  # M_MMAP_, M_TRIM_THRESHOLD, M_TOP_PAD


def keep_freed_memory() -> bool:
    """Whether this C library could be told so. A CPU's training step makes the same tensors every
    time; fetching their pages from the system anew takes a seventh of it."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc
        return False
    return all([mallopt(key, value) == 1 for key, value in _SETTINGS.items()])
