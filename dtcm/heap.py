"""Memory that is freed stays with the process, for the next step's tensors.

A step on a CPU makes and drops tensors of tens of megabytes. The C library gives memory of that size back to the system
at once and asks for it anew, and the system fills every page with zeros when it is first touched: a quarter of the time
of a joint step. glibc can be told to keep it (mallopt(3)); the process then stays as large as it ever was.
"""

import ctypes

_SETTINGS = {
    "M_ARENA_MAX": (-8, 1),  # one heap for all threads: that of another thread than the first holds 64 MB at most
    "M_MMAP_MAX": (-4, 0),  # nothing beside the heap, since that is given back when it is freed
    "M_TRIM_THRESHOLD": (-1, -1),  # the heap never shrinks
    "M_TOP_PAD": (-2, 2**28),  # it grows by 256 MiB, of which only what is touched counts
}
"""Numbers of malloc.h, and their values."""


def keep_freed_memory() -> bool:
    """Keep what this process frees; for processes that compute steps on a CPU. False where there is no glibc."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return False
    return all([mallopt(number, value) == 1 for number, value in _SETTINGS.values()])
